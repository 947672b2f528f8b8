"""Which schema the database has and which one this code needs: what `feltsense doctor` compares."""

from __future__ import annotations

from alembic.config import Config
from alembic.script import ScriptDirectory

from worker.store.engine import MIGRATIONS, Cursor, Store


def present(store: Store) -> str | None:
    """The revision the database is at, None before the first migration. Raises `ServiceMissing`."""

    def work(cursor: Cursor) -> str | None:
        cursor.execute("SELECT to_regclass('alembic_version') IS NOT NULL")
        if cursor.fetchone() != (True,):
            return None
        found = cursor.execute("SELECT version_num FROM alembic_version").fetchone()
        return None if found is None else str(found[0])

    return store.transact(work)


def needed() -> str:
    """The newest revision of the migrations that come with this code."""
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    head = ScriptDirectory.from_config(config).get_current_head()
    assert head is not None, "the project ships migrations"
    return head
