"""The crew of a command: `feltsense train --distributed` is no trainer itself, it only asks them."""

from __future__ import annotations

from celery import Celery

from trainer.errors import TrainerError
from trainer.service.application import beside
from trainer.service.crew import QueueCrew
from trainer.service.schedule import PARTS
from trainer.settings import TrainerSettings
from worker.client import addresses
from worker.service import transport
from worker.settings import Settings


def crew() -> QueueCrew:
    """The trainers of the running instance, or of the settings' broker. Raises `ServiceMissing`."""
    transport.install()
    trainer = TrainerSettings()
    broker = trainer.broker_url or beside(addresses.broker_url(Settings()))
    if broker is None:
        raise TrainerError("no broker is named")
    app = Celery("feltsense.train", broker=broker, backend=broker, set_as_current=False)
    app.conf.update(task_queues=[transport.queue(PARTS)], accept_content=["json"])
    return QueueCrew(app, trainer, lambda: None)
