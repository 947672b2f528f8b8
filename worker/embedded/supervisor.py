"""A whole instance on one machine: database, broker, worker, beat, Flower and perhaps a trainer, started and
ended in order."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import socket
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import quote, urlsplit

from pydantic import SecretStr
from rich.console import Console

from worker.embedded import rundir
from worker.embedded.postgres import Postgres, free_port
from worker.embedded.process import Process
from worker.embedded.valkey import Valkey
from worker.embedded.watch import READY_S, Kept, Watch
from worker.errors import ServiceMissing, UsageError
from worker.interruption import insist, stoppable
from worker.observability.metrics import TARGETS
from worker.service.heartbeat import PULSE
from worker.service.readiness import answers, screens_only, workers
from worker.settings import Settings
from worker.store.engine import Store

APP = "worker.service.celery_app:app"
TRAINER = "trainer.service.celery_app:app"
QUEUES = "reflections,feltsense.upkeep,reflections.bulk"
WORKER_STOP_S = 30.0
STOP_S = 10.0
CHECK_S = 0.2
FLOWER_TASKS = 10_000
"""Messages that Flower remembers; each costs it some kilobytes."""
FLOWER_SAVES_MS = 60_000
"""Between two savings of what it remembers; an orderly end saves too."""


@dataclass(frozen=True, kw_only=True)
class Endpoints:
    """Where a running instance listens. The first three are secrets: they hold passwords."""

    broker_url: str = field(repr=False)
    database_url: str = field(repr=False)
    flower_url: str | None = field(repr=False)
    metrics_url: str
    exporter_url: str | None
    processes: Sequence[Process] = field(repr=False)
    watch: Watch = field(repr=False)
    kept: Sequence[Kept] = field(repr=False, default=())

    def addresses(self) -> dict[str, str | None]:
        """The addresses, as in the state file."""
        names = ("broker_url", "database_url", "flower_url", "metrics_url", "exporter_url")
        return {name: getattr(self, name) for name in names}

    def check(self) -> None:
        """Start a worker again that ended or hung. Raise `ServiceMissing`, with the end of its log, when that
        does not help or another process of the instance has ended, and `Stopped` when a signal asked for the
        end."""
        insist()
        self.watch.check()
        for one in self.kept:
            one.check()
        for process in self.processes:
            if process.ended is not None:
                raise ServiceMissing(_obituary(process))


def up(settings: Settings, console: Console) -> int:
    """Run the instance in the foreground until a signal; the exit code.

    A worker that ends or hangs is started again, for that is how an event that kills it is found, but not
    without limit (`watch`): nobody notices a crash loop hidden inside a living supervisor. Another process
    that ends by itself brings the instance down (`ServiceMissing`, exit code 4), and whatever runs `up` for
    good (systemd, a container) restarts it. What was accepted stays in queue or database.
    """
    try:
        with running(settings, flower=settings.flower, console=console) as endpoints:
            _announce(endpoints, settings, console)
            while True:
                endpoints.check()
                time.sleep(CHECK_S)
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
        if settings.trainer:
            _needs_extra()
        lock = stack.enter_context(rundir.claimed(run_dir))
        flower_port = _port(settings.flower_port, "FELTSENSE_FLOWER_PORT") if flower else None
        metrics_port = _port(settings.metrics_port, "FELTSENSE_METRICS_PORT")
        exporter_port = None if temporary else _port(settings.exporter_port, "FELTSENSE_EXPORTER_PORT")
        processes: list[Process] = []
        kept: list[Kept] = []
        database_url, broker_url = settings.database_url, settings.broker_url
        if temporary:  # a killed worker leaves its file there
            stack.callback(shutil.rmtree, run_dir / TARGETS, ignore_errors=True)
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
        ports = {
            "metrics_port": metrics_port,
            "flower_port": flower_port or 0,
            "exporter_port": exporter_port or 0,
        }
        password = settings.flower_password or SecretStr(secrets.token_urlsafe(24))
        chosen = settings.model_copy(update=facts | ports | {"flower": flower, "flower_password": password})
        worker = Watch(lambda pulse: _worker(chosen, run_dir / "logs" / "worker.log", pulse, lock), say)
        endpoints = Endpoints(
            broker_url=broker_url,
            database_url=database_url,
            flower_url=None if flower_port is None else flower_url(chosen),
            metrics_url=f"http://127.0.0.1:{metrics_port}/metrics",
            exporter_url=None if exporter_port is None else f"http://127.0.0.1:{exporter_port}/metrics",
            processes=processes,
            watch=worker,
            kept=kept,
        )
        stack.callback(worker.stop, WORKER_STOP_S)
        worker.start()
        _await_worker(endpoints, worker.process)
        say(
            "The worker has no models: it screens, and the rest waits. `feltsense doctor` says why."
            if screens_only(endpoints.metrics_url)
            else "The worker is ready."
        )
        for process in _beside(chosen, run_dir, lock, temporary=temporary):
            stack.callback(process.stop, STOP_S)
            process.start()
            processes.append(process)
        if settings.trainer and not temporary:
            for process in trainers(chosen, run_dir / "logs", lock):
                stack.callback(process.stop, STOP_S)
                process.start()
                kept.append(Kept(process, say))
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


def work(settings: Settings, console: Console) -> int:
    """Run one worker in the foreground until a signal, on the settings' broker and database, and start it
    again as `up` does; the exit code. Its log goes to our own output, its pulse to a file of the run folder.

    Raises `UsageError` without broker or database, `ServiceMissing` when starting again does not help.
    """
    if settings.broker_url is None or settings.database_url is None:
        raise UsageError("a worker by itself needs FELTSENSE_BROKER_URL and FELTSENSE_DATABASE_URL")
    settings.run_dir.mkdir(parents=True, exist_ok=True)
    try:
        with stoppable(), ExitStack() as stack:
            watch = Watch(
                lambda pulse: _worker(settings, None, pulse), console.print, pulse=settings.run_dir / "pulse"
            )
            stack.callback(watch.stop, WORKER_STOP_S)
            watch.start()
            while True:
                insist()
                watch.check()
                time.sleep(CHECK_S)
    except KeyboardInterrupt:
        return 0


def train(settings: Settings, console: Console) -> int:
    """Run one trainer and a beat of its schedules in the foreground until a signal, on the settings' broker
    and database; the exit code. Any number of machines may do so. Their logs go to our own output.

    Raises `UsageError` without broker, database or the training libraries.
    """
    if settings.broker_url is None or settings.database_url is None:
        raise UsageError("a trainer by itself needs FELTSENSE_BROKER_URL and FELTSENSE_DATABASE_URL")
    _needs_extra()
    try:
        with stoppable(), ExitStack() as stack:
            kept = []
            for process in trainers(settings, None):
                stack.callback(process.stop, STOP_S)
                process.start()
                kept.append(Kept(process, console.print))
            while True:
                insist()
                for one in kept:
                    one.check()
                time.sleep(CHECK_S)
    except KeyboardInterrupt:
        return 0


def _needs_extra() -> None:
    if missing := [name for name in ("torch", "lightgbm", "optuna") if find_spec(name) is None]:
        raise UsageError(
            f"the trainer needs {', '.join(missing)}: install the extra, `pip install feltsense[train]`"
        )


def trainers(settings: Settings, logs: Path | None, *keep_open: int) -> Iterator[Process]:
    """The trainer's processes. When one is killed another goes on with its slot, so they may end at once."""
    level = ["--loglevel", settings.log_level]
    worker = ["worker", "--without-gossip", "--without-mingle", *level]
    worker += ["--task-events"] if settings.flower else []
    names = ["trainer", *(f"trainer-{number}" for number in range(2, settings.trainer_processes + 1))]
    commands = {name: [*worker, "--hostname", f"{name}@%h"] for name in names}
    cores = len(os.sched_getaffinity(0))
    threads = {"OMP_NUM_THREADS": str(max(1, cores // len(names)))} if len(names) > 1 else {}
    for name, arguments in {**commands, "trainer-beat": ["beat", *level]}.items():
        yield Process(
            name,
            [sys.executable, "-m", "celery", "--app", TRAINER, *arguments],
            log=None if logs is None else logs / f"{name}.log",
            orphaned=signal.SIGKILL,
            environment=threads | environment(settings),  # what the operator says of threads counts
            keep_open=keep_open,
        )


def _worker(settings: Settings, log: Path | None, pulse: int, *keep_open: int) -> Process:
    arguments = [
        "worker",
        "--pool",
        "threads",
        "--concurrency",
        str(settings.concurrency),
        "--queues",
        QUEUES,
    ]
    arguments += ["--without-gossip", "--without-mingle", "--loglevel", settings.log_level]
    arguments += ["--task-events"] if settings.flower else []
    return Process(
        "worker",
        [sys.executable, "-m", "celery", "--app", APP, *arguments],
        log=log,
        # Broker and database would die in the same moment: nothing is left to finish a task with.
        orphaned=signal.SIGKILL,
        environment=environment(settings) | {PULSE: str(pulse)},
        keep_open=(pulse, *keep_open),
    )


def _beside(settings: Settings, run_dir: Path, lock: int, *, temporary: bool) -> Iterator[Process]:
    """The processes beside the worker, in the order of their start."""
    celery = ["celery", "--app", APP]
    commands: dict[str, list[str]] = {}
    if not temporary:
        commands["beat"] = [*celery, "beat", "--loglevel", settings.log_level]
        commands["metrics"] = ["worker.cli", "metrics"]
    if settings.flower:
        commands["flower"] = [*celery, "flower"]
    for name, arguments in commands.items():
        own = flower_options(settings, run_dir) if name == "flower" else {}
        yield Process(
            name,
            [sys.executable, "-m", *arguments],
            log=run_dir / "logs" / f"{name}.log",
            orphaned=signal.SIGKILL,
            environment=environment(settings) | own,
            keep_open=(lock,),
        )


def flower_options(settings: Settings, run_dir: Path) -> dict[str, str]:
    """Flower's options as variables: its arguments can be read by every user of the machine."""
    assert settings.flower_password is not None, "given by the settings, or just made up"
    return {
        "FLOWER_ADDRESS": "127.0.0.1",
        "FLOWER_PORT": str(settings.flower_port),
        "FLOWER_BASIC_AUTH": f"{settings.flower_user}:{settings.flower_password.get_secret_value()}",
        "FLOWER_READ_ONLY": "true",
        "FLOWER_TASKS_COLUMNS": "name,uuid,state,result,received,runtime,worker",
        "FLOWER_MAX_TASKS": str(FLOWER_TASKS),
        "FLOWER_PERSISTENT": "true",
        "FLOWER_DB": str(run_dir / "flower.db"),
        "FLOWER_STATE_SAVE_INTERVAL": str(FLOWER_SAVES_MS),
    }


def flower_url(settings: Settings) -> str:
    """Flower's address with its login: a secret."""
    assert settings.flower_password is not None, "given by the settings, or just made up"
    password = quote(settings.flower_password.get_secret_value(), safe="")
    return f"http://{settings.flower_user}:{password}@127.0.0.1:{settings.flower_port}"


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
    expires = time.monotonic() + READY_S
    while not (answers(endpoints.metrics_url) and workers(endpoints.broker_url, timeout_s=0.3)):
        if worker.ended is not None:
            raise ServiceMissing(_obituary(worker))
        endpoints.check()
        if time.monotonic() > expires:
            raise ServiceMissing(f"the worker is not ready after {READY_S:g} s; see {worker.log}")
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
    if endpoints.flower_url is not None:
        console.print(
            f"Flower wants a login: its address with the password is in {settings.run_dir / rundir.STATE}"
        )
    console.print("Ctrl-C stops all of it.")


def _without_password(url: str) -> str:
    parts = urlsplit(url)
    return parts._replace(netloc=f"{parts.hostname}:{parts.port}").geturl()


def _silent(message: str) -> None:
    """Say nothing: nobody watches."""
