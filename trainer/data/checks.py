"""The books of the drift checks: what each measure said, by the slot that asked."""

from __future__ import annotations

from collections.abc import Sequence

from trainer.drift.compare import Finding
from worker.store.engine import Cursor, Store

_ADD = """
INSERT INTO drift_checks (slot, measure, slice, kind, model_version, effect, floor, chance, alarm,
    reference_rows, current_rows, reference_people, current_people)
VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)
"""


def write(store: Store, slot: str, model_version: str, found: Sequence[Finding]) -> None:
    """Book the findings of a slot; again replaces them."""
    rows = [
        (slot, one.measure, one.slice, one.kind, model_version, one.effect, one.floor, one.chance, one.alarm,
         *one.rows, *one.people)
        for one in found
    ]  # fmt: skip

    def work(cursor: Cursor) -> None:
        cursor.execute("DELETE FROM drift_checks WHERE slot = %s", (slot,))
        cursor.executemany(_ADD, rows)

    store.transact(work)
