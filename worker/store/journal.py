"""What people ask of the rows: a person's timeline, who is there, how many, how fast."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import date, datetime
from typing import Any

from worker.store import dead_letters
from worker.store.engine import Cursor, Store


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """A reflection's current perception with what the person said of themselves; never the text.

    Values in the product's ranges; `created_at` UTC, `local_day` and `utc_offset_min` the writer's.
    """

    reflection_id: str
    user_id: str
    revision: int
    created_at: datetime
    utc_offset_min: int
    local_day: date
    self_valence: float | None
    self_arousal: float | None
    self_emotion: Sequence[str] | None
    valence: float
    arousal: float
    invoked: Sequence[str]
    expressed: Sequence[str]
    willingness: float
    congruence: float
    comparator: float
    expected_valence: float
    expected_arousal: float
    intervals: dict[str, list[float]]
    emotions: dict[str, dict[str, Any]]
    language: str
    language_supported: bool
    risk_level: str
    risk_score: float
    risk: dict[str, Any]
    model_version: str
    provenance: dict[str, Any]
    timings: dict[str, float]
    enriched_at: datetime
    repaired_at: datetime | None

    def to_json(self) -> dict[str, Any]:
        """The line `feltsense enrich` would have written for this reflection (product page, section 4)."""
        return {
            "id": self.reflection_id,
            "user_id": self.user_id,
            "valence": self.valence,
            "arousal": self.arousal,
            **self.emotions,
            "willingness": self.willingness,
            "congruence": self.congruence,
            "comparator": self.comparator,
            "expected": {"valence": self.expected_valence, "arousal": self.expected_arousal},
            "language_supported": self.language_supported,
            "intervals": self.intervals,
            "risk": self.risk,
            "model_version": self.model_version,
            "provenance": self.provenance,
        }


@dataclass(frozen=True, kw_only=True, slots=True)
class Person:
    """One user and the span of their reflections (UTC)."""

    user_id: str
    reflections: int
    first: datetime
    last: datetime


@dataclass(frozen=True, kw_only=True, slots=True)
class Counts:
    """How many rows there are; `deliveries` by state (accepted: under way), `dead_letters` by reason."""

    persons: int
    reflections: int
    deleted: int
    perceived: int
    repaired: int
    deliveries: Counter[str]
    dead_letters: Counter[str]


_OF_REFLECTION = ("utc_offset_min", "local_day", "self_valence", "self_arousal", "self_emotion")
_COLUMNS = ", ".join(
    f"{'r' if field.name in _OF_REFLECTION else 'c'}.{field.name}" for field in fields(Entry)
)
_ENTRIES = f"SELECT {_COLUMNS} FROM current_perceptions c JOIN reflections r ON r.id = c.reflection_id"  # noqa: S608 - our own column names
_ORDER = " ORDER BY c.user_id, c.created_at, c.reflection_id"


def timeline_of(store: Store, user_id: str) -> list[Entry]:
    """A person's current perceptions, oldest first; empty for an unknown user."""
    rows = store.transact(
        lambda cursor: cursor.execute(f"{_ENTRIES} WHERE c.user_id = %s{_ORDER}", (user_id,)).fetchall()
    )
    return [_entry(row) for row in rows]


def entries(store: Store) -> list[Entry]:
    """Everybody's current perceptions, by user and time."""
    return [
        _entry(row) for row in store.transact(lambda cursor: cursor.execute(_ENTRIES + _ORDER).fetchall())
    ]


def users(store: Store) -> list[Person]:
    """Everybody with a reflection, most reflections first."""
    query = """
        SELECT user_id, count(*), min(created_at), max(created_at) FROM reflections WHERE deleted_at IS NULL
        GROUP BY user_id ORDER BY count(*) DESC, user_id
    """
    rows = store.transact(lambda cursor: cursor.execute(query).fetchall())
    return [Person(user_id=user, reflections=n, first=first, last=last) for user, n, first, last in rows]


def counts(store: Store) -> Counts:
    """Everything counted, a moment apart."""

    def work(cursor: Cursor) -> tuple[tuple[int, ...], Counter[str]]:
        row = cursor.execute(
            """
            SELECT count(DISTINCT user_id), count(*), count(deleted_at),
                   (SELECT count(DISTINCT reflection_id) FROM perceptions),
                   (SELECT count(repaired_at) FROM perceptions)
            FROM reflections
            """
        ).fetchone()
        assert row is not None
        states = cursor.execute("SELECT state, count(*) FROM deliveries GROUP BY state").fetchall()
        return row, Counter(dict(states))

    (persons, reflections, deleted, perceived, repaired), deliveries = store.transact(work)
    return Counts(
        persons=persons,
        reflections=reflections,
        deleted=deleted,
        perceived=perceived,
        repaired=repaired,
        deliveries=deliveries,
        dead_letters=dead_letters.count(store),
    )


def latencies(store: Store, *, since: datetime | None = None) -> list[float]:
    """Seconds from acceptance to the committed row, of deliveries accepted since then, in that order."""
    query = """
        SELECT extract(epoch FROM finished_at - accepted_at)::float8 FROM deliveries
        WHERE state = 'done' AND finished_at IS NOT NULL
          AND accepted_at >= coalesce(%s, '-infinity'::timestamptz)
        ORDER BY accepted_at
    """
    return [
        seconds for (seconds,) in store.transact(lambda cursor: cursor.execute(query, (since,)).fetchall())
    ]


def _entry(row: Sequence[Any]) -> Entry:
    return Entry(**{field.name: value for field, value in zip(fields(Entry), row, strict=True)})
