"""The search over a plan: which studies run on what, in the order of the recipe. A tuned plan goes on to the
fits, what was tried into the manifest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from optuna.storages import BaseStorage

from trainer.blend.material import Material
from trainer.features.targets import Targets
from trainer.hpo import objective, spaces, study
from trainer.hpo.forecast import Forecasts
from trainer.hpo.gates import Gates, Stack
from trainer.hpo.objective import Objective
from trainer.oof.crossfit import Keep
from trainer.oof.timelines import Laid
from trainer.parts import Crew, plain
from trainer.plan import Plan
from trainer.progress import Steps
from worker.features.assemble import Features

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Searcher:
    """Runs the plan's studies; `tuning` grows with their records. `people` [n] names the rows' persons, `key`
    what the studies depend on; `keep` remembers verdicts."""

    store: BaseStorage
    key: str
    people: Sequence[str]
    step: Steps
    keep: Keep
    crew: Crew | None = None
    tuning: dict[str, Any] = field(default_factory=dict)

    def texts(self, plan: Plan, features: Features, targets: Targets, fold: Ints) -> Plan:
        """The variables that texts tell. Rows behind those of `fold` [k <= n] are of the validation part and
        give the verdict; where there are none, the folds' unseen rows do."""
        aside = len(features.lexical) - len(fold)
        marks = np.concatenate([fold, np.full(aside, -1)])
        folds = objective.folds_of(features, targets, marks)
        judges = objective.folds_of(features, targets, np.repeat([0, 1], [len(fold), aside]), tested=[1])
        for variable in (*spaces.TEXT, "congruence"):
            judge = objective.Texts(variable, features, targets, judges) if aside else None
            what = objective.Texts(variable, features, targets, folds)
            inputs = {"features": features, "targets": targets, "fold": marks}
            plan = self._study(plan, variable, what, self.people, judge, inputs)
        return plan

    def gates(
        self,
        plan: Plan,
        columns: Mapping[str, Mapping[str, Floats]],
        targets: Targets,
        context: Floats,
        fold: Ints,
    ) -> Plan:
        """The gates over finished out-of-fold columns."""
        stacks = {}
        for variable in spaces.TEXT:
            goal = targets.values[variable] if variable in targets.values else getattr(targets, variable)
            bases = columns[variable]
            material = Material.of(tuple(bases), bases, goal, targets.weight[variable], context)
            stacks[variable] = Stack(material=material, fold=fold, row=np.arange(len(fold)))
        return self._study(plan, "gate", Gates(stacks), self.people, None, {"stacks": stacks})

    def timelines(self, plan: Plan, laid: Laid) -> Plan:
        """Forecast, personal reading and temporal nets."""
        people = [self.people[row] for row in laid.row]
        return self._study(plan, "comparator", Forecasts(laid), people, None, {"laid": laid})

    def _study(
        self,
        plan: Plan,
        variable: str,
        what: Objective,
        people: Sequence[str],
        judge: Objective | None,
        inputs: Mapping[str, Any],
    ) -> Plan:
        trials = plan.search.trials.get(variable, 0)
        if not trials:
            return plan
        self.step(f"search {variable}", trials)

        def spread(name: str, numbers: Sequence[int]) -> None:
            assert self.crew is not None
            given = plain(plan, **inputs, variable=variable, name=name)
            self.crew.compute("trial", given, numbers, self.step.advance)

        def searched() -> dict[str, Any]:
            tuned, told = study.tune(
                plan, variable, what, people,
                store=self.store, key=self.key, judge=judge, advance=self.step.advance,
                spread=None if self.crew is None else spread,
            )  # fmt: skip
            return {"plan": tuned.model_dump_json(), "told": told.record()}

        found = self.keep(f"study-{variable}", searched)
        self.tuning[variable] = found["told"]
        return Plan.model_validate_json(found["plan"])
