"""Alembic's entry: runs the revisions on the store's connection, or on FELTSENSE_DATABASE_URL.

Each revision is a transaction of its own, under the eyes of working workers: it waits for its locks no longer
than `LOCK_TIMEOUT`, for whoever comes behind it waits too, and is tried again after a pause in which they get
on. What was done by then stays done.
"""

from __future__ import annotations

import time

import psycopg
from alembic import context
from sqlalchemy import Connection, Engine, create_engine, make_url, text
from sqlalchemy.exc import OperationalError

from worker.settings import Settings
from worker.store.tables import Base

LOCK = 0x7E175E25E
"""Advisory lock: several workers starting at once migrate one after another."""
LOCK_TIMEOUT = "2s"
TRIES, PAUSE_S = 60, 1.0
"""Three minutes, then it fails with SQLSTATE 55P03: somebody else's transaction holds a table for longer."""
OUTPACED = (psycopg.errors.LockNotAvailable, psycopg.errors.DeadlockDetected)


def migrate(connection: Connection) -> None:
    context.configure(connection=connection, target_metadata=Base.metadata, transaction_per_migration=True)
    connection.execute(text("SELECT pg_advisory_lock(:lock)"), {"lock": LOCK})
    connection.execute(text(f"SET lock_timeout = '{LOCK_TIMEOUT}'"))
    connection.commit()
    try:
        for left in reversed(range(TRIES)):
            try:
                with context.begin_transaction():
                    context.run_migrations()
                break
            except OperationalError as error:
                connection.rollback()
                if not (left and isinstance(error.orig, OUTPACED)):
                    raise
            time.sleep(PAUSE_S)
    finally:
        connection.rollback()
        connection.execute(text("RESET lock_timeout"))
        connection.execute(text("SELECT pg_advisory_unlock(:lock)"), {"lock": LOCK})
        connection.commit()


given = context.config.attributes.get("connection")
if isinstance(given, Connection):
    migrate(given)
else:
    engine = given
    if not isinstance(engine, Engine):
        url = Settings().database_url
        if url is None:
            raise SystemExit("set FELTSENSE_DATABASE_URL to the database to migrate")
        engine = create_engine(make_url(url).set(drivername="postgresql+psycopg"))
    with engine.connect() as own:
        migrate(own)
