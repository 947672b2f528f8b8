"""The three Celery tasks, thin: parse, call, record. Their results and errors hold counts and codes, never
content."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from celery import Task
from celery.exceptions import Reject

from worker.errors import Rejected
from worker.events import message
from worker.events.message import BULK, DELETE, ENRICH, ERASE, LIVE, Entry
from worker.observability.logging import failure, logger
from worker.service import suspects
from worker.service.intake import id_of, taken
from worker.service.suspects import HOW, Culprit
from worker.store.leases import CRASHED

if TYPE_CHECKING:
    from worker.service.celery_app import App
    from worker.service.lifecycle import Service

REQUEUE_PAUSE_S = 1.0
"""Before a message goes back: what cannot be done now must not be tried thousands of times a second."""


class Job(Task):
    """A task that answers for its message: done, parked, or back to the queue."""

    abstract = True
    Request = "worker.service.intake:MaskedRequest"

    def take(
        self, service: Service, entries: list[object], id_: str, lane: str, culprits: Mapping[int, Culprit]
    ) -> dict[str, int]:
        """Does the work for the entries of message `id_`, but for the `culprits` among them; counts by
        outcome. Raises `Rejected` to park it."""
        raise NotImplementedError

    def run(self, *args: Any, **kwargs: Any) -> dict[str, int]:
        service: Service | None = self.app.service
        assert service is not None, "the worker starts its service before it consumes"
        headers = self.request
        id_ = f"{headers.id}/{getattr(headers, 'digest', '')}"
        lane = BULK if (headers.delivery_info or {}).get("routing_key") == BULK else LIVE
        try:
            if getattr(headers, "suspect", False):
                return self._examined(service, args[0], id_, lane)
            return self._do(service, getattr(headers, "refusal", None), args, kwargs, id_, lane, {})
        except Exception as error:  # noqa: BLE001  whatever it is, the message must neither be lost nor quoted
            # Errors that one event causes never come this far; this is a lost service, shutdown, or a bug.
            logger.error("message_requeued", message=id_, task=self.name, **failure(error))
            requeued = Reject(type(error).__name__, requeue=True)
        time.sleep(REQUEUE_PAUSE_S)
        raise requeued  # outside the handler: a chained error would carry its words into Celery's traceback

    def _do(
        self, service: Service, refusal: Sequence[str] | None, args: Sequence[Any], kwargs: Mapping[str, Any],
        id_: str, lane: str, culprits: Mapping[int, Culprit],
    ) -> dict[str, int]:  # fmt: skip
        if refusal:
            reason, detail = refusal
            return service.park_message(id_, reason, detail, payload=args[0])
        try:
            return self.take(service, message.unpack(args, kwargs), id_, lane, culprits)
        except Rejected as error:
            payload = message.encoded([args, kwargs])
            return service.park_message(id_, error.reason, error.detail, payload=payload, field=error.field)

    def _examined(self, service: Service, entry: bytes, id_: str, lane: str) -> dict[str, int]:
        culprits = suspects.examine(entry)
        logger.warning("suspect_examined", message=id_, culprits=None if culprits is None else len(culprits))
        if culprits is None:
            return service.park_message(id_, CRASHED, HOW, payload=entry)
        call = taken(entry)
        headers, args, kwargs = call.headers, call.payload["args"], call.payload["kwargs"]
        job = self.app.tasks[headers["task"]]
        if not isinstance(job, Job):  # of upkeep, on a lane that is not its own
            return dict(job(*args, **kwargs) or {})
        return job._do(service, headers["refusal"], args, kwargs, id_of(headers), lane, culprits)


class Enrich(Job):
    name = ENRICH

    def take(
        self, service: Service, entries: list[object], id_: str, lane: str, culprits: Mapping[int, Culprit]
    ) -> dict[str, int]:
        opened = [
            _parked(raw, culprits[place]) if place in culprits else service.read(raw, place)
            for place, raw in enumerate(entries)
        ]
        return service.enrich(opened, message_id=id_, lane=lane)


def _parked(raw: object, culprit: Culprit) -> Entry:
    return Entry(
        position=culprit.place,
        payload=message.encoded(raw),
        refused=Rejected(CRASHED, HOW),
        id=culprit.id,
        user_id=culprit.user_id,
    )


class Delete(Job):
    name = DELETE

    def take(self, service: Service, entries: list[object], *_: Any) -> dict[str, int]:
        return service.delete(message.identifiers(entries))


class Erase(Job):
    name = ERASE

    def take(self, service: Service, entries: list[object], *_: Any) -> dict[str, int]:
        return service.erase(message.identifiers(entries))


def register(app: App) -> None:
    """Gives the application its tasks."""
    for task in (Enrich, Delete, Erase):
        app.register_task(task())
