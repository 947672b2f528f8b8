"""Events as an app sends them."""

from __future__ import annotations

from typing import Any


def event(id: str, user_id: str = "u-1", *, day: int = 1, hour: int = 7, **fields: Any) -> dict[str, Any]:  # noqa: A002
    """A valid event of November 2026; `fields` replace or add."""
    return {
        "id": id,
        "user_id": user_id,
        "text": f"Entry {id}: the day was long, yaar, but I felt calm and a little proud.",
        "created_at": f"2026-11-{day:02d}T{hour:02d}:15:00+05:30",
        **fields,
    }
