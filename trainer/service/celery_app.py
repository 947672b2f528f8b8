"""The trainer's Celery application: `celery --app trainer.service.celery_app worker`, and `beat`."""

from __future__ import annotations

from trainer.service.application import create
from trainer.settings import TrainerSettings
from worker.settings import Settings

app = create(Settings(), TrainerSettings())
