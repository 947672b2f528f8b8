"""Whether a difference between two windows is more than chance among people: a permutation of people, and
one threshold for all measures together.

A person's rows are one observation (their mean), so somebody who writes a lot changes nothing much. Under no
drift the windows of a person are exchangeable, and so are people who are in one window only; the largest
standardised difference over all measures, permutation by permutation, is what a finding must exceed
(Westfall and Young 1993, maxT), so that twenty or two hundred measures raise a false alarm as seldom as one.
What is found leaves the comparison for the rest (step-down): a change that shows in several measures hides in
none of them. Inputs have one half of the chance of a false alarm and what is said of them the other, because
the latter is looked at in many slices.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trainer.drift.measures import FLOORS, Kind, Measure, Scale, measures
from trainer.drift.window import Window

Floats = NDArray[np.float64]

PERMUTATIONS = 999
LEVEL = 0.01
"""A check without drift raises an alarm in so many cases."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One measure on one slice. `effect`: how much the windows differ, on the measure's scale, without what
    chance adds; `chance`: how often the largest of all differences would be as large without drift."""

    kind: Kind
    measure: str
    slice: str
    effect: float
    floor: float
    chance: float
    rows: tuple[int, int]
    people: tuple[int, int]

    @property
    def alarm(self) -> bool:
        return self.chance <= LEVEL and self.effect >= self.floor


def compare(reference: Window, current: Window, *, kinds: tuple[Kind, ...], seed: int) -> list[Finding]:
    """What of these kinds can be compared, with its verdict; nothing where too few people are in one of the
    windows."""
    asked = measures(reference, current, kinds)
    if not asked:
        return []
    person = np.concatenate([reference.person, current.person])
    side = np.repeat([0, 1], [len(reference.person), len(current.person)])
    names, who = np.unique(person, return_inverse=True)
    units, unit = np.unique(2 * who + side, return_inverse=True)
    draws = _draws(units, len(names), np.random.default_rng(seed))
    found = np.stack([_differences(one, unit, draws) for one in asked])  # [measures, 1 + permutations]
    by_chance = found[:, 1:]
    # Chance and drift add as squares do, exactly so for distances.
    effects = np.sqrt(np.maximum(found[:, 0] ** 2 - (by_chance**2).mean(axis=1), 0.0))
    chances = np.ones(len(found))
    families = [family for family in _families(asked) if family.any()]
    for family in families:
        chances[family] = np.minimum(len(families) * chances_of(found[family]), 1.0)
    return list(_findings(asked, effects, chances, person, side))


def _families(asked: Sequence[Measure]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    inputs = np.array([one.kind == "inputs" for one in asked])
    return inputs, ~inputs


def chances_of(found: Floats) -> Floats:
    """How often the largest of differences [measures, 1 + permutations] reaches the first column's, for the
    largest of them over all measures, for the next over those that are left, and so on."""
    by_chance = found[:, 1:]
    mean, deviation = by_chance.mean(axis=1, keepdims=True), by_chance.std(axis=1, keepdims=True)
    standard = (found - mean) / np.maximum(deviation, 1e-12)
    order = np.argsort(standard[:, 0])  # the least first
    of_left = np.maximum.accumulate(standard[order, 1:], axis=0)
    reached = 1 + (of_left >= standard[order, :1]).sum(axis=1)
    chances = np.empty(len(found))
    chances[order[::-1]] = np.maximum.accumulate(reached[::-1]) / (1 + by_chance.shape[1])
    return chances


def _findings(
    asked: Sequence[Measure],
    effects: Floats,
    chances: Floats,
    person: NDArray[np.str_],
    side: NDArray[np.intp],
) -> Iterator[Finding]:
    for one, effect, chance in zip(asked, effects, chances, strict=True):
        parts = [one.row[side[one.row] == which] for which in (0, 1)]
        yield Finding(
            kind=one.kind,
            measure=one.name,
            slice=one.slice,
            effect=float(effect),
            floor=FLOORS[one.scale],
            chance=float(chance),
            rows=(len(parts[0]), len(parts[1])),
            people=(len(np.unique(person[parts[0]])), len(np.unique(person[parts[1]]))),
        )


def _draws(units: NDArray[np.intp], people: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """[1 + permutations, units]: 1 where a unit (a person in a window) counts as current; row 0 as it is."""
    truth = (units % 2).astype(np.float32)
    draws = np.tile(truth, (1 + PERMUTATIONS, 1))
    who = units // 2
    double = np.bincount(who, minlength=people)[who] == 2
    first = np.flatnonzero(double)[::2]  # units are sorted: a person's two are neighbours
    swapped = rng.random((PERMUTATIONS, len(first))) < 0.5
    draws[1:, first] = swapped
    draws[1:, first + 1] = ~swapped
    single = np.flatnonzero(~double)
    for row in draws[1:]:
        row[single] = rng.permutation(truth[single])
    return draws


def _differences(one: Measure, unit: NDArray[np.intp], draws: NDArray[np.float32]) -> Floats:
    """The measure's difference under each draw [1 + permutations]."""
    of = unit[one.row]
    present, at = np.unique(of, return_inverse=True)
    counts = np.bincount(at).astype(np.float64)
    sums = np.zeros((len(present), one.values.shape[1]))
    np.add.at(sums, at, one.values)
    means = (sums / counts[:, None]).astype(np.float32)
    now = draws[:, present]
    then = 1.0 - now
    gap = now @ means / np.maximum(now.sum(axis=1, keepdims=True), 1.0)
    gap -= then @ means / np.maximum(then.sum(axis=1, keepdims=True), 1.0)
    return _size(gap.astype(np.float64), one.scale) / (one.spread or 1.0)


def _size(gap: Floats, scale: Scale) -> Floats:
    if scale in ("distance", "shift"):
        return np.asarray(np.sqrt((gap**2).sum(axis=1)))
    return np.asarray(np.abs(gap).sum(axis=1) / (2.0 if gap.shape[1] > 1 else 1.0))
