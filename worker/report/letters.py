"""Dead letters for people: what `feltsense dead-letters list` and `show` print; never what somebody wrote."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Protocol

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

WHOLE = -1
"""Position of a letter that stands for a whole message."""


class Parked(Protocol):
    """What the tables read of a letter of the store's letterbox."""

    @property
    def id(self) -> int: ...
    @property
    def message_id(self) -> str: ...
    @property
    def position(self) -> int: ...
    @property
    def reason(self) -> str: ...
    @property
    def detail(self) -> str: ...
    @property
    def field(self) -> str | None: ...
    @property
    def reflection_id(self) -> str | None: ...
    @property
    def revision(self) -> int | None: ...
    @property
    def user_id(self) -> str | None: ...
    @property
    def attempts(self) -> int: ...
    @property
    def parked_at(self) -> datetime | None: ...
    @property
    def retried_at(self) -> datetime | None: ...
    @property
    def payload(self) -> bytes | None: ...


def letters_table(letters: Sequence[Parked]) -> Table:
    """A letter a line, as they come."""
    table = Table(box=SIMPLE_HEAD)
    for name in ("letter", "parked (UTC)", "reason", "user", "reflection", "tries", "sent again (UTC)"):
        table.add_column(name, overflow="fold", justify="right" if name in ("letter", "tries") else "left")
    for one in letters:
        reflection = "(a whole message)" if one.position == WHOLE else one.reflection_id or ""
        table.add_row(
            str(one.id),
            _clock(one.parked_at),
            one.reason,
            Text(one.user_id or ""),
            Text(reflection),
            str(one.attempts),
            _clock(one.retried_at),
        )
    return table


def letter_view(letter: Parked, meanings: Mapping[str, str]) -> Table:
    """All about one letter but what it holds; `meanings` by reason."""
    size = "not kept" if letter.payload is None else f"{len(letter.payload)} bytes, shown with --text"
    told = {
        "letter": str(letter.id),
        "reason": letter.reason,
        "meaning": meanings.get(letter.reason, ""),
        "detail": letter.detail,
        "field": letter.field or "",
        "user": letter.user_id or "",
        "reflection": letter.reflection_id or "",
        "revision": "" if letter.revision is None else str(letter.revision),
        "message": letter.message_id,
        "position": "the whole message" if letter.position == WHOLE else str(letter.position),
        "tries": str(letter.attempts),
        "parked (UTC)": _clock(letter.parked_at),
        "sent again (UTC)": _clock(letter.retried_at),
        "event": size,
    }
    table = Table.grid(padding=(0, 2))
    for name, value in told.items():
        if value:
            table.add_row(name, Text(value, overflow="fold"))
    return table


def _clock(moment: datetime | None) -> str:
    return "" if moment is None else f"{moment:%Y-%m-%d %H:%M:%S}"
