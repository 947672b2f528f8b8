"""The reviewers' log: every action once, each entry bound to the one before by its hash.

The database numbers and chains the entries itself and lets none be changed; here they are written and, from
the first to the last, computed again. An entry names a case by its random id and holds neither a text nor
the id of a reflection or a person, so that the log stays whole when a person is erased.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID

import orjson

from worker.errors import FeltsenseError, UsageError
from worker.store.engine import Cursor, Store

GENESIS = bytes(32)
_AT_ONCE = 5_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


class ChainBroken(FeltsenseError):
    """The log is not the one that was written; the message names the first entry that does not fit."""

    exit_code = 3


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """One action as it stands in the log."""

    seq: int
    at: datetime
    actor: str
    action: str
    case_id: UUID | None
    detail: str
    previous: bytes
    hash: bytes

    def computed(self) -> bytes:
        """The hash this entry must have: SHA-256 over the one before and the lines of its content."""
        microseconds = (self.at - _EPOCH) // _MICROSECOND
        case = str(self.case_id) if self.case_id is not None else ""
        lines = (str(self.seq), str(microseconds), self.actor, self.action, case, self.detail)
        return hashlib.sha256(self.previous + "\n".join(lines).encode()).digest()


@dataclass(frozen=True, kw_only=True, slots=True)
class Verified:
    """How many entries fit, and the last one's hash: note `head`, and nobody can cut the log's end off
    unseen."""

    entries: int
    last: bytes

    @property
    def head(self) -> str:
        return f"{self.entries}:{self.last.hex()}"


def append(cursor: Cursor, actor: str, action: str, case_id: UUID | None = None, **detail: object) -> None:
    """Add an entry in the caller's transaction; waits for whoever adds one now."""
    content = orjson.dumps(detail, option=orjson.OPT_SORT_KEYS).decode()
    cursor.execute(
        "INSERT INTO review_log (actor, action, case_id, detail) VALUES (%s, %s, %s, %s)",
        (actor, action, case_id, content),
    )


def verify(store: Store, *, head: str | None = None) -> Verified:
    """Compute the whole chain again; `head`, noted earlier, must be in it.

    Raises ChainBroken, UsageError for a head that is none, ServiceMissing, StoreRefused.
    """
    noted = _noted(head) if head is not None else None

    def work(cursor: Cursor) -> Verified:
        seq, last = 0, GENESIS
        with cursor.connection.cursor("log", binary=True) as found:  # named: entries stay in the server
            found.itersize = _AT_ONCE
            found.execute(
                "SELECT seq, at, actor, action, case_id, detail, previous, hash FROM review_log ORDER BY seq"
            )
            for row in found:
                entry = Entry(**dict(zip(Entry.__slots__, row, strict=True)))
                if entry.seq != seq + 1:
                    raise ChainBroken(f"entry {seq + 1} of the review log is missing")
                if entry.previous != last:
                    raise ChainBroken(f"entry {entry.seq} of the review log does not follow the one before")
                if entry.hash != entry.computed():
                    raise ChainBroken(f"entry {entry.seq} of the review log was changed")
                seq, last = entry.seq, entry.hash
                if noted is not None and noted[0] == seq and noted[1] != last:
                    raise ChainBroken(f"entry {seq} of the review log is not the one that was noted")
        if noted is not None and noted[0] > seq:
            raise ChainBroken(f"the review log ends at entry {seq}, but {noted[0]} was noted")
        return Verified(entries=seq, last=last)

    return store.transact(work)


def _noted(head: str) -> tuple[int, bytes]:
    seq, _, digest = head.partition(":")
    try:
        found = int(seq), bytes.fromhex(digest)
    except ValueError:
        found = 0, b""
    if found[0] < 1 or len(found[1]) != len(GENESIS):
        raise UsageError("a head is NUMBER:HASH, as `feltsense review log verify` prints it")
    return found
