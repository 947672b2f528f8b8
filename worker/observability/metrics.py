"""Numbers about the journey for Prometheus: how long, how many, how they ended. Never a text, an id or a
person."""

from __future__ import annotations

from wsgiref.simple_server import WSGIServer

from prometheus_client import Counter, Gauge, Histogram, start_http_server

from worker.errors import ServiceMissing

_SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 15.0, 60.0)

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
MODEL_SERVING = Gauge("feltsense_model_serving", "1 for the version this worker serves.", ["model_version"])
MODEL_SWAPS = Counter(
    "feltsense_model_swaps", "Versions that should serve from now on: swapped, failed.", ["outcome"]
)
REDONE = Counter(
    "feltsense_redone", "Stored reflections done again, by purpose: written, failed.", ["purpose", "outcome"]
)
WITHOUT_MODELS = Gauge(
    "feltsense_without_models", "1 while this worker can only screen, for no pipeline can be opened."
)


def serve(port: int) -> tuple[WSGIServer, int]:
    """Serve the numbers on 127.0.0.1 (port 0 picks a free one): the server, to be shut down, and its port.

    Raises `ServiceMissing` when the port is taken.
    """
    try:
        server, _ = start_http_server(port, addr="127.0.0.1")
    except OSError as error:
        raise ServiceMissing(
            f"metrics cannot listen on 127.0.0.1:{port} ({error.strerror}): "
            "set FELTSENSE_METRICS_PORT to a free port or 0"
        ) from error
    return server, server.server_port
