"""Champion against challenger, on rows that neither has seen and on the same live traffic; a verdict with
its reasons.

Both perceive the same rows with the worker's own pipeline. Each figure's difference is counted on the same
resamples of whole persons (`bootstrap.Resampling`), so what they share cancels out. `reserved` rows are of
people and texts that neither learned from; `recent` ones are an operator's, newer than all that either
learned from, of people it may know: what serving is like.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from trainer.data.labelled import OPERATOR, Labelled
from trainer.evaluate import figures, judge, slices
from trainer.evaluate.bootstrap import Estimate, Resampling
from trainer.evaluate.evaluation import SEED
from trainer.evaluate.figures import Evidence, Figure
from trainer.evaluate.gates import COVERED
from trainer.evaluate.judge import REGIMES, Judged, Progress
from trainer.evaluate.slices import Slice
from trainer.evaluate.truth import EMOTIONS, Truth, earlier
from trainer.promote.live import Live
from trainer.promote.policy import POLICY, Gate, Policy
from trainer.splits import record
from trainer.splits.strata import length
from worker.bundle import reader
from worker.events.variables import FLAGS
from worker.pipeline import Pipeline
from worker.risk.level import SEVERE
from worker.settings import Settings

Decision = Literal["promote", "refuse", "not enough data"]
Rows = NDArray[np.bool_]
HIGH_RISK, HINGLISH, SHORT, RECENT = "high-risk", "Hinglish", "short", "recent"
WHOLE = "all"


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """One figure on one part of the rows. `difference` with its 95 % interval [`low`, `high`] is positive
    where the challenger is better."""

    part: str
    variable: str
    metric: str
    champion: float
    challenger: float
    difference: float
    low: float
    high: float
    tolerance: float
    rows: int
    people: int
    worse: bool

    @property
    def told(self) -> str:
        where = "" if self.part == WHOLE else f" on {self.part} rows"
        return (
            f"{self.variable} {self.metric}{where}: {self.champion:.3f} now, {self.challenger:.3f} with the"
            f" challenger ({self.rows} rows, {self.people} people; gain {self.difference:+.3f}, 95 %"
            f" {self.low:+.3f} to {self.high:+.3f})"
        )


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """`promote`: no gate and no slice got worse. `better`: the primary figure's whole interval lies above 0,
    without which nothing is promoted automatically. `champion` None: nothing serves yet."""

    decision: Decision
    better: bool
    champion: str | None
    challenger: str
    reasons: tuple[str, ...]
    remarks: tuple[str, ...] = ()
    comparisons: tuple[Comparison, ...] = ()
    live: Live | None = None

    def to_json(self) -> dict[str, Any]:
        """For `model_events` and files; a figure that is not defined is null."""
        return {
            **{name: getattr(self, name) for name in ("decision", "better", "champion", "challenger")},
            "reasons": list(self.reasons),
            "remarks": list(self.remarks),
            "comparisons": [
                {name: _finite(value) for name, value in asdict(one).items()} for one in self.comparisons
            ],
            "live": None if self.live is None else self.live.to_json(),
        }


def challenge(
    champion: Path,
    challenger: Path,
    *,
    rows: Sequence[Labelled],
    settings: Settings,
    policy: Policy = POLICY,
    live: Live | None = None,
    tell: Progress = lambda *_: None,
) -> Verdict:
    """Compare two bundle folders on `rows` (labelled files and the operator's own) and on `live` traffic.

    Raises `BundleRefused`, `EncoderMissing`, `DeviceFailed`; rows that either has seen are left out.
    """
    both = [reader.load(folder) for folder in (champion, challenger)]
    names = [one.manifest.model_version for one in both]
    known = [_unseen(one, rows) for one in both]
    reserved = np.asarray(known[0][0] & known[1][0])
    recent = np.asarray(known[0][1] & known[1][1] & ~reserved)
    chosen = reserved | recent
    people = len({row.reflection.user_id for row, yes in zip(rows, chosen, strict=True) if yes})
    remarks = [
        f"{int(reserved.sum())} reserved and {int(recent.sum())} recent rows of {people} people, of"
        f" {len(rows)} labelled ones; the others are known to one of the two"
    ]

    def verdict(decision: Decision, reasons: Sequence[str], **more: Any) -> Verdict:
        told = {"better": False, "remarks": tuple(remarks), "live": live} | more
        return Verdict(
            decision=decision, champion=names[0], challenger=names[1], reasons=tuple(reasons), **told
        )

    from_live = [] if live is None else live.worse(policy)
    if chosen.sum() < policy.least_rows or people < policy.least_people:
        if from_live:
            return verdict("refuse", from_live)
        return verdict(
            "not enough data",
            [
                f"{int(chosen.sum())} labelled rows of {people} people that neither bundle has seen; a"
                f" comparison takes {policy.least_rows} rows of {policy.least_people} people"
            ],
        )
    found = []
    parts: list[Slice] = []
    for number, (folder, loaded) in enumerate(zip((champion, challenger), both, strict=True)):
        with Pipeline.open(folder, settings) as pipeline:
            judged = judge.judge(pipeline, rows, chosen, seed=SEED, tell=tell)
        if number == 0:
            parts = _parts(judged, {row.reflection.id for row, yes in zip(rows, recent, strict=True) if yes})
        evidence = _evidence(judged, loaded.contents.risk_thresholds)
        found.append({part: _by_name(figures.measure(evidence, part)) for part in _shown(parts)})
    comparisons = tuple(_compared(found[0], found[1], policy))
    remarks += _unjudged(parts, evidence, policy)
    primary = next(
        (
            one
            for one in comparisons
            if one.part == WHOLE
            and (one.variable, one.metric) == (policy.primary.variable, policy.primary.metric)
        ),
        None,
    )
    better = primary is not None and primary.low > 0
    worse = [f"worse: {one.told}" for one in comparisons if one.worse] + from_live
    if worse:
        return verdict("refuse", worse, better=better, comparisons=comparisons)
    if primary is None:
        return verdict(
            "not enough data",
            [f"no row has a label for the primary figure ({policy.primary.variable})"],
            comparisons=comparisons,
        )
    gain = "better" if better else "not proven better"
    return verdict(
        "promote",
        [f"no gate and no slice got worse; {gain}: {primary.told}"],
        better=better,
        comparisons=comparisons,
    )
