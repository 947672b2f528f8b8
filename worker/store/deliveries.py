"""First commit of the journey: events and their risk screen are stored, or parked, before any model runs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import date, timedelta
from datetime import timezone as fixed
from enum import StrEnum
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import orjson

from worker.events.perception import Risk
from worker.events.reflection import Reflection
from worker.risk.level import leading
from worker.store import dead_letters, persons
from worker.store.dead_letters import DeadLetter
from worker.store.engine import Cursor, Store
from worker.store.leases import ATTEMPTS, CRASHED, Lease
from worker.store.persons import Person
from worker.store.vault import Locker, place_of_text

SEPARATOR = "\x1f"
"""Joins a path to one array element; no emotion's name holds it."""


class Kind(StrEnum):
    """What an arrival turned out to be. NEW, EDIT and REDELIVERED are to be enriched, HELD is to come again,
    EXHAUSTED to be parked; the others need nothing more."""

    NEW = "new"
    EDIT = "edit"  # a higher revision: it replaced the stored one
    REDELIVERED = "redelivered"  # accepted before, not finished: enrich it again
    DONE = "done"  # finished before
    STALE = "stale"  # a higher revision is stored, or the reflection was deleted
    CONFLICT = "conflict"  # parked here: `conflicting_content` or `user_changed`
    PARKED = "parked"  # this very message's event was parked before
    HELD = "held"  # another worker has it in hand
    EXHAUSTED = "exhausted"  # `ATTEMPTS` of it ended with their worker
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
    """The outcome for one arrival, the model version its revision is pinned to, and how many attempts of it
    ended with their worker."""

    kind: Kind
    model_version: str
    attempts: int = 0

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
    self_emotion = excluded.self_emotion, consent_training = excluded.consent_training,
    received_at = clock_timestamp(),
    screen_level = excluded.screen_level, screen_score = excluded.screen_score, screen = excluded.screen
WHERE r.user_id = excluded.user_id AND r.revision < excluded.revision AND r.deleted_at IS NULL
RETURNING r.id, r.received_at = now()
"""  # noqa: S608 - a constant of ours, no value
"""An inserted row has its transaction's time, an updated one a later time (`xmax`, which would tell the
same, is not to be had of a partitioned table). Rows left alone are locked all the same, but for those whose
person is not as recalled: they are not even looked at."""

STORED = """
SELECT a.id, r.user_id, r.revision, r.digest, r.deleted_at IS NOT NULL, d.state, d.model_version,
       d.attempts, d.begun, d.owner, coalesce(d.lease_until > clock_timestamp(), false)
FROM unnest(%b::text[], %b::int[]) AS a (id, revision)
JOIN reflections r ON r.id = a.id
LEFT JOIN deliveries d ON d.reflection_id = a.id AND d.revision = a.revision
"""

_PIN = """
INSERT INTO deliveries AS d
    (reflection_id, revision, model_version, state, attempts, lane, owner, lease_until, begun, message_id,
     position)
SELECT a.id, a.revision, %s, 'accepted', a.attempts, %s, %s, clock_timestamp() + make_interval(secs => %s),
       a.begun, a.message_id, a.position
FROM unnest(%b::text[], %b::int[], %b::int[], %b::bool[], %b::text[], %b::int[])
  AS a (id, revision, attempts, begun, message_id, position)
ORDER BY a.id COLLATE "C", a.revision
ON CONFLICT (reflection_id, revision) DO UPDATE SET
    model_version = excluded.model_version, attempts = excluded.attempts, state = 'accepted',
    finished_at = NULL, owner = excluded.owner, lease_until = excluded.lease_until, begun = excluded.begun,
    message_id = excluded.message_id, position = excluded.position
WHERE d.state <> 'done'
"""

_LETTERS = """
SELECT l.message_id, l.position
FROM unnest(%b::text[], %b::int[]) AS a (message_id, position)
JOIN dead_letters l ON l.message_id = a.message_id AND l.position = a.position
"""

_TAKE_BACK = """
DELETE FROM dead_letters l
USING unnest(%b::text[], %b::int[]) AS a (id, revision)
WHERE l.reflection_id = a.id AND l.revision = a.revision AND l.reason = ANY(%b)
"""
"""What is tried anew after it was given up has no letter: it ends as a row or as another letter."""

GIVEN_UP = ("enrichment_failed", CRASHED, "text_unreadable")
"""Reasons of letters that stand for the event itself, not for its contradiction to another."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Standing:
    """What is stored for an arrival that was there already."""

    user_id: str
    revision: int
    digest: bytes
    deleted: bool
    state: str | None
    pinned: str | None
    attempts: int | None
    begun: bool | None
    owner: str | None
    leased: bool


_STANDING = tuple(field.name for field in fields(_Standing))


def accept(
    store: Store,
    arrivals: Sequence[Arrival],
    parked: Sequence[DeadLetter],
    *,
    model_version: str,
    lane: str,
    lease: Lease | None = None,
    begins: bool = True,
) -> list[Admission]:
    """Store the arrivals and park the rejected ones in one transaction; an admission per arrival, in order.

    `lease` covers what is to be enriched, and what is EXHAUSTED. Its owner's work on an event that no
    attempt was lost of counts as begun, if it `begins` now; on another it begins with `leases.begin`. A
    revision stays pinned to
    its first model version until its lease has run out or was given back: then it is this one's.

    Arrivals of one id behave as if each had come in a call of its own. A CONFLICT or ERASED is parked here
    too. Raises ServiceMissing, StoreRefused; then nothing of the call is stored.
    """
    return store.transact(
        lambda cursor: _accept(cursor, arrivals, parked, model_version, lane, lease, begins, _Texts(store))
    )


def _accept(
    cursor: Cursor,
    arrivals: Sequence[Arrival],
    parked: Sequence[DeadLetter],
    model_version: str,
    lane: str,
    lease: Lease | None,
    begins: bool,
    texts: _Texts,
) -> list[Admission]:
    admissions: dict[int, Admission] = {}
    refused: list[DeadLetter] = []
    begun: set[int] = set()
    owner, lease_s = (None, None) if lease is None else (lease.owner, lease.seconds)
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
        parted: list[int] = []
        for key, *stored in cursor.execute(STORED, known, prepare=True).fetchall():
            place, standing = by_id[key], _Standing(**dict(zip(_STANDING, stored, strict=True)))
            admission, reason = _judge(arrivals[place].reflection, standing, model_version, owner)
            admissions[place] = admission
            if reason is not None:
                refused.append(_conflict(arrivals[place], reason))
            if standing.begun and standing.owner == owner:
                begun.add(place)
            if standing.state == "dead" and admission.to_enrich:
                parted.append(place)
        for place in _parked(cursor, arrivals, parted):
            admissions[place] = Admission(kind=Kind.PARKED, model_version=model_version)
    # Of one revision the first counts: the message's next is another name for the same work.
    pinned = {
        (arrivals[place].reflection.id, arrivals[place].reflection.revision): place
        for place in sorted(admissions, reverse=True)
        if admissions[place].to_enrich or admissions[place].kind is Kind.EXHAUSTED
    }
    if pinned:
        places = [pinned[key] for key in sorted(pinned)]
        attempts = [admissions[place].attempts for place in places]
        columns = (
            [arrivals[place].reflection.id for place in places],
            [arrivals[place].reflection.revision for place in places],
            attempts,
            [place in begun or (begins and not lost) for place, lost in zip(places, attempts, strict=True)],
            [arrivals[place].message_id for place in places],
            [arrivals[place].position for place in places],
        )
        cursor.execute(_PIN, (model_version, lane, owner, lease_s, *columns), prepare=True)
    letters = [*parked, *refused]
    dead_letters.write(cursor, letters, keep_payload=texts.keep, keyring=texts.keyring)
    return [admissions[place] for place in range(len(arrivals))]


def _judge(
    reflection: Reflection, standing: _Standing, model_version: str, owner: str | None
) -> tuple[Admission, str | None]:
    pinned = standing.pinned or model_version

    def admission(kind: Kind, version: str = pinned, attempts: int = 0) -> Admission:
        return Admission(kind=kind, model_version=version, attempts=attempts)

    if standing.deleted:
        return admission(Kind.STALE), None
    if reflection.revision == standing.revision and reflection.digest != standing.digest:
        return admission(Kind.CONFLICT), "conflicting_content"
    if reflection.user_id != standing.user_id:
        return admission(Kind.CONFLICT), "user_changed"
    if reflection.revision < standing.revision:
        return admission(Kind.STALE), None
    if standing.state == "done":
        return admission(Kind.DONE), None
    if standing.state != "accepted":  # given up, and sent again
        return admission(Kind.REDELIVERED, model_version), None
    attempts = standing.attempts or 0
    if standing.owner is not None and standing.owner != owner:
        if standing.leased:
            return admission(Kind.HELD), None
        attempts += bool(standing.begun)
    kind = Kind.REDELIVERED if attempts < ATTEMPTS else Kind.EXHAUSTED
    return admission(kind, model_version, attempts), None


def _parked(cursor: Cursor, arrivals: Sequence[Arrival], places: Sequence[int]) -> set[int]:
    """Which of the `places` hold what their own message had parked; the others lose their old letters."""
    if not places:
        return set()
    named = ([arrivals[place].message_id for place in places], [arrivals[place].position for place in places])
    found = set(cursor.execute(_LETTERS, named, prepare=True).fetchall())
    parked = {place for place in places if (arrivals[place].message_id, arrivals[place].position) in found}
    anew = [arrivals[place].reflection for place in places if place not in parked]
    if anew:
        keys = ([reflection.id for reflection in anew], [reflection.revision for reflection in anew])
        cursor.execute(_TAKE_BACK, (*keys, list(GIVEN_UP)), prepare=True)
    return parked


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
    """The highest uncalibrated score of the flags that make the level, 0-1: what orders the risk queue."""
    return max(float(risk.uncalibrated[flag]) for flag in leading(risk.flags, risk.thresholds))
