"""When a challenger may take the champion's place: what is compared, what counts as worse, how much data it
takes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from worker.bundle.contents import INTERVALS
from worker.events.variables import FLAGS

Direction = Literal["higher", "lower", "near 0.80"]


@dataclass(frozen=True, kw_only=True)
class Gate:
    """A figure of `trainer.evaluate.figures` that must not get worse by more than `tolerance` (its unit)."""

    variable: str
    metric: str
    better: Direction
    tolerance: float


def _gates() -> tuple[Gate, ...]:
    """Product page, section 7: each of its gates, as a figure on the same rows for both."""
    errors = ("valence", "arousal", "willingness", "congruence", "expected_valence", "expected_arousal")
    correlations = [
        *((kind, "composite r") for kind in ("valence", "arousal")),
        *((f"expected_{kind}", "partial r given the last") for kind in ("valence", "arousal")),
    ]
    return (
        *(Gate(variable=name, metric="RMSE", better="lower", tolerance=0.01) for name in errors),
        *(
            Gate(variable=name, metric=metric, better="higher", tolerance=0.03)
            for name, metric in correlations
        ),
        *(
            Gate(variable=name, metric=metric, better="higher", tolerance=tolerance)
            for name in ("invoked", "expressed")
            for metric, tolerance in (
                ("core macro-F1", 0.02),
                ("hierarchy-aware F1", 0.02),
                ("path validity", 0.0),
            )
        ),
        Gate(variable="willingness", metric="AUC (disclosure)", better="higher", tolerance=0.02),
        *(
            Gate(variable=name, metric="ECE", better="lower", tolerance=0.02)
            for name in ("invoked", "expressed", *FLAGS)
        ),
        *(Gate(variable=name, metric="quantile ECE", better="lower", tolerance=0.02) for name in INTERVALS),
        *(Gate(variable=name, metric="coverage", better="near 0.80", tolerance=0.03) for name in INTERVALS),
        *(Gate(variable=flag, metric="AUC", better="higher", tolerance=0.03) for flag in FLAGS),
        Gate(variable="risk level", metric="recall of medium or above", better="higher", tolerance=0.02),
        Gate(variable="risk level", metric="called high though not at risk", better="lower", tolerance=0.02),
    )


@dataclass(frozen=True, kw_only=True)
class Policy:
    """Worse is: by more than the gate's tolerance (times `slice_factor` on a part of the rows), and so for
    the whole 95 % interval of the paired difference.

    Under `least_rows` rows or `least_people` people nothing is decided; a part with fewer than `slice_rows`
    rows or `slice_people` people is not judged, and the verdict says so. On live traffic the challenger may
    miss at most `missed` of the champion's high-risk reflections and abstain at most `abstained` more often.
    """

    primary: Gate = Gate(variable="valence", metric="RMSE", better="lower", tolerance=0.0)
    gates: tuple[Gate, ...] = _gates()
    least_rows: int = 200
    least_people: int = 10
    slice_rows: int = 30
    slice_people: int = 5
    slice_factor: float = 2.0
    live_rows: int = 200
    missed: float = 0.2
    abstained: float = 0.2


POLICY = Policy()
