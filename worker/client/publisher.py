"""What other programs import to put reflections on the queue; any Celery client can do the same without it.

Before the journey starts: an app's event goes into a message of 1-256 events, sealed when a key is given,
with its text masked from everything Celery shows about a task.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import Any, Self

from celery import Celery
from kombu.connection import Connection
from kombu.exceptions import OperationalError

from worker.errors import QueueFull, ServiceMissing, UsageError
from worker.events.envelope import Seal, is_sealed
from worker.events.message import BULK, DELETE, ENRICH, ERASE, LIVE
from worker.events.reflection import MESSAGE_LIMIT

Event = Mapping[str, Any]

BACKLOG_LIMIT = 512
"""Messages in a lane above which `publish_many` waits."""
BACKLOG_POLL_S = 0.1
QUEUE_LIMIT = 10_000
"""Messages in a lane from which `publish` refuses: nobody waits for a live one that is so far behind."""
RECOUNT_S = 0.1
"""How long `publish` believes a count of its lane, but for what it sends itself."""
CONNECT_TIMEOUT_S = 5.0


class Publisher:
    """Publishes events to one broker; open it with `Publisher.connect`. One thread at a time."""

    def __init__(
        self, *, app: Celery, connection: Connection, seal: Seal | None, queue_limit: int = QUEUE_LIMIT
    ) -> None:
        self._app = app
        self._connection = connection
        self._producer = app.amqp.Producer(connection, auto_declare=False)
        self._seal = seal
        self._queue_limit = queue_limit
        self._counted: dict[str, tuple[float, int]] = {}

    @classmethod
    @contextmanager
    def connect(
        cls, broker_url: str, key: str | None = None, *, queue_limit: int = QUEUE_LIMIT
    ) -> Iterator[Self]:
        """A publisher while the block runs; `key` (base64 of 32 bytes) seals every event. `publish` refuses
        from `queue_limit` messages in its lane on.

        Raises `ServiceMissing` when the broker does not answer, and `UsageError` for a key or URL that cannot
        be one.
        """
        seal = Seal.maybe(key)
        app = Celery("feltsense.client", broker=broker_url, backend=None, set_as_current=False)
        app.conf.broker_transport_options = {
            "socket_connect_timeout": CONNECT_TIMEOUT_S,
            "socket_timeout": 4 * CONNECT_TIMEOUT_S,
        }
        try:
            connection = app.connection_for_write()
        except (KeyError, ValueError, ImportError):
            raise UsageError("the broker URL is no URL of a transport that Celery has here") from None
        with connection, _reaching(connection):
            connection.ensure_connection(max_retries=1, interval_start=0.1, timeout=CONNECT_TIMEOUT_S)
            connection.default_channel.client.ping()
        with connection:
            yield cls(app=app, connection=connection, seal=seal, queue_limit=queue_limit)

    def publish(self, event: Event, lane: str = LIVE) -> str:
        """Sends one event by itself, at once; the id of its message.

        Raises `QueueFull` when the lane holds too many or the broker's memory is full, and `ServiceMissing`
        when the broker is gone. Then nothing was sent.
        """
        self._refuse_when_full(lane)
        return self._send(ENRICH, [event], lane)

    def publish_many(
        self, events: Iterable[Event], chunk: int = 64, lane: str = BULK,
        *, backlog_limit: int = BACKLOG_LIMIT, patience_s: float = 60.0,
    ) -> int:  # fmt: skip
        """Sends all events, `chunk` a message; how many. Waits while the lane holds over `backlog_limit`
        messages.

        Raises `ServiceMissing` when the broker is gone, and `QueueFull` when the backlog has not shrunk for
        `patience_s` seconds or the broker's memory is full. What was sent before stays sent, and sending it
        again does no harm.
        """
        if not 1 <= chunk <= MESSAGE_LIMIT:
            raise UsageError(f"a message takes 1-{MESSAGE_LIMIT} events, not {chunk}")
        rest, sent = iter(events), 0
        while batch := list(islice(rest, chunk)):
            self.wait_for_room(lane, backlog_limit=backlog_limit, patience_s=patience_s)
            self._send(ENRICH, batch, lane)
            sent += len(batch)
        return sent

    def resend(self, events: Sequence[Event], *, message_id: str, lane: str = BULK) -> None:
        """Sends at most 256 events that were parked, as the message `message_id`; a sealed one stays as it
        is. Raises `QueueFull` and `ServiceMissing`."""
        self._send(ENRICH, events, lane, message_id=message_id)

    def delete(self, ids: Sequence[str]) -> str:
        """Asks for the removal of at most 256 reflections; the id of the message."""
        return self._send(DELETE, list(ids), LIVE)

    def erase(self, user_ids: Sequence[str]) -> str:
        """Asks for the removal of everything about at most 256 people; the id of the message."""
        return self._send(ERASE, list(user_ids), LIVE)

    def backlog(self, lane: str) -> int:
        """How many messages wait in the lane, not counting those a worker holds."""
        with _reaching(self._connection):
            waiting = self._app.amqp.queues[lane](self._connection.default_channel).queue_declare()
        return int(waiting.message_count)

    def wait_for_room(
        self, lane: str, *, backlog_limit: int = BACKLOG_LIMIT, patience_s: float = 60.0
    ) -> None:
        """Returns when the lane holds at most `backlog_limit` messages. Raises `QueueFull` when it has not
        shrunk for `patience_s` seconds."""
        least, since = None, time.monotonic()
        while (waiting := self.backlog(lane)) > backlog_limit:
            if least is None or waiting < least:
                least, since = waiting, time.monotonic()
            elif time.monotonic() - since > patience_s:
                raise QueueFull(
                    f"{waiting} messages wait in {lane}, none taken for {patience_s:g} s: does a worker run?"
                )
            time.sleep(BACKLOG_POLL_S)

    def _refuse_when_full(self, lane: str) -> None:
        counted_s, waiting = self._counted.get(lane, (0.0, self._queue_limit))
        if waiting >= self._queue_limit or time.monotonic() - counted_s > RECOUNT_S:
            counted_s, waiting = time.monotonic(), self.backlog(lane)
        self._counted[lane] = (counted_s, waiting + 1)
        if waiting >= self._queue_limit:
            raise QueueFull(
                f"{waiting} messages wait in {lane}, and its limit is {self._queue_limit}: nothing was sent; "
                "try again when workers have caught up, or start more of them"
            )

    def _send(self, task: str, entries: Sequence[Any], lane: str, *, message_id: str | None = None) -> str:
        body = [self._sealed(entry) for entry in entries] if task == ENRICH else list(entries)
        masked = f"([{len(body)} entries],)"
        with _reaching(self._connection):
            sent = self._app.send_task(
                task, args=(body,), queue=lane, serializer="json", producer=self._producer,
                argsrepr=masked, kwargsrepr="{}", ignore_result=True, task_id=message_id,
            )  # fmt: skip
        return str(sent.id)

    def _sealed(self, event: Event) -> Event:
        return event if self._seal is None or is_sealed(event) else self._seal.seal(event)


@contextmanager
def _reaching(connection: Connection) -> Iterator[None]:
    """Turns every way a broker can be absent into one error that names its address, never its password."""
    try:
        yield
    except (OperationalError, *connection.connection_errors, *connection.channel_errors) as error:
        if "OutOfMemoryError" in (type(error).__name__, type(error.__cause__).__name__):
            raise QueueFull(
                f"broker {connection.as_uri()} has no memory left for another message: nothing was sent; "
                "try again when workers have caught up, start more of them, or give the broker more memory"
            ) from None
        raise ServiceMissing(
            f"broker {connection.as_uri()} does not answer ({type(error).__name__}): "
            "start it, or correct the broker URL"
        ) from None
