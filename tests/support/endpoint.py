"""A real HTTP server on loopback that speaks chat completions, and misbehaves where a test says so."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

GOOD: dict[str, Any] = {
    "valence": 0.25,
    "arousal": 0.75,
    "willingness": 0.5,
    "expressed": {"Sad": 0.6, "Angry": 0.1, "none": 0.3},
    "invoked": {"Sad": 0.75, "Fearful": 0.25},
}


class Endpoint(ThreadingHTTPServer):
    """`reply(text, tries)` says how the n-th request of a text ends: (status, the message's content) or raw
    bytes; None keeps silent until the server ends. `asked` are the texts in order, `headers` those of the
    last request."""

    daemon_threads = True

    def __init__(self, reply: Callable[[str, int], Any]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.reply = reply
        self.asked: list[str] = []
        self.bodies: list[dict[str, Any]] = []
        self.headers: dict[str, str] = {}
        self.over = threading.Event()
        self.most = self.now = 0
        self.lock = threading.Lock()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Endpoint

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        text = json.loads(body["messages"][-1]["content"])
        with self.server.lock:
            self.server.asked.append(text)
            self.server.bodies.append(body)
            self.server.headers = {"path": self.path, **self.headers}
            tries = self.server.asked.count(text)
            self.server.now += 1
            self.server.most = max(self.server.most, self.server.now)
        try:
            given = self.server.reply(text, tries)
            if given is None:
                self.server.over.wait(20)
                self.close_connection = True
                return
            status, content = given
            raw = content
            if not isinstance(content, bytes):
                raw = json.dumps(
                    {"choices": [{"message": {"role": "assistant", "content": content}}]}
                ).encode()
            self.send_response(status)
            if status == 307:
                self.send_header("Location", "/v1/elsewhere")
            self.send_header("Content-Length", str(len(raw)))
            self.end_headers()
            if text == "drip":
                for byte in raw:
                    if self.server.over.wait(0.1):
                        return
                    self.wfile.write(bytes([byte]))
            else:
                self.wfile.write(raw)
        except (BrokenPipeError, ConnectionResetError):  # the client had enough: that is what is tested
            self.close_connection = True
        finally:
            with self.server.lock:
                self.server.now -= 1

    def log_message(self, *_: object) -> None:
        """Quiet: pytest shows what fails."""


@contextmanager
def serving(
    reply: Callable[[str, int], Any] = lambda text, tries: (200, json.dumps(GOOD)),
) -> Iterator[Endpoint]:
    """An endpoint that answers by `reply` while the block runs."""
    server = Endpoint(reply)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server
    finally:
        server.over.set()
        server.shutdown()
        thread.join()
        server.server_close()


def slowly(seconds: float) -> tuple[int, str]:
    """A good answer that takes its time."""
    time.sleep(seconds)
    return 200, json.dumps(GOOD)
