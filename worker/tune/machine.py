"""What `feltsense tune` measures: the product's own parts on this machine, with the operator's kind of texts.

Each measure is the cost of one reflection in seconds:
`encoder`: many texts through the encoder alone;
`steps`: through the pipeline, batch after batch, without any service;
`bulk`: from full messages to the last committed row, through the stages into a database of its own;
`single`: the same with one reflection a message, as the live lane has it;
`live`: from arrival to committed row, at half of what `single` could do.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from statistics import fmean
from types import TracebackType
from typing import Any, Self

from worker.embedded import rundir
from worker.embedded.postgres import Postgres
from worker.events.message import BULK, LIVE
from worker.events.reflection import Reflection
from worker.events.timeline import timelines
from worker.features.schema import HISTORY
from worker.pipeline import Pipeline
from worker.service.stages import Stages
from worker.settings import Settings
from worker.store.engine import Store
from worker.tune.load import Event, Sample, burst, trickle
from worker.tune.search import Values

STAGED = ("max_batch_size", "max_wait_ms")
"""Settings of the stages alone: no model is opened anew for them."""
SERVED = ("bulk", "single", "live")
MESSAGE = 64
"""Events in a bulk message, as the publisher makes them."""
PROBE = 64
PARTS = {"encoder": 1 / 200, "steps": 1 / 100, "bulk": 1 / 60, "single": 1 / 200, "live": 1 / 100}
"""How much of the whole time a measurement takes, about: enough to be steady, and to repeat it."""
HALF = 0.5


class Machine:
    """The bench of the search. Use it in a `with` block: models, database and folder go with it."""

    def __init__(
        self, settings: Settings, rows: Sequence[tuple[Event, Reflection]], *, seconds: float
    ) -> None:
        # The operator's own database must not fill with these rows, nor their endpoint with these questions.
        own = {"database_url": None, "llm_url": None, "run_dir": settings.run_dir.absolute() / "tune"}
        self._settings = settings.model_copy(update=own)
        self._sample = Sample(rows)
        self._seconds = seconds
        self._pipelines: dict[str, Pipeline] = {}
        self._store: Store | None = None
        self._opened = ExitStack()
        self._warm: set[tuple[str, str, object]] = set()
        self._arrivals_per_s = 0.0
        self.rate = 0.0
        """Texts a second of the encoder as it was opened first; sizes all measurements."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for pipeline in self._pipelines.values():
            pipeline.close()
        self._opened.close()

    def prepare(self, measure: str, values: Values) -> str:
        """As `Bench.prepare`; raises what opening a pipeline or a database does."""
        pipeline = self._pipeline(values)
        if measure in SERVED and self._store is None:
            self._store = self._opened.enter_context(_database(self._settings))
        warmth = (measure, _opens(values), values["max_batch_size"])  # other batches are other shapes
        if warmth not in self._warm:
            self._warm.add(warmth)
            self._measures["single" if measure == "live" else measure](values)
        if measure == "live" and not self._arrivals_per_s:
            self._arrivals_per_s = HALF / self._single(values)
        placed = pipeline.facts()["encoder"]
        told: dict[str, Any] = {**values, "precision": (placed["device"], placed["precision"])}
        if measure == "steps":  # what is larger than all there is makes the same batches
            told["max_batch_size"] = min(int(told["max_batch_size"]), self._number("steps"))
        return repr(sorted(told.items()))

    def cost(self, measure: str, values: Values) -> float:
        """As `Bench.cost`, of a measure that was prepared."""
        return self._measures[measure](values)

    def release(self, keep: Values) -> None:
        """Close the pipelines that `keep` does not use."""
        for key in [key for key in self._pipelines if key != _opens(keep)]:
            self._pipelines.pop(key).close()
            self._warm = {warmth for warmth in self._warm if warmth[1] != key}

    def encoder(self, values: Values) -> dict[str, Any]:
        """Device and precision of the encoder, as the pipeline tells them."""
        return dict(self._pipeline(values).facts()["encoder"])

    @property
    def _measures(self) -> Mapping[str, Callable[[Values], float]]:
        return {
            "encoder": self._encode,
            "steps": self._step,
            "bulk": self._bulk,
            "single": self._single,
            "live": self._live,
        }

    def _pipeline(self, values: Values) -> Pipeline:
        key = _opens(values)
        if key not in self._pipelines:
            self._pipelines[key] = Pipeline.open(settings=self._settings.model_copy(update=dict(values)))
        if not self.rate:
            for _ in range(2):  # the second finds its shapes warm
                self.rate = 1 / self._encode(values, PROBE)
        return self._pipelines[key]

    def _number(self, measure: str) -> int:
        """Reflections in a measurement, powers of two: whole batches of every size."""
        wanted = self.rate * self._seconds * PARTS[measure]
        return 1 << min(max(int(wanted).bit_length() - 1, 5), 12)

    def _encode(self, values: Values, number: int = 0) -> float:
        pipeline, size = self._pipelines[_opens(values)], int(str(values["max_batch_size"]))
        reflections = self._sample.reflections(number or self._number("encoder"))
        readings = [pipeline.read(part) for part in _batches(reflections, size)]
        started = time.perf_counter()
        for future in [pipeline.encode(one) for one in readings]:
            future.result()
        return (time.perf_counter() - started) / len(reflections)

    def _step(self, values: Values) -> float:
        pipeline, size = self._pipelines[_opens(values)], int(str(values["max_batch_size"]))
        reflections = self._sample.reflections(self._number("steps"))
        started = time.perf_counter()
        for batch in _batches(reflections, size):
            readings = pipeline.read(batch, pipeline.look(batch))
            traces = [one.trace for one in pipeline.appraise(readings, pipeline.encode(readings).result())]
            people, moments = [one.user_id for one in traces], [one.moment for one in traces]
            pipeline.place(list(zip(traces, timelines(people, moments, len(HISTORY)), strict=True)))
        return (time.perf_counter() - started) / len(reflections)

    def _bulk(self, values: Values) -> float:
        number = self._number("bulk")
        messages = self._sample.messages(number, MESSAGE)
        with self._stages(values) as stages:
            return burst(stages, messages, lane=BULK, hands=self._settings.concurrency) / number

    def _single(self, values: Values) -> float:
        number = self._number("single")
        messages = self._sample.messages(number, 1)
        with self._stages(values) as stages:
            return burst(stages, messages, lane=LIVE, hands=self._settings.concurrency) / number

    def _live(self, values: Values) -> float:
        number = max(32, int(self._arrivals_per_s * self._seconds * PARTS["live"]))
        messages, hands = self._sample.messages(number, 1), self._settings.concurrency
        with self._stages(values) as stages:
            return fmean(trickle(stages, messages, lane=LIVE, hands=hands, rate=self._arrivals_per_s))

    def _stages(self, values: Values) -> Stages:
        assert self._store is not None, "prepared"
        size, wait = int(str(values["max_batch_size"])), float(str(values["max_wait_ms"]))
        pipeline = self._pipelines[_opens(values)]
        return Stages(pipeline, self._store, max_batch_size=size, max_wait_ms=wait)


def _opens(values: Values) -> str:
    """Which pipeline these values need, as a key."""
    return repr(sorted((name, value) for name, value in values.items() if name not in STAGED))


def _batches(reflections: Sequence[Reflection], size: int) -> Iterator[Sequence[Reflection]]:
    for start in range(0, len(reflections), size):
        yield reflections[start : start + size]


@contextmanager
def _database(settings: Settings) -> Iterator[Store]:
    """A database of this run's own: empty, without texts, gone afterwards. Raises `ServiceMissing`."""
    with rundir.claimed(settings.run_dir) as lock, ExitStack() as stack:
        server = Postgres(
            settings.run_dir / "postgres", log=settings.run_dir / "postgres.log", keep_open=(lock,)
        )
        server.remove()  # what a killed run left
        stack.callback(server.remove)
        store = stack.enter_context(Store.open(server.start(), keep_text=False))
        store.migrate()
        yield store
