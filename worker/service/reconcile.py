"""The safety net behind the queue: what was accepted but whose message never came back is enriched from its
stored row.

The broker redelivers what a killed worker held. This is for what the broker itself lost (its disk, its last
second), so it looks only at deliveries older than any redelivery, and leases them, so that workers do not do
it twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from worker.events.reflection import Reflection, SelfReport
from worker.observability.logging import failure, logger
from worker.service.background import Background
from worker.service.stages import Stages
from worker.store import dead_letters
from worker.store.dead_letters import DeadLetter
from worker.store.engine import Cursor, Store
from worker.store.persons import Opener
from worker.store.vault import Unopenable

GRACE_S = 300
"""Longer than the broker's visibility timeout: until then the message itself may still come."""
INTERVAL_S = 60.0
LEASE_S = 300
BATCH = 256

_LEASE = """
UPDATE deliveries d SET attempts = d.attempts + 1, lease_until = now() + make_interval(secs => %(lease)s)
FROM (
    SELECT o.reflection_id, o.revision FROM deliveries o
    WHERE o.state = 'accepted' AND o.accepted_at < now() - make_interval(secs => %(grace)s)
      AND (o.lease_until IS NULL OR o.lease_until < now())
    ORDER BY o.accepted_at LIMIT %(batch)s FOR UPDATE SKIP LOCKED
) late
JOIN reflections r ON r.id = late.reflection_id AND r.revision = late.revision AND r.deleted_at IS NULL
WHERE d.reflection_id = late.reflection_id AND d.revision = late.revision
  AND num_nonnulls(r.text, r.sealed) > 0
RETURNING r.id, r.user_id, r.text, r.sealed, r.created_at, r.utc_offset_min, r.lang, r.device, r.timezone,
r.self_valence, r.self_arousal, r.self_emotion, r.consent_training, r.revision, r.digest
"""


class Reconciler(Background):
    """Looks for unfinished deliveries when the worker starts and every minute after, in a thread of its
    own."""

    def __init__(self, stages: Stages, store: Store, *, grace_s: float = GRACE_S) -> None:
        super().__init__("reconcile")
        self._stages = stages
        self._store = store
        self._grace_s = grace_s

    def _run(self) -> None:
        while True:
            try:
                while found := self.sweep():
                    logger.info("deliveries_resumed", found=found)
            except Exception as error:  # noqa: BLE001  this thread must outlive any
                logger.warning("reconcile_failed", **failure(error))
            if self._closing.wait(INTERVAL_S):
                return

    def sweep(self) -> int:
        """Enriches up to `BATCH` unfinished deliveries; how many it found.

        Raises what the stages raise, and `ServiceMissing` or `StoreRefused`.
        """
        late = unfinished(self._store, grace_s=self._grace_s)
        if late:
            self._stages.resume(late)
        return len(late)


def unfinished(store: Store, *, grace_s: float) -> list[Reflection]:
    """Leases the oldest accepted deliveries older than `grace_s` whose text is stored, newest revisions only.

    One whose text no key opens is parked: its row stays, and its letter names the key.
    """
    wanted = {"lease": LEASE_S, "grace": grace_s, "batch": BATCH}

    def work(cursor: Cursor) -> list[Reflection]:
        rows = cursor.execute(_LEASE, wanted).fetchall()
        opener = Opener(cursor, store.keyring, {user_id for _, user_id, *_ in rows})
        found, locked = [], []
        for key, user_id, text, sealed, *rest in rows:
            revision = rest[-2]
            try:
                plain = opener.text(id=key, revision=revision, user_id=user_id, text=text, sealed=sealed)
            except Unopenable as error:
                locked.append(_locked(key, revision, user_id, str(error)))
            else:
                found.append(_reflection((key, user_id, plain, *rest)))
        dead_letters.give_up(cursor, locked, keep_payload=False, keyring=store.keyring)
        return found

    return store.transact(work)


def _locked(key: str, revision: int, user_id: str, why: str) -> DeadLetter:
    return DeadLetter(
        message_id=f"resumed/{key}/{revision}",
        position=0,
        reason="text_unreadable",
        detail=why,
        reflection_id=key,
        revision=revision,
        user_id=user_id,
    )


def _reflection(row: Sequence[Any]) -> Reflection:
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
