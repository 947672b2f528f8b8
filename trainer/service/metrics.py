"""Numbers of the trainer for Prometheus: what the last check found, how rebuilds end. Never a text, an id or
a person."""

from __future__ import annotations

from prometheus_client import Counter, Gauge

DRIFT = Gauge(
    "feltsense_drift", "What the last check found beyond chance, by kind, measure and slice.",
    ["kind", "measure", "slice"],
)  # fmt: skip
ALARMS = Gauge("feltsense_drift_alarms", "Alarms of the last check.", ["kind"])
REBUILDS = Counter("feltsense_rebuilds", "Scheduled rebuilds by how they ended.", ["outcome"])
