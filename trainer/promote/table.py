"""A verdict for a terminal."""

from __future__ import annotations

from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from trainer.promote.challenge import WHOLE, Verdict


def verdict_view(verdict: Verdict) -> Group:
    """The decision with its reasons, and the figures on all rows."""
    head = f"{verdict.decision}: {verdict.challenger} in the place of {verdict.champion}"
    parts: list[RenderableType] = [
        Text(head, style="bold"),
        *(Text(f"- {one}") for one in (*verdict.reasons, *verdict.remarks)),
    ]
    if verdict.comparisons:
        table = Table(box=SIMPLE_HEAD, pad_edge=False)
        table.add_column("on all rows")
        for name in ("now", "challenger", "gain", "95 %", "rows"):
            table.add_column(name, justify="right")
        for one in verdict.comparisons:
            if one.part == WHOLE:
                table.add_row(
                    f"{one.variable} {one.metric}",
                    f"{one.champion:.3f}",
                    f"{one.challenger:.3f}",
                    f"{one.difference:+.3f}",
                    f"{one.low:+.3f} to {one.high:+.3f}",
                    f"{one.rows:,}",
                    style="red" if one.worse else "",
                )
        parts.append(table)
    if (live := verdict.live) is not None:
        parts.append(
            Text(
                f"live: {live.rows:,} reflections under both, valence apart by {live.valence_gap:.3f},"
                f" the same expressed core on {live.same_expressed:.0%}, abstained {live.abstained[0]:.0%}"
                f" and {live.abstained[1]:.0%}, {live.high} high-risk now of which {live.missed:.0%} missed"
            )
        )
    return Group(*parts)
