"""Numbers about the journey for Prometheus: how long, how many, how they ended. Never a text, an id or a
person."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram, start_http_server

from worker.errors import ServiceMissing
from worker.events.variables import LEVELS
from worker.observability.logging import logger

if TYPE_CHECKING:
    from worker.events.perception import Appraisal

TARGETS = "metrics"
"""Folder in the run folder with a file a process: where its numbers are, as Prometheus reads it."""

_SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.5, 1.0, 2.0, 5.0, 15.0, 60.0)

MESSAGES = Counter("feltsense_messages", "Messages taken from the queue.", ["task", "lane"])
EVENTS = Counter("feltsense_events", "Events by how they ended.", ["outcome"])
DEAD_LETTERS = Counter("feltsense_dead_letters", "Events and messages parked, by reason.", ["reason"])
STAGE_SECONDS = Histogram(
    "feltsense_stage_seconds", "Time a stage took for a batch.", ["stage"], buckets=_SECONDS
)
BATCH_SIZE = Histogram(
    "feltsense_batch_size",
    "Reflections a stage took at once.",
    ["stage"],
    buckets=(1, 2, 4, 8, 16, 32, 64, 128, 256, 1024),
)
MESSAGE_SECONDS = Histogram(
    "feltsense_message_seconds", "From start to commit of a message.", ["lane"], buckets=_SECONDS
)
IN_FLIGHT = Gauge("feltsense_messages_in_flight", "Messages being worked on.")
DEVICE_ROWS = Counter(
    "feltsense_device_rows", "Rows computed, by what computed them.", ["component", "device", "precision"]
)
DEVICE_FAILURES = Counter(
    "feltsense_device_failures",
    "Times a device was put to rest: open, call, late, drift, retry.",
    ["component", "device", "kind"],
)
DEVICE_FALLBACKS = Counter(
    "feltsense_device_fallbacks", "Calls computed again on another device.", ["component"]
)
SHADOW_RUNS = Counter(
    "feltsense_shadow_runs",
    "Calls computed again on the CPU in f32: agrees, drifts, failed.",
    ["component", "device", "outcome"],
)
REDONE = Counter(
    "feltsense_redone", "Stored reflections done again, by purpose: written, failed.", ["purpose", "outcome"]
)
WITHOUT_MODELS = Gauge(
    "feltsense_without_models", "1 while this worker can only screen, for no pipeline can be opened."
)
RISKS = Counter("feltsense_risks", "Rows written, by their risk level.", ["level"])
ABSTENTIONS = Counter(
    "feltsense_abstentions", "Rows written whose emotion was left open, by variable.", ["variable"]
)
UNSUPPORTED = Counter(
    "feltsense_unsupported_languages",
    "Rows written of a language without emotions, by language.",
    ["language"],
)
LEASES_LOST = Counter(
    "feltsense_leases_lost",
    "Events that another worker had in hand and did not finish: its message came again, or nobody came.",
    ["found"],
)
MODEL = Gauge("feltsense_model", "1 for the model version this worker serves.", ["version"])
MODEL_SINCE = Gauge("feltsense_model_since_timestamp_seconds", "When this worker took up its model version.")
SWAPS = Counter(
    "feltsense_swaps", "Changes of the bundle under a running worker: swapped, refused.", ["outcome"]
)
SCHEDULED = Counter("feltsense_scheduled", "Tasks that beat sent.", ["task"])

# Of a series that begins at 1 no increase can be told: what alerts ask for begins at 0.
for _outcome in ("written", "superseded", "duplicate", "stale", "conflict", "erased", "failed", "rejected"):
    EVENTS.labels(_outcome)
for _level in LEVELS:
    RISKS.labels(_level)
for _variable in ("invoked", "expressed"):
    ABSTENTIONS.labels(_variable)
for _reason in ("enrichment_failed", "enrichment_crashed", "text_unreadable"):
    DEAD_LETTERS.labels(_reason)
for _outcome in ("swapped", "refused"):
    SWAPS.labels(_outcome)
for _found in ("redelivered", "resumed"):
    LEASES_LOST.labels(_found)


def serving(version: str, since_s: float) -> None:
    """From now on this worker serves `version`, and no other; `since_s` is a Unix time."""
    MODEL.clear()
    MODEL.labels(version).set(1)
    MODEL_SINCE.set(since_s)


def written(appraisals: Iterable[Appraisal]) -> None:
    """Counts what rows say that were just written."""
    for one in appraisals:
        RISKS.labels(one.risk.level).inc()
        for variable in ("invoked", "expressed"):
            if not getattr(one, variable).path:
                ABSTENTIONS.labels(variable).inc()
        if not one.language_supported:
            UNSUPPORTED.labels(one.language).inc()


@contextmanager
def served(
    port: int,
    process: str,
    run_dir: Path,
    *,
    host: str = "127.0.0.1",
    registry: CollectorRegistry = REGISTRY,
) -> Iterator[int]:
    """Serve the numbers on `host` (port 0 picks a free one) while the block runs; yields the port.

    Any number of processes may serve: each names its port in a file of `run_dir`/metrics, where Prometheus
    finds it (`file_sd_configs`). Raises `ServiceMissing` when the port is taken.
    """
    try:
        server, _ = start_http_server(port, addr=host, registry=registry)
    except OSError as error:
        raise ServiceMissing(
            f"metrics cannot listen on {host}:{port} ({error.strerror}): set"
            f" FELTSENSE_{'METRICS' if process == 'worker' else 'EXPORTER'}_PORT to a free port or 0"
        ) from error
    told = None
    try:
        told = _tell(run_dir / TARGETS, process, server.server_port)
    except OSError as error:  # the numbers are served all the same
        logger.warning("metrics_port_untold", folder=str(run_dir), reason=error.strerror)
    try:
        yield server.server_port
    finally:
        if told is not None:
            told.unlink(missing_ok=True)
        server.shutdown()
        server.server_close()


def _tell(folder: Path, process: str, port: int) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for left in folder.glob("*-*.json"):  # by processes that were killed
        if not Path(f"/proc/{left.stem.rpartition('-')[2]}").exists():
            left.unlink(missing_ok=True)
    told = folder / f"{process}-{os.getpid()}.json"
    partial = told.with_suffix(".partial")
    partial.write_text(json.dumps([{"targets": [f"127.0.0.1:{port}"], "labels": {"process": process}}]))
    return partial.rename(told)
