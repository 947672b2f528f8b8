"""Whether a number means what it says, drawn: labels against values, truth against probability, coverage
along the value; and the headline figures beside their references."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure as Canvas
from numpy.typing import NDArray

from trainer.evaluate.figures import Evidence, Figure, confidence, interval_rows, labelled
from trainer.evaluate.judge import REPORTS
from trainer.evaluate.metrics import ECE_BINS
from trainer.evaluate.truth import EMOTIONS, OTHER_SCALE, VALUES
from worker.events.variables import FLAGS

Floats = NDArray[np.float64]

FEWEST = 150
_INK, _REFERENCE, _SOFT = "#1b5e8c", "#c2571a", "#9aa5ad"
_STYLE: Any = {"font.size": 8, "axes.spines.top": False, "axes.spines.right": False, "axes.edgecolor": _SOFT}


@dataclass(frozen=True, kw_only=True)
class Diagram:
    """Points of one diagram: what was `said`, what was `seen`, and how many `rows`, [bins] each."""

    kind: str
    name: str
    said: Floats
    seen: Floats
    rows: NDArray[np.int64]

    def to_json(self) -> dict[str, Any]:
        return {
            "kind": self.kind,
            "name": self.name,
            "said": self.said.tolist(),
            "seen": self.seen.tolist(),
            "rows": self.rows.tolist(),
        }


def diagrams(evidence: Evidence) -> list[Diagram]:
    """Equal-mass bins of every value, emotion, flag and interval with at least `FEWEST` rows."""
    judged, truth = evidence.judged, evidence.truth
    everyone = np.arange(len(judged.rows))
    own_scale = everyone[~np.isin(truth.source, OTHER_SCALE)]
    found: list[Diagram | None] = []
    for name in VALUES:
        known = labelled(truth.values[name], own_scale)
        table = judged.appraised if name == "willingness" else judged.placed[REPORTS]
        found.append(_binned("value", name, table[name][known], truth.values[name][known]))
    for name in EMOTIONS:
        known = everyone[truth.mass[name].any(axis=1)]
        seen, said = confidence(judged.appraised[name][known], truth.mass[name][known])
        found.append(_binned("probability", f"{name}, likeliest core", said, seen))
    for at, flag in enumerate(FLAGS):
        known = labelled(truth.risk[:, at], everyone)
        outcome = (truth.risk[known, at] > 0.5).astype(np.float64)
        if outcome.any():
            found.append(
                _binned("probability", flag.replace("_", " "), judged.appraised["flags"][known, at], outcome)
            )
    for name, _, goal, ends in interval_rows(evidence, everyone, own_scale):
        inside = ((goal >= ends[:, 0]) & (goal <= ends[:, 1])).astype(np.float64)
        found.append(_binned("coverage", name, ends.mean(axis=1), inside))
    return [one for one in found if one is not None]


def _binned(kind: str, name: str, said: Floats, seen: Floats) -> Diagram | None:
    if len(said) < FEWEST:
        return None
    parts = np.array_split(np.argsort(said, kind="stable"), ECE_BINS)
    return Diagram(
        kind=kind,
        name=name,
        said=np.array([said[part].mean() for part in parts]),
        seen=np.array([seen[part].mean() for part in parts]),
        rows=np.array([len(part) for part in parts], dtype=np.int64),
    )


def picture(chosen: Sequence[Diagram], *, across: int = 4) -> str:
    """Small multiples of diagrams of one kind as a PNG data address."""
    down = -(-len(chosen) // across)
    with mpl.rc_context(_STYLE):
        canvas = Canvas(figsize=(2.3 * across, 2.2 * down), layout="constrained")
        axes = canvas.subplots(down, across, squeeze=False).ravel()
        for axis, one in zip(axes, chosen, strict=False):
            if one.kind == "coverage":
                axis.axhspan(0.77, 0.83, color=_SOFT, alpha=0.35, lw=0)
                axis.axhline(0.8, color=_SOFT, lw=0.8)
                axis.set_ylim(0.5, 1.0)
            else:
                axis.plot([0, 1], [0, 1], color=_SOFT, lw=0.8)
                low, high = min(one.said.min(), one.seen.min()), max(one.said.max(), one.seen.max())
                room = 0.05 * max(high - low, 0.1)
                axis.set_xlim(low - room, high + room)
                axis.set_ylim(low - room, high + room)
            axis.plot(one.said, one.seen, color=_INK, marker="o", ms=3, lw=1)
            axis.set_title(f"{one.name} ({int(one.rows.sum()):,} rows)", loc="left", fontsize=8)
        for axis in axes[len(chosen) :]:
            axis.set_axis_off()
        return address(canvas)


def forest(figures: Sequence[Figure]) -> str:
    """Each figure with its 95 % interval, references as ticks on the same line."""
    with mpl.rc_context(_STYLE):
        canvas = Canvas(figsize=(9.2, 0.9 + 0.28 * len(figures)), layout="constrained")
        axis = canvas.subplots()
        for line, one in enumerate(reversed(figures)):
            estimate = one.estimate
            axis.plot([estimate.low, estimate.high], [line, line], color=_INK, lw=2.2, alpha=0.5)
            axis.plot(
                [estimate.value],
                [line],
                color=_INK,
                marker="o",
                ms=5,
                label="this bundle" if not line else None,
            )
            values = list(one.references.values())
            axis.plot(values, [line] * len(values), "|", color=_REFERENCE, ms=9, mew=1.5,
                      label="simple references" if not line else None)  # fmt: skip
        names = [
            f"{one.slice}: {one.variable} {one.metric} ({one.regime})".replace("_", " ")
            for one in reversed(figures)
        ]
        axis.set_yticks(range(len(names)), names)
        axis.grid(axis="x", color=_SOFT, alpha=0.3)
        canvas.legend(frameon=False, loc="outside upper right", ncols=2, fontsize=8)
        return address(canvas)


def address(canvas: Canvas) -> str:
    """The picture as `data:image/png;base64,...`."""
    held = io.BytesIO()
    canvas.savefig(held, format="png", dpi=130)
    return f"data:image/png;base64,{base64.b64encode(held.getvalue()).decode()}"
