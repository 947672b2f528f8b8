"""The door to Postgres: one pool, whole transactions, and errors that never quote what was being written."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self, TypeVar, cast

import psycopg
from pydantic import SecretStr
from sqlalchemy import Engine, create_engine, make_url
from sqlalchemy import exc as sa
from sqlalchemy.engine import URL

from worker.errors import FeltsenseError, ServiceMissing, UsageError
from worker.store.acquaintances import Acquaintances
from worker.store.vault import Keyring

Cursor = psycopg.Cursor[tuple[Any, ...]]
T = TypeVar("T")

MIGRATIONS = Path(__file__).resolve().parents[2] / "migrations"
TRIES = 3
"""Postgres ends one of two deadlocked transactions; that one is run again this often at most."""

SILENCE: dict[str, int] = {
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 20_000,
}
"""A peer that vanished without a word (a dead machine, a lost route) is given up after 20 s, on both sides:
the kernel's own patience is hours, for a worker that waits and for a transaction that holds its locks."""
SESSION = (
    # Every query of the store goes by key. A plan made while a table was still empty would scan it, and is
    # kept by the prepared statement until the next ANALYZE; a minute of bulk import is long enough to hurt.
    # And a person's last rows come in the index's order: planned for an average person, a bitmap scan would
    # read and sort the whole history of one who has written for years.
    "-c enable_seqscan=off -c enable_bitmapscan=off -c enable_hashjoin=off -c enable_mergejoin=off -c jit=off"
    # So the plan is the same for all values: making it anew for every call costs a lone reflection .1 ms.
    " -c plan_cache_mode=force_generic_plan"
    # Locks are taken by one statement and looked behind by the next, which needs a snapshot of its own.
    " -c default_transaction_isolation=read\\ committed -c timezone=UTC"
    + "".join(f" -c tcp_{name.removeprefix('tcp_')}={value}" for name, value in SILENCE.items())
)

STORAGE = frozenset(
    ("md.c", "fd.c", "buffile.c", "bufmgr.c", "slru.c", "smgr.c", "xlog.c", "file_utils.c", "sharedfileset.c")
)
"""Where in Postgres' source its disk is met. Only ENOSPC and EIO have a SQLSTATE that says so: a quota that
is used up or a limit on files (EDQUOT, EFBIG) comes as an internal error, a disk gone read-only as a lack of
privilege, neither of which is any event's fault."""

UNFIT = (
    psycopg.errors.UndefinedColumn, psycopg.errors.UndefinedTable, psycopg.errors.UndefinedFunction,
    psycopg.errors.InsufficientPrivilege,
)  # fmt: skip
"""A schema that is not yet, or no longer, the one this code needs. Every event would fail on it: wait."""


class StoreRefused(FeltsenseError):
    """Postgres refused a statement (a constraint, a type): the same call would fail again.

    The message names SQLSTATE, table, column and constraint; never values.
    """


class _Stale(Exception):
    """A connection that was lost before anything could be committed over it."""

    def __init__(self, error: psycopg.OperationalError) -> None:
        super().__init__()
        self.error = error


class Store:
    """A pool of connections. Open it with `Store.open(url)`, preferably in a `with` statement."""

    def __init__(self, engine: Engine, address: str, *, keep_text: bool, keyring: Keyring | None) -> None:
        self._engine = engine
        self.address = address
        self.keep_text = keep_text
        self.keyring = keyring
        self.acquaintances = Acquaintances()

    @classmethod
    def open(
        cls,
        database_url: str,
        *,
        pool_size: int = 8,
        keep_text: bool = True,
        text_keys: SecretStr | None = None,
    ) -> Self:
        """The store at `database_url` (postgresql://...); connects at first use.

        With `keep_text` False neither reflections nor dead letters hold what people wrote; with `text_keys`
        (`Keyring.of`) they hold it sealed. Raises UsageError for another kind of URL or key.
        """
        keyring = Keyring.of(text_keys.get_secret_value()) if text_keys is not None else None
        try:
            url = make_url(database_url)
            known = url.get_backend_name() in ("postgresql", "postgres")
        except (sa.ArgumentError, ValueError):
            known = False
        if not known:
            raise UsageError(
                "database_url is no Postgres URL; write postgresql://user:password@host:port/database"
            )
        engine = create_engine(
            url.set(drivername="postgresql+psycopg"),
            pool_size=pool_size,
            max_overflow=pool_size,
            pool_use_lifo=True,
            hide_parameters=True,
            connect_args={"connect_timeout": 5, "application_name": "feltsense", "options": SESSION}
            | SILENCE,
        )
        return cls(engine, _address(url), keep_text=keep_text, keyring=keyring)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close every pooled connection; those still lent out close when they come back."""
        self._engine.dispose()

    def ping(self) -> None:
        """One round trip. Raises ServiceMissing when the database does not answer."""
        self.transact(lambda cursor: cursor.execute("SELECT 1"))

    def migrate(self, revision: str = "head") -> None:
        """Bring the schema up to date, or to an Alembic revision; rows kept, safe when many do it at once.

        Raises ServiceMissing when the database does not answer.
        """
        self._alembic("upgrade", revision)

    def downgrade(self, revision: str) -> None:
        """Take the schema back to an older Alembic revision, or to nothing ("base").

        Raises ServiceMissing when the database does not answer.
        """
        self._alembic("downgrade", revision)

    def _alembic(self, step: Literal["upgrade", "downgrade"], revision: str) -> None:
        # A worker migrates nothing: it shall not load Alembic with every start.
        from alembic import command
        from alembic.config import Config

        try:
            with self._engine.connect() as connection:
                config = Config()
                config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
                config.attributes["connection"] = connection
                getattr(command, step)(config, revision)
                connection.commit()
            return
        except sa.DBAPIError as error:
            failure = self._retell(cast(psycopg.Error, error.orig))
        raise failure

    def transact(self, work: Callable[[Cursor], T]) -> T:
        """What `work` returns, in one committed transaction (READ COMMITTED, binary cursor).

        `work` runs again when Postgres ended it for a deadlock, or was restarted since the last call, so it
        must have no other effect.
        Raises ServiceMissing when the database is lost, StoreRefused when it refuses; what `work`
        raises passes through.
        """
        for tries in range(1, TRIES + 1):
            try:
                return self._attempt(work)
            except _Stale as stale:
                failure = self._retell(stale.error)
                if tries < TRIES:
                    continue
            except (psycopg.errors.DeadlockDetected, psycopg.errors.SerializationFailure) as error:
                failure = self._retell(error)
                if tries < TRIES:
                    continue
            except psycopg.Error as error:
                failure = self._retell(error)
            except sa.TimeoutError:
                failure = ServiceMissing(
                    f"Postgres at {self.address}: no connection of the pool came free in time"
                )
            break
        # Raised outside the handlers: a chained psycopg error would carry the refused values into tracebacks.
        raise failure

    @contextmanager
    def locked(self, name: str) -> Iterator[bool]:
        """Whether nobody else held the lock `name`; if so, it is ours while the block runs, on a connection
        of its own, and free when this process dies."""
        pooled = self._engine.raw_connection()
        connection = cast(psycopg.Connection[tuple[Any, ...]], pooled.driver_connection)
        try:
            found = connection.execute("SELECT pg_try_advisory_lock(hashtextextended(%s, 0))", (name,))
            held = found.fetchone() == (True,)
            connection.commit()
            yield held
        finally:
            pooled.invalidate()  # the session's end frees the lock, also where its server has gone
            pooled.close()

    def _attempt(self, work: Callable[[Cursor], T]) -> T:
        pooled = self._engine.raw_connection()
        done = False
        try:
            connection = cast(psycopg.Connection[tuple[Any, ...]], pooled.driver_connection)
            with connection.cursor(binary=True) as cursor:
                result = work(cursor)
                done = True
                connection.commit()
            return result
        except psycopg.OperationalError as error:
            if done or not connection.broken:
                raise
            # The server was restarted since: asking each time beforehand would cost a round trip.
            self._engine.dispose()
            raise _Stale(error) from None
        finally:
            pooled.close()

    def _retell(self, error: psycopg.Error) -> FeltsenseError:
        state = error.sqlstate or type(error).__name__
        if isinstance(error, psycopg.OperationalError | psycopg.InterfaceError):
            if error.sqlstate is None:
                return ServiceMissing(
                    f"Postgres at {self.address} cannot be reached; start it, or correct"
                    " FELTSENSE_DATABASE_URL"
                )
            return ServiceMissing(f"Postgres at {self.address} cannot serve (SQLSTATE {state})")
        if error.diag.source_file in STORAGE:
            return ServiceMissing(
                f"Postgres at {self.address} cannot use its disk (SQLSTATE {state}): see its log for a quota,"
                " a limit on files, a disk gone read-only or damaged"
            )
        if isinstance(error, UNFIT):
            return ServiceMissing(
                f"Postgres at {self.address} has not the schema or the grants this code needs (SQLSTATE"
                f" {state}): migrate it, or run the code that fits"
            )
        where = (error.diag.table_name, error.diag.column_name, error.diag.constraint_name)
        return StoreRefused(" ".join(("Postgres refused a statement: SQLSTATE", state, *filter(None, where))))


def _address(url: URL) -> str:
    host = url.host or url.query.get("host") or "localhost"
    return f"{host if isinstance(host, str) else host[0]}:{url.port or 5432}/{url.database or ''}"
