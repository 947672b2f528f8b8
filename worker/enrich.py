"""`feltsense enrich`: a file through the pipeline without any service, with the values the queue would have
written."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import orjson

from worker.errors import FeltsenseError, UsageError
from worker.events.lines import Revisions, read, write_whole
from worker.events.perception import Perception
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
                perceptions, failures = _perceive(running, group)
                for failure in failures:
                    refused += 1
                    say(failure)
                for perception in perceptions:
                    reflection = perception.appraisal.reflection
                    encoded = orjson.dumps(perception.to_json(), option=_JSON)
                    written.append((reflection.created_at, reflection.id, encoded))
                perceived(len(written), len(reflections))
    written.sort(key=lambda row: row[:2])
    try:
        write_whole(out, (row[2] for row in written))
    except OSError as error:
        raise UsageError(f"cannot write {out}: {error.strerror}") from error
    return Enriched(written=len(written), stale=revisions.stale, refused=refused + len(revisions.refused))


def _perceive(pipeline: Pipeline, group: list[Reflection]) -> tuple[list[Perception], list[str]]:
    """The group's perceptions, and a sentence for each reflection on which the pipeline fails even alone."""
    try:
        return pipeline.perceive(group), []
    except FeltsenseError:
        raise
    except Exception:  # whichever event it was must not take the others along
        good: list[Reflection] = []
        failures: list[str] = []
        for reflection in group:
            try:
                pipeline.perceive([reflection])
            except FeltsenseError:
                raise
            except Exception as error:  # noqa: BLE001  named by its class: its message could quote the text
                failures.append(f"id {reflection.id}: enrichment_failed: {type(error).__name__}")
            else:
                good.append(reflection)
        if not failures:
            raise
        return pipeline.perceive(good), failures


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
