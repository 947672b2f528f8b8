"""The two peers as contestants: programs of their own in an environment of their own (`benchmarks/peers`)."""

from __future__ import annotations

import hashlib
import os
import signal
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.context import Event
from benchmarks.sender import Address
from benchmarks.served import Rows, Served
from benchmarks.servers import Servers
from worker.embedded.process import Process
from worker.errors import FeltsenseError

ROOT = Path(__file__).resolve().parents[1]
PROGRAMS = ROOT / "benchmarks" / "peers"
VENV = ROOT / ".venv-peers"
LOCK = ROOT / "requirements" / "peers.lock"
PREPARE_S = 900.0
CHUNK, BATCH = 64, 256
"""The good peer's reflections a message, and a flush."""
STOP_S = 15.0


class PeerFailed(FeltsenseError):
    """A peer's program did not do its work."""

    exit_code = 4


def missing() -> str | None:
    """Why there are no peers, or None."""
    if (VENV / ".installed").exists():
        return None
    return f"{VENV.name} is not installed (make bench installs it from requirements/{LOCK.name})"


def prepared(cache_dir: Path, logs: Path) -> Path:
    """The folder of what the peers load, made on first use (a minute); named by what made it.

    Raises `PeerFailed`.
    """
    digest = hashlib.sha256()
    for file in (LOCK, PROGRAMS / "prepare.py", PROGRAMS / "work.py"):
        digest.update(file.read_bytes())
    folder = cache_dir.absolute() / f"bench-peers-{digest.hexdigest()[:16]}"
    if not folder.exists():
        part = folder.with_name(f".{folder.name}.{os.getpid()}")
        part.mkdir(parents=True)
        making = _program("prepare", ["prepare.py"], {"PEER_FOLDER": str(part)}, logs)
        making.start()
        if not making.wait(PREPARE_S) or making.ended:
            raise PeerFailed(f"the peers' models were not made:\n{making.tail()}")
        part.rename(folder)
    return folder


class Peer:
    """One peer: `start` it, give it its first events by `warm`, then it is a contestant."""

    def __init__(
        self,
        name: str,
        title: str,
        servers: Servers,
        folder: Path,
        logs: Path,
        *,
        broker: int,
        concurrency: int,
        chunk: int = 1,
        environment: Mapping[str, str],
    ) -> None:
        database_url = servers.database(name)
        broker_url = servers.broker(broker)
        self._process = _program(
            name,
            ["-m", "celery", "--app", name, "worker", "--pool", "prefork", f"--concurrency={concurrency}",
             "--without-gossip", "--without-mingle", f"--hostname={name}@localhost", "--loglevel=WARNING"],
            {
                "PEER_FOLDER": str(folder),
                "PEER_BROKER_URL": broker_url,
                "PEER_DATABASE_URL": database_url.replace("postgresql://", "postgresql+psycopg://"),
                **environment,
            },
            logs,
        )  # fmt: skip
        self.served = Served(
            title,
            Address(broker_url=broker_url, task=f"{name}.enrich", queue=name, listed=chunk > 1),
            Rows(database_url, "id"),
            {"worker 1": self._process, **servers.processes},
            chunk,
        )

    def start(self) -> None:
        """Start the program; call from the main thread."""
        self._process.start()

    def warm(self, events: Sequence[Event]) -> None:
        """Return when its table is there and it has written rows of all `events`."""
        expires = time.monotonic() + PREPARE_S
        while not self._has_table():
            self.served.check()
            if time.monotonic() > expires:
                raise PeerFailed(f"{self.served.name} is not ready:\n{self._process.tail()}")
            time.sleep(0.2)
        self.served.run(events, "first")

    def stop(self) -> None:
        """End the program with all its children."""
        self._process.stop(STOP_S)

    def _has_table(self) -> bool:
        with self.served.rows.connect() as connection:
            found = connection.execute("SELECT to_regclass('perceptions')").fetchone()
        return found is not None and found[0] is not None


def naive(servers: Servers, folder: Path, logs: Path, cores: int) -> Peer:
    """One task a reflection in as many processes as there are cores, each on one thread: its best."""
    threads = {"OMP_NUM_THREADS": "1"}
    return Peer(
        "naive", "(b) naive peer", servers, folder, logs, broker=2, concurrency=cores, environment=threads
    )


def good(servers: Servers, folder: Path, logs: Path, cores: int, precision: str) -> Peer:
    """Batches through a process a core on one thread each, so that one computes while another writes, and 64
    reflections a message as in the bulk lane: of what was tried, what it is fastest with."""
    chosen = {"OMP_NUM_THREADS": "1", "PEER_PRECISION": precision, "PEER_FLUSH_EVERY": str(BATCH // CHUNK)}
    return Peer(
        "good", "(c) good peer", servers, folder, logs,
        broker=3, concurrency=cores, chunk=CHUNK, environment=chosen,
    )  # fmt: skip


def _program(name: str, arguments: Sequence[str], environment: Mapping[str, str], logs: Path) -> Process:
    kept: dict[str, Any] = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    offline = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}
    return Process(
        name,
        [VENV / "bin" / "python", *arguments],
        log=logs / f"{name}.log",
        # Without its broker Celery would wait for it to come back.
        orphaned=signal.SIGKILL,
        folder=PROGRAMS,
        # Celery's cold shutdown: what is left in its hands is of no use to anybody.
        environment={**kept, **offline, "REMAP_SIGTERM": "SIGQUIT", **environment},
    )
