"""What a benchmark feeds: events read from files or raw corpora, told apart wherever they are fed again."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import count as counted
from itertools import islice, zip_longest
from pathlib import Path
from typing import Any

from benchmarks.context import Event
from trainer.data.corpora.importer import FOLDERS, import_corpus
from worker.errors import Rejected, UsageError
from worker.events.reflection import FIELDS, parse

SAMPLE = Path(__file__).parent.parent / "samples" / "reflections.jsonl"
CORPORA = ("semeval2026", "emobank", "goemotions", "offmychest")
"""What a folder of raw corpora is read for, an equal share of each."""


def events(paths: Sequence[Path], most: int = 100_000) -> list[Event]:
    """The first `most` valid events of all `paths` (JSONL, or folders of raw corpora) in turn, so that any
    stretch has the same mix. Raises `UsageError` where there is none."""
    now = datetime.now(UTC)
    with tempfile.TemporaryDirectory() as scratch:
        try:
            sources = [part for path in paths for part in _imported(path, Path(scratch), now)]
            files = [part.read_text("utf-8").splitlines() for part in sources]
        except OSError as error:
            raise UsageError(f"cannot read {error.filename}: {error.strerror}") from None
    valid = (event for turn in zip_longest(*files) for line in turn if line for event in _valid(line, now))
    found = list(islice(valid, most))
    if not found:
        raise UsageError(f"no valid event in {', '.join(map(str, paths))}")
    return found


def repeated(found: Sequence[Event], count: int) -> list[Event]:
    """`count` of the events, from the start again with other people where they are too few."""
    laps = ((lap, event) for lap in counted() for event in found)
    return [
        {**event, "id": f"{number}", "user_id": f"{lap}-{event['user_id']}"[:128]}
        for number, (lap, event) in enumerate(islice(laps, count))
    ]


def tagged(found: Sequence[Event], tag: str) -> list[dict[str, Any]]:
    """The events with ids and people of their own: a person's second history would repair the first one's
    rows."""
    return [
        {**event, "id": f"{tag}-{event['id']}"[:128], "user_id": f"{tag}-{event['user_id']}"[:128]}
        for event in found
    ]


def _imported(path: Path, scratch: Path, now: datetime) -> list[Path]:
    if not path.is_dir():
        return [path]
    for name in CORPORA:
        import_corpus(name, path / FOLDERS[name], scratch / f"{name}.jsonl", now=now)
    return [scratch / f"{name}.jsonl" for name in CORPORA]


def _valid(line: str, now: datetime) -> list[Event]:
    """The event of a line, without its labels; none of a line that a worker would refuse."""
    try:
        event = {name: value for name, value in json.loads(line).items() if name in FIELDS}
        parse(event, now=now)
    except (json.JSONDecodeError, AttributeError, Rejected):
        return []
    return [event]
