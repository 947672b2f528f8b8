"""What became of every published event, by plain SQL, and how long each took."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import psycopg

FOUND = """
SELECT a.id,
    EXISTS (
        SELECT FROM deliveries d JOIN perceptions p
            ON p.reflection_id = d.reflection_id AND p.model_version = d.model_version
        WHERE d.reflection_id = a.id AND d.state = 'done'),
    EXISTS (SELECT FROM dead_letters l WHERE l.reflection_id = a.id),
    (SELECT extract(epoch FROM min(d.finished_at)) FROM deliveries d WHERE d.reflection_id = a.id),
    (SELECT count(DISTINCT d.model_version) FROM deliveries d WHERE d.reflection_id = a.id)
FROM unnest(%b::text[]) AS a (id)
"""
"""Per id: its row under the version that its delivery is pinned to, a dead letter, when the transaction that
wrote the row did so, and how many versions it was delivered under (rows of a version that was tried, or of a
re-enrichment, are not its delivery's)."""

OPEN = "SELECT count(*) FROM deliveries WHERE state = 'accepted'"


def account(database_url: str, sent: Mapping[str, float]) -> dict[str, Any]:
    """The account, and `latency`: each event's (moment of sending, ms from there to its row)."""
    with psycopg.connect(database_url) as connection:
        found = connection.execute(FOUND, (sorted(sent),)).fetchall()
    rows = [key for key, row, _, _, _ in found if row]
    letters = [key for key, _, letter, _, _ in found if letter]
    lost = [key for key, row, letter, _, _ in found if not row and not letter]
    latency = [
        (sent[key], 1000 * (float(done) - sent[key]))
        for key, row, _, done, _ in found
        if row and done is not None
    ]
    return {
        "published": len(sent),
        "rows": len(rows),
        "dead_letters": len(letters),
        "lost": len(lost),
        "doubled": len(set(rows) & set(letters)),
        "two_versions": sum(versions > 1 for *_, versions in found),
        "balanced": len(sent) == len(rows) + len(letters),
        "latency": latency,
    }


def percentiles(ms: list[float]) -> dict[str, float | int | None]:
    """p50, p99 and the largest; nothing of nothing."""
    if not ms:
        return {"events": 0, "p50_ms": None, "p99_ms": None, "max_ms": None}
    p50, p99 = np.percentile(ms, (50, 99))
    return {
        "events": len(ms), "p50_ms": round(float(p50), 1), "p99_ms": round(float(p99), 1),
        "max_ms": round(max(ms), 1),
    }  # fmt: skip
