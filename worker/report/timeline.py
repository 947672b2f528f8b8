"""A person's timeline for people: what `feltsense show` and the demo print; reflection text only where it is
asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta, timezone
from typing import Protocol
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

BARS = "▁▂▃▄▅▆▇█"
GAP = " "
ARROW = " › "
RISK_STYLE = {"none": "dim", "low": "yellow", "medium": "dark_orange", "high": "bold red"}
TEXT_WIDTH = 60
NOTE = "after the slash: the person's own check-in; usual: above or below what was expected of them"
NEUTRAL = 0.05
"""A comparator nearer to 0 than this is called neither up nor down."""


class Origin(Protocol):
    """Where and in which words a reflection was written: the store's `origins_of`."""

    @property
    def timezone(self) -> str | None: ...
    @property
    def text(self) -> str | None: ...
    @property
    def sealed(self) -> str | None: ...


class Moment(Protocol):
    """What the tables read of a row of the store's `timeline_of`."""

    @property
    def reflection_id(self) -> str: ...
    @property
    def created_at(self) -> datetime: ...
    @property
    def utc_offset_min(self) -> int: ...
    @property
    def self_valence(self) -> float | None: ...
    @property
    def self_arousal(self) -> float | None: ...
    @property
    def valence(self) -> float: ...
    @property
    def arousal(self) -> float: ...
    @property
    def invoked(self) -> Sequence[str]: ...
    @property
    def expressed(self) -> Sequence[str]: ...
    @property
    def willingness(self) -> float: ...
    @property
    def congruence(self) -> float: ...
    @property
    def comparator(self) -> float: ...
    @property
    def expected_valence(self) -> float: ...
    @property
    def intervals(self) -> Mapping[str, Sequence[float]]: ...
    @property
    def risk_level(self) -> str: ...


def sparkline(values: Sequence[float | None], low: float = 0.0, high: float = 1.0) -> str:
    """One character a value, its height on `low`..`high` (outside is cut off); a gap where there is none."""
    return "".join(GAP if value is None else _bar(value, low, high) for value in values)


Origins = Mapping[str, Origin]
"""By reflection id."""


def timeline_table(
    rows: Sequence[Moment], *, origins: Origins | None = None, with_text: bool = False, title: str = ""
) -> Table:
    """One line a reflection, in the order given; times are those of the person's own place."""
    origins = origins or {}
    table = Table(title=Text(title, style="bold"), title_justify="left", box=SIMPLE_HEAD, padding=0)
    table.add_column("local time", no_wrap=True)
    for name in ("valence", "arousal"):
        table.add_column(name, justify="right", no_wrap=True)
    for name in ("invoked", "expressed"):
        table.add_column(name, min_width=9)
    for name in ("will", "cong", "usual"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("risk", no_wrap=True)
    if with_text:
        table.add_column("text", max_width=TEXT_WIDTH)
    for row in rows:
        cells: list[RenderableType] = [
            local_time(row, origins).strftime("%Y-%m-%d %H:%M"),
            _measured(row.valence, row.self_valence),
            _measured(row.arousal, row.self_arousal),
            _path(row.invoked),
            _path(row.expressed),
            f"{row.willingness:.2f}",
            f"{row.congruence:.2f}",
            _comparator(row.comparator),
            Text(row.risk_level, style=RISK_STYLE.get(row.risk_level, "")),
        ]
        if with_text:
            origin = origins.get(row.reflection_id)
            kept = origin.text if origin is not None else None
            why = (origin.sealed if origin is not None else None) or "not kept"
            cells.append(Text(_safe(kept) if kept is not None else f"({why})"))
        table.add_row(*cells)
    return table


def sparklines(rows: Sequence[Moment]) -> Table:
    """The course of each number over the rows, with its range; self-reports have gaps where there was
    none."""
    table = Table.grid(padding=(0, 2))
    series: dict[str, tuple[Sequence[float | None], float, float]] = {
        "valence": ([row.valence for row in rows], 0.0, 1.0),
        "expected": ([row.expected_valence for row in rows], 0.0, 1.0),
        "self-report": ([row.self_valence for row in rows], 0.0, 1.0),
        "arousal": ([row.arousal for row in rows], 0.0, 1.0),
        "willingness": ([row.willingness for row in rows], 0.0, 1.0),
        "congruence": ([row.congruence for row in rows], 0.0, 1.0),
        "usual": ([row.comparator for row in rows], -1.0, 1.0),
    }
    for name, (values, low, high) in series.items():
        known = [value for value in values if value is not None]
        if known:
            table.add_row(name, sparkline(values, low, high), f"{min(known):.2f} to {max(known):.2f}")
    return table


def timeline_view(
    user_id: str,
    rows: Sequence[Moment],
    *,
    origins: Origins | None = None,
    with_text: bool = False,
    limit: int | None = None,
) -> Group:
    """The whole picture: a heading, the last `limit` reflections as a table, and sparklines over the same
    ones."""
    shown = rows[-limit:] if limit is not None else rows
    count = f"{len(shown)} of {len(rows)}" if len(shown) < len(rows) else str(len(rows))
    return Group(
        timeline_table(shown, origins=origins, with_text=with_text, title=f"{user_id}: {count} reflections"),
        Text(NOTE, style="dim"),
        Text(),
        sparklines(shown),
    )


def local_time(row: Moment, origins: Origins | None = None) -> datetime:
    """When the person wrote it by their own clock: their time zone if known, else the offset the event came
    with."""
    origin = (origins or {}).get(row.reflection_id)
    if origin is not None and origin.timezone is not None:
        try:
            return row.created_at.astimezone(ZoneInfo(origin.timezone))
        except (ZoneInfoNotFoundError, ValueError):
            pass  # accepted under another time zone database; the event's own offset is exact for this moment
    return row.created_at.astimezone(timezone(timedelta(minutes=row.utc_offset_min)))


def _bar(value: float, low: float, high: float) -> str:
    share = (min(max(value, low), high) - low) / (high - low)
    return BARS[min(int(share * len(BARS)), len(BARS) - 1)]


def _measured(value: float, own: float | None) -> str:
    return f"{value:.2f}" if own is None else f"{value:.2f}/{own:.2f}"


def _path(path: Sequence[str]) -> Text:
    return Text(ARROW.join(path)) if path else Text("-", style="dim")


def _comparator(value: float) -> Text:
    style = "dim" if abs(value) < NEUTRAL else "green" if value > 0 else "red"
    return Text(f"{value:+.2f}", style=style)


def _safe(text: str) -> str:
    # A reflection may hold terminal escapes; whoever reads it must not run them.
    return "".join(character if character.isprintable() else " " for character in text)
