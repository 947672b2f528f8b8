"""A message's way through the worker: arrive (screened and stored), read (features, encoder), appraise
(stage A), settle (stage B, rows).

Each stage is a batcher with a thread a lane, so the encoder works on one batch while the next is read and the
one before is appraised and written, and live passes bulk in every stage. A task thread walks its message from
stage to stage; what fails on one event is parked for that event alone.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from concurrent.futures import Future
from functools import partial
from types import TracebackType
from typing import Any, Self, TypeVar
from uuid import uuid4

from worker.events.message import LIVE, Entry
from worker.events.perception import Appraisal, Placement, Trace
from worker.events.reflection import Reflection
from worker.events.timeline import Timeline
from worker.inference.lanes import Encoded
from worker.observability import metrics, spans
from worker.pipeline import Look, Pipeline, Readings
from worker.service.batcher import Batcher
from worker.store import dead_letters, deliveries, perceptions
from worker.store.dead_letters import DeadLetter
from worker.store.deliveries import Admission, Arrival, Kind
from worker.store.engine import Store

T = TypeVar("T")
R = TypeVar("R")
Arriving = tuple[Entry, str, str]
"""An entry with a reflection, the id of its message, and its lane."""
Seen = tuple[Reflection, Look | None]
"""A reflection with its first look; none of one that arrived long ago."""
Welcome = tuple[Admission, Look]
"""What became of an arrival, and the look that was had at it."""


class Read:
    """A batch as it was read, its embeddings on their way. Appraised once, by the appraise stage's thread."""

    def __init__(self, seen: Sequence[Seen], pipeline: Pipeline, *, live: bool) -> None:
        self.seen = seen
        self.live = live
        self._pipeline = pipeline
        started = spans.now()
        self._readings: Readings = pipeline.read(
            [reflection for reflection, _ in seen],
            [look if look is not None else pipeline.look([reflection])[0] for reflection, look in seen],
        )
        submitted = spans.now()
        self._encoded: Future[Encoded] = pipeline.encode(self._readings, live=live)
        self._appraisals: list[Appraisal] | None = None
        self.failed = False
        self.timings = {"read": submitted - started}
        self._encoded.add_done_callback(lambda _: self.timings.__setitem__("encode", spans.now() - submitted))

    def wait(self) -> None:
        """Return when the encoder has ended, however it ended: `appraised` tells."""
        self._encoded.exception()

    def appraised(self) -> list[Appraisal]:
        if self._appraisals is None:
            self.failed = True
            encoded = self._encoded.result()
            started = spans.now()
            self._appraisals = self._pipeline.appraise(self._readings, encoded)
            self.timings["appraise"] = spans.now() - started
            self.failed = False
        return self._appraisals


Reading = tuple[Read, int]
"""A reflection as row of the batch it was read with."""
Appraised = tuple[Appraisal, Read]
"""An appraisal with the batch it was read with, which knows its lane and its times."""


class Stages:
    """The stages of one worker process over one pipeline and one store, open inside a `with` block."""

    def __init__(self, pipeline: Pipeline, store: Store, *, max_batch_size: int, max_wait_ms: float) -> None:
        self._pipeline = pipeline
        self._store = store
        size, wait = max_batch_size, max_wait_ms
        self._arrive = Batcher("arrive", self._accept, max_batch_size=256, max_wait_ms=wait)
        self._read = Batcher("read", self._look, max_batch_size=size, max_wait_ms=wait)
        self._appraise = Batcher("appraise", self._judge, max_batch_size=size, max_wait_ms=0)
        self._settle = Batcher("settle", self._write, max_batch_size=size, max_wait_ms=wait)
        self._park = Batcher("park", self._put_away, max_batch_size=256, max_wait_ms=0)

        self._all: tuple[Batcher[Any, Any], ...] = (
            self._arrive, self._read, self._appraise, self._settle, self._park,
        )  # fmt: skip

    def __enter__(self) -> Self:
        for stage in self._all:
            stage.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for stage in self._all:
            stage.close()

    def hurry(self) -> None:
        """Shutdown has begun: finish what can be finished, give back what waits for a lost service."""
        for stage in self._all:
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
        read = through(self._read, [(entry, (seen, live)) for entry, seen in admitted])
        for _, (batch, _) in read:
            # In this thread: a batch of the next stage is made of what is ready, and waits for nobody.
            batch.wait()
        for _, outcome in through(self._settle, through(self._appraise, read)):
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

        fresh = [(place, ((reflection, None), False)) for place, reflection in enumerate(reflections)]
        settled = through(self._settle, through(self._appraise, through(self._read, fresh)))
        for future in self._park.submit(letters):
            future.result()
        return sum(outcome == "written" for _, outcome in settled)

    def park(self, letter: DeadLetter) -> None:
        """Parks one letter; waits for the database as long as the stage is open."""
        self._park.submit([letter], live=True)[0].result()

    def _accept(self, batch: Sequence[Arriving]) -> list[Welcome]:
        reflections = [_reflection(entry) for entry, _, _ in batch]
        looks = self._pipeline.look(reflections)
        arrivals = [
            Arrival(
                reflection=reflection,
                screen=look.risk,
                message_id=message_id,
                position=entry.position,
                payload=entry.payload,
            )
            for reflection, look, (entry, message_id, _) in zip(reflections, looks, batch, strict=True)
        ]
        # A batch is of one lane: the batcher never mixes them.
        admissions = deliveries.accept(
            self._store, arrivals, (), model_version=self._pipeline.model_version, lane=batch[0][2]
        )
        return list(zip(admissions, looks, strict=True))

    def _look(self, batch: Sequence[tuple[Seen, bool]]) -> list[Reading]:
        read = Read([seen for seen, _ in batch], self._pipeline, live=batch[0][1])
        return [(read, row) for row in range(len(batch))]

    def _judge(self, batch: Sequence[Reading]) -> list[Appraised]:
        appraised: list[Appraised] = []
        for read, row in batch:
            if read.failed:  # with its batch: only by itself can it show whether it is the culprit
                read, row = Read([read.seen[row]], self._pipeline, live=read.live), 0
            appraised.append((read.appraised()[row], read))
        return appraised

    def _write(self, batch: Sequence[Appraised]) -> list[str]:
        appraisals = [appraisal for appraisal, _ in batch]
        settled = perceptions.settle(
            self._store,
            appraisals,
            partial(self._place, live=batch[0][1].live),
            model_version=self._pipeline.model_version,
            timings=[read.timings for _, read in batch],
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

    def _place(self, items: Sequence[tuple[Trace, Timeline]], *, live: bool) -> Sequence[Placement]:
        started = spans.now()
        placements = self._pipeline.place(items)
        spans.record("place", started, size=len(items), live=live)
        return placements

    def _put_away(self, letters: Sequence[DeadLetter]) -> list[None]:
        dead_letters.park(self._store, letters)
        for letter in letters:
            metrics.DEAD_LETTERS.labels(letter.reason).inc()
        return [None] * len(letters)


def _once(admitted: Sequence[tuple[Entry, Welcome]], tally: Counter[str]) -> list[tuple[Entry, Seen]]:
    """What is still to be enriched, each revision once however often the message holds it; counts the
    rest."""
    names = {Kind.DONE: "duplicate", Kind.STALE: "stale", Kind.CONFLICT: "conflict", Kind.ERASED: "erased"}
    chosen: dict[tuple[str, int], tuple[Entry, Seen]] = {}
    for entry, (admission, look) in admitted:
        reflection = _reflection(entry)
        if not admission.to_enrich:
            tally[names[admission.kind]] += 1
        elif (reflection.id, reflection.revision) in chosen:
            tally["duplicate"] += 1
        else:
            chosen[reflection.id, reflection.revision] = (entry, (reflection, look))
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
