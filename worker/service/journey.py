"""One event on its way through the stages, and its message, which is done when all its events are."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import Future

from worker.events.message import Entry
from worker.events.perception import Appraisal
from worker.events.reflection import Reflection
from worker.inference.lanes import Encoded
from worker.observability import spans
from worker.pipeline import Look, Pipeline, Readings
from worker.service.serving import Served
from worker.store.dead_letters import DeadLetter
from worker.store.leases import ATTEMPTS


class Message:
    """What became of a message's events. Its own thread waits; the stages' threads report."""

    def __init__(self, id_: str, events: int, *, live: bool) -> None:
        self.id = id_
        self.live = live
        self._left = events
        self._tally: Counter[str] = Counter()
        self._error: Exception | None = None
        self._claimed: set[tuple[str, int]] = set()
        self._lock = threading.Lock()
        self._done = threading.Event()
        if not events:
            self._done.set()

    def claim(self, reflection: Reflection) -> bool:
        """Whether this revision is the first such of the message: however often it holds one, one is
        enriched."""
        key = (reflection.id, reflection.revision)
        fresh = key not in self._claimed
        self._claimed.add(key)
        return fresh

    def ended(self, outcome: str) -> None:
        """An event has come to rest."""
        with self._lock:
            self._tally[outcome] += 1
        self._one_less()

    def lost(self, error: Exception) -> None:
        """An event was given up for a service that is away: the message must come again."""
        with self._lock:
            self._error = self._error or error
        self._one_less()

    def _one_less(self) -> None:
        with self._lock:
            self._left -= 1
            last = self._left == 0
        if last:
            self._done.set()

    def wait(self) -> dict[str, int]:
        """How many events ended how. Raises the error of one that was given up."""
        self._done.wait()
        if self._error is not None:
            raise self._error
        return dict(self._tally)


class Turn:
    """A live batch's leave to go through the stages; `leave` is called when its last event has ended."""

    def __init__(self, events: int, leave: Callable[[], None]) -> None:
        self._left = events
        self._leave = leave
        self._lock = threading.Lock()

    def one_ended(self) -> None:
        with self._lock:
            self._left -= 1
            last = self._left == 0
        if last:
            self._leave()


class Journey:
    """An event between two stages: what is known of it so far. `place` is its position in the message
    `message_id`, which brought it first; `attempts` of it ended with their worker. `served` is the pipeline
    it began with; `recalled` says that its person's history was looked for."""

    __slots__ = (
        "appraisal", "attempts", "entry", "look", "message", "message_id", "over", "place", "read",
        "recalled", "reflection", "row", "served", "turn",
    )  # fmt: skip

    def __init__(self, message: Message, reflection: Reflection, place: int, entry: Entry | None) -> None:
        self.message = message
        self.reflection = reflection
        self.place = place
        self.entry = entry
        self.look: Look | None = None
        self.read: Read | None = None
        self.row = 0
        self.appraisal: Appraisal | None = None
        self.turn: Turn | None = None
        self.attempts = 0
        self.message_id = message.id
        self.over: Callable[[], None] | None = None
        self.served: Served | None = None
        self.recalled = False

    def ended(self, outcome: str) -> None:
        self._left()
        self.message.ended(outcome)

    def lost(self, error: Exception) -> None:
        self._left()
        self.message.lost(error)

    def letter(self, failed: str, *, reason: str = "enrichment_failed") -> DeadLetter:
        """Its dead letter; `failed` says how the last attempt ended, as stage and class of the error."""
        return DeadLetter(
            message_id=self.message_id,
            position=self.place,
            reason=reason,
            detail=failed,
            attempts=ATTEMPTS,
            reflection_id=self.reflection.id,
            revision=self.reflection.revision,
            user_id=self.reflection.user_id,
            payload=self.entry.payload if self.entry is not None else None,
        )

    def _left(self) -> None:
        if self.turn is not None:
            self.turn.one_ended()
            self.turn = None
        if self.over is not None:
            self.over()
            self.over = None
        if self.served is not None:
            self.served.leave()
            self.served = None


class Read:
    """A batch as it was read, its embeddings on their way; with it, in the same calls, `earlier` reflections
    that are done again, whose appraisals become its `history`."""

    def __init__(
        self, journeys: Sequence[Journey], pipeline: Pipeline, earlier: Sequence[Reflection] = ()
    ) -> None:
        self._pipeline = pipeline
        started = spans.now()
        reflections = [*(one.reflection for one in journeys), *earlier]
        looks = [one.look or pipeline.look([one.reflection])[0] for one in journeys]
        looks += pipeline.look(earlier)
        self._readings: Readings = pipeline.read(reflections, looks)
        submitted = spans.now()
        self.encoded: Future[Encoded] = pipeline.encode(self._readings, live=journeys[0].message.live)
        self._appraisals: list[Appraisal] | None = None
        self._own = len(journeys)
        self.history: list[Appraisal] = []
        self.failed = False
        self.timings = {"read": submitted - started}
        self.encoded.add_done_callback(lambda _: self.timings.__setitem__("encode", spans.now() - submitted))
        for row, one in enumerate(journeys):
            one.read, one.row = self, row

    def appraised(self) -> list[Appraisal]:
        """Stage A of the batch, computed once, by the appraise stage's thread. Raises what encoder or models
        raise; then `failed` is set."""
        if self._appraisals is None:
            self.failed = True
            encoded = self.encoded.result()
            started = spans.now()
            appraisals = self._pipeline.appraise(self._readings, encoded)
            self._appraisals, self.history = appraisals[: self._own], appraisals[self._own :]
            self.timings["appraise"] = spans.now() - started
            self.failed = False
        return self._appraisals


def served_of(journey: Journey) -> Served:
    """The pipeline it began with; every journey past the arrive stage has one."""
    assert journey.served is not None
    return journey.served


def read_of(journey: Journey) -> Read:
    """The batch it was read with; every journey past the read stage has one."""
    assert journey.read is not None
    return journey.read
