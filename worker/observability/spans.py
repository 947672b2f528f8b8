"""When each batch was where: what `feltsense trace` draws and `tracing` sends. Off unless somebody listens;
then stages, times and sizes, never a text, an id or a person."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
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


_listeners: tuple[Callable[[Span], None], ...] = ()
"""Of the process, as its metrics are: stages and encoder need not know who looks on."""

now = time.perf_counter


def record(stage: str, start_s: float, *, size: int, live: bool) -> None:
    """A batch has left `stage`, where it was since `start_s`; forgotten when nobody listens."""
    if listeners := _listeners:
        span = Span(stage=stage, live=live, size=size, start_s=start_s, end_s=now())
        for listen in listeners:
            listen(span)


@contextmanager
def told_to(listen: Callable[[Span], None]) -> Iterator[None]:
    """Let `listen` have every span of this process while the block runs, from any thread."""
    global _listeners
    _listeners = (*_listeners, listen)
    try:
        yield
    finally:
        _listeners = tuple(one for one in _listeners if one is not listen)


@contextmanager
def recording() -> Iterator[list[Span]]:
    """The list into which this process records while the block runs."""
    recorded: list[Span] = []
    with told_to(recorded.append):
        yield recorded
