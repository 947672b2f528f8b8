"""`feltsense publish`: the lines of a file go onto the queue, and a bad one is named and stays behind."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial

from worker.client.addresses import broker_url, database_url
from worker.client.publisher import Event, Publisher
from worker.errors import ServiceMissing
from worker.events.lines import read
from worker.settings import Settings
from worker.store.engine import Store
from worker.store.origins import Published, clock, parked, unfinished

PATIENCE_S = 120.0
"""How long `--wait` waits without any event coming to rest."""
POLL_S = 0.2
WINDOW = 5_000
"""Events asked about at once, in the order of publishing."""


@dataclass(kw_only=True, slots=True)
class Upload:
    """What went where: how many events are on the queue, which (if somebody will wait for them), how many
    lines were refused, and when it began (`time.monotonic()`, s)."""

    published: int = 0
    events: list[Published] = field(default_factory=list)
    refused: int = 0
    began_s: float = field(default_factory=time.monotonic)


def upload(
    lines: Iterable[bytes],
    *,
    settings: Settings,
    lane: str,
    remember: bool,
    say: Callable[[str], None],
    sent: Callable[[int], None],
) -> Upload:
    """Publish every good line; `say` gets a sentence for each bad one, `sent` the count so far. `remember`
    the events for `wait`: a file may hold more than memory does.

    Raises `ServiceMissing` without a broker, and `QueueFull` when its lane stays full.
    """
    done = Upload()

    def events() -> Iterator[Event]:
        for line in read(lines, now=datetime.now(UTC)):
            if line.event is None or line.reflection is None:
                done.refused += 1
                say(line.problem)
                continue
            done.published += 1
            if remember:
                done.events.append(Published.of(line.reflection))
            sent(done.published)
            yield line.event

    with Publisher.connect(broker_url(settings), settings.wire_key) as publisher:
        try:
            publisher.publish_many(events(), lane=lane)
        except ServiceMissing as error:
            again = "part of the file may be published; the same command again counts nothing twice"
            raise type(error)(f"{error}; {again}") from None
    return done


def wait(
    done: Upload, *, settings: Settings, say: Callable[[str], None], rested: Callable[[int, int], None]
) -> int:
    """Return when each event of the upload has its row or its dead letter; how many letters there are.

    `say` gets a sentence for each letter, `rested` gets (at rest, in all). Raises `ServiceMissing` without a
    database, or when nothing came to rest for `PATIENCE_S`.
    """
    wanted = list(dict.fromkeys(done.events))
    if not wanted:
        return 0
    count = 0
    with Store.open(database_url(settings), pool_size=1) as store:
        # By the database's clock, and read first: the moment found is at most a round trip too early.
        now = clock(store)
        since = now - timedelta(seconds=time.monotonic() - done.began_s)
        for start in range(0, len(wanted), WINDOW):
            some = wanted[start : start + WINDOW]
            left = _rest(store, some, since, partial(_told, rested, start, len(wanted)))
            letters = parked(store, some, since=since)
            count += len(letters)
            for letter in letters:
                say(f"id {letter.id}: {letter.reason}: {letter.detail}")
            if left:
                left += len(wanted) - start - len(some)
                raise ServiceMissing(
                    f"{left} of {len(wanted)} events have no row yet and none came for {PATIENCE_S:g} s: "
                    "is a worker running? They stay in the queue."
                )
    return count


def _told(rested: Callable[[int, int], None], before: int, total: int, count: int) -> None:
    rested(before + count, total)


def _rest(store: Store, wanted: Sequence[Published], since: datetime, rested: Callable[[int], None]) -> int:
    """Waits as long as events come to rest; how many have not."""
    least, changed_s = len(wanted) + 1, time.monotonic()
    while left := unfinished(store, wanted, since=since):
        rested(len(wanted) - left)
        if left < least:
            least, changed_s = left, time.monotonic()
        elif time.monotonic() - changed_s > PATIENCE_S:
            break
        time.sleep(POLL_S)
    return left
