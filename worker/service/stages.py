"""A message's way through the worker: arrive (screened and stored), read (features, encoder), appraise
(stage A), settle (stage B, rows).

Each stage is a batcher with a thread a lane, so the encoder works on one batch while the next is read and the
one before is appraised and written, and live passes bulk in every stage. What goes through a stage together
goes on together; what fails on one event is parked for that event alone.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from functools import partial
from types import TracebackType
from typing import Any, Self
from uuid import uuid4

from worker.errors import FeltsenseError
from worker.events.message import BULK, LIVE, Entry
from worker.events.perception import Appraisal, Placement, Trace
from worker.events.reflection import Reflection
from worker.events.timeline import Timeline
from worker.observability import metrics, spans
from worker.observability.logging import failure, logger
from worker.pipeline import Look, Pipeline
from worker.service.batcher import Batcher, Closed
from worker.service.journey import Journey, Message, Read, Turn, read_of, served_of
from worker.service.progress import Progress
from worker.service.recall import recall
from worker.service.serving import Served, Serving, looks
from worker.service.trials import Trials
from worker.store import dead_letters, deliveries, leases, perceptions
from worker.store.dead_letters import DeadLetter
from worker.store.deliveries import Admission, Arrival, Kind
from worker.store.engine import Store
from worker.store.leases import ATTEMPTS, CRASHED, LEASE_S, Lease
from worker.store.stored import UNPINNED
from worker.store.unfinished import Unfinished

LIVE_UNDERWAY = 2
"""Live batches between reading and their rows. More would be smaller ones: each pays the stages' fixed cost,
and the encoder's for a call, anew; fewer would leave a core idle."""

CROWD = 16
"""Messages in hand. At half of the live lane's capacity some ten are; a lane that cannot keep up fills up."""

_NOT_ENRICHED = {
    Kind.DONE: "duplicate", Kind.PARKED: "duplicate", Kind.STALE: "stale", Kind.CONFLICT: "conflict",
    Kind.ERASED: "erased",
}  # fmt: skip
Welcome = tuple[Admission, Look]
"""What became of an arrival, and the look that was had at it."""
Parting = tuple[DeadLetter, Journey | Message]
"""A letter, and what ends with it: an event's journey, or a message's entry that never began one."""


class Held(FeltsenseError):
    """Another worker has an event of the message in hand; the message comes again until that one is done."""

    exit_code = 4
    retryable = True


class Stages:
    """The stages of one worker process over its pipelines and one store, open inside a `with` block.

    While no pipeline is open, what arrives is stored and screened, and waits.
    """

    def __init__(
        self, serving: Serving | Pipeline, store: Store, *, max_batch_size: int, max_wait_ms: float,
        lease_s: float = LEASE_S, stall_s: float = 30.0,
        faults: Callable[[Sequence[Reflection]], None] | None = None,
    ) -> None:  # fmt: skip
        self.lease = Lease(owner=uuid4().hex, seconds=lease_s)
        self.serving = serving if isinstance(serving, Serving) else Serving(serving)
        self.progress = Progress(stall_s)
        self._faults = faults
        self._store = store
        self._ending = threading.Event()
        self._counting = threading.Lock()
        self._messages = {True: 0, False: 0}
        """In hand, by whether they are live."""
        self._came = False
        self._underway = threading.BoundedSemaphore(LIVE_UNDERWAY)
        size, wait = max_batch_size, max_wait_ms
        self._arrive = Batcher(
            "arrive", self._accept, then=self._arrived, fail=partial(self._failed, "arrive"),
            max_batch_size=256, max_wait_ms=wait,
        )  # fmt: skip
        self._await = Batcher(
            "await", self._begin_late, then=lambda batch, _: self._trials.take(batch),
            fail=partial(self._failed, "await"), max_batch_size=256, max_wait_ms=0,
        )  # fmt: skip
        self._trial = Batcher(
            "trial", self._begin, then=lambda batch, _: self._forward(self._read, batch),
            fail=partial(self._failed, "trial"), max_batch_size=256, max_wait_ms=0,
        )  # fmt: skip
        self._trials = Trials(
            lambda batch: self._forward(self._read, batch), partial(self._forward, self._trial)
        )
        self._read = Batcher(
            "read", self._look, then=self._seen, fail=partial(self._failed, "read"),
            max_batch_size=size, max_wait_ms=wait, live_turn=self._underway.acquire, together=served_of,
        )  # fmt: skip
        self._appraise = Batcher(
            "appraise", self._judge, then=self._judged, fail=partial(self._failed, "appraise"),
            max_batch_size=size, max_wait_ms=0,
        )  # fmt: skip
        self._settle = Batcher(
            "settle", self._write, then=self._written, fail=partial(self._failed, "settle"),
            max_batch_size=size, max_wait_ms=wait, together=served_of,
        )  # fmt: skip
        self._park = Batcher(
            "park", self._put_away, then=self._parked, fail=self._unparked,
            max_batch_size=256, max_wait_ms=0,
        )  # fmt: skip
        self._all: tuple[Batcher[Any, Any], ...] = (
            self._arrive, self._await, self._trial, self._read, self._appraise, self._settle, self._park,
        )  # fmt: skip

    def __enter__(self) -> Self:
        for stage in self._all:
            stage.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end_waiting()
        for stage in self._all:
            stage.close()

    def hurry(self) -> None:
        """Shutdown has begun: finish what can be finished, give back what waits for a lost service."""
        self._end_waiting()
        for stage in self._all:
            stage.hurry()
        self._trials.hurry()

    def enrich(self, entries: Sequence[Entry], *, message_id: str, lane: str) -> dict[str, int]:
        """Takes a message's entries to their rows or dead letters; how many ended how, by outcome.

        Raises a retryable error when a service stays away until shutdown: then the message must come again.
        """
        message = Message(message_id, len(entries), live=lane == LIVE)
        with self._counting:
            self._came = True
            self._messages[message.live] += 1
        try:
            return self._enrich(entries, message)
        finally:
            with self._counting:
                self._messages[message.live] -= 1

    def _enrich(self, entries: Sequence[Entry], message: Message) -> dict[str, int]:
        self._park.put(
            [(_refusal(one, message.id), message) for one in entries if one.reflection is None],
            live=message.live,
        )
        self._arrive.put(
            [
                Journey(message, one.reflection, one.position, one)
                for one in entries
                if one.reflection is not None
            ],
            live=message.live,
        )
        return message.wait()

    def _end_waiting(self) -> None:
        self._ending.set()
        self.serving.wake()

    @property
    def busy(self) -> bool:
        """Whether a message is under way, or one came since this was last asked."""
        with self._counting:
            came, self._came = self._came, False
            return came or any(self._messages.values())

    @property
    def crowded(self) -> bool:
        """Whether messages come faster than they are done: what stands behind them waits until they are."""
        return sum(self._messages.values()) >= CROWD

    def resume(self, found: Sequence[Unfinished], served: Served) -> int:
        """Reads and settles with `served` what was accepted earlier and never finished; how many rows that
        wrote.

        What fails by itself is parked. Raises a retryable error when a service stays away until shutdown:
        then what has no row yet is found again.
        """
        metrics.LEASES_LOST.labels("resumed").inc(len(found))
        message = Message(f"resumed/{uuid4()}", len(found), live=False)
        onward: list[Journey] = []
        served.enter(len(found))
        for place, one in enumerate(found):
            journey = Journey(message, one.reflection, place, None)
            journey.served = served
            journey.attempts = one.attempts
            if one.message_id is not None and one.position is not None:
                journey.message_id, journey.place = one.message_id, one.position
            if one.attempts < ATTEMPTS:
                onward.append(journey)
            else:
                self._exhausted(journey)
        self._trials.take(onward)
        return message.wait().get("written", 0)

    def _exhausted(self, one: Journey) -> None:
        self._give_up(one, one.letter("the worker ended or hung", reason=CRASHED))

    def park(self, letter: DeadLetter) -> None:
        """Parks one letter; waits for the database as long as the stage is open."""
        message = Message(letter.message_id, 1, live=True)
        self._park.put([(letter, message)], live=True)
        message.wait()

    def _accept(self, batch: Sequence[Journey]) -> list[Welcome]:
        served = batch[0].served or self.serving.begin(len(batch))  # one it has where its batch failed
        for one in batch:
            one.served = served
        reflections = [one.reflection for one in batch]
        with self.progress.computing():
            seen_first = looks(served, reflections)
        arrivals = [
            Arrival(
                reflection=one.reflection,
                screen=seen.risk,
                message_id=one.message.id,
                position=one.place,
                payload=one.entry.payload if one.entry is not None else b"",
            )
            for one, seen in zip(batch, seen_first, strict=True)
        ]
        # A batch is of one lane: the batcher never mixes them.
        admissions = deliveries.accept(
            self._store,
            arrivals,
            (),
            model_version=served.version if served else UNPINNED,
            lane=LIVE if batch[0].message.live else BULK,
            lease=self.lease,
            begins=served is not None,
        )
        return list(zip(admissions, seen_first, strict=True))

    def _arrived(self, batch: Sequence[Journey], welcomes: Sequence[Welcome]) -> None:
        onward = []
        for one, (admission, seen) in zip(batch, welcomes, strict=True):
            one.attempts = admission.attempts
            if admission.attempts:
                metrics.LEASES_LOST.labels("redelivered").inc()
            if admission.kind in _NOT_ENRICHED:
                one.ended(_NOT_ENRICHED[admission.kind])
            elif admission.kind is Kind.HELD:
                one.lost(Held("another worker has an event of this message in hand"))
            elif not one.message.claim(one.reflection):
                one.ended("duplicate")
            elif admission.kind is Kind.EXHAUSTED:
                self._exhausted(one)
            else:
                one.look = seen
                onward.append(one)
        if onward and onward[0].served is None:
            self._forward(self._await, onward)
        else:
            self._trials.take(onward)

    def _begin_late(self, batch: Sequence[Journey]) -> list[None]:
        """Waits for the worker's first pipeline."""
        served = batch[0].served or self.serving.wait(len(batch), self._ending)
        for one in batch:
            one.served = served
        revisions = [(one.reflection.id, one.reflection.revision) for one in batch]
        leases.pin(self._store, revisions, self.lease, model_version=served.version)
        return [None] * len(batch)

    def _begin(self, batch: Sequence[Journey]) -> list[None]:
        leases.begin(self._store, [(one.reflection.id, one.reflection.revision) for one in batch], self.lease)
        return [None] * len(batch)

    def _look(self, batch: Sequence[Journey]) -> list[Read]:
        if batch[0].message.live and batch[0].turn is None:  # it has one where its batch failed
            turn = Turn(len(batch), self._underway.release)
            for one in batch:
                one.turn = turn
        history = recall(self._store, served_of(batch[0]), batch, crowded=self._messages[True] >= CROWD)
        with self.progress.computing():
            if self._faults is not None:
                self._faults([one.reflection for one in batch])
            return [Read(batch, served_of(batch[0]).pipeline, history)] * len(batch)

    def _seen(self, batch: Sequence[Journey], reads: Sequence[Read]) -> None:
        # Also when the encoder fails: then the appraise stage finds the culprit.
        reads[0].encoded.add_done_callback(lambda _: self._forward(self._appraise, batch))

    def _judge(self, batch: Sequence[Journey]) -> list[Appraisal]:
        with self.progress.computing():
            for one in batch:
                if read_of(one).failed:  # with its batch: alone it shows whether it is the culprit
                    Read([one], served_of(one).pipeline)
            return [read_of(one).appraised()[one.row] for one in batch]

    def _judged(self, batch: Sequence[Journey], appraisals: Sequence[Appraisal]) -> None:
        for one, appraisal in zip(batch, appraisals, strict=True):
            one.appraisal = appraisal
        self._forward(self._settle, batch)

    def _write(self, batch: Sequence[Journey]) -> list[str]:
        appraisals = [one.appraisal for one in batch if one.appraisal is not None]
        pipeline = served_of(batch[0]).pipeline
        self._write_history(pipeline, batch)
        settled = perceptions.settle(
            self._store,
            appraisals,
            partial(self._place, pipeline, live=batch[0].message.live),
            model_version=pipeline.model_version,
            timings=[read_of(one).timings for one in batch],
        )
        newest: dict[str, int] = {}
        for one in batch:
            key, revision = one.reflection.id, one.reflection.revision
            newest[key] = max(revision, newest.get(key, 0))
        written = set(settled.written)
        return [
            "written"
            if one.reflection.id in written and one.reflection.revision == newest[one.reflection.id]
            else "superseded"
            for one in batch
        ]

    def _write_history(self, pipeline: Pipeline, batch: Sequence[Journey]) -> None:
        """The rows of what was done again with the batch, before its own: they are its history."""
        for read in {id(one.read): read_of(one) for one in batch}.values():
            if not read.history:
                continue
            try:
                perceptions.settle(
                    self._store, read.history, partial(self._place, pipeline, live=batch[0].message.live),
                    model_version=pipeline.model_version, timings=[read.timings] * len(read.history),
                    again=True,
                )  # fmt: skip
            except Exception as error:
                if getattr(error, "retryable", False):
                    raise
                # The batch goes on without, and `Reenricher` tries each alone.
                logger.warning("history_failed", reflections=len(read.history), **failure(error))
            read.history = []

    def _written(self, batch: Sequence[Journey], outcomes: Sequence[str]) -> None:
        metrics.written(
            one.appraisal
            for one, outcome in zip(batch, outcomes, strict=True)
            if outcome == "written" and one.appraisal is not None
        )
        for one, outcome in zip(batch, outcomes, strict=True):
            one.ended(outcome)

    def _place(
        self, pipeline: Pipeline, items: Sequence[tuple[Trace, Timeline]], *, live: bool
    ) -> Sequence[Placement]:
        started = spans.now()
        with self.progress.computing():
            placements = pipeline.place(items)
        spans.record("place", started, size=len(items), live=live)
        return placements

    def _forward(self, stage: Batcher[Journey, Any], batch: Sequence[Journey]) -> None:
        if not batch:
            return
        try:
            stage.put(batch, live=batch[0].message.live)
        except Closed as error:
            for one in batch:
                one.lost(error)

    def _failed(self, stage: str, one: Journey, error: Exception) -> None:
        if getattr(error, "retryable", False):
            one.lost(error)
            return
        self._give_up(one, one.letter(f"{stage}: {type(error).__name__}"))

    def _give_up(self, one: Journey, letter: DeadLetter) -> None:
        try:
            self._park.put([(letter, one)], live=one.message.live)
        except Closed as closed:
            one.lost(closed)

    def _put_away(self, partings: Sequence[Parting]) -> list[None]:
        dead_letters.park(self._store, [letter for letter, _ in partings])
        for letter, _ in partings:
            metrics.DEAD_LETTERS.labels(letter.reason).inc()
        return [None] * len(partings)

    def _parked(self, partings: Sequence[Parting], _nothing: Sequence[None]) -> None:
        for _, ending in partings:
            ending.ended("failed" if isinstance(ending, Journey) else "rejected")

    def _unparked(self, parting: Parting, error: Exception) -> None:
        parting[1].lost(error)


def _refusal(entry: Entry, message_id: str) -> DeadLetter:
    assert entry.refused is not None  # an entry has a reflection or a reason why not
    return DeadLetter(
        message_id=message_id,
        position=entry.position,
        reason=entry.refused.reason,
        detail=entry.refused.detail,
        attempts=ATTEMPTS if entry.refused.reason == CRASHED else 1,
        field=entry.refused.field,
        reflection_id=entry.id,
        user_id=entry.user_id,
        payload=entry.payload,
    )
