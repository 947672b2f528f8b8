"""What of a rebuild other trainers can compute: functions of arrays, by name, from this table and no other.

`inputs` are what `Crew.compute` was given; `memo` belongs to them, and a process keeps it from one item to
the next.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from trainer.plan import Plan
from trainer.settings import TrainerSettings
from trainer.splits.folds import splits
from worker.events.taxonomy import taxonomy

if TYPE_CHECKING:
    from trainer.hpo.objective import Objective

Inputs = Mapping[str, Any]
Part = Callable[[Inputs, int, dict[str, Any], TrainerSettings], Any]


class Crew(Protocol):
    """Computes parts somewhere; in order of `items`. `advance` is told of each that is done."""

    def compute(
        self, part: str, inputs: Inputs, items: Sequence[int], advance: Callable[[int], None]
    ) -> list[Any]: ...


def fold(inputs: Inputs, item: int, memo: dict[str, Any], settings: TrainerSettings) -> Any:  # noqa: ARG001
    """The out-of-fold columns of one fold's rows."""
    from trainer.features.activations import Activations
    from trainer.oof import crossfit

    train, held = list(splits(inputs["fold"]))[item]
    targets, lower = inputs["targets"], inputs["activations"]
    return crossfit.predicted(
        inputs["features"], targets, train & targets.learned, held, _plan(inputs), taxonomy(),
        inputs["sources"], None if lower is None else lambda: Activations.of_arrays(lower),
    )  # fmt: skip


def trial(inputs: Inputs, item: int, memo: dict[str, Any], settings: TrainerSettings) -> int:
    """One trial of a study; its verdict lies in the study's database, which must be one that all reach."""
    from pathlib import Path

    from trainer.hpo import study

    if "what" not in memo:
        memo["what"] = _objective(inputs)
    with study.storage(settings.study_address, Path()) as store:
        study.attempt(store, inputs["name"], _plan(inputs), inputs["variable"], memo["what"], item)
    return item


def _objective(inputs: Inputs) -> Objective:
    import torch

    from trainer.hpo.forecast import Forecasts
    from trainer.hpo.gates import Gates
    from trainer.hpo.objective import Texts, folds_of

    if "stacks" in inputs:
        return Gates(inputs["stacks"])
    if "laid" in inputs:
        return Forecasts(inputs["laid"])
    features, targets = inputs["features"], inputs["targets"]
    folds = folds_of(features, targets, inputs["fold"])
    return Texts(inputs["variable"], features, targets, folds, threads=torch.get_num_threads())


TABLE: Mapping[str, Part] = {"fold": fold, "trial": trial}


def _plan(inputs: Inputs) -> Plan:
    return Plan.model_validate_json(inputs["plan"])


def plain(plan: Plan, **inputs: Any) -> dict[str, Any]:
    """Inputs of a part: the plan as JSON beside arrays and dataclasses of arrays."""
    return {"plan": plan.model_dump_json(), **inputs}
