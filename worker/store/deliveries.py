"""First commit of the journey: events and their risk screen are stored, or parked, before any model runs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from datetime import timezone as fixed
from enum import StrEnum
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import orjson

from worker.events.perception import Risk
from worker.events.reflection import Reflection
from worker.store import dead_letters, persons
from worker.store.dead_letters import DeadLetter
from worker.store.engine import Cursor, Store
from worker.store.persons import Person
from worker.store.vault import Locker, place_of_text

SEPARATOR = "\x1f"
"""Joins a path to one array element; no emotion's name holds it."""


class Kind(StrEnum):
    """What an arrival turned out to be; all but NEW, EDIT and REDELIVERED need nothing more."""

    NEW = "new"
    EDIT = "edit"  # a higher revision: it replaced the stored one
    REDELIVERED = "redelivered"  # accepted before, not finished: enrich it again
    DONE = "done"  # finished before
    STALE = "stale"  # a higher revision is stored, or the reflection was deleted
    CONFLICT = "conflict"  # parked here: `conflicting_content` or `user_changed`
    ERASED = "erased"  # written before its person was erased; parked here, as an empty letter


@dataclass(frozen=True, kw_only=True, slots=True)
class Arrival:
    """An event as a message brought it. `payload`: its JSON bytes, kept should it have to be parked."""

    reflection: Reflection
    screen: Risk
    message_id: str
    position: int
    payload: bytes


@dataclass(frozen=True, kw_only=True, slots=True)
class Admission:
    """The outcome for one arrival, and the model version its revision was pinned to at first delivery."""

    kind: Kind
    model_version: str

    @property
    def to_enrich(self) -> bool:
        return self.kind in (Kind.NEW, Kind.EDIT, Kind.REDELIVERED)


_ADMIT = f"""
INSERT INTO reflections AS r
    (id, user_id, revision, created_at, utc_offset_min, timezone, local_day, lang, device, text, sealed,
     digest, self_valence, self_arousal, self_emotion, consent_training, screen_level, screen_score, screen)
SELECT a.id, a.user_id, a.revision, a.created_at, a.utc_offset_min, a.timezone, a.local_day, a.lang, a.device,
       a.text, a.sealed, a.digest, a.self_valence, a.self_arousal, string_to_array(a.self_emotion, E'\\x1f'),
       a.consent_training, a.screen_level, a.screen_score, a.screen::jsonb
FROM unnest(%b::text[], %b::text[], %b::int[], %b::timestamptz[], %b::int[], %b::text[], %b::date[],
            %b::text[], %b::text[], %b::text[], %b::bytea[], %b::bytea[], %b::float8[], %b::float8[],
            %b::text[], %b::bool[], %b::text[], %b::float8[], %b::text[], %b::bytea[], %b::bytea[])
  AS a (id, user_id, revision, created_at, utc_offset_min, timezone, local_day, lang, device, text, sealed,
        digest, self_valence, self_arousal, self_emotion, consent_training, screen_level, screen_score,
        screen, person, wrapped)
{persons.HOLDS}
ORDER BY a.id COLLATE "C" FOR SHARE OF p
ON CONFLICT (id) DO UPDATE SET
    revision = excluded.revision, created_at = excluded.created_at, utc_offset_min = excluded.utc_offset_min,
    timezone = excluded.timezone, local_day = excluded.local_day, lang = excluded.lang,
    device = excluded.device, text = excluded.text, sealed = excluded.sealed, digest = excluded.digest,
    self_valence = excluded.self_valence, self_arousal = excluded.self_arousal,
    self_emotion = excluded.self_emotion, consent_training = excluded.consent_training, received_at = now(),
    screen_level = excluded.screen_level, screen_score = excluded.screen_score, screen = excluded.screen
WHERE r.user_id = excluded.user_id AND r.revision < excluded.revision AND r.deleted_at IS NULL
RETURNING r.id, r.xmax = 0
"""  # noqa: S608 - a constant of ours, no value
"""An inserted row has no xmax, an updated one this transaction's. Rows left alone are locked all the same,
but for those whose person is not as recalled: they are not even looked at."""

STORED = """
SELECT a.id, r.user_id, r.revision, r.digest, r.deleted_at IS NOT NULL, d.state, d.model_version
FROM unnest(%b::text[], %b::int[]) AS a (id, revision)
JOIN reflections r ON r.id = a.id
LEFT JOIN deliveries d ON d.reflection_id = a.id AND d.revision = a.revision
"""

_PIN = """
INSERT INTO deliveries AS d (reflection_id, revision, model_version, state, attempts, lane)
SELECT a.id, a.revision, %s, 'accepted', 1, %s FROM unnest(%b::text[], %b::int[]) AS a (id, revision)
ORDER BY a.id COLLATE "C", a.revision
ON CONFLICT (reflection_id, revision) DO UPDATE SET
    attempts = d.attempts + 1, state = 'accepted', finished_at = NULL
WHERE d.state <> 'done'
"""


def accept(
    store: Store, arrivals: Sequence[Arrival], parked: Sequence[DeadLetter], *, model_version: str, lane: str
) -> list[Admission]:
    """Store the arrivals and park the rejected ones in one transaction; an admission per arrival, in order.

    Arrivals of one id behave as if each had come in a call of its own. A CONFLICT or ERASED is parked here
    too. Raises ServiceMissing, StoreRefused; then nothing of the call is stored.
    """
    return store.transact(
        lambda cursor: _accept(cursor, arrivals, parked, model_version, lane, _Texts(store))
    )


def _accept(
    cursor: Cursor,
    arrivals: Sequence[Arrival],
    parked: Sequence[DeadLetter],
    model_version: str,
    lane: str,
    texts: _Texts,
) -> list[Admission]:
    admissions: dict[int, Admission] = {}
    refused: list[DeadLetter] = []
    for places in _rounds(arrivals):
        by_id = {arrivals[place].reflection.id: place for place in places}

        def admit(by_id: dict[str, int], lockers: Mapping[str, Locker]) -> None:
            rows = _columns([arrivals[place] for place in by_id.values()], texts, lockers)
            for key, inserted in cursor.execute(_ADMIT, rows, prepare=True).fetchall():
                kind = Kind.NEW if inserted else Kind.EDIT
                admissions[by_id.pop(key)] = Admission(kind=kind, model_version=model_version)

        writers = {arrivals[place].reflection.user_id for place in places}
        admit(by_id, texts.recall(cursor, writers))
        if not by_id:
            continue
        # Not stored: they are here already, or their person is not as recalled. Now the persons are held.
        people = texts.meet(cursor, {arrivals[place].reflection.user_id for place in by_id.values()})
        for key, place in list(by_id.items()):
            if _is_too_late(arrivals[place].reflection, people):
                admissions[by_id.pop(key)] = Admission(kind=Kind.ERASED, model_version=model_version)
                refused.append(_too_late(arrivals[place]))
        if by_id:
            admit(by_id, {user_id: person.locker for user_id, person in people.items()})
        if not by_id:
            continue
        known = (list(by_id), [arrivals[place].reflection.revision for place in by_id.values()])
        for key, *stored, pinned in cursor.execute(STORED, known, prepare=True).fetchall():
            arrival = arrivals[by_id[key]]
            kind, reason = _judge(arrival.reflection, *stored)
            if reason is not None:
                refused.append(_conflict(arrival, reason))
            admissions[by_id[key]] = Admission(kind=kind, model_version=pinned or model_version)
    keys = sorted(
        {
            (arrivals[place].reflection.id, arrivals[place].reflection.revision)
            for place, admission in admissions.items()
            if admission.to_enrich
        }
    )
    if keys:
        cursor.execute(
            _PIN,
            (model_version, lane, [key for key, _ in keys], [revision for _, revision in keys]),
            prepare=True,
        )
    letters = [*parked, *refused]
    dead_letters.write(cursor, letters, keep_payload=texts.keep, keyring=texts.keyring)
    return [admissions[place] for place in range(len(arrivals))]


def _judge(
    reflection: Reflection, user_id: str, revision: int, digest: bytes, deleted: bool, state: str | None
) -> tuple[Kind, str | None]:
    if deleted:
        return Kind.STALE, None
    if reflection.revision == revision and reflection.digest != digest:
        return Kind.CONFLICT, "conflicting_content"
    if reflection.user_id != user_id:
        return Kind.CONFLICT, "user_changed"
    if reflection.revision < revision:
        return Kind.STALE, None
    return (Kind.DONE if state == "done" else Kind.REDELIVERED), None


def _conflict(arrival: Arrival, reason: str) -> DeadLetter:
    details = {
        "conflicting_content": "this id and revision were accepted before with other content",
        "user_changed": "this id belongs to another user_id",
    }
    return DeadLetter(
        message_id=arrival.message_id,
        position=arrival.position,
        reason=reason,
        detail=details[reason],
        reflection_id=arrival.reflection.id,
        revision=arrival.reflection.revision,
        user_id=arrival.reflection.user_id,
        field="user_id" if reason == "user_changed" else None,
        payload=arrival.payload,
    )


def _is_too_late(reflection: Reflection, people: Mapping[str, Person]) -> bool:
    erased_at = people[reflection.user_id].erased_at
    return erased_at is not None and reflection.created_at <= erased_at


def _too_late(arrival: Arrival) -> DeadLetter:
    """Says what became of an event without keeping what it was: neither its person nor its content."""
    return DeadLetter(
        message_id=arrival.message_id,
        position=arrival.position,
        reason="person_erased",
        detail="written before its person was erased",
        reflection_id=arrival.reflection.id,
        revision=arrival.reflection.revision,
    )


def _rounds(arrivals: Sequence[Arrival]) -> Iterator[list[int]]:
    """Places of the arrivals, the n-th of an id in the n-th round: no statement may touch a row twice."""
    rounds: list[list[int]] = []
    seen: dict[str, int] = {}
    for place, arrival in enumerate(arrivals):
        turn = seen.get(arrival.reflection.id, 0)
        seen[arrival.reflection.id] = turn + 1
        if turn == len(rounds):
            rounds.append([])
        rounds[turn].append(place)
    yield from rounds


class _Texts:
    """What is kept of a text: itself, sealed for its row when there is a keyring, or nothing."""

    def __init__(self, store: Store) -> None:
        self.keep = store.keep_text
        self.keyring = store.keyring if store.keep_text else None
        self._known = store.acquaintances

    def recall(self, cursor: Cursor, writers: Iterable[str]) -> dict[str, Locker]:
        return persons.recall(cursor, writers, self.keyring, self._known)

    def meet(self, cursor: Cursor, writers: Iterable[str]) -> dict[str, Person]:
        people = persons.meet(cursor, writers, self.keyring)
        for person in people.values():
            self._known.remember(person.locker)
        return people

    def kept(self, reflection: Reflection, locker: Locker) -> tuple[str | None, bytes | None]:
        if self.keyring is None:
            return (reflection.text if self.keep else None), None
        place = place_of_text(reflection.id, reflection.revision)
        return None, self.keyring.seal(locker, reflection.text.encode(), place)

    def key(self, locker: Locker) -> bytes | None:
        return self.keyring.sealing(locker) if self.keyring is not None else None


def _columns(
    arrivals: Sequence[Arrival], texts: _Texts, lockers: Mapping[str, Locker]
) -> tuple[list[object], ...]:
    rows = []
    for arrival in arrivals:
        reflection, report, screen = arrival.reflection, arrival.reflection.self_report, arrival.screen
        locker = lockers[reflection.user_id]
        rows.append(
            (
                reflection.id,
                reflection.user_id,
                reflection.revision,
                reflection.created_at,
                reflection.utc_offset_min,
                reflection.timezone,
                local_day(reflection),
                reflection.lang,
                reflection.device,
                *texts.kept(reflection, locker),
                reflection.digest,
                report.valence if report else None,
                report.arousal if report else None,
                SEPARATOR.join(report.emotion) if report and report.emotion else None,
                reflection.consent_training,
                screen.level,
                risk_score(screen),
                orjson.dumps(screen.to_json(), option=orjson.OPT_SERIALIZE_NUMPY).decode(),
                locker.person,
                texts.key(locker),
            )
        )
    return tuple(map(list, zip(*rows, strict=True)))


def local_day(reflection: Reflection) -> date:
    """The day it was for the writer: by the time zone if it is known here, else by the event's offset."""
    zone: ZoneInfo | None = None
    if reflection.timezone is not None:
        try:
            zone = ZoneInfo(reflection.timezone)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            zone = None  # the offset is the contract's own fallback
    there = zone or fixed(timedelta(minutes=reflection.utc_offset_min))
    return reflection.created_at.astimezone(there).date()


def risk_score(risk: Risk) -> float:
    """The highest flag, 0-1, uncalibrated: what the risk queue is ordered by."""
    return float(max(risk.flags.values(), default=0.0))
