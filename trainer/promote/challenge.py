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
from contextlib import ExitStack
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
from worker.bundle.reader import Bundle
from worker.events.variables import FLAGS
from worker.features.text import read
from worker.pipeline import Pipeline
from worker.risk.level import SEVERE, level
from worker.risk.screen import screen
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
    judged: bool
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
    known = [_unseen(bundle, rows) for bundle in both]
    reserved = np.asarray(known[0][0] & known[1][0])
    labelled = np.array([bool(row.labels) for row in rows], dtype=bool)
    chosen = np.asarray(labelled & (known[0][0] | known[0][1]) & (known[1][0] | known[1][1]))
    chosen = _drawn(rows, chosen, policy.most_rows)
    judged_rows = [row for row, yes in zip(rows, chosen, strict=True) if yes]
    people = len({row.reflection.user_id for row in judged_rows})
    verdict = Verdict(
        decision="not enough data",
        better=False,
        champion=both[0].manifest.model_version,
        challenger=both[1].manifest.model_version,
        reasons=(
            f"{len(judged_rows)} labelled rows of {people} people that neither bundle has seen; a comparison"
            f" takes {policy.least_rows} rows of {policy.least_people} people",
        ),
        remarks=(
            f"{int((chosen & reserved).sum())} reserved and {int((chosen & ~reserved).sum())} recent rows of"
            f" {int(labelled.sum())} labelled ones; the others are known to one of the two, or too many",
        ),
        live=live,
    )
    from_live = () if live is None else tuple(live.worse(policy))
    if from_live:
        verdict = replace(verdict, decision="refuse", reasons=from_live)
    if len(judged_rows) < policy.least_rows or people < policy.least_people:
        return verdict
    evidence = []
    with ExitStack() as opened:
        beside: Pipeline | None = None
        for bundle in both:
            beside = opened.enter_context(Pipeline.open(bundle.folder, settings, beside=beside))
            judged = judge.judge(beside, rows, chosen, seed=SEED, tell=tell)
            evidence.append(_evidence(judged, bundle.contents.risk_thresholds))
    recent = {row.reflection.id for row, new in zip(rows, chosen & ~reserved, strict=True) if new}
    comparisons: list[Comparison] = []
    for part in _parts(evidence[0].judged, recent):
        found = [_measured(side, part) for side in evidence]
        comparisons += _compared(part, found[0], found[1], policy)
    return _decided(replace(verdict, comparisons=tuple(comparisons)), from_live, policy)


def _decided(verdict: Verdict, from_live: Sequence[str], policy: Policy) -> Verdict:
    """The verdict that the comparisons ask for."""
    judged = {one.part for one in verdict.comparisons if one.judged}
    unjudged = [name for name in (HIGH_RISK, HINGLISH, SHORT) if name not in judged]
    remarks = verdict.remarks + tuple(f"too few {name} rows to judge them apart" for name in unjudged)
    primary = next(
        (
            one
            for one in verdict.comparisons
            if (one.part, one.variable, one.metric) == (WHOLE, policy.primary.variable, policy.primary.metric)
        ),
        None,
    )
    better = primary is not None and primary.low > 0
    verdict = replace(verdict, better=better, remarks=remarks)
    worse = (*(one.told for one in verdict.comparisons if one.worse), *from_live)
    if worse:
        return replace(verdict, decision="refuse", reasons=worse)
    if primary is None:
        told = f"no row has a label for the primary figure, {policy.primary.variable} {policy.primary.metric}"
        return replace(verdict, decision="not enough data", reasons=(told,))
    told = f"no gate and no slice got worse; {'better' if better else 'not proven better'}: {primary.told}"
    return replace(verdict, decision="promote", reasons=(told,))


def _unseen(bundle: Bundle, rows: Sequence[Labelled]) -> tuple[Rows, Rows]:
    """Which rows [n] are reserved for this bundle, and which are recent. One that keeps no record of its
    split is judged on the sources it does not name."""
    path = bundle.folder / record.NAME
    if not path.is_file():
        trained = {source.name for source in bundle.manifest.data}
        return np.array([row.source not in trained for row in rows], dtype=bool), np.zeros(len(rows), bool)
    kept = record.read(path)
    latest = kept.latest(OPERATOR)
    newer = np.array(
        [row.source == OPERATOR and row.reflection.created_at.timestamp() * 1e6 > latest for row in rows],
        dtype=bool,
    )
    recent = np.zeros(len(rows), dtype=bool)
    chosen = [row for row, yes in zip(rows, newer, strict=True) if yes]
    recent[newer] = kept.unseen(chosen, strangers=False) if chosen else []
    return kept.unseen(rows), recent


def _drawn(rows: Sequence[Labelled], chosen: Rows, most: int) -> Rows:
    """Of the chosen rows about so many at most, by whole people."""
    if chosen.sum() <= most:
        return chosen
    names = np.array([row.reflection.user_id for row in rows])
    people, counts = np.unique(names[chosen], return_counts=True)
    order = np.random.default_rng(SEED).permutation(len(people))
    kept = order[: int(np.searchsorted(np.cumsum(counts[order]), most)) + 1]
    return np.asarray(chosen & np.isin(names, people[kept]))


def _evidence(judged: Judged, thresholds: Mapping[str, float]) -> Evidence:
    """The judged rows with their truth; the same resamples for whoever perceived them."""
    truth = Truth.of(judged.rows)
    return Evidence(
        judged=judged,
        truth=truth,
        before=earlier(judged.rows, truth.reports),
        references={"values": {}, "flags": {}, **{name: {} for name in EMOTIONS}},
        people=Resampling([row.reflection.user_id for row in judged.rows], np.random.default_rng(SEED)),
        thresholds=thresholds,
    )


def _parts(judged: Judged, recent: set[str]) -> list[Slice]:
    """All rows, and the parts of them that must not pay for the others."""
    truth = Truth.of(judged.rows)
    severe = truth.risk[:, [FLAGS.index(flag) for flag in FLAGS if flag in SEVERE]]
    screened = [
        level(screen(read(row.reflection.text, row.reflection.lang))) in ("medium", "high")
        for row in judged.rows
    ]
    masks = {
        HIGH_RISK: (np.nan_to_num(severe) > 0.5).any(axis=1)
        | np.isin(truth.level, ("medium", "high"))
        | screened,
        HINGLISH: np.isin(judged.appraised["language"], ("hi-Latn", "mixed")),
        SHORT: np.array([length(row.reflection.text) == "SHORT" for row in judged.rows], dtype=bool),
        RECENT: np.array([row.reflection.id in recent for row in judged.rows], dtype=bool),
    }
    sources = [
        Slice(by="source", name=str(name), rows=np.flatnonzero(truth.source == name))
        for name in np.unique(truth.source)
    ]
    return [
        slices.whole(len(judged.rows)),
        *(Slice(by="part", name=name, rows=np.flatnonzero(mask)) for name, mask in masks.items()),
        *(sources if len(sources) > 1 else []),
    ]


def _measured(evidence: Evidence, part: Slice) -> dict[tuple[str, str], Figure]:
    """Each figure of the part by variable and metric, where the person's past is known most of."""
    found: dict[tuple[str, str], Figure] = {}
    for one in figures.measure(evidence, part):
        held = found.get((one.variable, one.metric))
        if held is None or REGIMES.index(one.regime) >= REGIMES.index(held.regime):
            found[one.variable, one.metric] = one
    return found


def _compared(
    part: Slice,
    champion: Mapping[tuple[str, str], Figure],
    challenger: Mapping[tuple[str, str], Figure],
    policy: Policy,
) -> Iterator[Comparison]:
    for gate in policy.gates:
        before, after = (side.get((gate.variable, gate.metric)) for side in (champion, challenger))
        if before is None or after is None or not math.isfinite(before.estimate.value):
            continue
        tolerance = gate.tolerance * (1.0 if part.name == WHOLE else policy.slice_factor)
        gain = _goodness(after.estimate, gate).minus(_goodness(before.estimate, gate))
        rows, people = before.estimate.rows, before.estimate.people
        least = policy.figure_rows if part.name == WHOLE else gate.part_rows
        judged = least is not None and rows >= least and people >= policy.figure_people
        # A figure that the challenger's answers do not even define (all alike) is none that got no worse.
        worse = math.isnan(gain.value) or (gain.value < -tolerance and gain.high < 0)
        yield Comparison(
            part=part.name,
            variable=gate.variable,
            metric=gate.metric,
            champion=before.estimate.value,
            challenger=after.estimate.value,
            difference=gain.value,
            low=gain.low,
            high=gain.high,
            tolerance=tolerance,
            rows=rows,
            people=people,
            judged=judged,
            worse=worse and judged,
        )


def _goodness(estimate: Estimate, gate: Gate) -> Estimate:
    """The figure so that more is better."""
    if gate.better == "higher":
        return estimate
    aim = COVERED if gate.better == "near 0.80" else 0.0
    return replace(estimate, value=-abs(estimate.value - aim), draws=-np.abs(estimate.draws - aim))


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value
