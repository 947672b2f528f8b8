"""`feltsense dead-letters retry`: what was parked goes back onto the queue, once, and its letter says so."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import chain

from worker.client.addresses import broker_url, database_url
from worker.client.publisher import Publisher
from worker.errors import Rejected
from worker.events import parked
from worker.events.envelope import Seal
from worker.settings import Settings
from worker.store import letterbox
from worker.store.dead_letters import WHOLE_MESSAGE
from worker.store.engine import Store
from worker.store.letterbox import Choice, Letter, Outcome

KEPT = {
    Outcome.EMPTY: "its text was not kept; publish the event again from its source",
    Outcome.CLOSED: "it is sealed with a key that FELTSENSE_TEXT_KEYS does not hold",
}
"""Why a letter stays as it is."""


@dataclass(kw_only=True, slots=True)
class Retried:
    """How many letters ended how; `refused` would have been refused again and stay as they are."""

    outcomes: Counter[Outcome] = field(default_factory=Counter)
    refused: int = 0


def retry(
    choice: Choice,
    *,
    settings: Settings,
    lane: str,
    again: bool,
    say: Callable[[str], None],
    passed: Callable[[int, int], None],
) -> Retried:
    """Send the events of the chosen letters again, oldest first, each as message `retry-NUMBER`.

    Letters that were sent before are left alone unless `again`. `say` gets a sentence for
    each that cannot go, `passed` gets (done, in all). Raises `ServiceMissing` without broker or database, and
    `QueueFull`; what was sent by then is marked.
    """
    key = settings.wire_key
    seal = Seal.maybe(key)
    done = Retried()
    with (
        Store.open(database_url(settings), pool_size=1, text_keys=settings.text_keys) as store,
        Publisher.connect(broker_url(settings), key) as publisher,
    ):
        total = letterbox.count(store, choice).total()

        def send(letter: Letter) -> None:
            for name, events in _messages(letter, seal):
                publisher.resend(events, message_id=name, lane=lane)

        chosen = chain.from_iterable(letterbox.pages(store, choice))
        for count, number in enumerate(chosen, 1):
            publisher.wait_for_room(lane)
            try:
                outcome = letterbox.send_again(store, number, send, again=again)
                done.outcomes[outcome] += 1
                if outcome in KEPT:
                    say(f"letter {number}: {KEPT[outcome]}")
            except Rejected as error:
                done.refused += 1
                say(f"letter {number}: {error}")
            passed(count, max(count, total))
    return done


def _messages(letter: Letter, seal: Seal | None) -> Iterator[tuple[str, Sequence[parked.Event]]]:
    """The messages a letter becomes, by id: its number is in it, for whoever finds them parked again."""
    assert letter.payload is not None  # the store sends no empty letter
    name = f"retry-{letter.id}"
    if letter.retried_at is not None:  # a message of the same name may have been parked, and would be again
        name += f".{letter.retried_at:%Y%m%dT%H%M%S}"
    if letter.position != WHOLE_MESSAGE:
        yield name, [parked.event_in(letter.payload, seal=seal, now=datetime.now(UTC))]
        return
    for part, events in enumerate(parked.messages_in(letter.payload)):
        yield f"{name}-{part}" if part else name, events
