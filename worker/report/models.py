"""The registry for people and programs: `feltsense models`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from worker.store.models import SERVES, Event, Known


def models_view(known: Sequence[Known]) -> Table:
    """A line a version: what it is, since when, where it lies, and the last decision about it."""
    shown = _table("version", "state", "since", "location", "last decision")
    for one in known:
        shown.add_row(
            Text(one.version),
            one.state,
            _moment(one.since),
            Text(one.location or "unknown"),
            Text(_decision(one.decision)),
        )
    return shown


def history_view(events: Sequence[Event]) -> Table:
    """What served when, newest first; `events` are all, newest first."""
    shown = _table("version", "served from", "until", "by", "why")
    until: datetime | None = None
    for one in events:
        if one.kind in SERVES:
            ended = "now" if until is None else _moment(until)
            shown.add_row(Text(one.version), _moment(one.at), ended, _word(one.kind), Text(_why(one.detail)))
            until = one.at
    return shown


def models_json(known: Sequence[Known], events: Sequence[Event]) -> dict[str, Any]:
    """The same for programs, and every event."""
    return {
        "versions": [
            {
                "version": one.version,
                "state": one.state,
                "since": one.since.isoformat(),
                "location": one.location,
                "decision": None if one.decision is None else _event(one.decision),
            }
            for one in known
        ],
        "history": [_event(one) for one in events],
    }


def _event(one: Event) -> dict[str, Any]:
    return {
        "version": one.version,
        "kind": one.kind,
        "at": one.at.isoformat(),
        "detail": dict(one.detail),
    }


def _decision(event: Event | None) -> str:
    if event is None:
        return ""
    why = _why(event.detail)
    return f"{_word(event.kind)} {_moment(event.at)}{': ' if why else ''}{why}"


def _why(detail: Mapping[str, Any]) -> str:
    """What a person gave as the reason, else the first of the reasons found."""
    reasons = list(detail.get("reasons") or ())
    if given := detail.get("reason"):
        return str(given)
    more = f" (and {len(reasons) - 1} more)" if len(reasons) > 1 else ""
    return f"{reasons[0]}{more}" if reasons else "forced" if detail.get("forced") else ""


def _word(kind: str) -> str:
    return kind.replace("_", " ")


def _moment(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M}"


def _table(*columns: str) -> Table:
    shown = Table(box=SIMPLE_HEAD, pad_edge=False)
    for name in columns:
        shown.add_column(name, overflow="fold")
    return shown
