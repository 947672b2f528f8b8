"""One process of a running instance, started so that it cannot outlive the process that started it."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from worker.errors import ServiceMissing

PR_SET_PDEATHSIG = 1
PREDECESSOR_DEADLINE_S = 10.0
_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True, kw_only=True)
class Account:
    """The user and group a process runs as when it must not be root."""

    uid: int
    gid: int


class Process:
    """A child with a log file, a signal that asks it to end, and the kernel's promise to end it with us.

    Without `log` it writes where we do. `ask` is the signal of an orderly end; `orphaned` the one the kernel
    sends when the parent dies unasked.
    """

    def __init__(
        self,
        name: str,
        argv: Sequence[str | Path],
        *,
        log: Path | None,
        ask: signal.Signals = signal.SIGTERM,
        orphaned: signal.Signals = signal.SIGTERM,
        environment: Mapping[str, str] | None = None,
        account: Account | None = None,
        folder: Path | None = None,
        keep_open: Sequence[int] = (),
    ) -> None:
        self.name = name
        self.log = log
        self._argv = [str(part) for part in argv]
        self._ask = ask
        self._orphaned = orphaned
        self.environment = environment
        self._account = account
        self._folder = folder
        self._keep_open = tuple(keep_open)
        self._popen: subprocess.Popen[bytes] | None = None
        self._log_start = 0

    def start(self) -> None:
        """Start the program, appending its output to the log.

        Raises `RuntimeError` outside the main thread: the promise is to the starting *thread* (prctl(2)).
        """
        if threading.current_thread() is not threading.main_thread():
            raise RuntimeError(f"{self.name} must be started from the main thread: it ends with its thread")
        descriptor = None
        if self.log is not None:
            self.log.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(self.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
            self._log_start = os.fstat(descriptor).st_size
        account = self._account
        try:
            self._popen = subprocess.Popen(
                self._argv,
                stdin=subprocess.DEVNULL,
                stdout=descriptor,
                stderr=descriptor,
                env=None if self.environment is None else dict(self.environment),
                cwd=self._folder,
                # Its own session: a Ctrl-C or a closing terminal reaches only us, and we keep the order.
                start_new_session=True,
                user=None if account is None else account.uid,
                group=None if account is None else account.gid,
                extra_groups=None if account is None else [],
                umask=0o077,
                pass_fds=self._keep_open,
                preexec_fn=bound_to_parent(self._orphaned),
            )
        except OSError as error:
            raise ServiceMissing(
                f"{self.name} cannot be started: {self._argv[0]}: {error.strerror}"
            ) from error
        finally:
            if descriptor is not None:
                os.close(descriptor)

    @property
    def pid(self) -> int:
        """Process id; 0 before the start."""
        return 0 if self._popen is None else self._popen.pid

    @property
    def ended(self) -> int | None:
        """Exit status (negative: the signal that ended it), or None while it runs."""
        return None if self._popen is None else self._popen.poll()

    def stop(self, deadline_s: float) -> bool:
        """Ask the process to end, kill it after `deadline_s`; True if it ended by itself. Harmless twice."""
        if self._popen is None or self._popen.poll() is not None:
            return True
        self._popen.send_signal(self._ask)
        return self.wait(deadline_s)

    def wait(self, deadline_s: float) -> bool:
        """Wait for the end; kill the process after `deadline_s`. True if it ended by itself."""
        if self._popen is None:
            return True
        try:
            self._popen.wait(deadline_s)
        except subprocess.TimeoutExpired:
            self.kill()
            return False
        except KeyboardInterrupt:  # asked twice: no more patience
            self.kill()
            raise
        return True

    def kill(self) -> None:
        """End the process at once (SIGKILL) and reap it."""
        if self._popen is not None:
            self._popen.kill()
            self._popen.wait()

    def tail(self, lines: int = 12) -> str:
        """The last lines this start wrote to the log (the programs started here log no reflection text)."""
        if self.log is None or not self.log.exists():
            return ""
        with self.log.open("rb") as log:
            log.seek(self._log_start)
            written = log.read().decode("utf-8", "replace")
        return "\n".join(written.rstrip().splitlines()[-lines:])


def bound_to_parent(orphaned: signal.Signals) -> Callable[[], None]:
    """What a child does before exec: ask the kernel for `orphaned` when the starting thread is gone.

    Runs after the change of user, which would clear the request (prctl(2)).
    """
    parent = os.getpid()

    def bind() -> None:
        _libc.prctl(PR_SET_PDEATHSIG, int(orphaned), 0, 0, 0)
        if os.getppid() != parent:  # the parent died before the request
            os._exit(1)

    return bind


def alive(pid: int) -> bool:
    """Whether the process runs; one that has ended and that nobody has asked about (a zombie) does not."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return status.rpartition(")")[2].split()[0] not in "ZX"


def wait_for_predecessor(program: str, folder: Path) -> None:
    """Return when no process of `program` works in `folder`, its data; a killed one's may still end.

    Raises `ServiceMissing` naming the process that stays. Servers have their data as working directory.
    """
    target = folder.resolve()
    expires = time.monotonic() + PREDECESSOR_DEADLINE_S
    while found := [pid for pid in _processes(program) if _folder_of(pid) == target]:
        if time.monotonic() > expires:
            raise ServiceMissing(f"another {program} (pid {min(found)}) runs on {folder}: stop it first")
        time.sleep(0.1)


def _processes(program: str) -> Iterator[int]:
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if (entry / "comm").read_text().strip() == program:
                    yield int(entry.name)
            except OSError:  # ended meanwhile
                continue


def _folder_of(pid: int) -> Path | None:
    try:
        return Path(f"/proc/{pid}/cwd").readlink()
    except OSError:  # ended meanwhile, or another user's, who has no business in our data
        return None
