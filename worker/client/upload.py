"""`feltsense publish`: the lines of a file go onto the queue, and a bad one is named and stays behind."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from worker.client.addresses import broker_url, database_url
from worker.client.publisher import Event, Publisher
from worker.errors import ServiceMissing
from worker.events.lines import read
from worker.settings import Settings
from worker.store.engine import Store
from worker.store.origins import unfinished

PATIENCE_S = 120.0
"""How long `--wait` waits without any event coming to rest."""
POLL_S = 0.2


@dataclass(kw_only=True, slots=True)
class Upload:
    """What went where; `keys` are (id, revision) of the events that went onto the queue."""

    keys: list[tuple[str, int]]
    refused: int = 0


def upload(
    lines: Iterable[bytes],
    *,
    settings: Settings,
    lane: str,
    say: Callable[[str], None],
    sent: Callable[[int], None],
) -> Upload:
    """Publish every good line; `say` gets a sentence for each bad one, `sent` the count so far.

    Raises `ServiceMissing` without a broker.
    """
    key = settings.event_key.get_secret_value() if settings.event_key is not None else None
    done = Upload(keys=[])

    def events() -> Iterator[Event]:
        for line in read(lines, now=datetime.now(UTC)):
            if line.event is None or line.reflection is None:
                done.refused += 1
                say(line.problem)
                continue
            done.keys.append((line.reflection.id, line.reflection.revision))
            sent(len(done.keys))
            yield line.event

    with Publisher.connect(broker_url(settings), key) as publisher:
        publisher.publish_many(events(), lane=lane)
    return done


def wait(keys: Iterable[tuple[str, int]], *, settings: Settings, rested: Callable[[int, int], None]) -> None:
    """Return when each of `keys` has its row or its dead letter; `rested` gets (at rest, in all).

    Raises `ServiceMissing` without a database, or when nothing came to rest for `PATIENCE_S`.
    """
    wanted = sorted(set(keys))
    if not wanted:
        return
    with Store.open(database_url(settings), pool_size=1) as store:
        least, since = len(wanted) + 1, time.monotonic()
        while left := unfinished(store, wanted):
            rested(len(wanted) - left, len(wanted))
            if left < least:
                least, since = left, time.monotonic()
            elif time.monotonic() - since > PATIENCE_S:
                raise ServiceMissing(
                    f"{left} of {len(wanted)} events have no row yet and none came for {PATIENCE_S:g} s: "
                    "is a worker running? They stay in the queue."
                )
            time.sleep(POLL_S)
