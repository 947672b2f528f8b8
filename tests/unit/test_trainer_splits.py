"""Folds keep people and near-duplicates whole, and the audit refutes a split that does not."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainer.errors import TrainerError
from trainer.splits import audit, folds


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


@pytest.mark.parametrize(
    ("people", "copies", "texts", "named"),
    [
        (["ann", "ann", "ben", "cid"], [0, 1, 2, 3], list("abcd"), "1 people in two folds"),
        (["ann", "ben", "cid", "dan"], [0, 7, 7, 3], list("abcd"), "1 near-duplicate clusters in two folds"),
        (["ann", "ben", "cid", "dan"], [0, 1, 2, 3], list("abba"), "2 equal texts in two folds"),
    ],
)
def test_a_planted_leak_is_refuted_by_name(people, copies, texts, named):
    fold = np.array([0, 1, 0, 1]) if texts == list("abcd") else np.array([0, 0, 1, 1])

    with pytest.raises(TrainerError, match=named):
        audit.certify(fold, people=people, clusters=copies, texts=texts)


def test_what_strangers_wrote_alike_joins_nobody_and_is_not_learned_from():
    people, copies = ["ann", "ben", "ben", "cid"], [0, 0, 1, 2]

    assert folds.shared(people, copies, [True] * 4).tolist() == [True, True, False, False]
    assert folds.shared(people, copies, [False] * 4).tolist() == [False] * 4
    certificate = audit.certify(
        np.array([0, 1, 1, 0]),
        people=people,
        clusters=copies,
        texts=["same", "same", "b", "c"],
        learned=np.array([False, False, True, True]),
    )
    assert certificate["never_learned_from"] == 2


def test_folds_are_balanced_in_what_their_people_report():
    values = np.repeat([-1.0, 1.0], 50)[:, None]
    fold = folds.assign(np.arange(100), ["a"] * 100, folds=5, seed=4, balance=values)

    assert [abs(values[fold == number].sum()) <= 2 for number in range(5)] == [True] * 5


def test_a_clean_split_gets_a_certificate_with_a_fingerprint_of_who_is_where():
    people = ["ann", "ben"]
    certificate = audit.certify(np.array([0, 1]), people=people, clusters=[None, None], texts=["a", "b"])
    swapped = audit.certify(np.array([1, 0]), people=people, clusters=[None, None], texts=["a", "b"])

    assert certificate["violations"] == {
        "people in two folds": 0,
        "near-duplicate clusters in two folds": 0,
        "equal texts in two folds": 0,
    }
    assert certificate["fingerprint"] != swapped["fingerprint"]
