"""Feltsense as a contestant: one or more worker processes on a database and a queue of their own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.sender import Address
from benchmarks.served import Rows, Served
from benchmarks.servers import Servers
from worker.embedded.process import Process
from worker.embedded.supervisor import running
from worker.events.message import BULK, ENRICH, LIVE
from worker.settings import Settings

CHUNK = 64


@dataclass(frozen=True, kw_only=True)
class Instance:
    """Running workers and their two lanes."""

    live: Served
    bulk: Served
    workers: Sequence[Process]


@contextmanager
def instance(
    servers: Servers, settings: Settings, folder: Path, *, name: str, broker: int, workers: int = 1
) -> Iterator[Instance]:
    """Warm workers while the block runs, each started as `feltsense up` starts it; call from the main
    thread."""
    urls = {"database_url": servers.database(f"feltsense_{name}"), "broker_url": servers.broker(broker)}
    with ExitStack() as stack:
        started: list[Process] = []
        for number in range(workers):
            chosen = settings.model_copy(update={**urls, "run_dir": folder / f"{name}-{number}"})
            endpoints = stack.enter_context(running(chosen, flower=False, temporary=True))
            started.append(endpoints.watch.process)
        processes = {**{f"worker {at}": one for at, one in enumerate(started, 1)}, **servers.processes}
        rows = Rows(urls["database_url"], "reflection_id")

        def lane(title: str, queue: str, chunk: int) -> Served:
            address = Address(broker_url=urls["broker_url"], task=ENRICH, queue=queue, listed=True)
            return Served(title, address, rows, processes, chunk)

        told = "" if workers == 1 else f", {workers} processes"
        yield Instance(
            live=lane(f"(d) Feltsense, live lane{told}", LIVE, 1),
            bulk=lane(f"(e) Feltsense, bulk lane{told}", BULK, CHUNK),
            workers=started,
        )
