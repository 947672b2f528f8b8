"""One person at a time: what is written of somebody's timeline waits for whoever writes it now."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from worker.store.engine import Cursor

_LOCK = "SELECT pg_advisory_xact_lock(a.key) FROM unnest(%b::int8[]) AS a (key)"


def lock_persons(cursor: Cursor, user_ids: Iterable[str]) -> None:
    """Wait for, then hold, these persons until the transaction ends; in one order for everybody.

    The next statement sees what the former holder committed.
    """
    keys = sorted({_lock_key(user_id) for user_id in user_ids})
    cursor.execute(_LOCK, (keys,), prepare=True)


def _lock_key(user_id: str) -> int:
    return int.from_bytes(hashlib.blake2b(user_id.encode(), digest_size=8).digest(), "big", signed=True)
