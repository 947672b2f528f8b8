"""Labels and weights as arrays: the dependent half of every fit, row i belonging to labelled row i."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trainer.data.labelled import Labelled
from trainer.plan import Plan
from worker.events.taxonomy import Taxonomy
from worker.events.variables import CORES, FLAGS

Floats = NDArray[np.float64]

VALUES = ("valence", "arousal", "willingness", "congruence")
CLASSES = (*CORES, "none")
ASSUMED_ABSENT = tuple(flag for flag in FLAGS if flag not in ("sarcasm", "profanity"))
"""Flags whose absence is assumed in the sources a plan gives `no_risk`."""


@dataclass(frozen=True, kw_only=True)
class Native:
    """A corpus' own classes: `mass` [n, len(labels)] distributions (zeros where unlabelled), `weight` [n]."""

    labels: tuple[str, ...]
    mass: Floats
    weight: Floats


@dataclass(frozen=True, kw_only=True)
class Targets:
    """`values[name]` [n] 0-1, NaN where unlabelled; `expressed` [n, 7], `invoked` [n, 6],
    `nuances[variable]` [n, 36]: distributions, rows of zeros where unlabelled; `risk` [n, 8], NaN where
    unlabelled. `weight[name]` [n] for each of the values, expressed, invoked and risk: 0 where the label is
    missing or the plan leaves the row out."""

    learned: NDArray[np.bool_]
    values: dict[str, Floats]
    expressed: Floats
    invoked: Floats
    nuances: dict[str, Floats]
    risk: Floats
    weight: dict[str, Floats]
    dampened: Floats
    native: dict[str, Native]

    def missing(self) -> list[str]:
        """The variables nothing can be learned of: no row has a label with weight."""
        return sorted(name for name, weight in self.weight.items() if not (weight > 0).any())

    def deviations(self, names: Sequence[str]) -> Floats:
        """How far each row is off the weighted mean, in weighted standard deviations, [n, len(names)]; 0
        where unlabelled."""
        columns = []
        for name in names:
            weight = self.weight[name] / max(float(self.weight[name].sum()), 1e-12)
            value = np.nan_to_num(self.values[name])
            off = np.where(weight > 0, value - weight @ value, 0.0)
            columns.append(self.weight[name] * off / max(float(np.sqrt(weight @ off**2)), 1e-12))
        return np.stack(columns, axis=1)


def extract(
    rows: Sequence[Labelled], plan: Plan, taxonomy: Taxonomy, learned: NDArray[np.bool_] | None = None
) -> Targets:
    """Targets of `rows`; emotions with several paths share the mass equally. Rows that are not `learned`
    [n] (all when None) weigh 0 everywhere."""
    values = {name: np.array([_value(row, name, plan) for row in rows], dtype=np.float64) for name in VALUES}
    expressed = np.stack([classes(row.labels.get("expressed"), none=True) for row in rows])
    invoked = np.stack([classes(row.labels.get("invoked"), none=False) for row in rows])
    felt = invoked.any(axis=1)
    nuances = {
        name: np.stack([_nuances(row.labels.get(name, ()), taxonomy) for row in rows])
        for name in ("expressed", "invoked")
    }
    stands_in = np.array([plan.source(row.source).seen_as_felt for row in rows])
    borrowed = ~felt & (stands_in > 0) & (expressed[:, : len(CORES)].sum(axis=1) > 0)
    mass = expressed[borrowed, : len(CORES)]
    invoked[borrowed] = mass / mass.sum(axis=1, keepdims=True)
    nuances["invoked"][borrowed] = nuances["expressed"][borrowed]

    risk = np.array(
        [
            [row.labels["risk"].get(flag, np.nan) for flag in FLAGS]
            if "risk" in row.labels
            else [np.nan] * len(FLAGS)
            for row in rows
        ]
    )
    no_risk = np.array([plan.source(row.source).no_risk for row in rows])
    assumed = np.isnan(risk).all(axis=1) & (no_risk > 0)
    for flag in ASSUMED_ABSENT:
        risk[assumed, FLAGS.index(flag)] = 0.0

    dampened = _dampening(rows, plan)
    weight = {
        name: _shares(rows, name, plan) * dampened * np.isfinite(column) for name, column in values.items()
    }
    labelled = np.asarray(expressed.any(axis=1))
    weight["expressed"] = (
        _shares(rows, "expressed", plan)
        * dampened
        * labelled
        * _balance(expressed, labelled, plan.class_power)
    )
    weight["invoked"] = (
        _shares(rows, "invoked", plan) * dampened * np.where(borrowed, stands_in, 1.0) * invoked.any(axis=1)
    )
    judged = np.isfinite(risk).any(axis=1)
    weight["risk"] = _shares(rows, "risk", plan) * dampened * np.where(assumed, no_risk, 1.0) * judged
    seen = np.ones(len(rows), dtype=bool) if learned is None else learned
    person = np.unique([row.reflection.user_id for row in rows], return_inverse=True)[1]
    kinds = {"expressed": expressed, "invoked": invoked, "risk": np.nan_to_num(risk)}
    return Targets(
        learned=seen,
        dampened=dampened,
        native={
            name: found
            for name in plan.native
            if (found := _native(rows, name, plan, seen, dampened, person)) is not None
        },
        values=values,
        expressed=expressed,
        invoked=invoked,
        nuances=nuances,
        risk=risk,
        weight={
            name: limited(
                _by_class(column * seen, kinds.get(name), person, plan.person_share),
                person,
                plan.person_share,
            )
            for name, column in weight.items()
        },
    )


def limited(weight: Floats, person: NDArray[np.intp], share: float) -> Floats:
    """Row weights [n] of which nobody (`person` [n], numbered from 0) holds more than `share` of the sum, or
    twice an equal part where there are too few people for that: who labels much or wrongly bends no fit."""
    totals = np.bincount(person, weights=weight)
    limit = max(share, 2.0 / max(int(np.count_nonzero(totals)), 1))
    if limit >= 1.0 or totals.max(initial=0.0) <= limit * totals.sum():
        return weight
    most = np.sort(totals)[::-1]
    rest = totals.sum()
    ceiling = most[0]
    for heavy, total in enumerate(most):  # the `heavy` before this one are at the ceiling
        ceiling = limit * rest / (1.0 - limit * heavy)
        if total <= ceiling:
            break
        rest -= total
    return np.asarray(weight * np.minimum(1.0, ceiling / np.maximum(totals, 1e-300))[person])


def _by_class(weight: Floats, mass: Floats | None, person: NDArray[np.intp], share: float) -> Floats:
    """`weight` [n] of which nobody holds more than their share within any class of `mass` [n, k] either: a
    hundredth of all rows may be half of a rare flag's."""
    if mass is None:
        return weight
    for column in mass.T:
        held = weight * column
        bounded = limited(held, person, share)
        weight = weight * np.divide(bounded, held, out=np.ones_like(held), where=held > 0)
    return weight


def _value(row: Labelled, name: str, plan: Plan) -> float:
    value = row.labels.get(plan.source(row.source).reads.get(name, name))
    if value is None:
        return float("nan")
    spread = plan.source(row.source).spread.get(name, 1.0)
    return min(1.0, max(0.0, 0.5 + spread * (float(value) - 0.5)))


def _native(
    rows: Sequence[Labelled],
    name: str,
    plan: Plan,
    seen: NDArray[np.bool_],
    dampened: Floats,
    person: NDArray[np.intp],
) -> Native | None:
    """None where no row has a label of this name."""
    told = [row.labels.get(name, ()) for row in rows]
    named = [(one,) if isinstance(one, str) else tuple(one) for one in told]
    labels = tuple(sorted({label for one in named for label in one}))
    if not labels:
        return None
    mass = np.zeros((len(rows), len(labels)))
    for number, one in enumerate(named):
        for label in one:
            mass[number, labels.index(label)] = 1.0 / len(one)
    labelled: NDArray[np.bool_] = np.asarray(mass.any(axis=1))
    weight = dampened * _balance(mass, labelled, plan.class_power) * (labelled & seen)
    return Native(labels=labels, mass=mass, weight=limited(weight, person, plan.person_share))


def classes(paths: Iterable[Sequence[str]] | None, *, none: bool) -> Floats:
    """Mass [6], or [7] with `none`, of a label's cores; paths share it, no path is 'none', no label zeros."""
    mass = np.zeros(len(CLASSES) if none else len(CORES))
    if paths is None:
        return mass
    cores = [path[0] for path in paths]
    for core in cores:
        mass[CORES.index(core)] += 1.0 / len(cores)
    if none and not cores:
        mass[-1] = 1.0
    return mass


def _nuances(paths: Iterable[Sequence[str]], taxonomy: Taxonomy) -> Floats:
    mass = np.zeros((len(CORES), 6))
    known = [path for path in paths if len(path) > 1]
    for path in known:
        mass[CORES.index(path[0]), taxonomy.nuances[path[0]].index(path[1])] += 1.0 / len(known)
    return mass.ravel()


def _shares(rows: Sequence[Labelled], target: str, plan: Plan) -> Floats:
    """What the plan makes of each row's source."""
    sources = [plan.source(row.source) for row in rows]
    return np.array([source.weight * source.weights.get(target, 1.0) for source in sources])


def _dampening(rows: Sequence[Labelled], plan: Plan) -> Floats:
    people = Counter(row.reflection.user_id for row in rows)
    return np.array([people[row.reflection.user_id] ** -plan.source(row.source).person_power for row in rows])


def _balance(mass: Floats, labelled: NDArray[np.bool_], power: float) -> Floats:
    frequency = np.maximum(mass[labelled].sum(axis=0), 1.0)
    return np.asarray(mass @ (frequency / frequency.max()) ** -power)
