"""Last commit of the journey: a batch's traces and perceptions, and the later rows of its persons they touch.

One transaction does it, with every person of the batch locked. A person's rows are therefore always those an
in-order run would have written for the traces that are there, whatever arrived late, twice, edited or at the
same time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson

from worker.events.perception import Appraisal, Perception, Placement, Trace
from worker.events.timeline import Timeline
from worker.store import changes
from worker.store.changes import Change
from worker.store.deliveries import SEPARATOR, risk_score
from worker.store.engine import Cursor, Store
from worker.store.persons import lock_persons
from worker.store.timelines import Stretch, covering, microseconds, stretches

Place = Callable[[Sequence[tuple[Trace, Timeline]]], Sequence[Placement]]
"""Stage B of one model version: placements in the order asked for; pure, since a deadlock runs it again."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Settled:
    """Ids that got their row, ids of existing rows placed again at once because of them, and ids skipped:
    meanwhile edited or deleted. An id given with two revisions is in both `written` and `superseded`."""

    written: tuple[str, ...]
    repaired: tuple[str, ...]
    superseded: tuple[str, ...]


_STANDING = """
SELECT a.id, t.created_at
FROM unnest(%b::text[], %b::int[]) AS a (id, revision)
JOIN reflections r ON r.id = a.id AND r.revision = a.revision AND r.deleted_at IS NULL
LEFT JOIN deliveries d ON d.reflection_id = a.id AND d.revision = a.revision
LEFT JOIN traces t ON t.reflection_id = a.id AND t.model_version = %s
WHERE d.state IS NULL OR (d.state <> 'dead' AND (%s OR d.model_version = %s))
"""
"""A worker whose lease ran out may come back: by then its event may be parked, or pinned to the version of
the worker that took it over."""

_TRACE = """
INSERT INTO traces AS t (reflection_id, model_version, user_id, created_at, static, history)
SELECT a.id, %s, a.user_id, a.created_at, a.static, a.history
FROM unnest(%b::text[], %b::text[], %b::timestamptz[], %b::bytea[], %b::bytea[])
  AS a (id, user_id, created_at, static, history)
ORDER BY a.id COLLATE "C"
ON CONFLICT (reflection_id, model_version) DO UPDATE SET
    created_at = excluded.created_at, static = excluded.static, history = excluded.history
WHERE (t.created_at, t.static, t.history)
    IS DISTINCT FROM (excluded.created_at, excluded.static, excluded.history)
RETURNING t.reflection_id
"""

_WRITE = """
INSERT INTO perceptions
    (reflection_id, model_version, user_id, revision, created_at, valence, arousal, invoked, expressed,
     willingness, congruence, comparator, expected_valence, expected_arousal, intervals, emotions, language,
     language_supported, risk_level, risk_score, risk, provenance, timings, enriched_at)
SELECT a.id, %s, a.user_id, a.revision, a.created_at, a.valence, a.arousal,
       string_to_array(a.invoked, E'\\x1f'), string_to_array(a.expressed, E'\\x1f'), a.willingness,
       a.congruence, a.comparator, a.expected_valence, a.expected_arousal, a.intervals::jsonb,
       a.emotions::jsonb, a.language, a.language_supported, a.risk_level, a.risk_score, a.risk::jsonb,
       a.provenance::jsonb, a.timings::jsonb, clock_timestamp()
FROM unnest(%b::text[], %b::text[], %b::int[], %b::timestamptz[], %b::float8[], %b::float8[], %b::text[],
            %b::text[], %b::float8[], %b::float8[], %b::float8[], %b::float8[], %b::float8[], %b::text[],
            %b::text[], %b::text[], %b::bool[], %b::text[], %b::float8[], %b::text[], %b::text[], %b::text[])
  AS a (id, user_id, revision, created_at, valence, arousal, invoked, expressed, willingness, congruence,
        comparator, expected_valence, expected_arousal, intervals, emotions, language, language_supported,
        risk_level, risk_score, risk, provenance, timings)
ORDER BY a.id COLLATE "C"
ON CONFLICT (reflection_id, model_version) DO UPDATE SET
    revision = excluded.revision, created_at = excluded.created_at, valence = excluded.valence,
    arousal = excluded.arousal, invoked = excluded.invoked, expressed = excluded.expressed,
    willingness = excluded.willingness, congruence = excluded.congruence, comparator = excluded.comparator,
    expected_valence = excluded.expected_valence, expected_arousal = excluded.expected_arousal,
    intervals = excluded.intervals, emotions = excluded.emotions, language = excluded.language,
    language_supported = excluded.language_supported, risk_level = excluded.risk_level,
    risk_score = excluded.risk_score, risk = excluded.risk, provenance = excluded.provenance,
    timings = excluded.timings, enriched_at = excluded.enriched_at, repaired_at = NULL, repaired_by = NULL
"""

_REPAIR = """
UPDATE perceptions p SET
    valence = a.valence, arousal = a.arousal, congruence = a.congruence, comparator = a.comparator,
    expected_valence = a.expected_valence, expected_arousal = a.expected_arousal,
    intervals = p.intervals || a.intervals::jsonb, provenance = p.provenance || a.provenance::jsonb,
    repaired_at = clock_timestamp(), repaired_by = string_to_array(a.causes, E'\\x1f')
FROM unnest(%b::text[], %b::float8[], %b::float8[], %b::float8[], %b::float8[], %b::float8[], %b::float8[],
            %b::text[], %b::text[], %b::text[])
  AS a (id, valence, arousal, congruence, comparator, expected_valence, expected_arousal, intervals,
        provenance, causes)
WHERE p.reflection_id = a.id AND p.model_version = %s
"""

_FINISH = """
UPDATE deliveries d SET state = 'done', finished_at = clock_timestamp(), owner = NULL, lease_until = NULL
FROM (
    SELECT o.reflection_id, o.revision
    FROM unnest(%b::text[], %b::int[]) AS a (id, revision)
    JOIN deliveries o ON o.reflection_id = a.id AND o.revision <= a.revision AND o.state = 'accepted'
        AND (o.revision < a.revision OR o.model_version = %s)
    ORDER BY o.reflection_id, o.revision FOR UPDATE OF o
) finished
WHERE d.reflection_id = finished.reflection_id AND d.revision = finished.revision
"""
"""Locks in the order `accept` pins in. An older revision that was never finished ends with the newer one."""


def settle(
    store: Store,
    appraisals: Sequence[Appraisal],
    place: Place,
    *,
    model_version: str,
    timings: Sequence[Mapping[str, float]],
    again: bool = False,
) -> Settled:
    """Write one batch's rows (any persons, any order), place again what they change, finish the deliveries.

    `timings` (seconds by stage) goes with `appraisals` by position. `place` is asked once, for new and
    changed rows together. With `again` a delivery's pin does not count: a row of another version is wanted.
    Raises ServiceMissing, StoreRefused, or what `place` raises; then nothing of the batch is stored.
    """
    newest: dict[str, tuple[Appraisal, Mapping[str, float]]] = {}
    for appraisal, timing in zip(appraisals, timings, strict=True):
        known = newest.get(appraisal.reflection.id)
        if known is None or known[0].reflection.revision <= appraisal.reflection.revision:
            newest[appraisal.reflection.id] = (appraisal, timing)
    batch = [newest[key] for key in sorted(newest)]
    if not batch:
        return Settled(written=(), repaired=(), superseded=())
    written, repaired = store.transact(lambda cursor: _settle(cursor, batch, place, model_version, again))
    revisions = {appraisal.reflection.id: appraisal.reflection.revision for appraisal, _ in batch}
    superseded = {
        a.reflection.id
        for a in appraisals
        if a.reflection.id not in written or a.reflection.revision < revisions[a.reflection.id]
    }
    return Settled(written=tuple(written), repaired=tuple(repaired), superseded=tuple(sorted(superseded)))


def _settle(
    cursor: Cursor,
    batch: Sequence[tuple[Appraisal, Mapping[str, float]]],
    place: Place,
    model_version: str,
    again: bool,
) -> tuple[dict[str, None], list[str]]:
    lock_persons(cursor, (appraisal.reflection.user_id for appraisal, _ in batch))
    keys = [appraisal.reflection.id for appraisal, _ in batch]
    revisions = [appraisal.reflection.revision for appraisal, _ in batch]
    moved_from: dict[str, datetime | None] = dict(
        cursor.execute(
            _STANDING, (keys, revisions, model_version, again, model_version), prepare=True
        ).fetchall()
    )
    standing = [(appraisal, timing) for appraisal, timing in batch if appraisal.reflection.id in moved_from]
    repaired: list[str] = []
    if standing:
        traces = [appraisal.trace for appraisal, _ in standing]
        changed = _write_traces(cursor, traces, model_version)
        made = [
            Change(user_id=trace.user_id, moment=moment, cause=trace.id)
            for trace in traces
            if trace.id in changed
            for moment in (trace.created_at, moved_from[trace.id])
            if moment is not None
        ]
        asked, affected = _windows(cursor, traces, [(c.user_id, c.moment) for c in made], model_version)
        due = changes.at_once(affected, made)
        placements = place([*asked, *due.rows])
        _write(cursor, standing, placements[: len(asked)], model_version)
        repaired = [trace.id for trace, _ in due.rows]
        repair(cursor, repaired, placements[len(asked) :], model_version, due.causes)
        changes.postpone(cursor, due.later, model_version)
    cursor.execute(_FINISH, (keys, revisions, model_version), prepare=True)
    return dict.fromkeys(trace.id for trace in (a.trace for a, _ in standing)), repaired


def repair(
    cursor: Cursor,
    ids: Sequence[str],
    placements: Sequence[Placement],
    model_version: str,
    causes: Sequence[Sequence[str]],
) -> None:
    """Replace what stage B said in the rows of `ids`, because of the reflections `causes` of each; stage A's
    columns stay."""
    if not ids:
        return
    rows = [
        (key, *_placed(p), _json(p.intervals), _json(p.provenance), SEPARATOR.join(why))
        for key, p, why in zip(ids, placements, causes, strict=True)
    ]
    cursor.execute(_REPAIR, (*map(list, zip(*rows, strict=True)), model_version), prepare=True)


def affected_by(
    cursor: Cursor, changes: Sequence[tuple[str, datetime]], model_version: str
) -> list[tuple[Trace, Timeline]]:
    """The traces which `changes` (user, time) can reach, each with the timeline it has now."""
    return _affected(stretches(cursor, changes, model_version), changes)


def _windows(
    cursor: Cursor, traces: Sequence[Trace], changes: Sequence[tuple[str, datetime]], model_version: str
) -> tuple[list[tuple[Trace, Timeline]], list[tuple[Trace, Timeline]]]:
    """The traces with their timelines, and with theirs the later ones, not among them, that `changes`
    reach."""
    found = stretches(cursor, [*((t.user_id, t.created_at) for t in traces), *changes], model_version)
    asked = []
    for trace in traces:
        at_us = microseconds(trace.created_at)
        asked.append((trace, covering(found[trace.user_id], at_us).timeline(at_us)))
    own = {trace.id for trace in traces}
    return asked, [(trace, timeline) for trace, timeline in _affected(found, changes) if trace.id not in own]


def _affected(
    found: Mapping[str, Sequence[Stretch]], changes: Sequence[tuple[str, datetime]]
) -> list[tuple[Trace, Timeline]]:
    changed_us: dict[str, list[int]] = {}
    for user_id, moment in changes:
        changed_us.setdefault(user_id, []).append(microseconds(moment))
    return [
        asked
        for user_id, times_us in changed_us.items()
        for part in found.get(user_id, ())
        for asked in part.affected(times_us)
    ]


def _write_traces(cursor: Cursor, traces: Sequence[Trace], model_version: str) -> set[str]:
    rows = (
        [trace.id for trace in traces],
        [trace.user_id for trace in traces],
        [trace.created_at for trace in traces],
        [trace.static.astype("<f8", copy=False).tobytes() for trace in traces],
        [trace.history.astype("<f8", copy=False).tobytes() for trace in traces],
    )
    return {key for (key,) in cursor.execute(_TRACE, (model_version, *rows), prepare=True).fetchall()}


def _write(
    cursor: Cursor,
    standing: Sequence[tuple[Appraisal, Mapping[str, float]]],
    placements: Sequence[Placement],
    model_version: str,
) -> None:
    rows = []
    for (appraisal, timing), placement in zip(standing, placements, strict=True):
        reflection = appraisal.reflection
        perception = Perception(appraisal=appraisal, placement=placement, model_version=model_version)
        valence, arousal, congruence, comparator, expected_valence, expected_arousal = _placed(placement)
        rows.append(
            (
                reflection.id,
                reflection.user_id,
                reflection.revision,
                reflection.created_at,
                valence,
                arousal,
                SEPARATOR.join(appraisal.invoked.path),
                SEPARATOR.join(appraisal.expressed.path),
                float(appraisal.willingness),
                congruence,
                comparator,
                expected_valence,
                expected_arousal,
                _json(perception.intervals),
                _json({"invoked": appraisal.invoked.to_json(), "expressed": appraisal.expressed.to_json()}),
                appraisal.language,
                appraisal.language_supported,
                appraisal.risk.level,
                risk_score(appraisal.risk),
                _json(appraisal.risk.to_json()),
                _json(perception.provenance),
                _json(timing),
            )
        )
    cursor.execute(_WRITE, (model_version, *map(list, zip(*rows, strict=True))), prepare=True)


def _placed(placement: Placement) -> tuple[float, ...]:
    return (
        float(placement.valence),
        float(placement.arousal),
        float(placement.congruence),
        float(placement.comparator),
        float(placement.expected_valence),
        float(placement.expected_arousal),
    )


def _json(value: Mapping[str, Any]) -> str:
    return orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY).decode()
