"""When a published event counts as at rest, and which of them ended as dead letters."""

from collections.abc import Callable
from datetime import datetime, timedelta

import pytest

from tests.support.appraisals import VERSION, admit, enrich, reflection
from worker.events.reflection import Reflection
from worker.store import dead_letters, removal
from worker.store.dead_letters import DeadLetter
from worker.store.engine import Store
from worker.store.origins import Published, clock, parked, unfinished

FIRST = reflection("r")
OTHER = reflection("r", text="other content")
EDIT = reflection("r", revision=2)
FOREIGN = reflection("r", "u-2")
Step = Callable[[Store], object]


def admitted(given: Reflection, message_id: str) -> Step:
    return lambda store: admit(store, [given], message_id=message_id)


def written(given: Reflection) -> Step:
    return lambda store: enrich(store, [given])


def letter(reason: str, *, revision: int | None, message_id: str) -> Step:
    made = DeadLetter(
        message_id=message_id, position=0, reason=reason, detail="d", reflection_id="r", revision=revision
    )
    return lambda store: dead_letters.park(store, [made])


def failed(message_id: str) -> Step:
    return letter("enrichment_failed", revision=1, message_id=message_id)


UNSEALED = letter("unsealed", revision=None, message_id="m-2")
DONE = [admitted(FIRST, "m-1"), written(FIRST)]
CASES: list[tuple[str, list[Step], list[Step], Reflection, int, list[str]]] = [
    ("nothing came", [], [], FIRST, 1, []),
    ("accepted", [], [admitted(FIRST, "m-2")], FIRST, 1, []),
    ("written", [], [admitted(FIRST, "m-2"), written(FIRST)], FIRST, 0, []),
    ("a duplicate of what is written", DONE, [], FIRST, 0, []),
    ("refused before its revision was known", [], [UNSEALED], FIRST, 0, ["unsealed"]),
    ("failed on the way", [], [admitted(FIRST, "m-2"), failed("m-2")], FIRST, 0, ["enrichment_failed"]),
    ("other content, not looked at yet", DONE, [], OTHER, 1, []),
    ("other content, parked", DONE, [admitted(OTHER, "m-2")], OTHER, 0, ["conflicting_content"]),
    ("another person, not looked at yet", DONE, [], FOREIGN, 1, []),
    ("another person, parked", DONE, [admitted(FOREIGN, "m-2")], FOREIGN, 0, ["conflicting_content"]),
    ("a letter from before", [UNSEALED], [], FIRST, 1, []),
    ("failed before, sent again", [admitted(FIRST, "m-1"), failed("m-1")], [], FIRST, 1, []),
    ("failed before, taken again", [admitted(FIRST, "m-1"), failed("m-1")],
     [admitted(FIRST, "m-2")], FIRST, 1, []),
    ("failed before, written now", [admitted(FIRST, "m-1"), failed("m-1")],
     [admitted(FIRST, "m-2"), written(FIRST)], FIRST, 0, []),
    ("failed twice", [admitted(FIRST, "m-1"), failed("m-1")],
     [admitted(FIRST, "m-2"), failed("m-2")], FIRST, 0, ["enrichment_failed"]),
    ("replaced by an edit under way", [], [admitted(FIRST, "m-2"), admitted(EDIT, "m-3")], FIRST, 1, []),
    ("replaced by an edit", [], [admitted(EDIT, "m-2"), written(EDIT)], FIRST, 0, []),
    ("an edit of what is written", DONE, [], EDIT, 1, []),
    ("its contradiction parked, itself under way", [],
     [admitted(FIRST, "m-2"), admitted(OTHER, "m-3")], FIRST, 1, ["conflicting_content"]),
    ("deleted", [*DONE, lambda store: removal.delete(store, ["r"], {VERSION: lambda asked: []})], [],
     FIRST, 0, []),
]  # fmt: skip


@pytest.mark.parametrize(
    ("before", "after", "event", "left", "reasons"),
    [case[1:] for case in CASES],
    ids=[case[0] for case in CASES],
)
def test_an_event_is_at_rest_with_its_own_row_or_its_own_letter(store, before, after, event, left, reasons):
    for step in before:
        step(store)
    since = clock(store)
    for step in after:
        step(store)
    sent = [Published.of(event)]
    assert unfinished(store, sent, since=since) == left
    assert [(one.id, one.reason) for one in parked(store, sent, since=since)] == [("r", r) for r in reasons]


def test_no_events_are_at_rest(store):
    assert unfinished(store, [], since=clock(store)) == 0
    assert parked(store, [], since=clock(store)) == []


def test_the_clock_is_the_one_that_stamps_letters(store):
    before = clock(store)
    failed("m-1")(store)
    (made,) = dead_letters.rejected(store)
    assert isinstance(made.parked_at, datetime)
    assert before <= made.parked_at <= clock(store)
    assert before.utcoffset() == timedelta(0)
