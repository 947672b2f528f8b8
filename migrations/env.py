"""Alembic's entry: runs the revisions on the store's connection, or on FELTSENSE_DATABASE_URL."""

from __future__ import annotations

from alembic import context
from sqlalchemy import Connection, Engine, create_engine, make_url, text

from worker.settings import Settings
from worker.store.tables import Base

LOCK = 0x7E175E25E
"""Advisory lock: several workers starting at once migrate one after another."""


def migrate(connection: Connection) -> None:
    context.configure(connection=connection, target_metadata=Base.metadata)
    with context.begin_transaction():
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": LOCK})
        context.run_migrations()


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
        own.commit()
