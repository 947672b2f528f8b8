"""Stage B, out of fold: forecasts, personal reading and temporal nets, their blends and calibrators."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trainer.fit import linear, sequence
from trainer.fit.sequence import NETS, Forecasters
from trainer.oof.crossfit import Keep, computed
from trainer.oof.stack import Stacked, stack
from trainer.oof.timelines import Laid
from trainer.plan import Plan
from trainer.splits.folds import splits
from trainer.splits.ledger import Ledger
from worker.features import context
from worker.features.schema import PERSONAL
from worker.models.heads import DenseHeads
from worker.place import KINDS, NET, by_net, stacks_of

Floats = NDArray[np.float64]
Rows = NDArray[np.bool_]

HANDOVER = ("best",)
"""The gates of valence and arousal: one base leads, and where it is missing the other speaks. Tm has weighed
what stage A said against the person's past already; gates that weigh the two once more lose to it, for they
follow the few who wrote most."""


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
    laid: Laid,
    static: Floats,
    persons: Sequence[str],
    plan: Plan,
    advance: Callable[[int], None],
    *,
    ledger: Ledger | None = None,
    keep: Keep = computed,
) -> Placed:
    """Place every row that was `laid`; the steps are those of `worker.place.place`. `static` [n,
    len(STATIC)] and `persons` [n] are of all rows. `ledger` is told what every model was fitted on, `keep`
    may know a fold's nets from before."""
    weight = laid.weight
    in_diary = {name: laid.in_diary(name) for name in NET}
    book = _Book(ledger, laid.row)
    forecast, expected = _linear(
        "Tm", laid.numbers, laid.target, in_diary, laid.fold, plan.forecast_penalty, book
    )
    evenly = {kind: laid.evenly(kind) for kind in KINDS}
    personal, meant = _linear(
        "personal", laid.own, laid.target, evenly, laid.fold, plan.personal_penalty, book
    )
    net, recalled = _nets(laid, plan, advance, book, keep)
    now = static[laid.row]
    forecasts = {"Tm": expected, **by_net(recalled, laid.known)}
    said = {kind: laid.own[:, PERSONAL.index(f"{kind}.now")] for kind in KINDS}
    stacked = stacks_of(now, laid.numbers, laid.known, forecasts, meant, said)
    around = context.extract(now, laid.numbers)
    blind = context.ahead(around)
    stacks: dict[str, Stacked] = {}
    beside = {**weight, **{kind: laid.beside_texts(kind) for kind in KINDS}}
    for name, columns in stacked.items():
        label = name.removeprefix("expected_")
        ahead = name != label
        stacks[name] = stack(
            tuple(columns), columns, laid.target[label], (in_diary if ahead else beside)[label],
            blind if ahead else around, laid.fold,
            persons=[persons[row] for row in laid.row], plan=plan, name=name, ledger=ledger, row=laid.row,
            kinds=HANDOVER if name in KINDS else None,
            inputs=(f"calibrator/text_{name}", "base/personal") if name in KINDS else (),
        )  # fmt: skip
    return Placed(
        row=laid.row,
        numbers=laid.numbers,
        reported=np.arange(len(laid.row)) < len(laid.row) // 2,
        known=laid.known,
        diary=laid.diary,
        fold=laid.fold,
        target=laid.target,
        weight=weight,
        stacks=stacks,
        forecast=forecast,
        personal=personal,
        net=net,
    )


@dataclass(frozen=True)
class _Book:
    """The ledger, for models that read the traces of stage A."""

    ledger: Ledger | None
    row: NDArray[np.intp]

    def add(self, name: str, number: int, trained: Rows, held: Rows) -> None:
        if self.ledger is not None:
            read = ("calibrator/text_valence", "calibrator/text_arousal")
            self.ledger.add("base", name, number, trained, held, rows=self.row, inputs=read)


def _linear(
    name: str,
    features: Floats,
    target: dict[str, Floats],
    weight: dict[str, Floats],
    fold: NDArray[np.int64],
    penalty: float,
    book: _Book,
) -> tuple[DenseHeads, Floats]:
    """Ridge heads for valence and arousal: fitted on all rows, and cross-fitted [m, 2]."""
    taught = weight["valence"] + weight["arousal"] > 0
    out = np.full((len(features), len(KINDS)), np.nan)
    for number, (train, held) in enumerate(splits(fold)):
        heads = fit(features, target, weight, train, penalty)
        out[held] = np.clip(heads.predict(features[held]), 0.0, 1.0)
        book.add(name, number, train & taught, held)
    return fit(features, target, weight, np.ones(len(features), dtype=bool), penalty), out


def fit(
    features: Floats, target: Mapping[str, Floats], weight: Mapping[str, Floats], rows: Rows, penalty: float
) -> DenseHeads:
    """Ridge heads for valence and arousal, each on those of `rows` [m] that have weight for it."""
    both = weight["valence"] + weight["arousal"]
    some = rows & (both > 0)
    mean, scale = linear.standardise(features[some], both[some])
    heads = []
    for kind in KINDS:
        used = rows & (weight[kind] > 0)
        standard = (features[used] - mean) / scale
        heads.append(linear.ridge(standard, target[kind][used, None], weight[kind][used], penalty=penalty))
    return DenseHeads(
        targets=KINDS,
        weights=np.concatenate([head.weights for head in heads], axis=1),
        bias=np.concatenate([head.bias for head in heads]),
        mean=mean,
        scale=scale,
    )


def _nets(
    laid: Laid,
    plan: Plan,
    advance: Callable[[int], None],
    book: _Book,
    keep: Keep,
) -> tuple[Forecasters, Floats]:
    """The temporal nets fitted on all known rows, and cross-fitted [m, 3 * len(NETS)]."""
    goal, mass, usable = laid.lessons()

    def fit_nets(rows: Rows) -> Forecasters:
        return sequence.fit_all(laid.steps.rows(rows), goal[rows], mass[rows], plan=plan.net, seed=plan.seed)

    out = np.full((len(goal), len(NETS) * len(NET)), np.nan)
    for number, (train, held) in enumerate(splits(laid.fold)):
        used = train & usable

        def predicted(used: Rows = used, held: Rows = held) -> Floats:
            return sequence.predict(fit_nets(used), laid.steps.rows(held))

        out[held] = keep(f"nets-{number}", predicted)
        for name in NETS:
            book.add(name, number, used, held)
        advance(1)
    whole = fit_nets(usable)
    advance(1)
    return whole, out
