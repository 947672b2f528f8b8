"""Drift is found where it was planted and nowhere else, by people and not by rows."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from trainer.drift.compare import Finding, chances_of, compare
from trainer.drift.measures import Kind
from trainer.drift.window import REPORTED, SIDES, VALUES, Texts, Window

KINDS: tuple[Kind, ...] = ("inputs", "outputs", "calibration")
PEOPLE, ROWS = 60, 4


def window(seed: int, *, first: int = 0) -> Window:
    """People `first` to `first + PEOPLE`, each with a level of their own."""
    rng = np.random.default_rng(seed)
    who = np.repeat(np.arange(first, first + PEOPLE), ROWS)
    level = np.array([np.random.default_rng(one).uniform(0.3, 0.7) for one in who])
    values = {name: np.clip(rng.normal(level, 0.1), 0, 1) for name in VALUES}
    return Window(
        person=np.array([f"u-{one}" for one in who]),
        language=np.where(who % 5 == 0, "hi-Latn", "en"),
        device=np.where(who % 2 == 0, "mobile", "web"),
        values=values,
        low={name: values[name] - 0.13 for name in REPORTED},
        high={name: values[name] + 0.13 for name in REPORTED},
        reported={name: values[name] + rng.normal(0, 0.1, len(who)) for name in REPORTED},
        cores={side: rng.choice(["Happy", "Sad", ""], len(who)) for side in SIDES},
        level=rng.choice(["none", "low"], len(who), p=[0.9, 0.1]),
        texts=None,
    )


def alarms(reference: Window, current: Window) -> set[str]:
    return {one.measure for one in compare(reference, current, kinds=KINDS, seed=1) if one.alarm}


def test_without_drift_there_is_no_alarm() -> None:
    for seed in range(5):
        assert alarms(window(seed), window(seed + 100, first=20)) == set()


PLANTED = {
    "valence is read lower": (
        lambda w: replace(w, values={**w.values, "valence": w.values["valence"] - 0.15}),
        {"valence", "valence bias"},
    ),
    "the expressed emotion abstains": (
        lambda w: replace(w, cores={**w.cores, "expressed": np.full(len(w.person), "")}),
        {"expressed", "expressed abstains"},
    ),
    "everybody is at risk": (lambda w: replace(w, level=np.full(len(w.person), "high")), {"risk level"}),
    "everybody writes on the web": (lambda w: replace(w, device=np.full(len(w.person), "web")), {"device"}),
    "reports are missed": (
        lambda w: replace(w, reported={**w.reported, "arousal": w.reported["arousal"] + 0.3}),
        {"arousal bias", "arousal error", "arousal coverage"},
    ),
}


@pytest.mark.parametrize(("plant", "expected"), PLANTED.values(), ids=PLANTED)
def test_a_planted_change_raises_its_alarm(plant, expected) -> None:
    found = alarms(window(1), plant(window(2, first=20)))
    assert expected <= found
    assert not found - expected - {"valence error", "valence coverage"}


def with_texts(made: Window, seed: int, *, moved: float = 0.0) -> Window:
    """The window with embeddings that vary most along the first of 40 directions, and `moved` by so many
    deviations along the eighth."""
    rng = np.random.default_rng(seed)
    n = len(made.person)
    embedding = rng.normal(0, 1, (n, 40)) * np.r_[4.0, np.linspace(1.0, 0.3, 39)]
    embedding[:, 7] += moved * embedding[:, 7].std()
    return replace(
        made,
        texts=Texts(
            row=np.arange(n),
            words=np.full(n, 9.0),
            unknown=rng.uniform(0, 0.2, n),
            profile=rng.dirichlet(np.ones(20), n).astype(np.float32),
            embedding=embedding.astype(np.float32),
        ),
    )


def test_other_topics_are_seen_where_the_mean_of_all_vectors_hardly_moves() -> None:
    reference = with_texts(window(1), 1)
    assert alarms(reference, with_texts(window(2, first=20), 2)) == set()
    found = compare(reference, with_texts(window(2, first=20), 2, moved=0.6), kinds=KINDS, seed=1)
    assert [one.measure for one in found if one.alarm] == ["topics"]
    assert next(one.effect for one in found if one.measure == "topics") == pytest.approx(0.6, abs=0.15)


def test_what_is_found_does_not_hide_what_is_weaker() -> None:
    """Step-down: with the louder measure found, the weaker one has only the others to exceed."""
    rng = np.random.default_rng(3)
    differences = np.abs(rng.normal(size=(30, 1000)))
    differences[0] = rng.gamma(0.2, 1.0, 1000)  # reaches far by chance
    differences[0, 0], differences[1, 0] = 20.0, 4.2
    alone = chances_of(differences[1:])[0]
    assert chances_of(differences)[1] == alone <= 0.01
    hidden = differences.copy()
    hidden[0, 0] = 0.1
    assert chances_of(hidden)[1] > alone


def test_one_person_who_writes_a_lot_raises_none() -> None:
    current = window(2, first=20)
    loud = current.person == "u-30"
    rows = np.concatenate([np.arange(len(loud)), np.repeat(np.flatnonzero(loud), 200)])
    many = replace(
        current,
        person=current.person[rows], language=current.language[rows], device=current.device[rows],
        values={name: column[rows] for name, column in current.values.items()},
        low={name: column[rows] for name, column in current.low.items()},
        high={name: column[rows] for name, column in current.high.items()},
        reported={name: column[rows] for name, column in current.reported.items()},
        cores={name: column[rows] for name, column in current.cores.items()},
        level=np.where(np.arange(len(rows)) < len(loud), current.level[rows], "high"),
    )  # fmt: skip
    assert alarms(window(1), many) == set()


def test_too_few_people_are_not_judged() -> None:
    small = window(1)
    few = np.isin(small.person, [f"u-{one}" for one in range(10)])
    cut = replace(
        small,
        person=small.person[few], language=small.language[few], device=small.device[few],
        values={name: column[few] for name, column in small.values.items()},
        low={name: column[few] for name, column in small.low.items()},
        high={name: column[few] for name, column in small.high.items()},
        reported={name: column[few] for name, column in small.reported.items()},
        cores={name: column[few] for name, column in small.cores.items()},
        level=small.level[few],
    )  # fmt: skip
    assert compare(window(2), cut, kinds=KINDS, seed=1) == []


def test_an_alarm_is_both_certain_and_large() -> None:
    one = Finding(
        kind="outputs", measure="valence", slice="all", effect=0.2, floor=0.06, chance=0.001,
        rows=(9, 9), people=(9, 9),
    )  # fmt: skip
    assert one.alarm
    assert not replace(one, chance=0.2).alarm
    assert not replace(one, effect=0.05).alarm
