"""Stage B, out of fold: every timeline twice, with the person's self-reports and without, so that both are
learned."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trainer.features.targets import Targets
from trainer.fit import linear, sequence
from trainer.fit.sequence import NETS, Forecasters
from trainer.oof.crossfit import splits
from trainer.oof.stack import Stacked, stack
from trainer.plan import Plan
from trainer.splits.ledger import Ledger
from worker.events.reflection import Reflection
from worker.events.timeline import TIMELINE_LIMIT, Moment, Timeline
from worker.features import context, temporal
from worker.features import personal as own_features
from worker.features import sequence as sequences
from worker.features.schema import HISTORY
from worker.features.sequence import Sequences
from worker.models.heads import DenseHeads
from worker.place import NET, by_net, stacks_of

Floats = NDArray[np.float64]
Rows = NDArray[np.bool_]

KINDS = ("valence", "arousal")
CHUNK = 2048
"""Timelines padded at once: 64 moments each take memory."""
REPORTS = [HISTORY.index(f"self_{kind}") for kind in KINDS]


@dataclass(frozen=True, kw_only=True)
class Placed:
    """`row` [m] numbers the labelled row, `numbers` [m, len(TEMPORAL)] is its past, `reported` [m] tells
    which copy of the timeline it was placed in; `target[name]` and `weight[name]` are [m]. `stacks` by
    gate; `forecast` is Tm's expectation, `personal` its reading of the text, `net` the temporal net."""

    row: NDArray[np.intp]
    numbers: Floats
    reported: Rows
    known: Rows
    diary: Rows
    fold: NDArray[np.int64]
    target: dict[str, Floats]
    weight: dict[str, Floats]
    stacks: dict[str, Stacked]
    forecast: DenseHeads
    personal: DenseHeads
    net: Forecasters


def settle(
    reflections: Sequence[Reflection],
    static: Floats,
    history: Floats,
    targets: Targets,
    fold: NDArray[np.int64],
    plan: Plan,
    advance: Callable[[int], None],
    *,
    ledger: Ledger | None = None,
) -> Placed:
    """Place every row that has a label of valence, arousal or congruence; the steps are those of
    `worker.place.place`. `ledger` is told what the gates and calibrators were fitted on."""
    rows = np.flatnonzero(np.any([np.isfinite(targets.values[name]) for name in NET], axis=0))
    row = np.concatenate([rows, rows])
    now, folds = static[row], fold[row]
    numbers, steps = _extract(_timelines(reflections, history, rows), static[rows])
    known = steps.mask[:, -1] > 0
    people = Counter(reflection.user_id for reflection in reflections)
    persons = [reflections[number].user_id for number in row]
    diary = np.array([people[person] > 1 for person in persons])
    target = {name: targets.values[name][row] for name in NET}
    weight = {name: targets.weight[name][row] for name in NET}
    in_diary = {name: weight[name] * diary for name in NET}

    forecast, expected = _linear(numbers, target, in_diary, folds, plan.forecast_penalty)
    own = own_features.extract(numbers, history[row])
    # How to read a person is learned from long histories: there every moment counts alike.
    evenly = {name: column * known / targets.dampened[row] for name, column in weight.items()}
    personal, meant = _linear(own, target, evenly, folds, plan.personal_penalty)
    net, recalled = _net(steps, target, in_diary, known, folds, plan, advance)
    stacked = stacks_of(now, known, {"Tm": expected, **by_net(recalled, known)}, meant)
    around = context.extract(now, numbers)
    blind = context.ahead(around)
    stacks: dict[str, Stacked] = {}
    for name, columns in stacked.items():
        label = name.removeprefix("expected_")
        ahead = name != label
        stacks[name] = stack(
            tuple(columns), columns, target[label], (in_diary if ahead else weight)[label],
            blind if ahead else around, folds,
            persons=persons, plan=plan, name=name, ledger=ledger, row=row,
        )  # fmt: skip
    return Placed(
        row=row,
        numbers=numbers,
        reported=np.arange(len(row)) < len(rows),
        known=known,
        diary=diary,
        fold=folds,
        target=target,
        weight=weight,
        stacks=stacks,
        forecast=forecast,
        personal=personal,
        net=net,
    )


def _timelines(reflections: Sequence[Reflection], history: Floats, rows: NDArray[np.intp]) -> list[Timeline]:
    """The timelines of `rows`, made of all reflections of each person."""
    moments: defaultdict[str, list[Moment]] = defaultdict(list)
    for number in sorted(
        range(len(reflections)), key=lambda i: (reflections[i].created_at, reflections[i].id)
    ):
        one = reflections[number]
        moments[one.user_id].append(Moment(id=one.id, created_at=one.created_at, history=history[number]))
    cuts = []
    for number in rows:
        one = reflections[number]
        known = moments[one.user_id]
        before = bisect_left(known, one.created_at, key=lambda moment: moment.created_at)
        cuts.append(
            Timeline.cut(known[max(0, before - TIMELINE_LIMIT) : before], one.created_at, len(HISTORY))
        )
    return cuts


def _extract(timelines: Sequence[Timeline], static: Floats) -> tuple[Floats, Sequences]:
    """TEMPORAL features and sequences of both copies, [2 n, .]: with the self-reports, then without."""
    numbers: tuple[list[Floats], list[Floats]] = ([], [])
    steps: tuple[list[Sequences], list[Sequences]] = ([], [])
    for start in range(0, len(timelines), CHUNK):
        past, ages = temporal.pad(timelines[start : start + CHUNK])
        now = static[start : start + CHUNK]
        for copy in (0, 1):
            if copy:
                past[:, :, REPORTS] = np.nan
            numbers[copy].append(temporal.extract(past, ages, now))
            steps[copy].append(sequences.extract(past, ages, now))
    parts = [*steps[0], *steps[1]]
    joined = Sequences(
        steps=np.concatenate([part.steps for part in parts]),
        mask=np.concatenate([part.mask for part in parts]),
        now=np.concatenate([part.now for part in parts]),
    )
    return np.concatenate([*numbers[0], *numbers[1]]), joined


def _linear(
    features: Floats,
    target: dict[str, Floats],
    weight: dict[str, Floats],
    fold: NDArray[np.int64],
    penalty: float,
) -> tuple[DenseHeads, Floats]:
    """Ridge heads for valence and arousal: fitted on all rows, and cross-fitted [m, 2]."""

    def fit(rows: Rows) -> DenseHeads:
        some = rows & (weight["valence"] + weight["arousal"] > 0)
        mean, scale = linear.standardise(features[some], (weight["valence"] + weight["arousal"])[some])
        heads = []
        for kind in KINDS:
            used = rows & (weight[kind] > 0)
            standard = (features[used] - mean) / scale
            heads.append(
                linear.ridge(standard, target[kind][used, None], weight[kind][used], penalty=penalty)
            )
        return DenseHeads(
            targets=KINDS,
            weights=np.concatenate([head.weights for head in heads], axis=1),
            bias=np.concatenate([head.bias for head in heads]),
            mean=mean,
            scale=scale,
        )

    out = np.full((len(features), len(KINDS)), np.nan)
    for train, held in splits(fold):
        out[held] = np.clip(fit(train).predict(features[held]), 0.0, 1.0)
    return fit(np.ones(len(features), dtype=bool)), out


def _net(
    steps: Sequences,
    target: dict[str, Floats],
    weight: dict[str, Floats],
    known: Rows,
    fold: NDArray[np.int64],
    plan: Plan,
    advance: Callable[[int], None],
) -> tuple[Forecasters, Floats]:
    """The temporal nets fitted on all known rows, and cross-fitted [m, 3 * len(NETS)]."""
    goal = np.stack([target[name] for name in NET], axis=1)
    mass = np.stack([weight[name] for name in NET], axis=1)
    usable = known & (mass > 0).any(axis=1)

    def part(rows: Rows) -> Sequences:
        return Sequences(steps=steps.steps[rows], mask=steps.mask[rows], now=steps.now[rows])

    def fit(rows: Rows) -> Forecasters:
        advance(1)
        masked = np.where(mass[rows] > 0, goal[rows], np.nan)
        return sequence.fit_all(part(rows), masked, mass[rows], plan=plan.net, seed=plan.seed)

    out = np.full((len(goal), len(NETS) * len(NET)), np.nan)
    for train, held in splits(fold):
        out[held] = sequence.predict(fit(train & usable), part(held))
    return fit(usable), out
