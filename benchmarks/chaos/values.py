"""Order does not matter: is every row the one that an in-order run without any fault writes?"""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

import psycopg

from benchmarks.context import Event
from worker.enrich import enrich
from worker.errors import FeltsenseError
from worker.pipeline import Pipeline
from worker.settings import Settings

CLOSE = 1e-6
NUMBERS = ("valence", "arousal", "willingness", "congruence", "comparator")
ROWS = """
SELECT reflection_id, valence, arousal, willingness, congruence, comparator, invoked, expressed
FROM perceptions WHERE reflection_id = ANY(%b)
"""


class NoReference(FeltsenseError):
    """The run without faults refused an event that has a row."""


def differing(
    database_url: str, events: Iterable[Event], rows: Collection[str], settings: Settings, scratch: Path
) -> list[str]:
    """Ids of those of `events` in `rows` whose row differs from what the pipeline alone, in order, says.

    What has no row is left out of the order too: it is nobody's history. Raises `NoReference`.
    """
    lines = {str(event["id"]): json.dumps(event).encode() for event in events if event["id"] in rows}
    said: list[str] = []
    enrich(
        lines.values(),
        pipeline=lambda: Pipeline.open(settings.bundle, settings),
        out=scratch,
        say=said.append,
        perceived=lambda _done, _of: None,
    )
    if said:
        raise NoReference(f"{len(said)} events that have a row were refused without a service")
    expected = {(row := json.loads(line))["id"]: row for line in scratch.read_text().splitlines()}
    scratch.unlink()
    with psycopg.connect(database_url, autocommit=True) as connection:
        found = connection.execute(ROWS, (sorted(lines),)).fetchall()
    return sorted(key for key, *row in found if not same(row, expected[key]))


def same(row: list[Any], expected: Mapping[str, Any]) -> bool:
    """Whether a row's values are those of a line of `feltsense enrich`."""
    *numbers, invoked, expressed = row
    return (
        all(
            math.isclose(number, expected[name], abs_tol=CLOSE, rel_tol=0)
            for number, name in zip(numbers, NUMBERS, strict=True)
        )
        and invoked == expected["invoked"]["path"]
        and expressed == expected["expressed"]["path"]
    )
