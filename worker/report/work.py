"""A second of work as a picture: `feltsense trace FILE.png`. A row a stage, a bar a batch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure
from matplotlib.patches import Patch

from worker.observability.spans import Span
from worker.report import picture

LIVE, BULK = "#d1495b", "#7fa6c9"
ROWS = {
    "arrive": "arrive: screen, first commit",
    "read": "read: lexicon, n-grams, tokens",
    "encoder": "encoder, call",
    "appraise": "appraise: stage A",
    "place": "place: stage B, temporal nets",
    "settle": "write: second commit",
    "park": "park: dead letters",
}
"""Stages in the order of the journey. `place` works inside the transaction of `settle`."""
HEIGHT = 0.4
_WIDEST_DIGIT = 0.011
"""Of the picture's width: a bar that is narrower shows no number."""


def plot_work(spans: Sequence[Span], out: Path, *, seconds: float) -> None:
    """Draw `spans` (0 to `seconds`) to `out`; its format is the file's ending. Raises `UsageError` where the
    file cannot be written."""
    stages = sorted({span.stage for span in spans}, key=_order)
    figure = Figure(figsize=(15, 1.8 + 0.75 * len(stages)), layout="constrained")
    axes = figure.subplots()
    for span in spans:
        # Both lanes may be in a stage at the same time: live above, bulk below.
        middle = stages.index(span.stage) + (-HEIGHT / 2 if span.live else HEIGHT / 2)
        width = span.end_s - span.start_s
        axes.barh(
            middle, 1000 * width, HEIGHT, 1000 * span.start_s,
            color=LIVE if span.live else BULK, edgecolor="white", linewidth=0.6,
        )  # fmt: skip
        if width > _WIDEST_DIGIT * len(str(span.size)) * seconds:
            axes.text(
                1000 * (span.start_s + width / 2), middle, str(span.size),
                ha="center", va="center", fontsize=8, color="white" if span.live else "black",
            )  # fmt: skip
    axes.set_yticks(range(len(stages)), [_label(stage) for stage in stages])
    axes.set_ylim(len(stages) - 0.4, -0.6)
    axes.set_xlim(0, 1000 * seconds)
    axes.set_xlabel("milliseconds")
    for edge in range(1, len(stages)):
        axes.axhline(edge - 0.5, color="0.9", lw=0.8, zorder=0)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(axis="y", length=0)
    axes.set_title(f"{seconds:g} s of work: a bar a batch, with its number of reflections", loc="left")
    keys = [Patch(color=LIVE, label="live lane"), Patch(color=BULK, label="bulk lane")]
    axes.legend(handles=keys, loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=2, frameon=False)
    picture.save(figure, out, dpi=110)


def _order(stage: str) -> tuple[int, str]:
    return list(ROWS).index(stage.partition(" ")[0]), stage


def _label(stage: str) -> str:
    name, _, number = stage.partition(" ")
    return f"{ROWS[name]} {number}".rstrip()
