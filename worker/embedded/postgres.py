"""The embedded Postgres: where perceptions land when the operator names no database of their own."""

from __future__ import annotations

import os
import re
import secrets
import signal
import socket
import subprocess
import time
from pathlib import Path

from worker.embedded import home
from worker.embedded.process import Process, bound_to_parent, wait_for_predecessor
from worker.errors import ServiceMissing

ROLE = "feltsense"
PARTIAL = "data.partial"
INITDB_DEADLINE_S = 120.0
START_DEADLINE_S = 300.0
"""After a crash it first recovers, for as long as the machine needs; what cannot start ends at once."""
NOT_READY = "not ready after"
OPTIONS = {
    "listen_addresses": "127.0.0.1",
    # No socket file at all: nothing to collide with, and no path limit of 100 characters.
    "unix_socket_directories": "",
    # Error messages and failed statements quote the values they were given, which may be a reflection.
    "log_min_messages": "log",
    "log_min_error_statement": "panic",
    "log_error_verbosity": "terse",
    # And should somebody log slow statements, without what they were given.
    "log_parameter_max_length": "0",
    "log_parameter_max_length_on_error": "0",
    "password_encryption": "scram-sha-256",
    "timezone": "UTC",
    "log_timezone": "UTC",
}


class Postgres:
    """A server of our own on 127.0.0.1; its data are kept in `folder`, or where `home.settle` put them.

    `port` 0 takes a free one at each start. Needs Linux, whose kernel ends it with its parent.
    """

    def __init__(self, folder: Path, *, log: Path, port: int = 0, keep_open: tuple[int, ...] = ()) -> None:
        self._wanted = folder
        self._log = log
        self._port = port
        self._keep_open = keep_open
        self.process: Process | None = None
        self.url = ""

    def start(self, deadline_s: float = START_DEADLINE_S) -> str:
        """Start the server; its URL (a secret: it holds the password) once it accepts connections.

        Raises `ServiceMissing` naming the cause: disk full, port taken, no permission, data used or damaged.
        """
        place = home.settle(self._wanted)
        try:
            wait_for_predecessor("postgres", place.data)
            # With no process on the data, a `postmaster.pid` only looks alive: a killed container's may
            # name a process id that something else has now, and Postgres would refuse to start.
            (place.data / "postmaster.pid").unlink(missing_ok=True)
            if not place.data.exists():
                _create(place)
            password = _password(place)
            access = place.folder / "pg_hba.conf"
            access.write_text("host all all 127.0.0.1/32 scram-sha-256\n")
            access.chmod(0o644)
        except OSError as error:
            raise ServiceMissing(_explained(str(error), place.data, None)) from error
        for last in (False, False, True):
            port = self._port or free_port()
            problem = self._launch(place, port, access, deadline_s)
            if problem is None:
                self.url = f"postgresql://{ROLE}:{password}@127.0.0.1:{port}/{ROLE}"
                return self.url
            if self._port or last or "address already in use" not in problem.lower():
                raise ServiceMissing(_explained(problem, place.data, port))
        raise AssertionError("the loop ends by returning or raising")

    def stop(self, deadline_s: float = 20.0) -> None:
        """Fast shutdown: open transactions roll back, a checkpoint is written; harmless when not running."""
        if self.process is not None:
            self.process.stop(deadline_s)

    def remove(self) -> None:
        """Stop, and delete the data."""
        self.stop()
        # A killed initdb leaves a server that tidies up before it ends.
        wait_for_predecessor("postgres", self._wanted / PARTIAL)
        home.remove(self._wanted)

    def _launch(self, place: home.Home, port: int, access: Path, deadline_s: float) -> str | None:
        """One attempt; None when it accepts connections, else what its log says."""
        options = OPTIONS | {"port": str(port), "hba_file": str(access)}
        argv: list[str | Path] = [place.program / "bin" / "postgres", "-D", place.data]
        for name, value in options.items():
            argv += ["-c", f"{name}={value}"]
        process = Process(
            "postgres",
            argv,
            log=self._log,
            ask=signal.SIGINT,
            orphaned=signal.SIGINT,
            account=place.account,
            folder=place.folder,
            keep_open=self._keep_open,
        )
        process.start()
        self.process = process
        expires = time.monotonic() + deadline_s
        while process.ended is None:
            if _ready(place.data, process.pid):
                return None
            if time.monotonic() > expires:
                process.kill()
                return f"{NOT_READY} {deadline_s:g} s\n{process.tail()}"
            time.sleep(0.02)
        return process.tail()


def free_port() -> int:
    """A TCP port on 127.0.0.1 that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _run(place: home.Home, argv: list[str | Path], stdin: str = "") -> None:
    account = place.account
    try:
        done = subprocess.run(
            [str(part) for part in argv],
            input=stdin,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd=place.folder,
            user=None if account is None else account.uid,
            group=None if account is None else account.gid,
            extra_groups=None if account is None else [],
            umask=0o077,
            start_new_session=True,
            preexec_fn=bound_to_parent(signal.SIGKILL),
            timeout=INITDB_DEADLINE_S,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ServiceMissing(f"the embedded database cannot be created in {place.folder}: {error}") from error
    if done.returncode != 0:
        raise ServiceMissing(_explained(done.stdout, place.data, None))


def _create(place: home.Home) -> None:
    """Make the data directory under another name, renamed when whole: a killed start leaves no half."""
    partial = place.folder / PARTIAL
    wait_for_predecessor("postgres", partial)
    home.remove(partial)
    partial.mkdir(mode=0o700)
    if place.account is not None:
        os.chown(partial, place.account.uid, place.account.gid)
    choices = [
        "--auth=reject",
        "--encoding=UTF8",
        "--locale-provider=builtin",
        "--builtin-locale=C.UTF-8",
        "--no-locale",
    ]
    _run(place, [place.program / "bin" / "initdb", "-D", partial, "-U", ROLE, *choices])
    _alone(place, partial, f"CREATE DATABASE {ROLE};")
    partial.rename(place.data)


def _password(place: home.Home) -> str:
    """The role's password, made up once and kept beside the data, readable by its owner only."""
    path = place.folder / "password"
    if not path.exists():
        password = secrets.token_urlsafe(24)
        _alone(place, place.data, f"ALTER ROLE {ROLE} PASSWORD '{password}';")
        partial = path.with_suffix(".partial")
        partial.unlink(missing_ok=True)
        partial.touch(mode=0o600)
        partial.write_text(password)
        partial.rename(path)
    return path.read_text()


def _alone(place: home.Home, data: Path, statement: str) -> None:
    """Run one statement in the single-user server, which needs neither a port nor a password."""
    _run(
        place,
        [place.program / "bin" / "postgres", "--single", "-D", data, "-c", "exit_on_error=on", "template1"],
        statement,
    )


def _ready(data: Path, pid: int) -> bool:
    """Whether the server `pid` says it is ready: line 1 and 8 of its `postmaster.pid`.

    Not by connecting: another server could be the one that answers.
    """
    try:
        lines = (data / "postmaster.pid").read_text().splitlines()
    except FileNotFoundError:
        return False
    return len(lines) >= 8 and lines[0].strip() == str(pid) and lines[7].strip() == "ready"


def _explained(problem: str, data: Path, port: int | None) -> str:
    """What went wrong and what to do about it, from the program's own words."""
    said = problem.lower()
    reasons = [re.sub(r"^.*?(FATAL|PANIC|error|HINT):\s*", "", line).strip() for line in problem.splitlines()]
    last = next((line for line in reversed(reasons) if line), "no message")
    if "no space left on device" in said:
        return f"the embedded database has no room: the disk of {data} is full; free some space there"
    if "address already in use" in said or "could not bind" in said:
        return f"the embedded database cannot listen: port {port} on 127.0.0.1 is taken by another program"
    if said.startswith(NOT_READY):
        return f"the embedded database in {data} is {problem.splitlines()[0]}: {last}; start again to go on"
    if "permission denied" in said:
        return f"the embedded database may not use {data} (permission denied): {last}"
    return f"the embedded database in {data} cannot be used: {last}; restore it, or delete it to start empty"
