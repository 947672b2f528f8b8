"""Numbers of what runs on a schedule (trainer, slots, drift checks) for Prometheus. A process that records
them serves them with `metrics.served(port, "trainer", run_dir)`. Never a text, an id or a person."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from prometheus_client import Counter, Gauge, Histogram

RUNS = Counter("feltsense_training_runs", "Scheduled work: done, failed.", ["task", "outcome"])
SLOTS = Counter("feltsense_slots", "Scheduled times: taken, skipped, lost.", ["task", "outcome"])
STEP = Gauge("feltsense_training_step", "1 while a step of a rebuild runs.", ["step"])
STEP_SECONDS = Histogram(
    "feltsense_training_step_seconds",
    "How long a step of a rebuild took.",
    ["step"],
    buckets=(1, 5, 15, 60, 300, 900, 1800, 3600, 7200, 14400),
)
DRIFT = Gauge("feltsense_drift", "Drift in parts of its threshold: 1 is the alarm.", ["measure", "slice"])
DRIFT_ALARM = Gauge("feltsense_drift_alarm", "1 while the last check stands over a threshold.", ["measure"])
CHALLENGES = Counter("feltsense_challenges", "Verdicts on challengers: promoted, refused.", ["verdict"])


@contextmanager
def step(name: str) -> Iterator[None]:
    """Marks the block as a rebuild's step `name`, of a fixed set, and records how long it took."""
    started = time.perf_counter()
    with STEP.labels(name).track_inprogress():
        try:
            yield
        finally:
            STEP_SECONDS.labels(name).observe(time.perf_counter() - started)


def run_ended(task: str, *, failed: bool) -> None:
    """A scheduled task has ended."""
    RUNS.labels(task, "failed" if failed else "done").inc()
