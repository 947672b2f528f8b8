"""Data that keeps its contract and is wrong all the same is refused with its source, label and reason."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from trainer.data import labelled, plausible, synthetic
from trainer.data.labelled import Labelled
from trainer.errors import ImplausibleData
from trainer.features.targets import limited
from worker.features import lexical, text

Labels = dict[str, Any]


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> list[Labelled]:
    path = tmp_path_factory.mktemp("people") / "synthetic.jsonl"
    synthetic.write(path, people=100, seed=5)
    return labelled.load([path])[:1500]


@pytest.fixture(scope="module")
def words(rows: list[Labelled]) -> np.ndarray:
    return lexical.extract([text.read(row.reflection.text, row.reflection.lang) for row in rows])


NOTHING = np.zeros((1500, 0))
"""Lexical features alone suffice for these rows; the encoder need not run."""


def check(rows: list[Labelled], words: np.ndarray) -> list[plausible.Finding]:
    return plausible.check(rows, words, NOTHING[: len(rows)])


def changed(rows: list[Labelled], change: Callable[[Labels], Labels], **more: Any) -> list[Labelled]:
    return [dataclasses.replace(row, labels=change(dict(row.labels)), **more) for row in rows]


def shuffled(rows: list[Labelled], order: np.ndarray) -> list[Labelled]:
    return [dataclasses.replace(row, labels=rows[at].labels) for row, at in zip(rows, order, strict=True)]


def test_honest_rows_pass_and_the_findings_say_how_well_each_label_is_read(
    rows: list[Labelled], words: np.ndarray
) -> None:
    found = {finding.label: finding for finding in check(rows, words)}
    assert {"valence", "arousal", "willingness", "expressed", "invoked", "risk.profanity"} <= set(found)
    assert found["valence"].rows == len(rows)
    evidence = found["valence"].evidence
    assert evidence is not None
    assert evidence.r > 8 * evidence.deviation


def test_shuffled_texts_are_refused_by_every_label(rows: list[Labelled], words: np.ndarray) -> None:
    order = np.random.default_rng(1).permutation(len(rows))
    with pytest.raises(ImplausibleData) as raised:
        check(shuffled(rows, order), words)
    assert raised.value.exit_code == 3
    told = str(raised.value)
    for label in ("valence", "arousal", "willingness", "expressed", "invoked"):
        assert f"source synthetic, {label} (1500 rows): read from the texts with r" in told
    assert "texts and labels do not belong together" in told


def test_texts_shuffled_among_each_persons_own_rows_are_refused(
    rows: list[Labelled], words: np.ndarray
) -> None:
    random = np.random.default_rng(2)
    people = np.unique([row.reflection.user_id for row in rows], return_inverse=True)[1]
    # Between people the labels still fit: everybody keeps their own mean, shown in every text of theirs.
    mean = np.bincount(people, weights=random.random(len(people))) / np.bincount(people)
    own = [
        {"willingness": float(np.clip(0.5 + 3 * (mean[one] - 0.5) + random.normal(0, 0.05), 0, 1))}
        for one in people
    ]
    hinted = np.column_stack([words, mean[people]])
    with pytest.raises(ImplausibleData, match=r"read between people .* and not within them"):
        plausible.check(
            [dataclasses.replace(row, labels=labels) for row, labels in zip(rows, own, strict=True)],
            hinted,
            NOTHING,
        )


def scaled(name: str, scale: Callable[[float], float]) -> Callable[[Labels], Labels]:
    return lambda labels: {name: scale(labels[name])}


def likert(value: float) -> int:
    """A rating 1-5."""
    return 1 + round(4 * value)


POISONED: list[tuple[str, Callable[[Labels], Labels], str]] = [
    ("one value", scaled("valence", lambda _: 0.5), "every row has 0.5: a constant column"),
    ("ratings clipped to 1", scaled("valence", lambda v: min(1, likert(v))), "every row has 1"),
    ("ratings over 100", scaled("arousal", lambda v: likert(v) / 100), "divided by too much"),
    ("ratings over their number", scaled("valence", lambda v: likert(v) / 5), "one short of the low end"),
    ("ratings less one over it", scaled("valence", lambda v: (likert(v) - 1) / 5), "short of the high end"),
    ("ratings over 10", scaled("arousal", lambda v: likert(v) / 10), "on one side of .5"),
    ("a reversed valence", scaled("valence", lambda v: 1 - v), "the scale is reversed, use 1 - x"),
    ("a valence that begins in the middle", scaled("valence", lambda v: 0.5 + v / 2), "on one side of .5"),
    ("averages of ratings over 5", scaled("valence", lambda v: 0.48 + v / 4), "neutral must be .5"),
    ("a range that ends early", scaled("valence", lambda v: 0.8 * v), "map the ends of their own scale"),
    ("-1..1 clipped", scaled("valence", lambda v: max(0, 2 * v - 1)), "clipped to 0-1"),
    ("one class", lambda _: {"expressed": [["Sad"]]}, "one and the same class"),
    ("a flag on all", lambda _: {"risk": {"abuse": 1}}, "every row has 1: add rows without the flag"),
]  # fmt: skip


@pytest.mark.parametrize(("change", "reason"), [case[1:] for case in POISONED], ids=[c[0] for c in POISONED])
def test_a_wrong_scale_or_a_constant_is_refused_with_what_to_do(
    rows: list[Labelled], words: np.ndarray, change: Callable[[Labels], Labels], reason: str
) -> None:
    with pytest.raises(ImplausibleData) as raised:
        check(changed(rows, change), words)
    (problem,) = raised.value.problems
    assert problem.startswith("source synthetic, ")
    assert reason in problem


HONEST: list[tuple[str, Callable[[Labels], Labels]]] = [
    ("ratings of five steps", scaled("valence", lambda v: (likert(v) - 1) / 4)),
    ("ratings of three steps", scaled("arousal", lambda v: round(2 * v) / 2)),
    ("averages that use the middle", scaled("valence", lambda v: 0.5 + (v - 0.45) / 4)),
    ("a sad crowd with bright moments", scaled("valence", lambda v: v**2)),
    ("nobody at risk", lambda _: {"risk": {"abuse": 0}}),
    ("no label at all", lambda _: {}),
    ("two flags of eight", lambda labels: {"risk": {"profanity": labels["risk"]["profanity"]}}),
]


@pytest.mark.parametrize("change", [case[1] for case in HONEST], ids=[case[0] for case in HONEST])
def test_an_honest_scale_passes_however_coarse_or_narrow(
    rows: list[Labelled], words: np.ndarray, change: Callable[[Labels], Labels]
) -> None:
    assert all(finding.problem is None for finding in check(changed(rows, change), words))


def test_texts_all_alike_are_refused(rows: list[Labelled], words: np.ndarray) -> None:
    same = [
        dataclasses.replace(row, reflection=dataclasses.replace(row.reflection, text=f"day {at % 40}"))
        for at, row in enumerate(rows)
    ]
    with pytest.raises(ImplausibleData, match=r"source synthetic, text \(1500 rows\): only 40 texts differ"):
        check(same, words)


def test_each_source_is_judged_by_itself_and_few_rows_not_at_all(
    rows: list[Labelled], words: np.ndarray
) -> None:
    bad = changed(rows[:200], scaled("valence", lambda _: 0.5), source="mine")
    with pytest.raises(ImplausibleData) as raised:
        check([*bad, *rows[200:]], words)
    (problem,) = raised.value.problems
    assert problem.startswith("source mine, valence (200 rows): every row has 0.5")
    assert check([*bad[:50], *rows[200:]], np.concatenate([words[:50], words[200:]]))


def test_no_text_is_in_the_reason(rows: list[Labelled], words: np.ndarray) -> None:
    order = np.random.default_rng(3).permutation(len(rows))
    with pytest.raises(ImplausibleData) as raised:
        check(shuffled(rows, order), words)
    assert not any(row.reflection.text in str(raised.value) for row in rows if len(row.reflection.text) > 12)


@pytest.mark.parametrize(
    ("totals", "share", "largest"),
    [
        ([50, 40, *[1] * 200], 0.02, 0.02),
        ([1000, *[1] * 99], 0.02, 0.02),
        ([*range(1, 200)], 0.02, 199 / 19900),  # nobody holds too much: nothing changes
        ([100, 1, 1, 1, 1, 1], 0.02, 1 / 3),  # six people: twice an equal part
        ([3, 0, 0], 0.02, 1.0),
        ([0, 0], 0.02, 0.0),
    ],
)
def test_nobody_holds_more_than_their_share_of_a_targets_weight(
    totals: list[float], share: float, largest: float
) -> None:
    person = np.repeat(np.arange(len(totals)), 2)
    given = np.repeat(np.array(totals, dtype=np.float64) / 2, 2)
    weight = limited(given, person, share)
    held = np.bincount(person, weights=weight)
    assert held.max() / max(held.sum(), 1e-300) == pytest.approx(largest)
    assert (weight <= given).all()
    assert (weight[held[person] < held.max()] == given[held[person] < held.max()]).all()
