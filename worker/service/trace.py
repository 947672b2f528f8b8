"""One second of real work, looked at: the stages over a database of their own, fed on both lanes at once,
with the spans of their batches recorded. What `feltsense trace` draws.

The broker is left out: its messages would only arrive later.
"""

from __future__ import annotations

import tempfile
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from itertools import count, cycle
from pathlib import Path

from worker.embedded.postgres import Postgres
from worker.errors import UsageError
from worker.events.lines import read
from worker.events.message import BULK, LIVE, Entry
from worker.events.reflection import Reflection
from worker.observability import spans
from worker.observability.spans import Span
from worker.pipeline import Pipeline
from worker.service.bundles import announce
from worker.service.stages import Stages
from worker.settings import Settings
from worker.store.engine import Store

CHUNK = 64
"""Events of a bulk message, as the publisher sends them."""
BULK_HANDS, LIVE_HANDS = 8, 4
"""Messages of a lane under way at once."""
LIVE_PAUSE_S = 0.1
"""Of a live sender, after each of its messages."""
LEAD_S = 60.0
"""Longest wait for bulk to reach the last stage: from then on every stage has its load."""


def trace(settings: Settings, lines: Iterable[bytes], *, seconds: float) -> list[Span]:
    """The spans of `seconds` of work on the reflections of `lines`, which come again and again under new ids;
    times are from 0 to `seconds`.

    Takes the settings' bundle and devices, never their broker, database or endpoint. Raises what opening them
    does, `UsageError` without a reflection.
    """
    given = [line.reflection for line in read(lines, now=datetime.now(UTC)) if line.reflection is not None]
    if not given:
        raise UsageError("no line is a reflection: nothing to work on")
    chosen = settings.model_copy(update={"llm_url": None})
    with ExitStack() as opened:
        store = opened.enter_context(_database())
        pipeline = opened.enter_context(Pipeline.open(chosen.bundle, chosen))
        for _ in pipeline.warm():
            pass
        announce(store, pipeline)
        size, wait = chosen.max_batch_size, chosen.max_wait_ms
        stages = opened.enter_context(Stages(pipeline, store, max_batch_size=size, max_wait_ms=wait))
        with spans.recording() as recorded, _fed(stages, _Supply(given)):
            late = spans.now() + LEAD_S
            while spans.now() < late and not any(s.stage == "settle" and not s.live for s in recorded):
                time.sleep(0.02)
            start = spans.now()
            time.sleep(seconds)
    end = start + seconds
    return [
        replace(span, start_s=max(span.start_s, start) - start, end_s=min(span.end_s, end) - start)
        for span in recorded
        if span.start_s < end and span.end_s > start
    ]


class _Supply:
    """Messages without end, each of new people: what waits for a person's lock would say nothing of the
    stages. Any thread may take one."""

    def __init__(self, given: Sequence[Reflection]) -> None:
        self._given = cycle(given)
        self._numbers = count()
        self._lock = threading.Lock()

    def take(self, size: int) -> list[Entry]:
        with self._lock:
            named = [(next(self._numbers), next(self._given)) for _ in range(size)]
        return [
            Entry(
                position=at,
                payload=b"",
                reflection=replace(reflection, id=f"{number}", user_id=f"u-{number}"),
            )
            for at, (number, reflection) in enumerate(named)
        ]


@contextmanager
def _fed(stages: Stages, supply: _Supply) -> Iterator[None]:
    """Both lanes of `stages` at work during the block; raises what the work raised."""
    over = threading.Event()

    def feed(lane: str, size: int, pause_s: float) -> None:
        while not over.wait(pause_s):
            stages.enrich(supply.take(size), message_id="trace", lane=lane)

    with ThreadPoolExecutor(BULK_HANDS + LIVE_HANDS) as pool:
        feeds = [pool.submit(feed, BULK, CHUNK, 0.0) for _ in range(BULK_HANDS)]
        feeds += [pool.submit(feed, LIVE, 1, LIVE_PAUSE_S) for _ in range(LIVE_HANDS)]
        try:
            yield
        finally:
            over.set()
    for one in feeds:
        one.result()


@contextmanager
def _database() -> Iterator[Store]:
    """An empty database without texts, gone afterwards. Raises `ServiceMissing`."""
    with tempfile.TemporaryDirectory(prefix="feltsense-trace-") as folder, ExitStack() as stack:
        server = Postgres(Path(folder) / "postgres", log=Path(folder) / "postgres.log")
        stack.callback(server.remove)
        store = stack.enter_context(Store.open(server.start(), keep_text=False))
        store.migrate()
        yield store
