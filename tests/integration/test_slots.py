"""A slot is run once: whoever asks, however often, and whoever dies meanwhile."""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from threading import Barrier
from typing import Any

from worker.store import slots
from worker.store.engine import Store
from worker.store.slots import ATTEMPTS, Slot

AT = datetime(2026, 11, 22, 3, tzinfo=UTC)


def claim(store: Store, owner: str = "w-1", *, at: datetime = AT, fresh: bool = True) -> Slot | None:
    return slots.claim(store, "rebuild", at, owner, fresh=fresh)


def silence(store: Store) -> None:
    """The owners of all running slots were heard of last a day ago."""
    store.transact(lambda cursor: cursor.execute("UPDATE slots SET heartbeat = heartbeat - interval '1 day'"))


def states(store: Store) -> Mapping[datetime, tuple[Any, ...]]:
    return {one.at: (one.state, one.attempts, dict(one.detail)) for one in slots.recent(store)}


def test_of_many_that_ask_at_once_one_gets_the_slot(store: Store) -> None:
    together = Barrier(8)

    def ask(number: int) -> Slot | None:
        together.wait()
        return claim(store, f"w-{number}")

    with ThreadPoolExecutor(8) as pool:
        got = [one for one in pool.map(ask, range(8)) if one is not None]
    assert len(got) == 1
    assert claim(store, "late") is None
    assert slots.finish(store, got[0], "done", {"rows": 3})
    assert claim(store, "later") is None
    assert states(store) == {AT: ("done", 1, {"rows": 3})}


def test_a_slot_whose_owner_fell_silent_is_taken_over_and_is_not_its_own_any_more(store: Store) -> None:
    first = claim(store)
    assert first is not None
    assert slots.lost(store, ["rebuild"]) == []
    silence(store)
    assert slots.lost(store, ["rebuild"]) == [("rebuild", AT)]
    second = claim(store, "w-2", fresh=False)
    assert second is not None
    assert (second.attempt, second.began) == (2, first.began)
    assert not slots.renew(store, first, {})
    assert not slots.finish(store, first, "failed", {})
    assert slots.renew(store, second, {"step": "split"})
    assert slots.finish(store, second, "done", {})


def test_a_slot_that_kills_every_worker_has_failed_in_the_end(store: Store) -> None:
    for _ in range(ATTEMPTS):
        assert claim(store) is not None
        silence(store)
    assert claim(store) is None
    assert slots.lost(store, ["rebuild"]) == []
    assert states(store)[AT][0] == "failed"


def test_what_was_given_back_is_free_at_once_and_is_no_attempt_unless_it_was_one(store: Store) -> None:
    first = claim(store)
    assert first is not None
    assert slots.release(store, first, counts=False)
    assert slots.lost(store, ["rebuild"]) == [("rebuild", AT)]
    again = claim(store, "w-2", fresh=False)
    assert again is not None
    assert again.attempt == 1
    assert slots.release(store, again, counts=True)
    third = claim(store, "w-3")
    assert third is not None
    assert third.attempt == 2


def test_a_message_that_comes_too_late_begins_nothing_new(store: Store) -> None:
    assert claim(store, fresh=False) is None
    assert slots.recent(store) == []


def test_a_schedule_begins_with_its_next_slot_and_catches_up_the_latest_alone(store: Store) -> None:
    week = timedelta(days=7)
    slots.begin(store, {"rebuild": AT})
    assert slots.unbegun(store, {"rebuild": AT}) == {}
    slots.begin(store, {"rebuild": AT + week})  # a second beat: the schedule is known
    assert slots.unbegun(store, {"rebuild": AT + 3 * week}) == {"rebuild": AT + 3 * week}
    assert claim(store, at=AT + 3 * week) is not None
    # given the line was changed to an earlier hour, what has been run covers it
    assert slots.unbegun(store, {"rebuild": AT + 3 * week - timedelta(hours=1)}) == {}
    assert states(store)[AT] == ("skipped", 1, {"reason": "before the first beat"})


def test_old_slots_are_forgotten_but_the_latest_of_each_task(store: Store) -> None:
    for days in range(4):
        held = claim(store, at=AT - timedelta(days=days + 9999))
        assert held is not None
        slots.finish(store, held, "done", {})
    assert slots.prune(store, days=90) == 3
    assert len(slots.recent(store)) == 1


def test_a_lock_is_one_holder_s_until_its_block_ends(store: Store, database_url: str) -> None:
    with Store.open(database_url) as other:
        with store.locked("rebuild") as mine, other.locked("rebuild") as theirs:
            assert (mine, theirs) == (True, False)
            with other.locked("another") as free:
                assert free
        with other.locked("rebuild") as theirs:
            assert theirs
