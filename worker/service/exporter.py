"""`feltsense metrics`: how things stand in broker and database as Prometheus reads it, also when no worker
lives. A scrape never fails: what cannot be asked is left out, counted, and its `feltsense_up` is 0."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from worker.client.addresses import broker_url, database_url
from worker.errors import FeltsenseError
from worker.events.variables import LEVELS
from worker.observability import metrics
from worker.observability.logging import failure, logger
from worker.service import queues
from worker.service.queues import LANES, Queues
from worker.settings import Settings
from worker.store import standing
from worker.store.engine import Store
from worker.store.standing import NOTHING

FRESH_S = 2.0
"""An answer this old is given again: many scrapers ask broker and database no more often than one."""
HEAVY_FRESH_S = 30.0
BUDGET_S = 3.0
"""After so long a scrape asks no further question: Prometheus waits for 10 s, we for a silent server 5."""


class _Asked:
    """A question to a source, with its last answer: metrics, or None where there was none."""

    def __init__(self, source: str, ask: Callable[[], Iterator[Metric]], fresh_s: float) -> None:
        self.source = source
        self._ask = ask
        self._fresh_s = fresh_s
        self._at = float("-inf")
        self._answer: list[Metric] | None = None

    def answer(self, until: float) -> list[Metric] | None:
        """Asks anew where the last answer is too old; not after `until`, on the monotonic clock."""
        now = time.monotonic()
        if now - self._at >= self._fresh_s:
            if now > until:
                return None
            try:
                self._answer = list(self._ask())
            except Exception as error:  # noqa: BLE001  a scrape must not fail: it tells what did
                self._answer = None
                told = {"detail": str(error)} if isinstance(error, FeltsenseError) else failure(error)
                logger.warning("exporter_failed", source=self.source, **told)
            self._at = time.monotonic()
        return self._answer


class Exporter(Collector):
    """Asks when it is scraped, from any thread."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._store: Store | None = None
        self._address = ""
        self._ages = queues.Ages()
        self._lock = threading.Lock()
        self._asked = (
            _Asked("broker", self._queues, FRESH_S),
            _Asked("disk", self._disk, FRESH_S),
            _Asked("database", self._unfinished, FRESH_S),
            _Asked("database", self._letters, FRESH_S),
            _Asked("database", self._serving, FRESH_S),
            _Asked("database", self._risks, HEAVY_FRESH_S),
            _Asked("database", self._backlogs, HEAVY_FRESH_S),
            _Asked("database", self._rebuilds, HEAVY_FRESH_S),
        )
        self._errors = {asked.source: 0 for asked in self._asked}

    def describe(self) -> list[Metric]:
        """Nothing: to be registered must not cost a look."""
        return []

    def collect(self) -> Iterator[Metric]:
        up = dict.fromkeys(self._errors, 0)
        found: list[Metric] = []
        with self._lock:
            until = time.monotonic() + BUDGET_S
            for asked in self._asked:
                answer = asked.answer(until)
                if answer is None:
                    self._errors[asked.source] += 1
                else:
                    up[asked.source] = 1
                    found += answer
            errors = CounterMetricFamily(
                "feltsense_exporter_errors", "Questions without an answer, by source.", labels=["source"]
            )
            for source, count in self._errors.items():
                errors.add_metric([source], count)
        yield from found
        yield errors
        yield _gauge("feltsense_up", "1 where the source answers.", "source", up)

    def close(self) -> None:
        if self._store is not None:
            self._store.close()

    def _database(self) -> Store:
        """A started instance may be another than before: the address is asked for each time."""
        address = database_url(self._settings)
        if self._store is None or address != self._address:
            self.close()
            self._store, self._address = Store.open(address, pool_size=1), address
        return self._store

    def _queues(self) -> Iterator[Metric]:
        found = queues.look(broker_url(self._settings), lease_s=self._settings.lease_s)
        yield _gauge("feltsense_queue_messages", "Messages that wait, by lane.", "lane", found.waiting)
        yield _gauge(
            "feltsense_queue_oldest_seconds",
            "How long the oldest waiting message has waited, at least.",
            "lane",
            self._ages.of(found),
        )
        yield from _broker(found)

    def _disk(self) -> Iterator[Metric]:
        usage = shutil.disk_usage(self._settings.run_dir)
        yield GaugeMetricFamily("feltsense_disk_free_bytes", "Room on the run folder's disk.", usage.free)
        yield GaugeMetricFamily("feltsense_disk_bytes", "Size of the run folder's disk.", usage.total)

    def _unfinished(self) -> Iterator[Metric]:
        found = standing.unfinished(self._database())
        every = {lane: found.get(lane, NOTHING) for lane in LANES}
        yield _gauge(
            "feltsense_unfinished_events",
            "Events accepted and without a row yet, by lane.",
            "lane",
            {lane: one.count for lane, one in every.items()},
        )
        yield _gauge(
            "feltsense_unfinished_oldest_seconds",
            "Age of the oldest of them.",
            "lane",
            {lane: one.oldest_s for lane, one in every.items()},
        )
        yield GaugeMetricFamily(
            "feltsense_unowned_events",
            "Events whose worker fell silent, and that no other has taken yet.",
            standing.unowned(self._database()),
        )

    def _letters(self) -> Iterator[Metric]:
        yield _gauge(
            "feltsense_dead_letters_waiting",
            "Dead letters that nobody has sent again, by reason.",
            "reason",
            standing.letters(self._database()),
        )

    def _risks(self) -> Iterator[Metric]:
        found = standing.risks(self._database())
        every = {level: found.get(level, NOTHING) for level in LEVELS[2:]}
        yield _gauge(
            "feltsense_risk_waiting",
            "Reflections that wait for a reviewer, by level.",
            "level",
            {level: one.count for level, one in every.items()},
        )
        yield _gauge(
            "feltsense_risk_oldest_seconds",
            "How long the oldest of them has waited.",
            "level",
            {level: one.oldest_s for level, one in every.items()},
        )

    def _backlogs(self) -> Iterator[Metric]:
        repairs = standing.repairs(self._database())
        chosen = self._settings
        yield GaugeMetricFamily(
            "feltsense_repairs_waiting", "Changes of the past still to be worked in.", repairs.count
        )
        yield GaugeMetricFamily(
            "feltsense_repairs_oldest_seconds", "Age of the oldest of them.", repairs.oldest_s
        )
        yield _gauge(
            "feltsense_retention_overdue",
            "What retention should have forgotten by now, by kind.",
            "kind",
            standing.overdue(
                self._database(), text_days=chosen.retention_text_days, days=chosen.retention_days
            ),
        )
        yield GaugeMetricFamily(
            "feltsense_database_bytes", "Size of the database.", standing.size(self._database())
        )

    def _serving(self) -> Iterator[Metric]:
        if (found := standing.serving(self._database())) is not None:
            yield _gauge(
                "feltsense_active_model", "1 for the version readers get.", "version", {found.version: 1}
            )
            yield GaugeMetricFamily(
                "feltsense_active_model_since_timestamp_seconds",
                "When it was activated.",
                found.since.timestamp(),
            )

    def _rebuilds(self) -> Iterator[Metric]:
        yield _gauge(
            "feltsense_rebuild_timestamp_seconds",
            "When the newest rebuild of a state ended (running: began).",
            "state",
            {
                state: (run.finished_at or run.started_at).timestamp()
                for state, run in standing.rebuilds(self._database()).items()
            },
        )
        slots = GaugeMetricFamily(
            "feltsense_slot_timestamp_seconds",
            "When the newest scheduled time of a task and state ended (running: began).",
            labels=["task", "state"],
        )
        for labels, at in standing.slots(self._database()).items():
            slots.add_metric(labels, at.timestamp())
        yield slots


@contextmanager
def serving(settings: Settings) -> Iterator[int]:
    """Serve while the block runs; yields the port. Raises `ServiceMissing` when it is taken."""
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    exporter = Exporter(settings)
    registry.register(exporter)
    try:
        with metrics.served(
            settings.exporter_port,
            "exporter",
            settings.run_dir,
            host=settings.metrics_host,
            registry=registry,
        ) as port:
            logger.info("exporter_serves", metrics_port=port)
            yield port
    finally:
        exporter.close()


def _broker(found: Queues) -> Iterator[Metric]:
    yield GaugeMetricFamily("feltsense_messages_held", "Messages in workers' hands.", found.held)
    yield GaugeMetricFamily(
        "feltsense_messages_held_oldest_seconds", "How long the oldest of them is held.", found.held_s
    )
    yield GaugeMetricFamily(
        "feltsense_workers", "Workers that gave a sign of life within a lease.", len(found.pulses)
    )
    yield GaugeMetricFamily(
        "feltsense_worker_silence_seconds",
        "Since the quietest worker's sign of life.",
        max(found.pulses, default=0),
    )
    yield GaugeMetricFamily("feltsense_broker_memory_bytes", "Memory of the broker.", found.memory)
    yield GaugeMetricFamily(
        "feltsense_broker_memory_limit_bytes", "Its limit; 0 is none.", found.memory_limit
    )


def _gauge(name: str, told: str, label: str, values: Mapping[str, float]) -> Metric:
    family = GaugeMetricFamily(name, told, labels=[label])
    for value, number in values.items():
        family.add_metric([value], number)
    return family
