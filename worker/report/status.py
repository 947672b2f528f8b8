"""The screen of `feltsense status`."""

from __future__ import annotations

from datetime import datetime

from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from worker.report.timeline import RISK_STYLE
from worker.service.status import Status

UNKNOWN = "?"


def status_view(found: Status) -> RenderableType:
    """All of it, on one screen."""
    return Group(_services(found), _lanes(found), _facts(found))


def _services(found: Status) -> Table:
    table = Table.grid(padding=(0, 2))
    for service in found.services:
        mark = Text("up", style="green") if service.ok else Text("down", style="bold red")
        table.add_row(mark, service.name, Text(service.what, overflow="fold"))
    return table


def _lanes(found: Status) -> Table:
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for name in ("lane", "waiting", "oldest", "accepted", "oldest", "rows/s", "p50", "p99"):
        table.add_column(name, justify="left" if name == "lane" else "right")
    for name, lane in found.lanes.items():
        pace, unfinished = lane.last_minute, lane.unfinished
        table.add_row(
            name,
            UNKNOWN if lane.waiting is None else str(lane.waiting),
            UNKNOWN if lane.oldest_s is None else _span(lane.oldest_s),
            UNKNOWN if unfinished is None else str(unfinished.count),
            UNKNOWN if unfinished is None else _span(unfinished.oldest_s),
            *(() if pace is None else (f"{pace.rows / 60:.1f}", _span(pace.p50_s), _span(pace.p99_s))),
        )
    return table


def _facts(found: Status) -> Table:
    table = Table.grid(padding=(0, 2))

    def told(name: str, *words: str | Text) -> None:
        table.add_row(Text(name, style="bold"), Text(", ").join(map(_text, words or ("none",))))

    if found.held is not None:
        heard = ", ".join(_span(silence) for silence in found.pulses_s)
        told("held", f"{found.held} messages; signs of life {heard} ago" if heard else "nobody works")
    if found.dead_letters is not None:
        told("dead letters", *(f"{n} {reason}" for reason, n in sorted(found.dead_letters.items())))
    if found.risk is not None:
        waiting = sorted(found.risk.items())
        told(
            "for a reviewer",
            *(
                Text(f"{one.count} {level}, the oldest for {_span(one.oldest_s)}", style=RISK_STYLE[level])
                for level, one in waiting
            ),
        )
    if found.model is not None:
        told("model", f"{found.model.version}, active for {_ago(found.model.since, found.at)}")
    for state, run in found.rebuilds.items():
        told("rebuild", f"{state} {_ago(run.finished_at or run.started_at, found.at)} ago")
    for slot, at in found.slots.items():
        told("slot", f"{slot} {_ago(at, found.at)} ago")
    for measure, value in found.drift.items():
        told("drift", Text(f"{measure}: alarm", style="bold red") if value else f"{measure}: none")
    if found.repairs is not None and found.repairs.count:
        told("repairs", f"{found.repairs.count} wait, the oldest for {_span(found.repairs.oldest_s)}")
    for kind, count in found.overdue.items():
        if count:
            told("retention", f"{count} {kind} overdue")
    for device in found.devices:
        failed = f", {device.failures} failures" if device.failures else ""
        told("device", f"{device.component} {device.device} {device.precision}: {device.rows} rows{failed}")
    return table


def _text(words: str | Text) -> Text:
    return words if isinstance(words, Text) else Text(words)


def _ago(then: datetime, now: datetime) -> str:
    return _span((now - then).total_seconds())


def _span(seconds: float) -> str:
    """Seconds as people say them."""
    if seconds < 1:
        return f"{1000 * seconds:.0f} ms"
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"
