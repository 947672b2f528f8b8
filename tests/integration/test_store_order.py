"""Promise: order does not matter. Every row equals the one an in-order run would have written."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import numpy as np
import pytest

from tests.support.appraisals import START, VERSION, admit, appraisal, enrich, place, reflection
from worker.events.reflection import Reflection
from worker.events.timeline import Moment, Timeline
from worker.store import journal, removal
from worker.store.engine import Store

COUNT = 150


def minutes(random: np.random.Generator) -> list[float]:
    """Times of COUNT reflections: bursts, gaps, ties, and parts of a minute that need microseconds."""
    times = np.cumsum(random.exponential(100.0, COUNT)).round(random.integers(0, 7))
    for start in random.integers(0, COUNT - 4, 8):
        times[start : start + 4] = times[start]
    return [float(time) for time in times]


def rows_of(store: Store) -> dict[str, tuple[object, ...]]:
    """What must not depend on the order of arrival: everything but the clock's own columns."""
    return {
        entry.reflection_id: (
            entry.revision,
            entry.created_at,
            entry.self_valence,
            entry.language,
            entry.to_json(),
        )
        for entry in journal.entries(store)
    }


def expected_rows(final: list[Reflection]) -> dict[str, tuple[float, ...]]:
    """Valence, arousal and the history's digest, each from the plain definition of a timeline."""
    traces = [appraisal(one).trace for one in final]
    moments = [Moment(id=t.id, created_at=t.created_at, history=t.history) for t in traces]
    placed = place([(t, Timeline.cut(moments, t.created_at, t.history.size)) for t in traces])
    return {
        t.id: (p.valence, p.arousal, p.comparator, p.provenance["digest"])
        for t, p in zip(traces, placed, strict=True)
    }


def batches(random: np.random.Generator, events: list[Reflection]) -> list[list[Reflection]]:
    """The events in random order, cut into batches of 1 to 20."""
    shuffled = [events[place] for place in random.permutation(len(events))]
    cuts = np.cumsum(random.integers(1, 21, len(shuffled)))
    return [list(part) for part in np.split(np.array(shuffled, dtype=object), cuts[cuts < len(shuffled)])]


def arrive(store: Store, number: int, batch: list[Reflection]) -> None:
    admissions = admit(store, batch, message_id=f"m-{number}")
    enrich(store, [one for one, admission in zip(batch, admissions, strict=True) if admission.to_enrich])


@pytest.mark.parametrize("seed", range(4))
def test_any_order_of_arrival_from_three_threads_gives_the_rows_of_the_in_order_run(store, other_store, seed):
    # given a person's reflections, some delivered twice, some edited in content, some moved in time
    random = np.random.default_rng(seed)
    times = minutes(random)
    first = [reflection(f"r{n:03}", at_min=time) for n, time in enumerate(times)]
    edits = [
        reflection(f"r{n:03}", at_min=times[n] + moved, revision=2)
        for n, moved in zip(
            random.permutation(COUNT)[:30], [0.0] * 10 + [7000.0] * 10 + [-9000.0] * 10, strict=True
        )
    ]
    twice = [first[n] for n in random.integers(0, COUNT, 20)]
    latest = {one.id: one for one in [*first, *edits]}
    final = sorted(latest.values(), key=lambda one: (one.created_at, one.id))
    # when they arrive in random batches from three threads at once
    with ThreadPoolExecutor(3) as threads:
        list(
            threads.map(
                lambda given: arrive(store, *given), enumerate(batches(random, [*first, *edits, *twice]))
            )
        )
    # and when each arrives by itself, in order
    for one in final:
        admit(other_store, [one])
        enrich(other_store, [one])
    # then no row differs, in no column
    rows, in_order = rows_of(store), rows_of(other_store)
    assert rows == in_order
    assert len(rows) == COUNT
    assert expected_rows(final) == {
        key: (row["valence"], row["arousal"], row["comparator"], row["provenance"]["digest"])
        for key, (*_, row) in rows.items()
    }
    # and every accepted delivery is finished
    assert set(journal.counts(store).deliveries) == {"done"}


def test_a_late_arrival_changes_only_the_rows_whose_window_reaches_it(store):
    # given 200 reflections an hour apart, the one at hour 20 still missing
    given = [reflection(f"r{n:03}", at_min=60.0 * n) for n in range(200)]
    late = given.pop(20)
    admit(store, given)
    enrich(store, given)
    before = rows_of(store)
    # when it arrives
    admit(store, [late], message_id="m-2")
    settled = enrich(store, [late])
    # then exactly the next 64 were placed again
    assert settled.written == ("r020",)
    assert settled.repaired == tuple(f"r{n:03}" for n in range(21, 85))
    after = rows_of(store)
    changed = {key for key in before if before[key] != after[key]}
    assert changed == set(settled.repaired)
    assert expected_rows([*given, late])["r084"][0] == after["r084"][4]["valence"]


def test_an_edit_that_moves_a_reflection_repairs_where_it_left_and_where_it_went(store):
    given = [reflection(f"r{n:03}", at_min=60.0 * n) for n in range(300)]
    admit(store, given)
    enrich(store, given)
    # when the reflection of hour 10 turns out to be of hour 200
    moved = reflection("r010", at_min=60.0 * 200 + 1, revision=2)
    admit(store, [moved], message_id="m-2")
    settled = enrich(store, [moved])
    # then the next 64 after either place were placed again, and no others
    wanted = [*range(11, 75), *range(201, 265)]
    assert settled.repaired == tuple(f"r{n:03}" for n in wanted)
    final = [moved, *(one for one in given if one.id != "r010")]
    assert {key: row[0] for key, row in expected_rows(final).items()} == {
        key: row[4]["valence"] for key, row in rows_of(store).items()
    }


def test_a_long_row_of_equal_times_behind_a_change_is_repaired_whole(store):
    # given 100 reflections imported with one and the same time, after 70 ordinary ones
    given = [reflection(f"a{n:03}", at_min=float(n)) for n in range(70)]
    tied = [reflection(f"b{n:03}", at_min=500.0) for n in range(100)]
    admit(store, [*given, *tied])
    enrich(store, [*given, *tied])
    # when something arrives just before them
    late = reflection("z", at_min=499.0)
    admit(store, [late], message_id="m-2")
    settled = enrich(store, [late])
    # then all hundred see it, and none of them sees another
    assert settled.repaired == tuple(one.id for one in tied)
    assert {key: row[0] for key, row in expected_rows([*given, *tied, late]).items()} == {
        key: row[4]["valence"] for key, row in rows_of(store).items()
    }


def test_the_same_batch_again_repairs_nothing_and_changes_nothing(store):
    given = [reflection(f"r{n}", at_min=float(n)) for n in range(30)]
    admit(store, given)
    enrich(store, given)
    before = rows_of(store)
    settled = enrich(store, given[:10])
    assert settled.written == tuple(one.id for one in sorted(given[:10], key=lambda one: one.id))
    assert settled.repaired == ()
    assert rows_of(store) == before


def test_deleting_reflections_gives_the_rows_of_a_run_that_never_saw_them(store, other_store):
    given = [reflection(f"r{n:03}", at_min=float(n // 2)) for n in range(150)]
    gone = {"r003", "r070", "r071", "r149"}
    admit(store, given)
    enrich(store, given)
    deleted = removal.delete(store, [*gone, "unknown"], {VERSION: place})
    rest = [one for one in given if one.id not in gone]
    admit(other_store, rest)
    enrich(other_store, rest)
    assert set(deleted.ids) == gone
    assert rows_of(store) == rows_of(other_store)
    assert deleted.unrepaired_versions == ()


def test_a_person_with_reflections_in_two_far_parts_of_time_is_placed_from_the_right_part(store):
    # given two clusters 200 reflections apart, changed in one batch
    given = [reflection(f"r{n:03}", at_min=float(n)) for n in range(400)]
    missing = [given[20], given[350]]
    rest = [one for one in given if one not in missing]
    admit(store, rest)
    enrich(store, rest)
    admit(store, missing, message_id="m-2")
    settled = enrich(store, missing)
    assert settled.repaired == tuple(f"r{n:03}" for n in [*range(21, 85), *range(351, 400)])
    assert {key: row[0] for key, row in expected_rows(given).items()} == {
        key: row[4]["valence"] for key, row in rows_of(store).items()
    }
    assert given[0].created_at == START + timedelta(minutes=0)
