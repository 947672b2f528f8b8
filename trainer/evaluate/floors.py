"""The floors a recipe must not fall below, judged on the cross-fitted figures of a rebuild. A floor nothing
was measured for is not passed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from rich.table import Table

GROUP = "floors"
"""Where the manifest's metrics keep what `record` gives."""
NO_ROWS = "no rows"


@dataclass(frozen=True, kw_only=True)
class Floor:
    """What `figure` of `group` must be: at `least` the limit, or `below` it."""

    name: str
    group: str
    figure: str
    limit: float
    direction: Literal["least", "below"] = "least"

    def holds(self, value: float) -> bool:
        return value >= self.limit if self.direction == "least" else value < self.limit

    @property
    def asked(self) -> str:
        return f"{'>=' if self.direction == 'least' else '<'} {self.limit:.2f}"


def _forecast(kind: str, stat: str) -> Floor:
    return Floor(
        name=f"SemEval-2026 {kind} forecast's RMSE less the earlier {stat}'s, upper end of 95 %",
        group="semeval2026",
        figure=f"{kind} forecast's RMSE less the earlier {stat}'s, upper end of 95 %",
        limit=0.0,
        direction="below",
    )


def _least(name: str, group: str, figure: str, limit: float) -> Floor:
    return Floor(name=name, group=group, figure=figure, limit=limit)


FLOORS = (
    _least(
        "SemEval-2026 valence composite r, with history", "semeval2026", "valence with self-reports r", 0.74
    ),
    _least(
        "SemEval-2026 arousal composite r, with history", "semeval2026", "arousal with self-reports r", 0.53
    ),
    _least("SemEval-2026 valence composite r, text alone", "semeval2026", "valence text r", 0.67),
    _least("SemEval-2026 arousal composite r, text alone", "semeval2026", "arousal text r", 0.40),
    *(_forecast(kind, stat) for kind in ("valence", "arousal") for stat in ("mean", "last")),
    _least("EmoBank dev valence r", "emobank", "valence r, dev", 0.76),
    _least("EmoBank dev arousal r", "emobank", "arousal r, dev", 0.57),
    _least("GoEmotions dev expressed core macro-F1", "goemotions", "expressed core macro-F1, dev", 0.58),
    _least("GoEmotions dev macro-F1, native 28", "goemotions", "macro-F1 of 28 labels, dev", 0.46),
    _least("OffMyChest disclosure AUC", "offmychest", "disclosure AUC", 0.74),
    _least("SentiMix dev valence r with polarity", "sentimix", "valence r with polarity, dev", 0.66),
    _least("iSarcasm sarcasm F1", "isarcasm", "sarcasm F1, tweets", 0.50),
    _least("C-SSRS posts suicidal ideation AUC", "cssrs", "suicidal ideation AUC", 0.84),
    _least("ISEAR macro-F1, native 7", "isear", "macro-F1 of 7 labels", 0.68),
)
"""Issue 3's, in its order."""


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """`value` NaN: no rows, and not passed."""

    floor: Floor
    value: float

    @property
    def passed(self) -> bool:
        return math.isfinite(self.value) and self.floor.holds(self.value)

    @property
    def word(self) -> str:
        return "passed" if self.passed else "MISSED" if math.isfinite(self.value) else NO_ROWS

    @property
    def shown(self) -> str:
        return f"{self.value:.3f}" if math.isfinite(self.value) else "-"


def judge(metrics: Mapping[str, Any]) -> list[Verdict]:
    """Every floor's verdict by the figures of `report.measure`, or of a manifest."""
    found = []
    for floor in FLOORS:
        value = metrics.get(floor.group, {}).get(floor.figure)
        found.append(Verdict(floor=floor, value=math.nan if value is None else float(value)))
    return found


def record(verdicts: Sequence[Verdict]) -> dict[str, list[float | None]]:
    """Name -> [value, floor] for the manifest; a value without rows is None, as JSON knows no NaN."""
    return {
        one.floor.name: [one.value if math.isfinite(one.value) else None, one.floor.limit] for one in verdicts
    }


def table(verdicts: Sequence[Verdict]) -> Table:
    """The floors for a terminal."""
    shown = Table(title="floors", title_justify="left")
    shown.add_column("floor")
    shown.add_column("value", justify="right")
    shown.add_column("asked", justify="right")
    shown.add_column("verdict")
    for one in verdicts:
        shown.add_row(one.floor.name, one.shown, one.floor.asked, one.word)
    return shown
