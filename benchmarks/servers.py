"""One Postgres and one Valkey for all contestants: a database and a queue of its own for each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psycopg
from psycopg import sql

from worker.embedded.postgres import Postgres
from worker.embedded.process import Process
from worker.embedded.valkey import Valkey


@dataclass(frozen=True, kw_only=True)
class Servers:
    """Two running servers; `processes` by the names CPU time is told under."""

    postgres_url: str = field(repr=False)
    valkey_url: str = field(repr=False)
    processes: Mapping[str, Process] = field(repr=False)

    def database(self, name: str) -> str:
        """The URL of a new, empty database."""
        with psycopg.connect(self.postgres_url, autocommit=True) as connection:
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        return f"{self.postgres_url.rpartition('/')[0]}/{name}"

    def broker(self, number: int) -> str:
        """The URL of database `number` (0-15) of the Valkey."""
        return f"{self.valkey_url.rpartition('/')[0]}/{number}"


@contextmanager
def serving(folder: Path) -> Iterator[Servers]:
    """Both servers, empty, with the product's own settings, while the block runs; their data go with them."""
    postgres = Postgres(folder / "postgres", log=folder / "postgres.log")
    valkey = Valkey(folder / "valkey", log=folder / "valkey.log")
    try:
        postgres_url, valkey_url = postgres.start(), valkey.start()
        assert postgres.process is not None
        assert valkey.process is not None
        yield Servers(
            postgres_url=postgres_url,
            valkey_url=valkey_url,
            processes={"postgres": postgres.process, "valkey": valkey.process},
        )
    finally:
        valkey.remove()
        postgres.remove()
