"""Where a person reads: cases of the risk queue, handed to two who do not know of each other, and to a third
where they disagree.

One advisory lock orders everything reviewers do: they are few, and two of them at once must neither get the
same place of a case nor read a log that is being written.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Literal, TypeVar
from uuid import UUID

import orjson

from worker.errors import FeltsenseError, UsageError
from worker.events.variables import FLAGS
from worker.store import persons, review_log
from worker.store.engine import Cursor, Store
from worker.store.persons import Opener
from worker.store.vault import place_of_note

Decision = Literal["act_now", "watch", "no_risk"]
Kind = Literal["review", "adjudication"]
T = TypeVar("T")

DECISIONS: Mapping[Decision, str] = {
    "act_now": "Act now: somebody may be in danger",
    "watch": "Watch: worrying, but nothing must happen today",
    "no_risk": "No risk: the flag was wrong",
}
READERS = 2
CLAIM = timedelta(minutes=30)
"""So long a case is kept for whoever took it; afterwards another may have it."""
WEEK = timedelta(days=7)
NOTE_CHARACTERS = 500
OPERATOR = "operator"
"""The log's actor for what is done to accounts; no account may have this name."""


class ReviewRefused(FeltsenseError):
    """What a reviewer asked for is not theirs to do now; the message says why and what to do."""


class CapReached(ReviewRefused):
    """The reviewer has read as many texts within a week as they may."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    """What a reader says of a text: how urgent, which flags really hold, a note to whoever adjudicates."""

    decision: Decision
    flags: frozenset[str] = frozenset()
    note: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Case:
    """A revision as its reader knows it. `flags`: what the machine found. `verdicts`: the two it is to be
    decided between, whose they are untold; empty for a first and for a second reader alike."""

    id: UUID
    kind: Kind
    reflection_id: str
    user_id: str
    revision: int
    created_at: datetime
    lang: str | None
    level: str
    flags: frozenset[str]
    opened: bool
    verdicts: tuple[Verdict, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Exposure:
    """Texts a reviewer opened within the last week, and when the first of them is a week ago."""

    texts: int
    frees_at: datetime | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Waiting:
    """High-risk texts waiting for readers, those on whom two disagree, and when the oldest arrived."""

    reading: int
    disputed: int
    settled: int
    oldest: datetime | None


_LOCK = "SELECT pg_advisory_xact_lock(hashtextextended('feltsense.review', 0))"
"""The key of the log's trigger (migration 0021)."""

# A claim that ran out is no claim. Skipped cases come last for who skipped them, never not at all.
_OFFERS = """
WITH waiting AS MATERIALIZED (
    SELECT q.reflection_id, q.revision, q.level, q.score, q.created_at FROM risk_queue q
    JOIN reflections r ON r.id = q.reflection_id AND r.revision = q.revision
    WHERE q.level = ANY(%(levels)s) AND NOT q.reviewed AND num_nonnulls(r.text, r.sealed) = 1
), offered AS (
    SELECT w.*, c.id AS case_id, own.skipped_at, given.verdicts,
           (own.until > now() AND own.skipped_at IS NULL) IS TRUE AS in_hand,
           (SELECT count(*) FROM review_claims k WHERE k.case_id = c.id AND k.reviewer <> %(reviewer)s
                AND k.until > now() AND k.skipped_at IS NULL) AS others
    FROM waiting w
    LEFT JOIN review_cases c ON c.reflection_id = w.reflection_id AND c.revision = w.revision
    LEFT JOIN review_claims own ON own.case_id = c.id AND own.reviewer = %(reviewer)s
    CROSS JOIN LATERAL (
        SELECT count(*) AS verdicts, coalesce(bool_or(v.reviewer = %(reviewer)s), false) AS mine
        FROM reviews v
        WHERE v.reflection_id = w.reflection_id AND v.revision = w.revision AND v.kind = 'review'
    ) given
    WHERE NOT given.mine
)
SELECT reflection_id, revision, case_id, CASE WHEN verdicts < 2 THEN 'review' ELSE 'adjudication' END
FROM offered
WHERE CASE WHEN verdicts < 2 THEN verdicts + others < 2 ELSE others = 0 END
ORDER BY in_hand DESC, skipped_at NULLS FIRST, verdicts >= 2 DESC, level = 'high' DESC, score DESC,
         created_at
LIMIT 1
"""

_CLAIM = """
INSERT INTO review_claims AS k (case_id, reviewer, kind, until)
VALUES (%s, %s, %s, now() + %s)
ON CONFLICT (case_id, reviewer) DO UPDATE SET kind = excluded.kind, until = excluded.until, skipped_at = NULL,
    opened_at = CASE WHEN k.kind = excluded.kind AND k.skipped_at IS NULL AND k.until > now()
                     THEN k.opened_at END
"""

_CASE = """
SELECT c.id, k.kind, c.reflection_id, r.user_id, c.revision, r.created_at, r.lang, q.level, q.flags,
       q.thresholds, k.opened_at, k.until > now(), k.skipped_at, r.revision, r.text, r.sealed, c.settled_at
FROM review_claims k
JOIN review_cases c ON c.id = k.case_id
JOIN reflections r ON r.id = c.reflection_id AND r.deleted_at IS NULL
LEFT JOIN risk_queue q ON q.reflection_id = c.reflection_id AND q.revision = c.revision
WHERE k.case_id = %s AND k.reviewer = %s
"""

_LABEL = """
INSERT INTO labels AS l (reflection_id, source, user_id, risk) VALUES (%s, 'reviewer', %s, %s::jsonb)
ON CONFLICT (reflection_id, source) DO UPDATE SET risk = excluded.risk, labelled_at = now()
"""
_STALE_LABEL = """
UPDATE labels l SET valence = NULL, arousal = NULL, willingness = NULL, invoked = NULL, expressed = NULL
FROM reflections r
WHERE l.reflection_id = %s AND l.source = 'reviewer' AND r.id = l.reflection_id AND r.revision > 1
  AND l.labelled_at < r.received_at
"""
"""What a reviewer said of an earlier revision must not come back with the new date."""

_OPENED = """
SELECT count(*), min(latest) FROM (
    SELECT case_id, max(at) AS latest FROM review_log
    WHERE actor = %s AND action = 'opened' AND at > now() - %s GROUP BY case_id
) opened
"""


def next_case(
    store: Store, reviewer: str, *, levels: Sequence[str] = ("high",), cap: int | None = None
) -> Case | None:
    """The case this reviewer is to read now, kept for them for `CLAIM`: the one they have in hand, else where
    two disagree, else the gravest. None when nothing is theirs to do.

    Raises CapReached where the text could not be opened (`open_text`), so that nobody keeps it from others;
    ReviewRefused for an account that is closed or unknown.
    """

    def work(cursor: Cursor) -> Case | None:
        _known(cursor, reviewer)
        wanted = {"reviewer": reviewer, "levels": list(levels)}
        found = cursor.execute(_OFFERS, wanted).fetchone()
        if found is None:
            return None
        reflection_id, revision, case_id, kind = found
        if cap is not None:
            _within_cap(cursor, reviewer, case_id, cap)
        if case_id is None:
            made = cursor.execute(
                "INSERT INTO review_cases (reflection_id, revision) VALUES (%s, %s) RETURNING id",
                (reflection_id, revision),
            ).fetchone()
            assert made is not None
            (case_id,) = made
        cursor.execute(_CLAIM, (case_id, reviewer, kind, CLAIM))
        return _case(cursor, case_id, reviewer)[0]

    return _alone(store, work)


def open_text(store: Store, case_id: UUID, reviewer: str, *, cap: int) -> tuple[Case, str]:
    """The text of a case in hand; the log says that it was opened. At most `cap` texts within a week, each
    counted once.

    Raises CapReached, ReviewRefused, and Unopenable where no key at hand opens a sealed text.
    """

    def work(cursor: Cursor) -> tuple[Case, str]:
        _known(cursor, reviewer)
        case, (text, sealed) = _case(cursor, case_id, reviewer)
        opener = Opener(cursor, store.keyring, [case.user_id])
        whose: dict[str, Any] = {"id": case.reflection_id, "revision": case.revision, "user_id": case.user_id}
        plain = opener.text(**whose, text=text, sealed=sealed)
        if plain is None:
            raise ReviewRefused("the text is not kept any more")
        if case.kind == "adjudication":
            given = _verdicts(cursor, case, lambda *note: opener.note(*note, **whose))
            case = replace(case, verdicts=tuple(given))
        if not case.opened:
            _within_cap(cursor, reviewer, case_id, cap)
            cursor.execute(
                "UPDATE review_claims SET opened_at = now(), until = now() + %s"
                " WHERE case_id = %s AND reviewer = %s",
                (CLAIM, case_id, reviewer),
            )
            review_log.append(cursor, reviewer, "opened", case_id, kind=case.kind)
        return case, plain

    return _alone(store, work)


def skip(store: Store, case_id: UUID, reviewer: str) -> None:
    """Give a case in hand back, unread or read; it comes to this reviewer again after all others only."""

    def work(cursor: Cursor) -> None:
        _known(cursor, reviewer)
        case, _ = _case(cursor, case_id, reviewer)
        cursor.execute(
            "UPDATE review_claims SET skipped_at = now() WHERE case_id = %s AND reviewer = %s",
            (case_id, reviewer),
        )
        review_log.append(cursor, reviewer, "skipped", case_id, kind=case.kind)

    _alone(store, work)


def decide(store: Store, case_id: UUID, reviewer: str, verdict: Verdict, *, kind: Kind | None = None) -> Case:
    """Give the verdict on a case whose text was opened; nothing takes it back. With `kind` the case must be
    of it. Two that agree settle the case, and so does an adjudication; what is settled becomes a label.

    Raises ReviewRefused, and Unopenable where no key at hand seals the note.
    """
    _check(verdict)

    def work(cursor: Cursor) -> Case:
        _known(cursor, reviewer)
        case, _ = _case(cursor, case_id, reviewer)
        if not case.opened:
            raise ReviewRefused("the text was not opened yet: a verdict is about what was read")
        if kind is not None and case.kind != kind:
            told = {"review": "is to be reviewed, not adjudicated", "adjudication": "is to be adjudicated"}
            raise ReviewRefused(f"this case {told[case.kind]}")
        note, sealed = _note(cursor, store, case, reviewer, verdict.note)
        cursor.execute(
            "INSERT INTO reviews (reflection_id, revision, reviewer, kind, decision, flags, note, sealed)"
            " VALUES (%s, %s, %s, %s, %s, %s, %s, %s)",
            (case.reflection_id, case.revision, reviewer, case.kind, verdict.decision,
             sorted(verdict.flags), note, sealed),
        )  # fmt: skip
        cursor.execute("DELETE FROM review_claims WHERE case_id = %s AND reviewer = %s", (case_id, reviewer))
        action = "decided" if case.kind == "review" else "adjudicated"
        review_log.append(
            cursor, reviewer, action, case_id, decision=verdict.decision, flags=sorted(verdict.flags)
        )
        given = [verdict] if case.kind == "adjudication" else _verdicts(cursor, case)
        if case.kind == "adjudication" or _agree(given):
            _settle(cursor, case, given)
        return case

    return _alone(store, work)


def exposure(store: Store, reviewer: str) -> Exposure:
    """How much this reviewer has read within a week."""
    return store.transact(lambda cursor: _exposure(cursor, reviewer))


def waiting(store: Store) -> Waiting:
    """How much is left to read, without a word of who said what: a disagreement is known only once both have
    spoken."""
    query = """
        SELECT count(*) FILTER (WHERE NOT q.reviewed AND given.verdicts < 2),
               count(*) FILTER (WHERE NOT q.reviewed AND given.verdicts >= 2),
               count(*) FILTER (WHERE q.reviewed), min(r.received_at) FILTER (WHERE NOT q.reviewed)
        FROM risk_queue q JOIN reflections r ON r.id = q.reflection_id
        CROSS JOIN LATERAL (
            SELECT count(*) AS verdicts FROM reviews v
            WHERE v.reflection_id = q.reflection_id AND v.revision = q.revision AND v.kind = 'review'
        ) given
        WHERE q.level = 'high'
    """
    row = store.transact(lambda cursor: cursor.execute(query).fetchone())
    assert row is not None
    return Waiting(reading=row[0], disputed=row[1], settled=row[2], oldest=row[3])


def pairs(store: Store) -> list[tuple[tuple[str, Decision], tuple[str, Decision]]]:
    """The two blind verdicts of each case that has both, each with its reviewer, by reviewers' names."""
    query = """
        SELECT array_agg(v.reviewer ORDER BY v.reviewer), array_agg(v.decision ORDER BY v.reviewer)
        FROM reviews v WHERE v.kind = 'review'
        GROUP BY v.reflection_id, v.revision HAVING count(*) = 2
    """
    rows = store.transact(lambda cursor: cursor.execute(query).fetchall())
    return [((names[0], said[0]), (names[1], said[1])) for names, said in rows]


def add_reviewer(store: Store, name: str, password: str) -> bool:
    """Open an account, or give an existing one another password; `password` as it is to be stored. Whether it
    is new. Raises UsageError for a name that is none."""
    if name == OPERATOR or not name.isascii() or not name.islower() or len(name) > 64 or not _plain(name):
        raise UsageError(
            "a reviewer's name has 1-64 lower-case letters, digits, '.', '_' or '-', and is not 'operator'"
        )

    def work(cursor: Cursor) -> bool:
        row = cursor.execute(
            "INSERT INTO reviewers AS r (name, password) VALUES (%s, %s)"
            " ON CONFLICT (name) DO UPDATE SET password = excluded.password, closed_at = NULL"
            " RETURNING xmax = 0",
            (name, password),
        ).fetchone()
        assert row is not None
        new = bool(row[0])
        review_log.append(cursor, OPERATOR, "account_opened" if new else "password_changed", reviewer=name)
        return new

    return _alone(store, work)


def close_reviewer(store: Store, name: str) -> None:
    """End an account: no login, no case; what the reviewer decided stays. Raises UsageError when unknown."""

    def work(cursor: Cursor) -> None:
        closed = cursor.execute(
            "UPDATE reviewers SET closed_at = coalesce(closed_at, now()) WHERE name = %s", (name,)
        ).rowcount
        if not closed:
            raise UsageError(f"there is no reviewer {name!r}")
        cursor.execute("DELETE FROM review_claims WHERE reviewer = %s", (name,))
        review_log.append(cursor, OPERATOR, "account_closed", reviewer=name)

    _alone(store, work)


def password_of(store: Store, name: str) -> str | None:
    """What is stored of an open account's password; None where there is no such account."""
    query = "SELECT password FROM reviewers WHERE name = %s AND closed_at IS NULL"
    row = store.transact(lambda cursor: cursor.execute(query, (name,)).fetchone())
    return row[0] if row is not None else None


def _alone(store: Store, work: Callable[[Cursor], T]) -> T:
    def locked(cursor: Cursor) -> T:
        cursor.execute(_LOCK)
        return work(cursor)

    return store.transact(locked)


def _known(cursor: Cursor, reviewer: str) -> None:
    query = "SELECT FROM reviewers WHERE name = %s AND closed_at IS NULL"
    if cursor.execute(query, (reviewer,)).fetchone() is None:
        raise ReviewRefused(f"there is no open reviewer's account {reviewer!r}")


def _case(cursor: Cursor, case_id: UUID, reviewer: str) -> tuple[Case, tuple[str | None, bytes | None]]:
    """A case this reviewer has in hand, with its text as it is stored: in the clear, or sealed."""
    row = cursor.execute(_CASE, (case_id, reviewer)).fetchone()
    if row is None:
        raise ReviewRefused("this case is not in your hands: ask for the next one")
    (id_, kind, reflection_id, user_id, revision, created_at, lang, level, flags, thresholds, opened_at, live,
     skipped_at, newest, text, sealed, settled_at) = row  # fmt: skip
    if newest != revision:
        raise ReviewRefused("the text was edited meanwhile: its new form comes as a new case")
    if skipped_at is not None or settled_at is not None or not live:
        raise ReviewRefused("this case is not in your hands any more: ask for the next one")
    case = Case(
        id=id_,
        kind=kind,
        reflection_id=reflection_id,
        user_id=user_id,
        revision=revision,
        created_at=created_at,
        lang=lang,
        level=level or "none",
        flags=frozenset(f for f, score in (flags or {}).items() if score >= (thresholds or {}).get(f, 1.0)),
        opened=opened_at is not None,
    )
    return case, (text, sealed)


def _verdicts(
    cursor: Cursor, case: Case, opened: Callable[[str, str | None, bytes | None], str | None] | None = None
) -> list[Verdict]:
    """The blind verdicts of a case, in an order that says nothing of who gave them; notes only where
    `opened` opens them."""
    rows = cursor.execute(
        "SELECT decision, flags, reviewer, note, sealed FROM reviews"
        " WHERE reflection_id = %s AND revision = %s AND kind = 'review' ORDER BY decision, flags",
        (case.reflection_id, case.revision),
    ).fetchall()
    return [
        Verdict(decision=decision, flags=frozenset(flags), note=opened(*note) if opened else None)
        for decision, flags, *note in rows
    ]


def _note(
    cursor: Cursor, store: Store, case: Case, reviewer: str, note: str | None
) -> tuple[str | None, bytes | None]:
    """A note as it is stored: it may quote the text, so it is sealed like one."""
    if note is None or store.keyring is None:
        return note, None
    locker = persons.locker_of(cursor, case.user_id)
    place = place_of_note(case.reflection_id, case.revision, reviewer)
    return None, store.keyring.seal(locker, note.encode(), place)


def _within_cap(cursor: Cursor, reviewer: str, case_id: UUID | None, cap: int) -> None:
    again = cursor.execute(
        "SELECT FROM review_log WHERE actor = %s AND action = 'opened' AND case_id = %s AND at > now() - %s",
        (reviewer, case_id, WEEK),
    ).fetchone()
    seen = _exposure(cursor, reviewer)
    if again is None and seen.texts >= cap:
        frees = f" The next may be opened on {seen.frees_at:%A, %d %B, %H:%M} UTC." if seen.frees_at else ""
        raise CapReached(
            f"You have opened {seen.texts} texts within seven days, and {cap} is the most.{frees}"
            " Let somebody else take over, and rest."
        )


def _exposure(cursor: Cursor, reviewer: str) -> Exposure:
    row = cursor.execute(_OPENED, (reviewer, WEEK)).fetchone()
    assert row is not None
    return Exposure(texts=row[0], frees_at=row[1] + WEEK if row[1] is not None else None)


def _agree(given: Sequence[Verdict]) -> bool:
    return len(given) == READERS and len({verdict.decision for verdict in given}) == 1


def _settle(cursor: Cursor, case: Case, given: Sequence[Verdict]) -> None:
    """The case's outcome and its label: of two verdicts, the flags both name hold, and the others that
    neither names do not."""
    held = frozenset.intersection(*(verdict.flags for verdict in given))
    named = frozenset.union(*(verdict.flags for verdict in given))
    cursor.execute(
        "UPDATE review_cases SET settled_at = now(), decision = %s, flags = %s WHERE id = %s",
        (given[0].decision, sorted(held), case.id),
    )
    risk = {flag: float(flag in held) for flag in FLAGS if flag in held or flag not in named}
    cursor.execute(_STALE_LABEL, (case.reflection_id,))
    cursor.execute(_LABEL, (case.reflection_id, case.user_id, orjson.dumps(risk).decode()))


def _check(verdict: Verdict) -> None:
    if verdict.decision not in DECISIONS:
        raise UsageError(f"a decision is one of {', '.join(DECISIONS)}")
    if unknown := sorted(verdict.flags - set(FLAGS)):
        raise UsageError(f"{unknown[0]!r} is no flag; they are {', '.join(FLAGS)}")
    if verdict.note is not None and not 0 < len(verdict.note.strip()) <= len(verdict.note) <= NOTE_CHARACTERS:
        raise UsageError(f"a note has 1-{NOTE_CHARACTERS} characters")
    if verdict.note is not None and "\0" in verdict.note:
        raise UsageError("a note holds no NUL")


def _plain(name: str) -> bool:
    return name[:1].isalnum() and all(c.isalnum() or c in "._-" for c in name)
