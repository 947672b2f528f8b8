"""The harness's end of the bare client: messages in, acknowledgements out. What these name is accepted."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any, cast

from benchmarks.chaos import publisher
from benchmarks.chaos.messages import Message
from worker.embedded.process import bound_to_parent
from worker.errors import ServiceMissing


class Publishing:
    """The client's process, to be started from the main thread. `accepted`: ids of acknowledged events."""

    def __init__(self, log: Path) -> None:
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None
        self._messages: list[Message] = []
        self._acknowledged = 0
        self.accepted: set[str] = set()
        self.refused = 0

    def start(self, broker_url: str) -> None:
        with self._log.open("ab") as log:
            # -I: neither this folder's modules nor the environment's, so the client cannot be anything but
            # bare.
            self._process = subprocess.Popen(
                [sys.executable, "-I", publisher.__file__],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, start_new_session=True,
                preexec_fn=bound_to_parent(signal.SIGKILL),
            )  # fmt: skip
        self._tell({"broker_url": broker_url})
        threading.Thread(target=self._listen, name="acknowledged", daemon=True).start()

    def publish(self, messages: Sequence[Message]) -> None:
        """Hands the messages over, to be sent in order; returns at once."""
        start = len(self._messages)
        self._messages += messages
        # A pipe holds little, and the client sleeps between messages: another thread waits for room.
        lines = [
            {"n": start + place, "task_id": one.task_id, "queue": one.queue, "events": one.events,
             "pause_s": one.pause_s}
            for place, one in enumerate(messages)
        ]  # fmt: skip
        threading.Thread(target=self._tell, args=lines, name="publishing", daemon=True).start()

    @property
    def waiting(self) -> int:
        """Messages not yet acknowledged. Raises `ServiceMissing` when the client has ended."""
        assert self._process is not None, "started"
        if self._process.poll() is not None:
            raise ServiceMissing(f"the publishing client ended ({self._process.returncode}); see {self._log}")
        return len(self._messages) - self._acknowledged

    def stop(self) -> None:
        """Ends the client, whatever it still had to send."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def _tell(self, *lines: dict[str, Any]) -> None:
        stdin = cast(IO[bytes], cast("subprocess.Popen[bytes]", self._process).stdin)
        try:
            for line in lines:
                stdin.write(json.dumps(line).encode() + b"\n")
            stdin.flush()
        except BrokenPipeError:  # it has ended: `waiting` tells
            return

    def _listen(self) -> None:
        stdout = cast(IO[bytes], cast("subprocess.Popen[bytes]", self._process).stdout)
        for line in stdout:
            told = json.loads(line)
            self.accepted.update(self._messages[told["n"]].ids)
            self.refused += told["refused"]
            self._acknowledged += 1
