"""Search spaces: which settings of a plan a study of one variable may change, and within what range.

A parameter is a name like `trees.leaves`; together with the variable it is one setting of the plan
(`plan.trees.of("valence").leaves`). A plan file lists ranges by variable and parameter.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, TypeAlias

import numpy as np
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

if TYPE_CHECKING:
    from optuna.trial import BaseTrial

    from trainer.plan import Plan

Value: TypeAlias = float | int
Values: TypeAlias = Mapping[str, Value]

_TREES = ("learning_rate", "leaves", "least_rows", "column_share", "row_share", "penalty")
_HEADS = ("ngrams.penalty", "embedding.penalty")
_BOOSTED = (*_HEADS, *(f"trees.{name}" for name in (*_TREES, "rounds")))
_NET = tuple(f"net.{name}" for name in ("hidden", "epochs", "batch", "learning_rate", "weight_decay"))

PARAMETERS: Mapping[str, tuple[str, ...]] = {
    "valence": _BOOSTED,
    "arousal": _BOOSTED,
    "invoked": _HEADS,
    "expressed": (*_HEADS, *(f"trees.{name}" for name in (*_TREES, "class_rounds"))),
    "willingness": _BOOSTED,
    "congruence": ("embedding.penalty",),
    "comparator": ("forecast_penalty", "personal_penalty", *_NET),
    "gate": ("gate_penalty",),
}
"""What may be searched for each variable. The temporal net forecasts for the comparator and is one for all
its outputs, so only one study sets it; `gate` is the study of the gates over finished columns."""

TEXT = ("valence", "arousal", "invoked", "expressed", "willingness")
"""Studied before cross-fitting, on the texts' features; the others need what cross-fitting leaves."""


class Range(BaseModel):
    """Values of one parameter: from `low` to `high`, or one of `choices`.

    `log` draws evenly in the logarithm. `per_decade` takes only so many values per factor of ten, counted
    from the plan's own: values recur, and what recurs is fitted once. A parameter that counts something (the
    plan's own is an integer) takes whole numbers.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    low: Value | None = None
    high: Value | None = None
    log: bool = False
    per_decade: int | None = Field(default=None, ge=1)
    choices: tuple[Value, ...] = ()

    @model_validator(mode="after")
    def _whole(self) -> Range:
        if self.choices:
            if len(set(self.choices)) < 2 or self.low is not None or self.high is not None:
                raise ValueError("choices are two or more different values, without low and high")
            return self
        if self.low is None or self.high is None:
            raise ValueError("give low and high, or choices")
        if self.low >= self.high:
            raise ValueError(f"low {self.low} must be below high {self.high}")
        if self.log and self.low <= 0:
            raise ValueError(f"low {self.low} must be above 0 where log = true")
        if self.per_decade is not None and not self.log:
            raise ValueError("per_decade needs log = true")
        return self

    def holds(self, value: Value) -> bool:
        """Whether a trial could draw `value`."""
        if self.choices:
            return value in self.choices
        assert self.low is not None
        assert self.high is not None
        return self.low <= value <= self.high

    def draw(self, trial: BaseTrial, name: str, own: Value) -> Value:
        """The value `trial` takes; `own` is the plan's."""
        if self.choices:
            return trial.suggest_categorical(name, self.choices)
        assert self.low is not None
        assert self.high is not None
        if isinstance(own, int):
            return trial.suggest_int(name, int(self.low), int(self.high), log=self.log)
        drawn = trial.suggest_float(name, self.low, self.high, log=self.log)
        if self.per_decade is None:
            return drawn
        return float(own * 10 ** (np.round(np.log10(drawn / own) * self.per_decade) / self.per_decade))


def _known(spaces: dict[str, dict[str, Range]]) -> dict[str, dict[str, Range]]:
    for variable, space in spaces.items():
        if variable not in PARAMETERS:
            raise ValueError(f"{variable} is not a variable: name one of {', '.join(PARAMETERS)}")
        for name in space:
            if name not in PARAMETERS[variable]:
                known = ", ".join(PARAMETERS[variable])
                raise ValueError(f"{variable} has no parameter {name}: name one of {known}")
    return spaces


def _studied(trials: dict[str, int]) -> dict[str, int]:
    for variable, count in trials.items():
        if variable not in PARAMETERS:
            raise ValueError(f"{variable} is not a variable: name one of {', '.join(PARAMETERS)}")
        if count < 0:
            raise ValueError(f"{variable}: {count} trials")
    return trials


class Search(BaseModel):
    """The plan's `[search]`. `trials` by variable (none: not searched), `spaces` by variable and parameter.

    Trees are fitted on at most `tree_rows` rows a fold, the temporal net on at most `net_rows` rows and the
    gates on `gate_rows`: enough to rank settings by. What wins is then fitted on all rows and compared with
    the plan's own.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    trials: Annotated[dict[str, int], AfterValidator(_studied)] = Field(default_factory=dict)
    tree_rows: int = Field(default=4000, ge=100)
    net_rows: int = Field(default=1500, ge=100)
    gate_rows: int = Field(default=4000, ge=100)
    spaces: Annotated[dict[str, dict[str, Range]], AfterValidator(_known)] = Field(default_factory=dict)

    def check(self, plan: Plan) -> None:
        """Raises `ValueError` where trials have no space to search, or a range leaves out the plan's own
        value: the first trial takes it."""
        for variable, count in self.trials.items():
            if count and not self.spaces.get(variable):
                raise ValueError(
                    f"search.trials.{variable} is {count}, and search.spaces.{variable} is empty"
                )
        for variable, space in self.spaces.items():
            for name, drawn in space.items():
                own = value_of(plan, variable, name)
                if not drawn.holds(own):
                    raise ValueError(
                        f"search.spaces.{variable}: the range of {name} leaves out the plan's own {own}"
                    )


def value_of(plan: Plan, variable: str, name: str) -> Value:
    """The plan's own value of a parameter."""
    part, _, field = name.rpartition(".")
    if part in ("ngrams", "embedding"):
        return float(getattr(plan, part).of(variable))
    owner = plan.trees.of(variable) if part == "trees" else plan.net if part == "net" else plan
    value: Value = getattr(owner, field)
    return value


def own(plan: Plan, variable: str) -> dict[str, Value]:
    """The plan's own values of all parameters a study of `variable` searches."""
    return {name: value_of(plan, variable, name) for name in plan.search.spaces.get(variable, {})}


def draw(trial: BaseTrial, plan: Plan, variable: str) -> dict[str, Value]:
    """What `trial` takes for the parameters of `variable`."""
    space = plan.search.spaces[variable]
    return {name: drawn.draw(trial, name, value_of(plan, variable, name)) for name, drawn in space.items()}


def applied(plan: Plan, variable: str, values: Values) -> Plan:
    """The plan with these values of `variable`'s parameters."""
    for name, value in values.items():
        part, _, field = name.rpartition(".")
        if part in ("ngrams", "embedding"):
            heads = getattr(plan, part)
            changed = heads.model_copy(update={"values": {**heads.values, variable: value}})
        elif part == "trees":
            targets = plan.trees.targets
            mine = {**targets.get(variable, {}), field: value}
            changed = plan.trees.model_copy(update={"targets": {**targets, variable: mine}})
        elif part == "net":
            changed = plan.net.model_copy(update={field: value})
        else:
            part, changed = field, value
        plan = plan.model_copy(update={part: changed})
    return plan
