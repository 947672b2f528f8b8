"""Messages and stages as OpenTelemetry spans, sent to a collector where a setting names one. A span holds a
stage, a lane, times and a number of reflections, as `spans` does: no text, no id, no person."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from worker.errors import UsageError
from worker.observability import spans
from worker.observability.spans import Span

PATIENCE_S = 5.0
"""For a collector that does not answer; what cannot be sent is dropped, and work goes on."""


@contextmanager
def sending(endpoint: str | None) -> Iterator[None]:
    """Send this process' spans over OTLP/HTTP to `endpoint` while the block runs; nothing when it is None.

    A batch serves many messages, so a stage's span is nobody's child. Raises `UsageError` without the extra
    `otel`.
    """
    if endpoint is None:
        yield
        return
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError as error:
        raise UsageError(
            f"FELTSENSE_OTLP_ENDPOINT is set without {error.name}: pip install 'feltsense[otel]'"
        ) from None
    provider = TracerProvider(resource=Resource.create({"service.name": "feltsense-worker"}))
    exporter = OTLPSpanExporter(endpoint=f"{endpoint.rstrip('/')}/v1/traces", timeout=PATIENCE_S)
    provider.add_span_processor(BatchSpanProcessor(exporter))
    tracer = provider.get_tracer("feltsense")
    began = time.time() - spans.now()

    def send(span: Span) -> None:
        facts = {"feltsense.lane": "live" if span.live else "bulk", "feltsense.reflections": span.size}
        sent = tracer.start_span(span.stage, start_time=_ns(began + span.start_s), attributes=facts)
        sent.end(end_time=_ns(began + span.end_s))

    try:
        with spans.told_to(send):
            yield
    finally:
        provider.shutdown()


def _ns(seconds: float) -> int:
    return int(seconds * 1e9)
