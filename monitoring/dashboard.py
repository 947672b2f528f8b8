"""The Grafana dashboard, written once as a list of panels: `python -m monitoring.dashboard` makes
`dashboard.json` of it, a test asks a real Prometheus every one of its questions, and `monitoring.picture`
draws it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FILE = Path(__file__).parent / "dashboard.json"
SOURCE = {"type": "prometheus", "uid": "prometheus"}
COLUMNS, WIDTH, HEIGHT = 3, 8, 7
RATE = "[$__rate_interval]"
EVENTS = f"sum(rate(feltsense_events_total{{outcome='written'}}{RATE}))"
P = "histogram_quantile({}, sum by (le{}) (rate({}_bucket{}" + RATE + ")))"
LIVE, BULK = "{lane='reflections'}", "{lane='reflections.bulk'}"


@dataclass(frozen=True, kw_only=True)
class Ask:
    """A question to Prometheus, how its answers are called, and why it may rightly have none."""

    expr: str
    legend: str
    empty: str | None = None


@dataclass(frozen=True, kw_only=True)
class Panel:
    """One panel; `unit` in Grafana's words."""

    title: str
    unit: str
    asks: tuple[Ask, ...]


@dataclass(frozen=True, kw_only=True)
class Row:
    title: str
    panels: tuple[Panel, ...]


def _panel(title: str, unit: str, *asks: tuple[str, str] | tuple[str, str, str]) -> Panel:
    made = tuple(Ask(expr=expr, legend=legend, empty=why[0] if why else None) for expr, legend, *why in asks)
    return Panel(title=title, unit=unit, asks=made)


NO_TRAINER = "no trainer process runs"
NO_SLOT = "nothing is scheduled"
NO_LIMIT = "retention is asked about only where a setting limits it"
NO_FAILURE = "no device failed"
NO_SHADOW = "only other devices than the CPU are repeated on it"
ROWS = (
    Row(
        title="The way of an event",
        panels=(
            _panel("Events by outcome", "ops", (f"sum by (outcome) (rate(feltsense_events_total{RATE}))", "{{outcome}}")),
            _panel("Messages that wait", "short", ("feltsense_queue_messages", "{{lane}}"), ("feltsense_messages_held", "in workers' hands")),
            _panel(
                "Age of the oldest", "s",
                ("feltsense_queue_oldest_seconds", "waiting, {{lane}}"),
                ("feltsense_unfinished_oldest_seconds", "accepted, {{lane}}"),
            ),
            _panel(
                "Message, start to commit", "s",
                (P.format(0.5, "", "feltsense_message_seconds", LIVE), "live p50"),
                (P.format(0.99, "", "feltsense_message_seconds", LIVE), "live p99"),
                (P.format(0.99, "", "feltsense_message_seconds", BULK), "bulk p99"),
            ),
            _panel("Stages, p99 of a batch", "s", (P.format(0.99, ", stage", "feltsense_stage_seconds", ""), "{{stage}}")),
            _panel(
                "Batch size, mean", "short",
                (f"sum by (stage) (rate(feltsense_batch_size_sum{RATE})) / sum by (stage) (rate(feltsense_batch_size_count{RATE}))", "{{stage}}"),
            ),
        ),
    ),
    Row(
        title="What came of them",
        panels=(
            _panel("Risk of new rows", "ops", (f"sum by (level) (rate(feltsense_risks_total{RATE}))", "{{level}}")),
            _panel(
                "Emotions left open, share of rows", "percentunit",
                (f"sum by (variable) (rate(feltsense_abstentions_total{RATE})) / on () group_left () {EVENTS}", "{{variable}}"),
                (f"sum(rate(feltsense_unsupported_languages_total{RATE})) / {EVENTS}", "language not supported"),
            ),
            _panel("Waiting for a reviewer", "short", ("feltsense_risk_waiting", "{{level}}")),
            _panel("Longest wait for a reviewer", "s", ("feltsense_risk_oldest_seconds", "{{level}}")),
            _panel("Dead letters", "short", ("feltsense_dead_letters_waiting", "{{reason}}")),
            _panel(
                "Backlogs", "short",
                ("feltsense_repairs_waiting", "repairs"), ("feltsense_retention_overdue", "retention, {{kind}}", NO_LIMIT),
            ),
        ),
    ),
    Row(
        title="Workers, devices and models",
        panels=(
            _panel("Workers", "short", ("feltsense_workers", "alive"), ("feltsense_unowned_events", "events of silent ones")),
            _panel(
                "Lost leases and starts, last hour", "short",
                ("sum by (found) (increase(feltsense_leases_lost_total[1h]))", "{{found}}"),
                ("changes(process_start_time_seconds{job=~'feltsense.*'}[1h])", "starts of {{process}}"),
            ),
            _panel(
                "Rows by device", "ops",
                (f"sum by (component, device, precision) (rate(feltsense_device_rows_total{RATE}))", "{{component}} {{device}} {{precision}}"),
            ),
            _panel(
                "Devices that failed or drifted", "short",
                ("sum by (component, device, kind) (increase(feltsense_device_failures_total[1h]))", "{{component}} {{device}} {{kind}}", NO_FAILURE),
                ("sum by (component, device) (increase(feltsense_shadow_runs_total{outcome='drifts'}[1h]))", "{{component}} {{device}} drifts", NO_SHADOW),
            ),
            _panel("Model versions served", "short", ("sum by (version) (feltsense_model)", "{{version}}"), ("feltsense_active_model", "active: {{version}}")),
            _panel(
                "Since the activation, and swaps", "s",
                ("time() - feltsense_active_model_since_timestamp_seconds", "active since"),
                ("sum by (outcome) (increase(feltsense_swaps_total[1h]))", "{{outcome}}, last hour"),
            ),
        ),
    ),
    Row(
        title="Schedule and services",
        panels=(
            _panel(
                "Drift, in parts of its threshold", "short",
                ("feltsense_drift", "{{measure}} {{slice}}", NO_TRAINER), ("feltsense_drift_alarm", "alarm: {{measure}}", NO_TRAINER),
            ),
            _panel(
                "Scheduled work", "short",
                ("sum by (task, outcome) (increase(feltsense_slots_total[1h]))", "{{task}} {{outcome}}", NO_TRAINER),
                ("sum by (task) (increase(feltsense_scheduled_total[1h]))", "{{task}} sent", NO_SLOT),
                ("sum by (step) (feltsense_training_step)", "step {{step}}", NO_TRAINER),
                ("time() - feltsense_slot_timestamp_seconds", "{{task}} {{state}}: seconds ago", NO_SLOT),
            ),
            _panel("Services that answer", "short", ("feltsense_up", "{{source}}"), (f"sum by (source) (rate(feltsense_exporter_errors_total{RATE}))", "errors of {{source}}")),
            _panel("Memory and size", "bytes", ("feltsense_broker_memory_bytes", "broker"), ("feltsense_database_bytes", "database")),
            _panel(
                "Room left", "percentunit",
                ("feltsense_disk_free_bytes / feltsense_disk_bytes", "disk"),
                ("1 - feltsense_broker_memory_bytes / (feltsense_broker_memory_limit_bytes > 0)", "broker", "a broker without a limit"),
            ),
            _panel("Memory of processes", "bytes", ("process_resident_memory_bytes{job=~'feltsense.*'}", "{{process}} {{instance}}")),
            _panel("CPU of processes", "percentunit", (f"rate(process_cpu_seconds_total{{job=~'feltsense.*'}}{RATE})", "{{process}} {{instance}}")),
        ),
    ),
)  # fmt: skip


def dashboard() -> dict[str, Any]:
    """As Grafana imports it."""
    return {
        "uid": "feltsense",
        "title": "Feltsense",
        "schemaVersion": 39,
        "editable": True,
        "refresh": "10s",
        "time": {"from": "now-1h", "to": "now"},
        "panels": list(_panels()),
    }


def _panels() -> Iterator[dict[str, Any]]:
    number, top = 1, 0
    for row in ROWS:
        yield {
            "id": number,
            "type": "row",
            "title": row.title,
            "gridPos": {"x": 0, "y": top, "w": 24, "h": 1},
        }
        number, top = number + 1, top + 1
        for place, panel in enumerate(row.panels):
            down, across = divmod(place, COLUMNS)
            yield {
                "id": number,
                "type": "timeseries",
                "title": panel.title,
                "datasource": SOURCE,
                "gridPos": {"x": across * WIDTH, "y": top + down * HEIGHT, "w": WIDTH, "h": HEIGHT},
                "fieldConfig": {"defaults": {"unit": panel.unit, "min": 0}, "overrides": []},
                "targets": [
                    {
                        "refId": chr(ord("A") + n),
                        "expr": ask.expr,
                        "legendFormat": ask.legend,
                        "datasource": SOURCE,
                    }
                    for n, ask in enumerate(panel.asks)
                ],
            }
            number += 1
        top += HEIGHT * -(-len(row.panels) // COLUMNS)


if __name__ == "__main__":
    FILE.write_text(json.dumps(dashboard(), indent=1) + "\n")
