"""The load of a soak: synthetic people who check in now and then, without end; the harness's end of the bare
client."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from itertools import chain, islice
from pathlib import Path
from typing import IO, Any, cast

from benchmarks.soak import publisher
from trainer.data import synthetic
from trainer.data.synthetic.sample import BESIDE
from worker.embedded.process import bound_to_parent
from worker.errors import ServiceMissing

PEOPLE = 400
"""Of one generation; the next are others."""
SPARE_S = 240.0
"""What rebuild and comparisons may take beside the phases' seconds."""
Event = dict[str, Any]


def population(seed: int, *, drifted: bool = False) -> Iterator[Event]:
    """Wire events, generation by generation, each in order of time. Whoever is `drifted` is somebody else:
    Hinglish, and from the web. Their texts are as long as the others', for longer ones are more load, too."""
    generation = 0
    while True:
        events = [
            {field: value for field, value in event.items() if field not in BESIDE}
            for event in synthetic.people(seed + generation, PEOPLE)
        ]
        for event in sorted(events, key=lambda one: str(one["created_at"])):
            tag = f"{'d' if drifted else 's'}{seed + generation}"
            event |= {"id": f"{tag}-{event['id']}"[:128], "user_id": f"{tag}-{event['user_id']}"[:128]}
            if not drifted:
                yield event
            elif event.get("lang") == "hi-Latn":
                yield event | {"device": "web"}
        generation += 1


def _ahead(events: Iterator[Event], count: int) -> Iterator[bytes]:
    """Lines of the events, the first `count` of them made now."""
    lines = (json.dumps(event).encode() + b"\n" for event in events)
    return chain(list(islice(lines, count)), lines)


class Load:
    """The client's process; start it from the main thread. `sent`: when each acknowledged event was, by
    id.

    The events of about `seconds` are made beforehand: making a generation takes a core for seconds, and what
    fell behind meanwhile would be sent all at once.
    """

    def __init__(self, rate: float, seed: int, log: Path, *, seconds: float) -> None:
        self._rate = rate
        self._log = log
        self._usual = _ahead(population(seed), int(rate * (seconds + SPARE_S)))
        self._other = _ahead(population(50_000 + seed, drifted=True), int(rate * (seconds + SPARE_S) / 4))
        self._process: subprocess.Popen[bytes] | None = None
        self._ending = threading.Event()
        self._threads: list[threading.Thread] = []
        self.drifted = False
        self.sent: dict[str, float] = {}
        self.given = 0

    def start(self, broker_url: str) -> None:
        with self._log.open("ab") as log:
            # -I: neither this folder's modules nor the environment's, so the client cannot be anything but
            # bare.
            self._process = subprocess.Popen(
                [sys.executable, "-I", publisher.__file__],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, start_new_session=True,
                preexec_fn=bound_to_parent(signal.SIGKILL),
            )  # fmt: skip
        pipe = cast("IO[bytes]", self._process.stdin)
        pipe.write(json.dumps({"broker_url": broker_url, "rate": self._rate}).encode() + b"\n")
        self._threads = [
            threading.Thread(target=work, name=work.__name__, daemon=True)
            for work in (self._tell, self._listen)
        ]
        for thread in self._threads:
            thread.start()

    def check(self) -> None:
        """Raises `ServiceMissing` when the client has ended."""
        assert self._process is not None, "started"
        if self._process.poll() is not None:
            raise ServiceMissing(f"the publishing client ended ({self._process.returncode}); see {self._log}")

    def stop(self) -> None:
        """Ends the input, and returns when the last event given was acknowledged."""
        self._ending.set()
        for thread in self._threads:
            thread.join()
        if self._process is not None:
            self._process.wait()

    def _tell(self) -> None:
        assert self._process is not None, "started"
        pipe = cast("IO[bytes]", self._process.stdin)
        while not self._ending.is_set():  # the pipe holds some seconds of events: it sets the pace
            pipe.write(next(self._other if self.drifted else self._usual))
            self.given += 1
            pipe.flush()
        pipe.close()

    def _listen(self) -> None:
        assert self._process is not None, "started"
        for line in cast("IO[bytes]", self._process.stdout):
            key, moment = line.decode().rsplit(" ", 1)
            self.sent[key] = float(moment)
