"""An operator's own labels: reflections out of Postgres whose writers consented to training, as labelled
JSONL.

They enter the journey where the public corpora do, as source `operator`. Nobody's row leaves without
`consent.training`, none of high risk before two reviewers' verdict on it, a deleted or erased one is not
there any more, and an edited one counts as it reads now.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import orjson

from trainer.data import labelled
from trainer.data.corpora.importer import write_whole
from trainer.data.labelled import OPERATOR, Labelled
from trainer.errors import RowRefused, TrainerError
from worker.errors import Rejected
from worker.observability.logging import logger
from worker.store.engine import Cursor, Store
from worker.store.persons import Opener
from worker.store.vault import Keyring, Unopenable

_AT_ONCE = 2_000
_NEVER = datetime.max.replace(tzinfo=UTC)
_LABELS = ("valence", "arousal", "willingness", "invoked", "expressed", "risk")

# An edit makes a label about another text, unless it was given after that edit came in.
_ROWS = """
WITH valid AS (
    SELECT l.* FROM labels l JOIN reflections r ON r.id = l.reflection_id
    WHERE (r.revision = 1 OR l.labelled_at >= r.received_at) AND l.labelled_at <= %(until)s
), consented AS (
    SELECT r.id, r.user_id, r.revision, r.created_at, r.utc_offset_min, r.timezone, r.lang, r.device, r.text,
           r.sealed, r.self_valence, r.self_arousal, r.self_emotion,
           coalesce(s.valence, r.self_valence, v.valence, a.valence) AS valence,
           coalesce(s.arousal, r.self_arousal, v.arousal, a.arousal) AS arousal,
           coalesce(s.willingness, v.willingness, a.willingness) AS willingness,
           coalesce(nullif(s.invoked, '{}'), nullif(r.self_emotion, '{}'), nullif(v.invoked, '{}'),
                    nullif(a.invoked, '{}')) AS invoked,
           coalesce(v.expressed, a.expressed, s.expressed) AS expressed,
           coalesce(v.risk, a.risk) AS risk
    FROM reflections r
    LEFT JOIN valid s ON s.reflection_id = r.id AND s.source = 'self_report'
    LEFT JOIN valid v ON v.reflection_id = r.id AND v.source = 'reviewer'
    LEFT JOIN valid a ON a.reflection_id = r.id AND a.source = 'annotator'
    WHERE r.consent_training AND r.deleted_at IS NULL AND r.received_at <= %(until)s
      AND NOT EXISTS (SELECT FROM awaiting_review w WHERE w.reflection_id = r.id)
)
SELECT * FROM (
    SELECT c.*, bool_or(num_nonnulls(valence, arousal, willingness, invoked, expressed, risk) > 0)
                OVER (PARTITION BY user_id) AS told
    FROM consented c
) rows WHERE told ORDER BY user_id, created_at, id
"""

_STALE = """
SELECT count(*) FROM labels l JOIN reflections r ON r.id = l.reflection_id
WHERE r.consent_training AND r.deleted_at IS NULL AND r.revision > 1 AND l.labelled_at < r.received_at
"""

_UNREVIEWED = "SELECT count(*) FROM awaiting_review WHERE consent_training"


@dataclass(frozen=True, kw_only=True, slots=True)
class Export:
    """What was written: `events`, of which `labelled` carry a label (the others are their writers' history),
    and `people`. What was left out: `textless` (the text was dropped), `unreviewed` ones of high risk,
    `stale` labels of an earlier revision, and `refused` rows with their reasons (no key opens the text, or a
    broken label), by id."""

    events: int
    labelled: int
    people: int
    textless: int
    unreviewed: int
    stale: int
    refused: tuple[str, ...]


@dataclass(kw_only=True)
class _Left:
    """Counts what is left out while rows are read."""

    textless: int = 0
    refused: list[str] = field(default_factory=list)


def export(store: Store, out: Path, *, now: datetime | None = None) -> Export:
    """Write the consented rows of everybody who has at least one label to `out`, whole or not at all,
    readable by its owner only.

    What the person says of how they feel goes before a reviewer's word, a reviewer's before an annotator's;
    of `expressed`, what a reader sees, the reviewer's goes first. Raises `TrainerError` when there is nothing
    to write, and says why; `ServiceMissing` or `StoreRefused` from the store.
    """
    return store.transact(lambda cursor: _export(cursor, out, now or datetime.now(UTC), store.keyring))


def rows(store: Store, *, now: datetime | None = None, until: datetime | None = None) -> list[Labelled]:
    """The same rows in memory, so that no file holds what people wrote; none where there is nothing. With
    `until`, only what had arrived and been labelled by then. What `Export` would name as left out is logged
    as counts."""
    moment = now or datetime.now(UTC)

    def work(cursor: Cursor) -> tuple[list[Labelled], _Left]:
        left = _Left()
        return [row for _, row in _consented(cursor, moment, store.keyring, left, until)], left

    found, left = store.transact(work)
    if left.textless or left.refused:
        logger.warning("labels_left_out", textless=left.textless, refused=len(left.refused))
    return found


def joined(given: Sequence[Labelled], own: Sequence[Labelled]) -> list[Labelled]:
    """Rows of files and the operator's own, each id once: a file may be an earlier export."""
    known = {row.reflection.id for row in own}
    return [*(row for row in given if row.reflection.id not in known), *own]


def _export(cursor: Cursor, out: Path, now: datetime, keyring: Keyring | None) -> Export:
    stale, unreviewed = (cursor.execute(query).fetchall()[0][0] for query in (_STALE, _UNREVIEWED))
    people: set[str] = set()
    left = _Left()
    events = with_label = 0

    def lines() -> Iterator[bytes]:
        nonlocal events, with_label
        for line, read in _consented(cursor, now, keyring, left):
            events += 1
            with_label += bool(read.labels)
            people.add(read.reflection.user_id)
            yield line + b"\n"
        if not with_label:
            raise TrainerError(_nothing(left.textless, unreviewed, left.refused))

    write_whole(out, lines(), mode=0o600)
    return Export(
        events=events,
        labelled=with_label,
        people=len(people),
        textless=left.textless,
        unreviewed=unreviewed,
        stale=stale,
        refused=tuple(left.refused),
    )


def _consented(
    cursor: Cursor, now: datetime, keyring: Keyring | None, left: _Left, until: datetime | None = None
) -> Iterator[tuple[bytes, Labelled]]:
    """Each row as a line and as it is read back."""
    with cursor.connection.cursor("labels", binary=True) as found:  # named: rows stay in the server
        found.itersize = _AT_ONCE
        found.execute(_ROWS, {"until": until or _NEVER})
        assert found.description is not None
        names = [column.name for column in found.description]
        opener: Opener | None = None
        opened_for = ""
        for values in found:
            row = dict(zip(names, values, strict=True))
            if opener is None or opened_for != row["user_id"]:  # rows come by person
                opener, opened_for = Opener(cursor, keyring, [row["user_id"]]), row["user_id"]
            try:
                of = {name: row[name] for name in ("id", "revision", "user_id", "text", "sealed")}
                row["text"] = opener.text(**of)
                if row["text"] is None:
                    left.textless += 1
                    continue
                line = orjson.dumps(_event(row))
                read = labelled.read(line, now=now)
            except (RowRefused, Rejected, Unopenable) as error:
                left.refused.append(f"reflection {row['id']}: {error}")
                continue
            yield line, read


def _event(row: dict[str, Any]) -> dict[str, Any]:
    report = {
        name: row[f"self_{name}"]
        for name in ("valence", "arousal", "emotion")
        if row[f"self_{name}"] is not None
    }
    local = timezone(timedelta(minutes=row["utc_offset_min"]))
    return {
        "schema": 1,
        **{name: row[name] for name in ("id", "user_id", "text", "lang", "device", "timezone", "revision")},
        "created_at": row["created_at"].astimezone(local).isoformat(),
        "self_report": report or None,
        "consent": {"training": True},
        "labels": {name: _label(name, row[name]) for name in _LABELS if row[name] is not None},
        "source": OPERATOR,
    }


def _label(name: str, value: Any) -> Any:
    """As the file has it: an emotion is a list of paths, none where a reader saw none."""
    if name in labelled.PATHS:
        return [value] if value else []
    return value


def _nothing(textless: int, unreviewed: int, refused: Sequence[str]) -> str:
    if textless:
        return (
            f"none of the {textless} reflections with consent and a label has its text: it was dropped "
            "(FELTSENSE_STORE_TEXT=drop). Labels need what was written; keep the text from now on"
        )
    if unreviewed and not refused:
        return (
            f"{unreviewed} high-risk reflections with consent have not been reviewed by two people, and there"
            " is nothing else; see `feltsense review`"
        )
    if refused:
        return f"all {len(refused)} reflections were refused, the first: {refused[0]}"
    return (
        "no reflection has both its writer's consent (`consent.training`) and a label "
        "(`self_report`, or a row of table `labels`)"
    )
