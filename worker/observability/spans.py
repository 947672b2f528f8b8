"""When each batch was where: what `feltsense trace` draws. Off unless somebody records; then a list of
stages, times and sizes, never a text, an id or a person."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Span:
    """A batch of `size` reflections of one lane in a stage, from `start_s` to `end_s` on `now`'s clock."""

    stage: str
    live: bool
    size: int
    start_s: float
    end_s: float


_recorded: list[Span] | None = None
"""Of the process, as its metrics are: stages and encoder need not know who looks on."""

now = time.perf_counter


def record(stage: str, start_s: float, *, size: int, live: bool) -> None:
    """A batch has left `stage`, where it was since `start_s`; forgotten when nobody records."""
    if (recorded := _recorded) is not None:
        recorded.append(Span(stage=stage, live=live, size=size, start_s=start_s, end_s=now()))


@contextmanager
def recording() -> Iterator[list[Span]]:
    """The list into which this process records while the block runs; one at a time."""
    global _recorded
    recorded: list[Span] = []
    _recorded = recorded
    try:
        yield recorded
    finally:
        _recorded = None
