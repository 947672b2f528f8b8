"""Repair in two steps: 90 days at once, the rest later, each row naming what it was repaired for."""

import psycopg
import pytest

from tests.support.appraisals import VERSION, admit, enrich, place, reflection
from worker.store import journal, removal, repairs
from worker.store.engine import Store

DAY_MIN = 24 * 60.0


def causes(url: str) -> dict[str, list[str] | None]:
    with psycopg.connect(url) as connection:
        return dict(connection.execute("SELECT reflection_id, repaired_by FROM perceptions").fetchall())


def values(store: Store) -> list[tuple[str, float]]:
    return [(entry.reflection_id, entry.valence) for entry in journal.entries(store)]


def written(store: Store, *given):
    admit(store, given)
    return enrich(store, given)


FIRST = reflection("first", at_min=0)
NEAR = reflection("near", at_min=90 * DAY_MIN)
FAR = reflection("far", at_min=90 * DAY_MIN + 1)
FARTHER = reflection("farther", at_min=400 * DAY_MIN)
EDIT = reflection("first", at_min=0, revision=2)


def late(store: Store) -> tuple[str, ...]:
    written(store, NEAR, FAR, FARTHER)
    return written(store, FIRST).repaired


def edited(store: Store) -> tuple[str, ...]:
    written(store, FIRST, NEAR, FAR, FARTHER)
    return written(store, EDIT).repaired


def deleted(store: Store) -> tuple[str, ...]:
    written(store, FIRST, NEAR, FAR, FARTHER)
    return removal.delete(store, ["first"], {VERSION: place}).repaired


HOW = [("late", late, [FIRST]), ("edited", edited, [EDIT]), ("deleted", deleted, [])]


@pytest.mark.parametrize(("change", "stays"), [case[1:] for case in HOW], ids=[case[0] for case in HOW])
def test_what_is_near_is_repaired_at_once_and_the_rest_later(store, other_store, database_url, change, stays):
    assert change(store) == ("near",)
    assert repairs.waiting(store) == 1
    written(other_store, *stays, NEAR, FAR, FARTHER)  # as if in order
    assert values(store) != values(other_store)
    assert repairs.catch_up(store, place, model_version="another") == 0
    assert repairs.catch_up(store, place, model_version=VERSION) == 1
    assert repairs.waiting(store) == 0
    assert values(store) == values(other_store)
    assert {key: why for key, why in causes(database_url).items() if key != "first"} == {
        "near": ["first"], "far": ["first"], "farther": ["first"],
    }  # fmt: skip


def test_a_row_repaired_for_several_names_them_all_and_a_fresh_one_none(store, database_url):
    written(store, reflection("last", at_min=9))
    written(store, reflection("a", at_min=1), reflection("b", at_min=2))
    assert causes(database_url) == {"last": ["a", "b"], "a": None, "b": None}


def test_a_repair_that_fails_waits_on(store):
    late(store)

    def broken(asked):
        raise RuntimeError

    with pytest.raises(RuntimeError):
        repairs.catch_up(store, broken, model_version=VERSION)
    assert repairs.waiting(store) == 1
    assert repairs.catch_up(store, place, model_version=VERSION) == 1


def test_nothing_waits_for_a_person_who_was_erased(store):
    late(store)
    removal.erase(store, ["u-1"])
    assert repairs.waiting(store) == 0


def test_more_changes_than_a_transaction_takes_are_done_in_turn(store, other_store):
    old = [reflection(f"old-{n}", f"u-{n % 3}", at_min=n) for n in range(9)]
    new = [reflection(f"new-{n}", f"u-{n}", at_min=200 * DAY_MIN) for n in range(3)]
    written(store, *new)
    for one in old:
        written(store, one)
    done = []
    while count := repairs.catch_up(store, place, model_version=VERSION, limit=4):
        done.append(count)
    assert done == [4, 4, 1]
    written(other_store, *old, *new)
    assert values(store) == values(other_store)


def test_what_was_deleted_while_a_version_was_not_open_is_repaired_when_it_is(store, other_store):
    written(store, FIRST, NEAR, FAR, FARTHER)
    gone = removal.delete(store, ["first"], {"another": place})
    assert (gone.repaired, gone.unrepaired_versions) == ((), (VERSION,))
    written(other_store, NEAR, FAR, FARTHER)
    assert values(store) != values(other_store)
    while repairs.catch_up(store, place, model_version=VERSION):
        pass
    assert values(store) == values(other_store)
