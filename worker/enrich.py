"""`feltsense enrich`: a file through the pipeline without any service, with the values the queue would have
written."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import orjson

from worker.errors import UsageError
from worker.events.lines import Revisions, read
from worker.events.reflection import Reflection
from worker.pipeline import Pipeline

GROUP = 512
"""Reflections perceived at once; a person is never split, since a row sees the earlier ones of its person."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Enriched:
    """Lines written, duplicates and older revisions among the input, and lines refused."""

    written: int
    stale: int
    refused: int


def enrich(
    lines: Iterable[bytes],
    *,
    pipeline: Callable[[], Pipeline],
    out: Path,
    say: Callable[[str], None],
    perceived: Callable[[int, int], None],
) -> Enriched:
    """Write one perception a line to `out`, in order of (created_at, id); `out` appears only when it is
    whole.

    `pipeline` is opened after the lines were read; `say` gets a sentence for each bad line, `perceived`
    (done, in all).
    """
    revisions = Revisions()
    refused = 0
    for line in read(lines, now=datetime.now(UTC)):
        if line.reflection is None:
            refused += 1
            say(line.problem)
        else:
            revisions.take(line, line.reflection)
    for line in revisions.refused:
        say(line.problem)
    reflections = revisions.latest
    written: list[tuple[datetime, str, bytes]] = []
    if reflections:
        with pipeline() as running:
            for group in _groups(reflections):
                for perception in running.perceive(group):
                    reflection = perception.appraisal.reflection
                    encoded = orjson.dumps(perception.to_json(), option=_JSON)
                    written.append((reflection.created_at, reflection.id, encoded))
                perceived(len(written), len(reflections))
    written.sort(key=lambda row: row[:2])
    _write_whole(out, (row[2] for row in written))
    return Enriched(written=len(written), stale=revisions.stale, refused=refused + len(revisions.refused))


_JSON = orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_APPEND_NEWLINE


def _groups(reflections: Sequence[Reflection]) -> Iterator[list[Reflection]]:
    """Whole persons, gathered to groups of about `GROUP` reflections."""
    persons: defaultdict[str, list[Reflection]] = defaultdict(list)
    for reflection in reflections:
        persons[reflection.user_id].append(reflection)
    group: list[Reflection] = []
    for person in persons.values():
        if group and len(group) + len(person) > GROUP:
            yield group
            group = []
        group += person
    if group:
        yield group


def _write_whole(out: Path, lines: Iterable[bytes]) -> None:
    part = out.with_name(f".{out.name}.{os.getpid()}.part")
    try:
        with part.open("wb") as file:
            file.writelines(lines)
            file.flush()
            os.fsync(file.fileno())
        part.replace(out)
    except OSError as error:
        raise UsageError(f"cannot write {out}: {error.strerror}") from error
    finally:
        part.unlink(missing_ok=True)
