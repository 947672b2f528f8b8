"""The real parts under fire: Postgres, Valkey, hosts that run `feltsense up`, and the lines between them.

Postgres and Valkey are the embedded ones, with one difference: Valkey writes with `appendfsync always`, for
only that survives its kill by promise. Hosts reach both through proxies; the publisher reaches the broker by
a line of its own, which no fault touches.
"""

from __future__ import annotations

import secrets
import signal
from pathlib import Path
from urllib.parse import urlsplit

from benchmarks.chaos import family
from benchmarks.chaos.disk import broker_disk, database_disk
from benchmarks.chaos.hosts import Host
from benchmarks.chaos.proxy import Proxy
from worker.embedded.postgres import Postgres
from worker.embedded.process import Process
from worker.embedded.valkey import Valkey
from worker.settings import Settings


class Instance:
    """All parts of one run, their data in `folder`. Start and tend it from the main thread."""

    def __init__(self, folder: Path, settings: Settings, *, hosts: int) -> None:
        self._folder = folder
        self._settings = settings
        self._hosts = hosts
        logs = folder / "logs"
        self.postgres = Postgres(folder / "postgres", log=logs / "postgres.log")
        self.valkey = Valkey(
            folder / "valkey",
            log=logs / "valkey.log",
            password=secrets.token_urlsafe(24),  # the same over restarts, or no client could come back
            appendfsync="always",
        )
        self.broker_line, self.database_line, self.publisher_line = (
            Proxy("broker"), Proxy("database"), Proxy("publisher"),
        )  # fmt: skip
        self.broker_disk, self.database_disk = broker_disk(folder), database_disk(folder)
        self.hosts: list[Host] = []
        self.powered = True
        """False while nothing restarts the hosts."""
        self.tends_servers = True
        """False while a fault lasts, which may be that one of them is gone."""

    def start(self) -> None:
        """Servers, lines and hosts; the hosts may not be ready yet. Raises `ServiceMissing`."""
        for disk in (self.broker_disk, self.database_disk):
            disk.restore()
        for line in (self.broker_line, self.database_line, self.publisher_line):
            line.start()
        self.start_database()
        self.start_broker()
        settings = self._settings.model_copy(
            update={
                "broker_url": _at(self.valkey.url, self.broker_line.port),
                "database_url": _at(self.postgres.url, self.database_line.port),
            }
        )
        self.hosts = [Host(number, settings, self._folder) for number in range(self._hosts)]
        for host in self.hosts:
            host.start()

    def start_database(self) -> None:
        self.postgres.start()
        self.database_line.target = _port(self.postgres.url)

    def start_broker(self) -> None:
        self.valkey.start()
        self.broker_line.target = self.publisher_line.target = _port(self.valkey.url)

    @property
    def publisher_url(self) -> str:
        return _at(self.valkey.url, self.publisher_line.port)

    @property
    def database(self) -> Process:
        assert self.postgres.process is not None, "started"
        return self.postgres.process

    @property
    def broker(self) -> Process:
        assert self.valkey.process is not None, "started"
        return self.valkey.process

    def tend(self) -> None:
        """What systemd does: what has ended starts again."""
        if self.powered:
            for host in self.hosts:
                host.tend()
        if self.tends_servers and self.database.ended is not None:
            self.start_database()
        if self.tends_servers and self.broker.ended is not None:
            self.start_broker()

    def stop(self) -> None:
        """Stops everything in the order of an orderly end, and leaves the data in `folder`."""
        try:
            for host in self.hosts:
                family.send([pid for pid in (host.supervisor, *host.workers) if pid], signal.SIGCONT)
                host.stop()
        finally:
            for server in (self.valkey, self.postgres):
                if server.process is not None:
                    pid = server.process.pid
                    family.send([pid, *family.descendants(pid)], signal.SIGCONT)
                server.stop()
            for disk in (self.broker_disk, self.database_disk):
                disk.restore()


def _port(url: str) -> int:
    port = urlsplit(url).port
    assert port is not None, "servers of ours name theirs"
    return port


def _at(url: str, port: int) -> str:
    parts = urlsplit(url)
    login = parts.netloc.rpartition("@")[0]
    return parts._replace(netloc=f"{login}@127.0.0.1:{port}").geturl()
