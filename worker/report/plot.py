"""A person's timeline as a picture: `feltsense show USER --plot FILE.png`. It never holds reflection text."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter, date2num
from matplotlib.figure import Figure

from worker.errors import UsageError
from worker.report import picture
from worker.report.timeline import Moment, Origins, local_time

RISK_COLOURS = {"low": "#e0b000", "medium": "#e07000", "high": "#c00000"}
VALENCE, AROUSAL, EXPECTED, OWN = "#1f5fa8", "#8a4fa0", "#7a7a7a", "#1a1a1a"


def plot_timeline(user_id: str, rows: Sequence[Moment], out: Path, *, origins: Origins | None = None) -> None:
    """Write the picture of `rows` (in order of time) to `out`; its format is the file's ending.

    Raises `UsageError` without rows, for an unknown ending, or where the file cannot be written.
    """
    if not rows:
        raise UsageError(f"nothing to plot: no reflections of {user_id}")
    times = _times(rows, origins)
    figure = Figure(figsize=(11, 6.5), layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
    _draw(upper, times, rows, "valence", VALENCE)
    _draw(lower, times, rows, "arousal", AROUSAL)
    expected = [row.expected_valence for row in rows]
    upper.plot(times, expected, color=EXPECTED, ls="--", lw=1.2, label="expected")
    upper.axhline(0.5, color="0.85", lw=0.8, zorder=0)
    _mark_risk(upper, times, rows)
    upper.set_title(f"{user_id}: {len(rows)} reflections", loc="left")
    upper.set_ylabel("valence (0 unpleasant, 1 pleasant)")
    lower.set_ylabel("arousal (0 calm, 1 activated)")
    lower.set_xlabel("local time")
    for axes in (upper, lower):
        axes.set_ylim(-0.04, 1.04)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False, fontsize=9)
    locator = AutoDateLocator()  # type: ignore[no-untyped-call]  # matplotlib.dates has no types
    lower.xaxis.set_major_locator(locator)
    lower.xaxis.set_major_formatter(ConciseDateFormatter(locator))  # type: ignore[no-untyped-call]  # as above
    picture.save(figure, out, dpi=130)


def _draw(axes: Axes, times: Sequence[float], rows: Sequence[Moment], name: str, colour: str) -> None:
    bounds = [row.intervals.get(name) for row in rows]
    if all(bound is not None for bound in bounds):
        low, high = zip(*(bound for bound in bounds if bound is not None), strict=True)
        axes.fill_between(times, low, high, color=colour, alpha=0.15, lw=0, label="80 % interval")
    values = [getattr(row, name) for row in rows]
    axes.plot(times, values, color=colour, marker="o", ms=3.5, lw=1.4, label=name)
    own = [getattr(row, f"self_{name}") for row in rows]
    where = [index for index, value in enumerate(own) if value is not None]
    if where:
        axes.scatter(
            [times[index] for index in where],
            [own[index] for index in where],
            marker="x",
            s=32,
            color=OWN,
            zorder=3,
            label="own check-in",
        )


def _mark_risk(axes: Axes, times: Sequence[float], rows: Sequence[Moment]) -> None:
    for level, colour in RISK_COLOURS.items():
        where = [index for index, row in enumerate(rows) if row.risk_level == level]
        if where:
            axes.scatter(
                [times[index] for index in where],
                [rows[index].valence for index in where],
                s=110,
                facecolors="none",
                edgecolors=colour,
                lw=1.8,
                zorder=4,
                label=f"risk: {level}",
            )


def _times(rows: Sequence[Moment], origins: Origins | None) -> list[float]:
    """Days, as matplotlib counts them, on the person's own clock: one axis, whatever zones they wrote
    from."""
    clocks = [local_time(row, origins).replace(tzinfo=None) for row in rows]
    return [float(day) for day in date2num(clocks)]  # type: ignore[no-untyped-call]  # matplotlib.dates has no types
