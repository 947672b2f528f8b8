"""JSONL at the command line's edge: each line of a file becomes an event and its reflection, or a named
refusal.

`feltsense publish` and `feltsense enrich` read through here, so a line means the same to both.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import orjson

from worker.errors import Rejected
from worker.events.reflection import Reflection, parse

LABELS = ("labels", "source", "cluster")
"""What a labelled file (`feltsense import`, `feltsense synth`) has beside the event. It is left out: a label
never reaches the pipeline."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Line:
    """A line of a file, counted from 1: its event and reflection, or why it has none."""

    number: int
    event: dict[str, Any] | None = None
    reflection: Reflection | None = None
    refused: Rejected | None = None

    @property
    def problem(self) -> str:
        return f"line {self.number}: {self.refused}"


def read(lines: Iterable[bytes], *, now: datetime) -> Iterator[Line]:
    """Every line that is not blank, received at `now`."""
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            event = _event(line)
            yield Line(number=number, event=event, reflection=parse(event, now=now))
        except Rejected as error:
            # The traceback's frames hold the line; a refusal outlives them.
            yield Line(number=number, refused=error.with_traceback(None))


def write_whole(out: Path, lines: Iterable[bytes], *, mode: int = 0o666) -> None:
    """Write `lines` so that `out` is either the old file or the whole new one, of `mode` less the umask.
    Raises `OSError`."""
    part = out.with_name(f".{out.name}.{os.getpid()}.part")
    try:
        with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "wb") as file:
            file.writelines(lines)
            file.flush()
            os.fsync(file.fileno())
        part.replace(out)
    finally:
        part.unlink(missing_ok=True)


def _event(line: bytes) -> dict[str, Any]:
    try:
        event = orjson.loads(line)
    except orjson.JSONDecodeError:
        # orjson refuses half a surrogate pair as broken JSON; `parse` has the better reason.
        try:
            event = json.loads(line)
        except (ValueError, RecursionError):
            event = None
        if event is None or not _has_surrogate(event):
            raise Rejected("bad_json", "the line is not valid JSON") from None
    if isinstance(event, dict):
        return {key: value for key, value in event.items() if key not in LABELS}
    raise Rejected("bad_type", "the line holds no JSON object")


def _has_surrogate(event: object) -> bool:
    return isinstance(event, dict) and any(
        isinstance(value, str) and any("\ud800" <= character <= "\udfff" for character in value)
        for value in event.values()
    )


@dataclass(kw_only=True, slots=True)
class Revisions:
    """The reflections of a file as the queue would leave them: one of each id, the highest revision.

    `stale` counts duplicates and older revisions; `refused` are lines that contradict an earlier one.
    """

    stale: int = 0
    refused: list[Line] = field(default_factory=list)
    _latest: dict[str, Reflection] = field(default_factory=dict)

    def take(self, line: Line, reflection: Reflection) -> None:
        known = self._latest.get(reflection.id)
        if known is None:
            self._latest[reflection.id] = reflection
        elif reflection.revision == known.revision and reflection.digest != known.digest:
            self._refuse(line, "conflicting_content", "this id and revision came before with other content")
        elif reflection.user_id != known.user_id:
            self._refuse(line, "user_changed", "this id belongs to another user_id")
        elif reflection.revision > known.revision:
            self.stale += 1
            self._latest[reflection.id] = reflection
        else:
            self.stale += 1

    @property
    def latest(self) -> Sequence[Reflection]:
        return list(self._latest.values())

    def _refuse(self, line: Line, reason: str, detail: str) -> None:
        self.refused.append(Line(number=line.number, refused=Rejected(reason, detail)))
