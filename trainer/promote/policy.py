"""When a challenger may take the champion's place: what is compared, what counts as worse, how much data it
takes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from trainer.evaluate.gates import EFFECTIVE
from worker.bundle.contents import INTERVALS
from worker.events.variables import FLAGS

Direction = Literal["higher", "lower", "near 0.80"]


@dataclass(frozen=True, kw_only=True)
class Gate:
    """A figure of `trainer.evaluate.figures` that must not get worse by more than `tolerance` (its unit).

    `part_rows`: rows from which a part is judged by itself, None never.
    """

    variable: str
    metric: str
    better: Direction
    tolerance: float
    part_rows: int | None = 30


def _gates() -> Iterator[Gate]:
    """Product page, section 7: each of its gates, as a figure on the same rows for both."""
    for name in ("valence", "arousal", "willingness", "congruence"):
        yield Gate(variable=name, metric="RMSE", better="lower", tolerance=0.01)
    for name in ("valence", "arousal"):
        yield Gate(variable=name, metric="composite r", better="higher", tolerance=0.03)
        # A forecast is made without the text, so rows chosen by their text are chosen by its outcome.
        forecast = f"expected_{name}"
        yield Gate(variable=forecast, metric="RMSE", better="lower", tolerance=0.01, part_rows=None)
        partial = "partial r given the last"
        yield Gate(variable=forecast, metric=partial, better="higher", tolerance=0.05, part_rows=None)
    for name in ("invoked", "expressed"):
        for metric, tolerance in (
            ("core macro-F1", 0.02),
            ("hierarchy-aware F1", 0.02),
            ("path validity", 0.0),
        ):
            yield Gate(variable=name, metric=metric, better="higher", tolerance=tolerance)
    yield Gate(variable="willingness", metric="AUC (disclosure)", better="higher", tolerance=0.02)
    for flag in FLAGS:
        yield Gate(variable=flag, metric="AUC", better="higher", tolerance=0.03)
    yield Gate(variable="risk level", metric="recall of medium or above", better="higher", tolerance=0.02)
    # A needless look costs less than a miss, and who misses less looks more often.
    yield Gate(variable="risk level", metric="called high though not at risk", better="lower", tolerance=0.05)
    for name in ("invoked", "expressed", *FLAGS):
        yield Gate(variable=name, metric="ECE", better="lower", tolerance=0.02, part_rows=EFFECTIVE)
    for name in INTERVALS:
        yield Gate(variable=name, metric="quantile ECE", better="lower", tolerance=0.02, part_rows=EFFECTIVE)
        yield Gate(variable=name, metric="coverage", better="near 0.80", tolerance=0.03, part_rows=EFFECTIVE)


@dataclass(frozen=True, kw_only=True)
class Policy:
    """Worse is: by more than the gate's tolerance (times `slice_factor` on a part of the rows), and so for
    the whole 95 % interval of the paired difference.

    Under `least_rows` rows or `least_people` people nothing is decided; a figure of fewer than `figure_rows`
    rows or `figure_people` people is not judged. Beyond `most_rows` rows people are drawn by chance. On live
    traffic the challenger may miss at most `missed` of the champion's high-risk reflections and abstain at
    most `abstained` more often.
    """

    primary: Gate = Gate(variable="valence", metric="RMSE", better="lower", tolerance=0.0)
    gates: tuple[Gate, ...] = tuple(_gates())
    least_rows: int = 200
    most_rows: int = 6_000
    least_people: int = 10
    figure_rows: int = 30
    figure_people: int = 5
    slice_factor: float = 2.0
    live_rows: int = 200
    missed: float = 0.2
    abstained: float = 0.2


POLICY = Policy()
