"""The findings of `feltsense doctor`: what of an installation works, what does not, and what to do."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table
from rich.text import Text

from worker.bundle import reader
from worker.client.addresses import broker_url, database_url
from worker.errors import FeltsenseError, ServiceMissing
from worker.inference import devices
from worker.inference.backend import Placed
from worker.inference.devices import Policy
from worker.inference.encoder import Encoder
from worker.inference.temporal_net import TemporalNet
from worker.service.readiness import open_models, workers
from worker.settings import Settings
from worker.store import schema
from worker.store.engine import Store

WORKER_PATIENCE_S = 2.0


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing looked at: whether it works, what was seen, and what to do if it does not.

    `exit_code` is that of the error it would cause (0 when it works).
    """

    name: str
    ok: bool
    what: str
    remedy: str = ""
    exit_code: int = 0


def doctor(settings: Settings, console: Console) -> int:
    """Print every finding; the exit code: 0, 4 when a service is missing, 2 when something else is wrong."""
    found = list(findings(settings))
    table = Table.grid(padding=(0, 2))
    for finding in found:
        mark = "[green]ok[/]" if finding.ok else "[red]no[/]"
        table.add_row(mark, finding.name, Text(finding.what, overflow="fold"))
        if finding.remedy:
            table.add_row("", "", Text(f"-> {finding.remedy}", style="yellow"))
    console.print(table)
    return max(finding.exit_code for finding in found)


def findings(settings: Settings) -> Iterator[Finding]:
    """Look at broker, worker, database, schema, devices, encoder and bundle, each by itself."""
    up = "start `feltsense up`, or correct FELTSENSE_{}"
    yield _finding("broker", lambda: _broker(settings), up.format("BROKER_URL"))
    yield _finding("worker", lambda: _worker(settings), "start `feltsense up`; see run/logs/worker.log")
    yield _finding("database", lambda: _database(settings), up.format("DATABASE_URL"))
    yield _finding("schema", lambda: _schema(settings), "start `feltsense up`, which migrates the database")
    yield _finding("devices", _devices, "see OpenVINO's notes on drivers; the CPU alone is enough")
    yield _finding(
        "encoder",
        lambda: _encoder(settings),
        "install requirements/encoder.txt with pip --no-deps; a device plan that ends in CPU always works",
    )
    yield _finding(
        "bundle",
        lambda: _bundle(settings),
        "restore it from git, or name another with FELTSENSE_BUNDLE",
    )


def _finding(name: str, look: Callable[[], str], remedy: str) -> Finding:
    try:
        return Finding(name=name, ok=True, what=look())
    except FeltsenseError as error:
        return Finding(name=name, ok=False, what=str(error), remedy=remedy, exit_code=error.exit_code)
    except (OSError, ImportError) as error:  # a library or a file of the installation is missing
        return Finding(
            name=name, ok=False, what=str(error), remedy=remedy, exit_code=FeltsenseError.exit_code
        )


def _broker(settings: Settings) -> str:
    url = broker_url(settings)
    workers(url, timeout_s=0.05)
    return f"answers at {_place(url)}"


def _worker(settings: Settings) -> str:
    found = open_models(broker_url(settings), timeout_s=WORKER_PATIENCE_S)
    if not found:
        raise ServiceMissing("no worker answers")
    if without := {name: told for name, told in found.items() if told.get("serving") is None}:
        name, told = next(iter(without.items()))
        raise ServiceMissing(f"{name} has no models and only screens: {told.get('trouble')}")
    return ", ".join(f"{name} serves {told['serving']}" for name, told in found.items())


def _database(settings: Settings) -> str:
    with Store.open(database_url(settings), pool_size=1) as store:
        store.ping()
        return f"answers at {store.address}"


def _schema(settings: Settings) -> str:
    with Store.open(database_url(settings), pool_size=1) as store:
        present, needed = schema.present(store), schema.needed()
    if present != needed:
        raise ServiceMissing(f"the database is at revision {present}, this code needs {needed}")
    return f"revision {present}"


def _devices() -> str:
    return "; ".join(f"{name}: {facts}" for name, facts in devices.seen().items())


def _encoder(settings: Settings) -> str:
    encoder = Encoder.open(
        cache_dir=settings.cache_dir,
        plan=settings.device_plan,
        precision=settings.precision,
        threads=settings.inference_threads,
        streams=settings.streams,
        policy=Policy.of(settings),
    )
    try:
        return _placed(encoder.placed, encoder.skipped())
    finally:
        encoder.close()


def _bundle(settings: Settings) -> str:
    bundle = reader.load(settings.bundle, keys=settings.bundle_keys)
    net = TemporalNet.open(
        bundle.contents.temporal,
        plan=settings.temporal_device_plan,
        cache_dir=settings.cache_dir,
        policy=Policy.of(settings),
    )
    try:
        return (
            f"{bundle.manifest.name} {bundle.manifest.model_version} in {bundle.folder}; its temporal net "
            f"{_placed(net.placed, net.skipped())}"
        )
    finally:
        net.close()


def _placed(placed: Placed, skipped: Mapping[str, str]) -> str:
    why = "".join(f"; not on {device}: {reason}" for device, reason in skipped.items())
    return f"runs on {placed.actual} in {placed.precision}, of the plan {', '.join(placed.requested)}{why}"


def _place(url: str) -> str:
    """A URL's host and port; the rest may hold a password."""
    return url.rpartition("@")[2].rpartition("//")[2]
