"""A message's way through the worker: arrive (screened and stored), read (features, encoder), settle (rows).

Each stage is one thread with its batcher, so the encoder works on one batch while the next is read and the
one before is written. A task thread walks its message from stage to stage; what fails on one event is parked
for that event alone.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import Future
from types import TracebackType
from typing import Self, TypeVar
from uuid import uuid4

from worker.events.message import LIVE, Entry
from worker.events.perception import Appraisal
from worker.events.reflection import Reflection
from worker.inference.encoder import Encoded
from worker.observability import metrics
from worker.pipeline import Pipeline, Readings
from worker.service.batcher import Batcher
from worker.store import dead_letters, deliveries, perceptions
from worker.store.dead_letters import DeadLetter
from worker.store.deliveries import Admission, Arrival, Kind
from worker.store.engine import Store

T = TypeVar("T")
R = TypeVar("R")
Arriving = tuple[Entry, str, str]
"""An entry with a reflection, the id of its message, and its lane."""


class Read:
    """A batch as it was read, its embeddings on their way. Appraised once, by the settle stage's thread."""

    def __init__(self, reflections: Sequence[Reflection], pipeline: Pipeline) -> None:
        self.reflections = reflections
        self._pipeline = pipeline
        started = time.perf_counter()
        self._readings: Readings = pipeline.read(reflections)
        submitted = time.perf_counter()
        self._encoded: Future[Encoded] = pipeline.encode(self._readings)
        self._appraisals: list[Appraisal] | None = None
        self.failed = False
        self.timings = {"read": submitted - started}
        self._encoded.add_done_callback(
            lambda _: self.timings.__setitem__("encode", time.perf_counter() - submitted)
        )

    def appraised(self) -> list[Appraisal]:
        if self._appraisals is None:
            self.failed = True
            encoded = self._encoded.result()
            started = time.perf_counter()
            self._appraisals = self._pipeline.appraise(self._readings, encoded)
            self.timings["appraise"] = time.perf_counter() - started
            self.failed = False
        return self._appraisals


Reading = tuple[Read, int]
"""A reflection as row of the batch it was read with."""


class Stages:
    """The stages of one worker process over one pipeline and one store, open inside a `with` block."""

    def __init__(self, pipeline: Pipeline, store: Store, *, max_batch_size: int, max_wait_ms: float) -> None:
        self._pipeline = pipeline
        self._store = store
        size, wait = max_batch_size, max_wait_ms
        self._arrive = Batcher("arrive", self._accept, max_batch_size=256, max_wait_ms=wait)
        self._read = Batcher("read", self._look, max_batch_size=size, max_wait_ms=wait)
        self._settle = Batcher("settle", self._write, max_batch_size=size, max_wait_ms=wait)
        self._park = Batcher("park", self._put_away, max_batch_size=256, max_wait_ms=0)

    def __enter__(self) -> Self:
        for stage in (self._arrive, self._read, self._settle, self._park):
            stage.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for stage in (self._arrive, self._read, self._settle, self._park):
            stage.close()

    def hurry(self) -> None:
        """Shutdown has begun: finish what can be finished, give back what waits for a lost service."""
        for stage in (self._arrive, self._read, self._settle, self._park):
            stage.hurry()

    def enrich(self, entries: Sequence[Entry], *, message_id: str, lane: str) -> dict[str, int]:
        """Takes a message's entries to their rows or dead letters; how many ended how, by outcome.

        Raises a retryable error when a service stays away until shutdown: then the message must come again.
        """
        live = lane == LIVE
        tally: Counter[str] = Counter()
        letters = [_letter(entry, message_id) for entry in entries if entry.reflection is None]
        tally["rejected"] = len(letters)

        def through(stage: Batcher[T, R], travellers: Sequence[tuple[Entry, T]]) -> list[tuple[Entry, R]]:
            arrived = []
            futures = stage.submit([item for _, item in travellers], live=live)
            for (entry, _), future in zip(travellers, futures, strict=True):
                error = future.exception()
                if error is None:
                    arrived.append((entry, future.result()))
                elif getattr(error, "retryable", False):
                    raise error
                else:
                    letters.append(_letter(entry, message_id, f"{stage.name}: {type(error).__name__}"))
                    tally["failed"] += 1
            return arrived

        fresh = [(entry, (entry, message_id, lane)) for entry in entries if entry.reflection is not None]
        admitted = _once(through(self._arrive, fresh), tally)
        read = through(self._read, admitted)
        for _, outcome in through(self._settle, read):
            tally[outcome] += 1
        if letters:
            for future in self._park.submit(letters, live=live):
                future.result()
        return dict(+tally)

    def resume(self, reflections: Sequence[Reflection]) -> int:
        """Reads and settles what was accepted earlier and never finished; how many rows that wrote.

        What fails by itself is parked. Raises a retryable error when a service stays away until shutdown:
        then what has no row yet is found again.
        """
        id_ = f"resumed/{uuid4()}"
        letters: list[DeadLetter] = []

        def through(stage: Batcher[T, R], travellers: Sequence[tuple[int, T]]) -> list[tuple[int, R]]:
            arrived = []
            futures = stage.submit([item for _, item in travellers])
            for (place, _), future in zip(travellers, futures, strict=True):
                error = future.exception()
                if error is None:
                    arrived.append((place, future.result()))
                elif getattr(error, "retryable", False):
                    raise error
                else:
                    culprit = reflections[place]
                    letters.append(
                        DeadLetter(
                            message_id=id_,
                            position=place,
                            reason="enrichment_failed",
                            detail=f"{stage.name}: {type(error).__name__}",
                            reflection_id=culprit.id,
                            revision=culprit.revision,
                            user_id=culprit.user_id,
                        )
                    )
            return arrived

        settled = through(self._settle, through(self._read, list(enumerate(reflections))))
        for future in self._park.submit(letters):
            future.result()
        return sum(outcome == "written" for _, outcome in settled)

    def park(self, letter: DeadLetter) -> None:
        """Parks one letter; waits for the database as long as the stage is open."""
        self._park.submit([letter], live=True)[0].result()

    def _accept(self, batch: Sequence[Arriving]) -> list[Admission]:
        reflections = [_reflection(entry) for entry, _, _ in batch]
        screens = self._pipeline.screen(reflections)
        arrivals = [
            Arrival(
                reflection=reflection,
                screen=screen,
                message_id=message_id,
                position=entry.position,
                payload=entry.payload,
            )
            for reflection, screen, (entry, message_id, _) in zip(reflections, screens, batch, strict=True)
        ]
        # A batch is of one lane: the batcher never mixes them.
        return deliveries.accept(
            self._store, arrivals, (), model_version=self._pipeline.model_version, lane=batch[0][2]
        )

    def _look(self, batch: Sequence[Reflection]) -> list[Reading]:
        read = Read(batch, self._pipeline)
        return [(read, row) for row in range(len(batch))]

    def _write(self, batch: Sequence[Reading]) -> list[str]:
        appraisals, timings = [], []
        for read, row in batch:
            if read.failed:  # with its batch: only by itself can it show whether it is the culprit
                read, row = Read([read.reflections[row]], self._pipeline), 0
            appraisals.append(read.appraised()[row])
            timings.append(read.timings)
        settled = perceptions.settle(
            self._store,
            appraisals,
            self._pipeline.place,
            model_version=self._pipeline.model_version,
            timings=timings,
        )
        newest: dict[str, int] = {}
        for appraisal in appraisals:
            key, revision = appraisal.reflection.id, appraisal.reflection.revision
            newest[key] = max(revision, newest.get(key, 0))
        written = set(settled.written)
        return [
            "written"
            if a.reflection.id in written and a.reflection.revision == newest[a.reflection.id]
            else "superseded"
            for a in appraisals
        ]

    def _put_away(self, letters: Sequence[DeadLetter]) -> list[None]:
        dead_letters.park(self._store, letters)
        for letter in letters:
            metrics.DEAD_LETTERS.labels(letter.reason).inc()
        return [None] * len(letters)


def _once(admitted: Sequence[tuple[Entry, Admission]], tally: Counter[str]) -> list[tuple[Entry, Reflection]]:
    """What is still to be enriched, each revision once however often the message holds it; counts the
    rest."""
    names = {Kind.DONE: "duplicate", Kind.STALE: "stale", Kind.CONFLICT: "conflict"}
    chosen: dict[tuple[str, int], tuple[Entry, Reflection]] = {}
    for entry, admission in admitted:
        reflection = _reflection(entry)
        if not admission.to_enrich:
            tally[names[admission.kind]] += 1
        elif (reflection.id, reflection.revision) in chosen:
            tally["duplicate"] += 1
        else:
            chosen[reflection.id, reflection.revision] = (entry, reflection)
    return list(chosen.values())


def _reflection(entry: Entry) -> Reflection:
    assert entry.reflection is not None  # refused entries never arrive
    return entry.reflection


def _letter(entry: Entry, message_id: str, failed: str = "") -> DeadLetter:
    """The letter of a refused entry, or of one that `failed` (stage and error class) after it was read."""
    if entry.reflection is not None:
        return DeadLetter(
            message_id=message_id,
            position=entry.position,
            reason="enrichment_failed",
            detail=failed,
            reflection_id=entry.reflection.id,
            revision=entry.reflection.revision,
            user_id=entry.reflection.user_id,
            payload=entry.payload,
        )
    assert entry.refused is not None  # an entry has a reflection or a reason why not
    return DeadLetter(
        message_id=message_id,
        position=entry.position,
        reason=entry.refused.reason,
        detail=entry.refused.detail,
        field=entry.refused.field,
        reflection_id=entry.id,
        user_id=entry.user_id,
        payload=entry.payload,
    )
