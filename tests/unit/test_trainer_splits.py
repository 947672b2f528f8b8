"""Parts and folds keep people and near-duplicates whole, even and, where there are dates, apart in time."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainer.splits import embargo, folds, holdout, strata


def test_rows_that_share_a_person_or_a_cluster_are_one_group_also_through_others():
    people = ["ann", "ann", "ben", "cid", "dan"]
    texts = ["t1", "t2", "t2", "t3", None]

    assert folds.groups(people, texts).tolist() == [0, 0, 0, 1, 2]


@given(
    st.lists(st.tuples(st.integers(0, 12), st.integers(0, 20)), min_size=20, max_size=80), st.integers(0, 5)
)
def test_no_label_of_any_kind_lies_in_two_folds(rows, seed):
    people, copies = zip(*rows, strict=True)
    fold = folds.assign(folds.groups(people, copies), ["x"] * len(rows), folds=4, seed=seed)

    for labels in (people, copies):
        for label in set(labels):
            assert len({int(fold[at]) for at, other in enumerate(labels) if other == label}) == 1


def test_every_source_is_spread_evenly_over_the_folds():
    source = ["a"] * 100 + ["b"] * 50

    fold = folds.assign(np.arange(150), source, folds=5, seed=3)

    assert np.bincount(fold[:100]).tolist() == [20] * 5
    assert np.bincount(fold[100:]).tolist() == [10] * 5


def test_the_same_seed_gives_the_same_folds_and_another_seed_others():
    group = np.arange(60)
    first, again, other = (folds.assign(group, ["a"] * 60, folds=5, seed=seed) for seed in (1, 1, 2))

    assert (first == again).all()
    assert (first != other).any()


def test_what_strangers_wrote_alike_joins_nobody():
    people, copies = ["ann", "ben", "ben", "cid"], [0, 0, 1, 2]

    assert folds.shared(people, copies, [True] * 4).tolist() == [True, True, False, False]
    assert folds.shared(people, copies, [False] * 4).tolist() == [False] * 4


def test_folds_are_balanced_in_what_their_people_report():
    values = np.repeat([-1.0, 1.0], 50)[:, None]
    fold = folds.assign(np.arange(100), ["a"] * 100, folds=5, seed=4, balance=values)

    assert [abs(values[fold == number].sum()) <= 2 for number in range(5)] == [True] * 5


def test_strata_are_shared_out_evenly_where_size_alone_would_not():
    rng = np.random.default_rng(8)
    labels = {"core": rng.choice(["Sad", "Happy", "none"], 500, p=[0.1, 0.3, 0.6]).tolist()}
    group = np.sort(rng.integers(0, 200, 500))
    group = np.unique(group, return_inverse=True)[1]

    plain, strata_too = (
        strata.unevenness(folds.assign(group, ["a"] * 500, folds=5, seed=1, balance=balance), labels["core"])
        for balance in (None, strata.columns(labels))
    )

    assert strata_too < 0.03
    assert strata_too < plain / 2


@pytest.mark.parametrize(
    ("text", "bucket"),
    [("w " * 12, "SHORT"), ("w " * 13, "MEDIUM"), ("w " * 120, "MEDIUM"), ("w " * 121, "LONG")],
)
def test_lengths_are_told_by_words(text, bucket):
    assert strata.length(text) == bucket


def test_tiers_follow_how_common_a_path_is():
    paths = [("Happy",)] * 70 + [("Sad",)] * 20 + [("Angry",)] * 6 + [("Strong",)] * 4

    assert strata.tiers(paths) == {("Happy",): "A", ("Sad",): "A", ("Angry",): "B", ("Strong",): "C"}


def diary(people, visits, *, every=3, span=2):
    """Rows of people who begin `every` days apart and write `visits` times, `span` days apart."""
    begun = np.repeat(np.arange(people) * every, visits) + np.tile(np.arange(visits) * span, people)
    return np.repeat(np.arange(people), visits), begun * embargo.DAY_US


def held_out(person, when, *, source=None, seed=1):
    return holdout.parts(
        person, person.tolist(), source or ["diary"] * len(person), when, folds.measures(person, None),
        seed=seed,
    )  # fmt: skip


def test_a_dated_source_is_cut_by_time_with_a_week_really_dropped_before_each_block():
    person, when = diary(60, 4)

    part, whole, blocks = held_out(person, when)

    names = dict(zip(holdout.PARTS, np.bincount(part, minlength=5).tolist(), strict=True))
    assert 0.55 < names["train"] / 240 < 0.7
    assert names["validation"] > 20
    assert names["test"] > 30
    assert names["embargo"] > 0
    assert np.bincount(whole).tolist() == [168, 36, 36]
    week = 7 * embargo.DAY_US
    for before, after in ((0, 1), (1, 2), (0, 2)):
        assert when[part == before].max() <= when[part == after].min() - week
    assert when[part == 2].min() == blocks["diary"].test
    dropped = (part == 4) & (whole == 0)
    assert (when[dropped] > blocks["diary"].validation - week).all()


def test_an_old_row_of_a_held_out_person_is_history_and_drops_nobody():
    person, when = diary(60, 4)
    first = held_out(person, when)[0]
    older = when.copy()
    older[-1] = 0

    part = held_out(person, older)[0]

    assert part[-1] == holdout.HISTORY
    assert (part[:-1] == first[:-1]).all()


@pytest.mark.parametrize(
    ("why", "person", "when"),
    [
        ("no real dates", np.arange(200), np.zeros(200, dtype=np.int64)),
        ("five groups", np.repeat(np.arange(5), 40), np.tile(np.arange(40), 5) * embargo.DAY_US),
    ],
)
def test_other_sources_are_dealt_by_the_seed(why, person, when):
    part, _, blocks = held_out(person, when)

    assert blocks == {}
    assert set(part.tolist()) == {0, 1, 2}
    assert (part == held_out(person, when)[0]).all()
    assert (part != held_out(person, when, seed=2)[0]).any() or len(set(person.tolist())) == 5
    assert 0.55 < (part == 0).mean() < 0.75


def test_a_source_shorter_than_the_embargo_holds_nobody_out():
    person, when = diary(60, 2, every=0, span=1)

    assert set(held_out(person, when)[0].tolist()) == {holdout.TRAIN}


@given(st.integers(0, 30))
def test_parts_never_cut_a_group(seed):
    rng = np.random.default_rng(seed)
    group = np.unique(rng.integers(0, 40, 120), return_inverse=True)[1]
    source = rng.choice(["a", "b"], 120).tolist()
    when = rng.integers(0, 200, 120) * embargo.DAY_US

    part, whole, _ = held_out(group, when, source=source, seed=seed)

    for number in set(group.tolist()):
        assert len(set(whole[group == number].tolist())) == 1
    assert (part == whole)[part < holdout.HISTORY].all()
