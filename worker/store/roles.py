"""Who may do what in the database: roles with the least rights their work needs (`roles.sql`)."""

from __future__ import annotations

from pathlib import Path

from worker.store.engine import Store

SQL = (Path(__file__).parent / "roles.sql").read_text("utf-8")
NAMES = tuple(f"feltsense_{name}" for name in ("migrator", "worker", "trainer", "reader", "reviewer"))


def apply(store: Store) -> None:
    """Make the roles and grant them their rights; again is harmless.

    Raises StoreRefused when the store's user may not, or a migration is missing; ServiceMissing.
    """
    # Without parameters the whole file is one call of the simple protocol.
    store.transact(lambda cursor: cursor.connection.execute(SQL.encode()) and None)
