"""Made-up reflections and appraisals for tests of the store, and a `place` that notices every moment."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import numpy as np

from worker.events.perception import Appraisal, Emotion, Placement, Risk, Trace
from worker.events.reflection import Reflection, SelfReport
from worker.events.timeline import Timeline
from worker.events.variables import CORES, FLAGS
from worker.features.schema import HISTORY, STATIC
from worker.store.deliveries import Admission, Arrival, accept
from worker.store.engine import Store
from worker.store.perceptions import Settled, settle

START = datetime(2026, 11, 1, 8, tzinfo=UTC)
VERSION = "v1"


def reflection(
    key: str, user_id: str = "u-1", *, at_min: float = 0.0, revision: int = 1, text: str | None = None
) -> Reflection:
    """A reflection written `at_min` minutes after START; its digest follows from all that is given."""
    words = text if text is not None else f"entry {key} as of revision {revision}"
    created_at = START + timedelta(minutes=at_min)
    content = repr((key, user_id, revision, words, created_at))
    return Reflection(
        id=key,
        user_id=user_id,
        text=words,
        created_at=created_at,
        utc_offset_min=330,
        timezone="Asia/Kolkata",
        lang="en",
        device="mobile",
        self_report=SelfReport(valence=0.25, arousal=None, emotion=("Sad", "Lonely")),
        revision=revision,
        digest=hashlib.sha256(content.encode()).digest(),
    )


def risk(level: str = "none", score: float = 0.0) -> Risk:
    flags = dict.fromkeys(FLAGS, 0.0) | {"suicidal_ideation": score}
    return Risk(level=level, flags=flags, thresholds=dict.fromkeys(FLAGS, 0.5), uncalibrated=flags)


def arrival(
    given: Reflection, *, message_id: str = "m-1", position: int = 0, screen: Risk | None = None
) -> Arrival:
    payload = f'{{"id":"{given.id}"}}'.encode()
    return Arrival(
        reflection=given, screen=screen or risk(), message_id=message_id, position=position, payload=payload
    )


def appraisal(given: Reflection, *, level: str = "none", score: float = 0.0) -> Appraisal:
    """An appraisal whose numbers are a function of the reflection's digest alone."""
    random = np.random.default_rng(int.from_bytes(given.digest[:8], "big"))
    history = random.random(len(HISTORY))
    history[2:4] = np.nan
    trace = Trace(
        id=given.id,
        user_id=given.user_id,
        created_at=given.created_at,
        static=random.random(len(STATIC)),
        history=history,
    )
    cores = {core: float(value) for core, value in zip(CORES, random.dirichlet(np.ones(6)), strict=True)}
    return Appraisal(
        reflection=given,
        trace=trace,
        language="en",
        language_supported=True,
        invoked=Emotion(path=("Sad", "Lonely"), confidence=(0.8, 0.6), cores=cores),
        expressed=Emotion(path=(), confidence=(), cores=cores),
        willingness=float(random.random()),
        willingness_interval=(0.1, 0.9),
        risk=risk(level, score),
        provenance={"bundle": "b" * 64, "willingness": {"Lx": 0.5}},
    )


def place(asked: Sequence[tuple[Trace, Timeline]]) -> list[Placement]:
    """A deterministic stage B that notices any moment missing, added, altered or out of order."""
    placements = []
    for trace, timeline in asked:
        content = hashlib.sha256()
        content.update(np.float64(timeline.as_of).tobytes())
        content.update(np.ascontiguousarray(timeline.times).tobytes())
        content.update(np.ascontiguousarray(timeline.history).tobytes())
        content.update(np.ascontiguousarray(trace.static).tobytes())
        content.update(np.ascontiguousarray(trace.history).tobytes())
        content.update(f"{trace.id} {trace.user_id} {trace.created_at.isoformat()}".encode())
        valence, arousal, congruence, expected, calm = np.random.default_rng(
            int.from_bytes(content.digest()[:8], "big")
        ).random(5)
        placements.append(
            Placement(
                valence=valence,
                arousal=arousal,
                congruence=congruence,
                expected_valence=expected,
                expected_arousal=calm,
                comparator=valence - expected,
                intervals={"valence": (valence / 2, (1 + valence) / 2)},
                provenance={"history": len(timeline.times), "digest": content.hexdigest()},
            )
        )
    return placements


def admit(store: Store, given: Sequence[Reflection], *, message_id: str = "m-1") -> list[Admission]:
    arrivals = [arrival(one, message_id=message_id, position=n) for n, one in enumerate(given)]
    return accept(store, arrivals, [], model_version=VERSION, lane="live")


def enrich(store: Store, given: Sequence[Reflection]) -> Settled:
    """Settle the reflections under VERSION with the order-sensitive `place`."""
    timings = [{"encode": 0.01}] * len(given)
    return settle(store, [appraisal(one) for one in given], place, model_version=VERSION, timings=timings)
