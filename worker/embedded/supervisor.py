"""A whole instance on one machine: database, broker, worker, beat and Flower, started and ended in order."""

from __future__ import annotations

import os
import signal
import socket
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from pydantic import SecretStr
from rich.console import Console

from worker.embedded import rundir
from worker.embedded.postgres import Postgres, free_port
from worker.embedded.process import Process
from worker.embedded.valkey import Valkey
from worker.errors import ServiceMissing
from worker.interruption import insist, stoppable
from worker.service.readiness import answers, workers
from worker.settings import Settings
from worker.store.engine import Store

APP = "worker.service.celery_app:app"
QUEUES = "reflections,reflections.bulk"
WORKER_READY_S = 300.0
WORKER_STOP_S = 30.0
STOP_S = 10.0
FLOWER_TASKS = 10_000
"""Messages that Flower remembers; each costs it some kilobytes."""


@dataclass(frozen=True, kw_only=True)
class Endpoints:
    """Where a running instance listens. The first two are secrets when embedded: they hold passwords."""

    broker_url: str = field(repr=False)
    database_url: str = field(repr=False)
    flower_url: str | None
    metrics_url: str
    processes: Sequence[Process] = field(repr=False)

    def addresses(self) -> dict[str, str | None]:
        """The four addresses, as in the state file."""
        names = ("broker_url", "database_url", "flower_url", "metrics_url")
        return {name: getattr(self, name) for name in names}

    def check(self) -> None:
        """Raise `ServiceMissing`, with the end of its log, when a process of the instance has ended, and
        `Stopped` when a signal asked for the end."""
        insist()
        for process in self.processes:
            if process.ended is not None:
                raise ServiceMissing(_obituary(process))


def up(settings: Settings, console: Console) -> int:
    """Run the instance in the foreground until a signal; the exit code.

    A process that ends by itself brings the instance down (`ServiceMissing`, exit code 4) and is not
    restarted here: nobody notices a crash loop hidden inside a living supervisor, and whatever runs `up` for
    good (systemd, a container) restarts it with a limit. What was accepted stays in queue or database.
    """
    try:
        with running(settings, flower=settings.flower, console=console) as endpoints:
            _announce(endpoints, settings, console)
            while True:
                endpoints.check()
                time.sleep(0.2)
    except KeyboardInterrupt:
        console.print("Stopped.")
        return 0


@contextmanager
def running(
    settings: Settings, *, flower: bool, console: Console | None = None, temporary: bool = False
) -> Iterator[Endpoints]:
    """A ready instance for the length of the block; call it from the main thread.

    Starts an embedded database and broker unless the settings name others. Leaving the block, or SIGINT,
    SIGTERM or SIGHUP, stops the worker first (it finishes what it has), then broker and database. If
    this process is killed, the kernel ends the others. A `temporary` one starts empty, runs nothing on a
    schedule, and leaves only logs. Raises `ServiceMissing` when something does not start.
    """
    say = console.print if console is not None else _silent
    run_dir = settings.run_dir.absolute()
    with stoppable(), ExitStack() as stack:
        lock = stack.enter_context(rundir.claimed(run_dir))
        flower_port = _port(settings.flower_port, "FELTSENSE_FLOWER_PORT") if flower else None
        metrics_port = _port(settings.metrics_port, "FELTSENSE_METRICS_PORT")
        processes: list[Process] = []
        database_url, broker_url = settings.database_url, settings.broker_url
        for server in _embedded(settings, run_dir, lock):
            stack.callback(server.remove if temporary else server.stop)
            if temporary:
                server.remove()
            url = server.start()
            if isinstance(server, Postgres):
                database_url = url
            else:
                broker_url = url
            say(f"{type(server).__name__} is ready.")
            processes += [server.process] if server.process is not None else []
        assert database_url is not None, "given by the settings, or just started"
        assert broker_url is not None, "given by the settings, or just started"
        with Store.open(database_url, pool_size=1) as store:
            store.migrate()
        facts = {"run_dir": run_dir, "broker_url": broker_url, "database_url": database_url}
        chosen = settings.model_copy(
            update=facts | {"metrics_port": metrics_port, "flower_port": flower_port or 0, "flower": flower}
        )
        endpoints = Endpoints(
            broker_url=broker_url,
            database_url=database_url,
            flower_url=None if flower_port is None else f"http://127.0.0.1:{flower_port}",
            metrics_url=f"http://127.0.0.1:{metrics_port}/metrics",
            processes=processes,
        )
        for process, deadline_s in _celery(chosen, run_dir, lock, beat=not temporary):
            stack.callback(process.stop, deadline_s)
            process.start()
            processes.append(process)
            if process.name == "worker":
                _await_worker(endpoints, process)
                say("The worker is ready.")
        stack.enter_context(rundir.told(run_dir, endpoints.addresses()))
        yield endpoints


def _embedded(settings: Settings, run_dir: Path, lock: int) -> list[Postgres | Valkey]:
    """The servers the settings leave to us, in the order of their start."""
    logs = run_dir / "logs"
    servers: list[Postgres | Valkey] = []
    if settings.database_url is None:
        servers.append(Postgres(run_dir / "postgres", log=logs / "postgres.log", keep_open=(lock,)))
    if settings.broker_url is None:
        servers.append(
            Valkey(
                run_dir / "valkey",
                log=logs / "valkey.log",
                keep_open=(lock,),
                memory_mb=settings.broker_memory_mb,
            )
        )
    return servers


def _celery(settings: Settings, run_dir: Path, lock: int, *, beat: bool) -> Iterator[tuple[Process, float]]:
    """The processes of the application with the seconds each gets to end, in the order of their start."""
    level = ["--loglevel", settings.log_level]
    worker = ["worker", "--pool", "threads", "--concurrency", str(settings.concurrency), "--queues", QUEUES]
    worker += [
        "--without-gossip",
        "--without-mingle",
        *level,
        *(["--task-events"] if settings.flower else []),
    ]
    commands = [("worker", worker, WORKER_STOP_S)]
    if beat:
        commands.append(("beat", ["beat", "--schedule", str(run_dir / "beat.db"), *level], STOP_S))
    if settings.flower:
        flower = ["flower", "--address=127.0.0.1", f"--port={settings.flower_port}"]
        commands.append(("flower", [*flower, f"--max_tasks={FLOWER_TASKS}"], STOP_S))
    for name, arguments, deadline_s in commands:
        process = Process(
            name,
            [sys.executable, "-m", "celery", "--app", APP, *arguments],
            log=run_dir / "logs" / f"{name}.log",
            # Broker and database would die in the same moment: nothing is left to finish a task with.
            orphaned=signal.SIGKILL,
            environment=environment(settings),
            keep_open=(lock,),
        )
        yield process, deadline_s


def environment(settings: Settings) -> dict[str, str]:
    """Our own environment with every setting spelled out, so that a child sees exactly these settings."""
    spelled = {
        f"FELTSENSE_{name.upper()}": _spelled(getattr(settings, name)) for name in Settings.model_fields
    }
    return os.environ | {name: text for name, text in spelled.items() if text is not None}


def _spelled(value: object) -> str | None:
    """A setting as its environment variable reads: lists with commas, secrets in the clear, None left out."""
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    return None if value is None else str(value)


def _await_worker(endpoints: Endpoints, worker: Process) -> None:
    """Return when the worker is warm (its last step is to serve its metrics) and takes tasks."""
    expires = time.monotonic() + WORKER_READY_S
    while not (answers(endpoints.metrics_url) and workers(endpoints.broker_url, timeout_s=0.3)):
        endpoints.check()
        if time.monotonic() > expires:
            raise ServiceMissing(f"the worker is not ready after {WORKER_READY_S:g} s; see {worker.log}")
        time.sleep(0.05)


def _port(wanted: int, setting: str) -> int:
    """The wanted port, or a free one for 0. Raises `ServiceMissing` when it is taken."""
    if wanted == 0:
        return free_port()
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", wanted))
        except OSError as error:
            raise ServiceMissing(
                f"port {wanted} on 127.0.0.1: {error.strerror}; choose another with {setting}"
            ) from error
    return wanted


def _obituary(process: Process) -> str:
    return f"{process.name} ended (status {process.ended}); the end of {process.log}:\n{process.tail()}"


def _announce(endpoints: Endpoints, settings: Settings, console: Console) -> None:
    console.print(f"Feltsense is running; what listens where is in {settings.run_dir / rundir.STATE}")
    for name, url in endpoints.addresses().items():
        if url is not None:
            console.print(f"  {name:<13} {_without_password(url)}", highlight=False)
    console.print("Ctrl-C stops all of it.")


def _without_password(url: str) -> str:
    parts = urlsplit(url)
    return parts._replace(netloc=f"{parts.hostname}:{parts.port}").geturl()


def _silent(message: str) -> None:
    """Say nothing: nobody watches."""
