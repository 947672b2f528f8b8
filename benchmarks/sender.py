"""Putting events on a queue, for every contestant the same way: a task, a queue, one send a message."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Self

from celery import Celery
from kombu.connection import Connection

from benchmarks.context import Event
from worker.client.publisher import Publisher
from worker.events.message import BULK


@dataclass(frozen=True, kw_only=True)
class Address:
    """Where one contestant takes its events: `listed` where a message holds a list of them."""

    broker_url: str
    task: str
    queue: str
    listed: bool


class Sender:
    """One connection and one producer; open it with `Sender.connect`. One thread at a time."""

    def __init__(self, app: Celery, connection: Connection, address: Address) -> None:
        self._app = app
        self._producer = app.amqp.Producer(connection, auto_declare=False)
        self._address = address

    @classmethod
    @contextmanager
    def connect(cls, address: Address) -> Iterator[Self]:
        """A sender while the block runs."""
        app = Celery("benchmark", broker=address.broker_url, backend=None, set_as_current=False)
        with app.connection_for_write() as connection:
            yield cls(app, connection, address)

    def send(self, *events: Event) -> None:
        """One message; the text is masked from what Celery shows of it."""
        at = self._address
        body: Any = list(events) if at.listed else events[0]
        self._app.send_task(
            at.task, args=(body,), queue=at.queue, serializer="json", producer=self._producer,
            argsrepr=f"({len(events)} events,)", kwargsrepr="{}", ignore_result=True,
        )  # fmt: skip


class Sending(threading.Thread):
    """Sends events in the background, as fast as it goes, `chunk` a message; Feltsense's bulk lane by
    `publish_many`.

    `check` raises what ended it early. A daemon, so that Ctrl-C does not wait for the rest.
    """

    def __init__(self, address: Address, events: Sequence[Event], chunk: int) -> None:
        super().__init__(name="sending", daemon=True)
        self._address = address
        self._events = events
        self._chunk = chunk
        self._error: Exception | None = None

    def run(self) -> None:
        try:
            if self._address.queue == BULK:
                with Publisher.connect(self._address.broker_url) as publisher:
                    publisher.publish_many(self._events, chunk=self._chunk, lane=BULK)
            else:
                with Sender.connect(self._address) as sender:
                    for start in range(0, len(self._events), self._chunk):
                        sender.send(*self._events[start : start + self._chunk])
        except Exception as error:  # noqa: BLE001  raised again by `check`, in the thread that waits
            self._error = error

    def check(self) -> None:
        """Raise what ended the sending early."""
        if self._error is not None:
            raise self._error
