"""Numbers of what runs on a schedule (trainer, slots, drift checks) for Prometheus. A process that records
them serves them with `metrics.served(port, "trainer", run_dir)`. Never a text, an id or a person."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

RUNS = Counter("feltsense_training_runs", "Scheduled work: done, failed.", ["task", "outcome"])
SLOTS = Counter("feltsense_slots", "Scheduled times: taken, skipped.", ["task", "outcome"])
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


def step_began(name: str) -> None:
    """A rebuild's step `name`, of a fixed set, has begun."""
    STEP.labels(name).set(1)


def step_ended(name: str, seconds: float) -> None:
    """It has ended, after so many seconds."""
    STEP.labels(name).set(0)
    STEP_SECONDS.labels(name).observe(seconds)


def run_ended(task: str, *, failed: bool) -> None:
    """A scheduled task has ended."""
    RUNS.labels(task, "failed" if failed else "done").inc()
