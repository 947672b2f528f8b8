"""Who may do what in the database: roles with the least rights their work needs (`roles.sql`)."""

from __future__ import annotations

from pathlib import Path

from worker.store.engine import Cursor, Store

SQL = (Path(__file__).parent / "roles.sql").read_text("utf-8")
NAMES = tuple(f"feltsense_{name}" for name in ("migrator", "worker", "trainer", "reader", "reviewer"))


def apply(store: Store) -> None:
    """Make the roles and grant them their rights; again is harmless.

    Raises ServiceMissing, also when the store's user may not or a migration is missing; StoreRefused.
    """

    def work(cursor: Cursor) -> None:
        # Without parameters, and not on a binary cursor, the whole file is one call.
        cursor.connection.execute(SQL.encode())

    store.transact(work)
