"""What every part of `make bench` is given: how long it may take, what it may feed, where it may write."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from worker.settings import Settings

Event = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Context:
    """One run of the benchmark.

    `events` are valid and in arrival order; give them ids and people of your own (`load.tagged`) before each
    use. `settings` name no operator's service and keep their `run_dir` in `folder`, which is removed at the
    end. `say` prints a line of progress.
    """

    quick: bool
    rounds: int
    events: Sequence[Event]
    folder: Path
    settings: Settings
    say: Callable[[str], None]


Part = Callable[[Context], dict[str, Any]]
"""A part of the benchmark: measures, and gives what goes into the JSON under the part's name."""
