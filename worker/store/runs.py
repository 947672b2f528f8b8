"""The books of the rebuilds: one row for each slot that was begun, with what came of it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal

import orjson

from worker.store.engine import Store

_BEGIN = """
INSERT INTO training_runs (slot, plan, state) VALUES (%s, %s::text::jsonb, 'running')
ON CONFLICT (slot) DO UPDATE SET state = 'running', detail = NULL, finished_at = NULL
"""
_FINISH = """
UPDATE training_runs SET state = %s, model_version = %s, metrics = %s::text::jsonb, detail = %s,
    finished_at = clock_timestamp()
WHERE slot = %s
"""


def named(task: str, at: datetime) -> str:
    """What the books call a slot."""
    return f"{task} {at.isoformat()}"


def begin(store: Store, slot: str, plan: Mapping[str, Any]) -> None:
    """A rebuild begins, or goes on after its worker's end."""
    row = (slot, orjson.dumps(dict(plan)).decode())
    store.transact(lambda cursor: cursor.execute(_BEGIN, row))


def finish(
    store: Store,
    slot: str,
    state: Literal["done", "failed"],
    *,
    version: str | None = None,
    metrics: Mapping[str, Any] | None = None,
    detail: str | None = None,
) -> None:
    """How it ended; `metrics` and `detail` hold no text of anybody's."""
    row = (state, version, orjson.dumps(dict(metrics or {})).decode(), detail, slot)
    store.transact(lambda cursor: cursor.execute(_FINISH, row))
