"""How the challenger did on live traffic beside the champion: agreement, abstention, risk levels, and both
against what people reported themselves."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

import numpy as np

from trainer.data.shadowed import Pairs, Said, pairs
from trainer.evaluate.bootstrap import Resampling
from trainer.evaluate.evaluation import SEED
from trainer.promote.policy import Policy
from worker.events.variables import LEVELS
from worker.store.engine import Store

FEWEST_HIGH = 10
"""High-risk reflections of the champion from which missing them can be held against the challenger."""


@dataclass(frozen=True, kw_only=True)
class Live:
    """`rows` reflections of `people` under both versions; shares are 0-1. `reported`: rows with a check-in,
    `gain` of the valence RMSE on them (positive: the challenger is nearer), with its 95 % interval.
    `missed`: of the champion's `high` rows, the share that the challenger calls none or low; `raised`: rows
    that only the challenger calls high."""

    rows: int
    people: int
    valence_gap: float
    same_expressed: float
    abstained: tuple[float, float]
    high: int
    missed: float
    raised: int
    reported: int
    rmse: tuple[float, float]
    gain: tuple[float, float, float]

    def worse(self, policy: Policy) -> list[str]:
        """What speaks against the challenger."""
        return list(self._worse(policy)) if self.rows >= policy.live_rows else []

    def _worse(self, policy: Policy) -> Iterator[str]:
        before, after = self.abstained
        if after - before > policy.abstained:
            yield (
                f"live: the expressed emotion abstains on {after:.0%} of {self.rows} reflections,"
                f" {before:.0%} now"
            )
        if self.high >= FEWEST_HIGH and self.missed > policy.missed:
            yield (
                f"live: {self.missed:.0%} of the {self.high} reflections that are high-risk now would be none"
                " or low"
            )
        tolerance = next(
            gate.tolerance for gate in policy.gates if (gate.variable, gate.metric) == ("valence", "RMSE")
        )
        value, low, high = self.gain
        if self.reported >= policy.slice_rows and value < -tolerance and high < 0:
            yield (
                f"live: valence RMSE {self.rmse[1]:.3f} against {self.reported} check-ins, {self.rmse[0]:.3f}"
                f" now (gain {value:+.3f}, 95 % {low:+.3f} to {high:+.3f})"
            )

    def to_json(self) -> dict[str, Any]:
        """A share of no rows is null."""
        return {
            name: [_finite(one) for one in value] if isinstance(value, tuple) else _finite(value)
            for name, value in asdict(self).items()
        }


def look(store: Store, *, champion: str, challenger: str, since: datetime) -> Live | None:
    """What live traffic says since then; None where no reflection was perceived by both."""
    found = pairs(store, champion=champion, challenger=challenger, since=since)
    return weigh(found) if found.people else None


def weigh(found: Pairs) -> Live:
    """The figures of at least one pair."""
    first, second = found.champion, found.challenger
    both = (first.expressed != "") & (second.expressed != "")
    high = first.level == LEVELS.index("high")
    known = np.flatnonzero(np.isfinite(found.reported))
    sample = Resampling(found.people, np.random.default_rng(SEED)).sample(known)
    before, after = (sample.rmse(found.reported[known], side.valence[known]) for side in (first, second))
    gain = before.minus(after)
    return Live(
        rows=len(found.people),
        people=len(set(found.people)),
        valence_gap=float(np.abs(first.valence - second.valence).mean()),
        same_expressed=_share(first.expressed[both] == second.expressed[both]),
        abstained=(_abstained(first), _abstained(second)),
        high=int(high.sum()),
        missed=_share(second.level[high] < LEVELS.index("medium")),
        raised=int((~high & (second.level == LEVELS.index("high"))).sum()),
        reported=len(known),
        rmse=(before.value, after.value),
        gain=(gain.value, gain.low, gain.high),
    )


def _abstained(side: Said) -> float:
    return _share(side.expressed == "")


def _share(held: np.ndarray[Any, Any]) -> float:
    return float(held.mean()) if len(held) else float("nan")


def _finite(value: float) -> float | None:
    return value if np.isfinite(value) else None
