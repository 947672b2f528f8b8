"""Spans as a collector gets them: a real worker, and a real HTTP server that reads OTLP."""

from __future__ import annotations

import gzip
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.support.events import event
from tests.support.service import Instance
from worker.client.publisher import Publisher
from worker.errors import UsageError
from worker.events.message import BULK
from worker.observability import spans, tracing

CANARY = "zanzibarcanary"


class Collector(ThreadingHTTPServer):
    """`got` are the requests in order, as they came and as they read."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.raw: list[bytes] = []
        self.got: list[ExportTraceServiceRequest] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def spans(self) -> list[tuple[str, dict[str, object], float]]:
        """Name, facts and seconds of all spans."""
        return [
            (
                span.name,
                {one.key: getattr(one.value, one.value.WhichOneof("value")) for one in span.attributes},
                (span.end_time_unix_nano - span.start_time_unix_nano) / 1e9,
            )
            for request in self.got
            for resource in request.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]


class _Handler(BaseHTTPRequestHandler):
    server: Collector

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        self.server.raw.append(self.path.encode() + body)
        self.server.got.append(ExportTraceServiceRequest.FromString(body))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Quiet: pytest shows what fails."""


@contextmanager
def collecting() -> Iterator[Collector]:
    server = Collector()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.mark.timeout(240)
def test_a_worker_sends_messages_and_stages_and_nothing_of_what_was_written(instance: Instance) -> None:
    with collecting() as collector:
        worker = instance.start(otlp_endpoint=collector.url)
        with Publisher.connect(instance.broker_url) as publisher:
            publisher.publish(event(f"id-{CANARY}", f"person-{CANARY}", text=f"my {CANARY} and I"))
            publisher.publish_many([event(f"b-{n}", f"p-{n}") for n in range(6)], chunk=3, lane=BULK)
        instance.wait_for(7)
        worker.stop()
        found = collector.spans()
    names = [name for name, _, _ in found]
    assert names.count("message") == 3
    assert set(names) >= {"message", "arrive", "read", "appraise", "settle", "place"}
    assert {facts["feltsense.lane"] for _, facts, _ in found} == {"live", "bulk"}
    messages = [facts["feltsense.reflections"] for name, facts, _ in found if name == "message"]
    assert sorted(map(str, messages)) == ["1", "3", "3"]
    assert all(0 <= seconds < 120 for _, _, seconds in found)
    assert {frozenset(facts) for _, facts, _ in found} == {
        frozenset({"feltsense.lane", "feltsense.reflections"})
    }
    assert collector.raw[0].startswith(b"/v1/traces")
    assert CANARY.encode() not in b"".join(collector.raw)
    assert b"feltsense-worker" in collector.raw[0]


def test_a_collector_that_is_away_stops_nothing() -> None:
    with tracing.sending("http://127.0.0.1:1"):
        spans.record("read", spans.now(), size=1, live=True)


def test_without_an_endpoint_nobody_listens_and_without_the_extra_the_remedy_is_named(monkeypatch) -> None:
    with tracing.sending(None):
        assert not spans._listeners
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    sending = tracing.sending("http://127.0.0.1:1")
    with pytest.raises(UsageError, match=r"feltsense\[otel\]"), sending:
        pass
