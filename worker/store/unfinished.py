"""The way back into the stages: accepted deliveries that nobody has in hand, rebuilt from their rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from worker.events.reflection import Reflection, SelfReport
from worker.store import dead_letters
from worker.store.dead_letters import DeadLetter
from worker.store.engine import Cursor, Store
from worker.store.leases import Lease
from worker.store.persons import Opener
from worker.store.vault import Unopenable


@dataclass(frozen=True, kw_only=True, slots=True)
class Unfinished:
    """An accepted revision that a worker took over: how many attempts of it ended with their worker, and the
    place in the message which its dead letter would have."""

    reflection: Reflection
    attempts: int
    message_id: str | None
    position: int | None


_TAKE = """
UPDATE deliveries d SET
    attempts = late.lost, begun = late.lost = 0, owner = %(owner)s, model_version = %(version)s,
    lease_until = clock_timestamp() + make_interval(secs => %(lease)s)
FROM (
    SELECT o.reflection_id, o.revision, o.attempts + (o.owner IS NOT NULL AND o.begun)::int AS lost
    FROM deliveries o
    WHERE o.state = 'accepted' AND o.owner IS DISTINCT FROM %(owner)s
      AND o.accepted_at < clock_timestamp() - make_interval(secs => %(grace)s)
      AND coalesce(o.lease_until, o.accepted_at) < clock_timestamp() - make_interval(secs => %(grace)s)
    ORDER BY o.accepted_at LIMIT %(limit)s FOR UPDATE SKIP LOCKED
) late
JOIN reflections r ON r.id = late.reflection_id AND r.revision = late.revision AND r.deleted_at IS NULL
WHERE d.reflection_id = late.reflection_id AND d.revision = late.revision
  AND num_nonnulls(r.text, r.sealed) > 0
RETURNING d.attempts, d.message_id, d.position, r.id, r.user_id, r.text, r.sealed, r.created_at,
    r.utc_offset_min, r.lang, r.device, r.timezone, r.self_valence, r.self_arousal, r.self_emotion,
    r.consent_training, r.revision, r.digest
"""


def take(store: Store, lease: Lease, *, model_version: str, grace_s: float, limit: int) -> list[Unfinished]:
    """Lease to its owner, who serves `model_version`, up to `limit` accepted deliveries whose lease (or
    acceptance, where none had one) ran out more than `grace_s` ago and whose text is stored; oldest first,
    newest revisions only.

    One whose text no key opens is parked: its row stays, and its letter names the key.
    """
    wanted = {
        "owner": lease.owner,
        "version": model_version,
        "lease": lease.seconds,
        "grace": grace_s,
        "limit": limit,
    }

    def work(cursor: Cursor) -> list[Unfinished]:
        rows = cursor.execute(_TAKE, wanted).fetchall()
        opener = Opener(cursor, store.keyring, {row[4] for row in rows})
        found, locked = [], []
        for attempts, message_id, position, key, user_id, text, sealed, *rest in rows:
            revision = rest[-2]
            try:
                plain = opener.text(id=key, revision=revision, user_id=user_id, text=text, sealed=sealed)
            except Unopenable as error:
                locked.append(
                    DeadLetter(
                        message_id=message_id or f"resumed/{key}/{revision}",
                        position=position or 0,
                        reason="text_unreadable",
                        detail=str(error),
                        reflection_id=key,
                        revision=revision,
                        user_id=user_id,
                    )
                )
                continue
            found.append(
                Unfinished(
                    reflection=reflection_of((key, user_id, plain, *rest)),
                    attempts=attempts,
                    message_id=message_id,
                    position=position,
                )
            )
        dead_letters.give_up(cursor, locked, keep_payload=False, keyring=store.keyring)
        return found

    return store.transact(work)


def reflection_of(row: Sequence[Any]) -> Reflection:
    (
        key,
        user_id,
        text,
        created_at,
        offset,
        lang,
        device,
        timezone,
        valence,
        arousal,
        emotion,
        consent,
        revision,
        digest,
    ) = row
    told = valence is not None or arousal is not None or emotion is not None
    return Reflection(
        id=key,
        user_id=user_id,
        text=text,
        created_at=created_at,
        utc_offset_min=offset,
        lang=lang,
        device=device,
        timezone=timezone,
        self_report=SelfReport(valence=valence, arousal=arousal, emotion=tuple(emotion) if emotion else None)
        if told
        else None,
        consent_training=consent,
        revision=revision,
        digest=digest,
    )
