"""The objective of the comparator: how well stage B forecasts a person's next moment, and reads a text as
the person means it. Between stage A's out-of-fold traces and the cross-fitting of the timelines."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from trainer.fit import sequence
from trainer.hpo.objective import Judged
from trainer.oof import placement
from trainer.oof.timelines import Laid
from trainer.plan import Plan
from worker.place import NET

Floats = NDArray[np.float64]
Rows = NDArray[np.bool_]

KINDS = ("valence", "arousal")


class Forecasts:
    """Squared error of the average of Tm and the temporal nets for valence and arousal, of the nets for
    congruence, and of the personal reading: all that the searched settings have a part in."""

    def __init__(self, laid: Laid) -> None:
        self._laid = laid
        self._columns: dict[tuple[str, int, str], Floats] = {}

    def folds(self, plan: Plan, *, full: bool) -> Iterator[Judged]:
        """See `Objective`; the nets are fitted on `plan.search.net_rows` rows at most unless `full`."""
        laid = self._laid
        for number in range(int(laid.fold.max()) + 1):
            held = laid.fold == number
            ahead = {kind: laid.in_diary(kind) for kind in KINDS}
            evenly = {kind: laid.evenly(kind) for kind in KINDS}
            told = self._ridge("Tm", number, laid.numbers, ahead, plan.forecast_penalty)
            meant = self._ridge("personal", number, laid.own, evenly, plan.personal_penalty)
            recalled = self._net(number, plan, full=full)
            known = laid.known[held]
            parts = []
            for at, kind in enumerate(KINDS):
                every = np.column_stack([told[:, at], recalled[:, :, at]])
                blend = np.where(known, every.mean(axis=1), told[:, at])
                parts.append((blend, kind, ahead[kind][held]))
                parts.append((meant[:, at], kind, (laid.in_diary(kind) * laid.readable)[held]))
            parts.append(
                (recalled[:, :, 2].mean(axis=1), "congruence", laid.in_diary("congruence")[held] * known)
            )
            used = [weight > 0 for _, _, weight in parts]
            yield Judged(
                rows=np.concatenate([np.flatnonzero(held)[some] for some in used]),
                losses=np.concatenate(
                    [
                        (value - laid.target[name][held])[some] ** 2
                        for (value, name, _), some in zip(parts, used, strict=True)
                    ]
                ),
                weight=np.concatenate(
                    [weight[some] for (_, _, weight), some in zip(parts, used, strict=True)]
                ),
            )

    def _ridge(
        self, base: str, number: int, features: Floats, weight: dict[str, Floats], penalty: float
    ) -> Floats:
        """[held, 2]."""
        known = base, number, repr(penalty)
        if known not in self._columns:
            held = self._laid.fold == number
            heads = placement.fit(features, self._laid.target, weight, ~held, penalty)
            self._columns[known] = np.clip(heads.predict(features[held]), 0.0, 1.0)
        return self._columns[known]

    def _net(self, number: int, plan: Plan, *, full: bool) -> Floats:
        """[held, nets, 3], once a setting: most of what a trial costs."""
        laid = self._laid
        known = "net", number, f"{full} {plan.net.model_dump_json()}"
        if known not in self._columns:
            goal, mass, usable = laid.lessons()
            train = np.flatnonzero((laid.fold != number) & usable)
            if not full and len(train) > plan.search.net_rows:
                drawn = np.random.default_rng(plan.seed).choice(train, plan.search.net_rows, replace=False)
                train = np.sort(drawn)
            nets = sequence.fit_all(
                laid.steps.rows(train), goal[train], mass[train], plan=plan.net, seed=plan.seed
            )
            held = np.flatnonzero(laid.fold == number)
            told = sequence.predict(nets, laid.steps.rows(held))
            self._columns[known] = told.reshape(len(held), -1, len(NET))
        return self._columns[known]
