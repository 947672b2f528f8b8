"""Three people's fortnight for docs/cookbook.md: values chosen by hand, written by the store itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import psycopg

from tests.support.appraisals import VERSION, admit, appraisal, arrival, risk
from worker.errors import Rejected
from worker.events.perception import Appraisal, Emotion, Placement, Trace
from worker.events.reflection import Reflection, SelfReport
from worker.events.timeline import Timeline
from worker.store import dead_letters, models
from worker.store.dead_letters import DeadLetter
from worker.store.deliveries import accept
from worker.store.engine import Store
from worker.store.perceptions import settle

HAPPY, SAD, LONELY = ("Happy", "Content"), ("Sad",), ("Sad", "Lonely")
ANGRY, NOTHING = ("Angry",), ()


@dataclass(frozen=True, kw_only=True)
class Plan:
    """One reflection: what it was read as, and what its writer said of it."""

    key: str
    user: str
    day: int
    valence: float
    expected: float = 0.5
    invoked: tuple[str, ...] = NOTHING
    expressed: tuple[str, ...] = NOTHING
    congruence: float = 0.9
    level: str = "none"
    score: float = 0.0
    reported: float | None = None
    language: str = "en"
    version: str = VERSION
    waited_h: float = 0.0
    took_s: float = 0.04


PLANS = (
    Plan(key="a1", user="asha", day=2, valence=0.7, invoked=HAPPY, expressed=HAPPY, reported=0.75),
    Plan(key="a2", user="asha", day=3, valence=0.6, invoked=HAPPY, expressed=HAPPY, reported=0.65),
    Plan(key="a3", user="asha", day=9, valence=0.4, expected=0.6, invoked=SAD, reported=0.35),
    Plan(key="a4", user="asha", day=10, valence=0.2, expected=0.55, invoked=LONELY, expressed=HAPPY,
         congruence=0.1, reported=0.5),
    Plan(key="a5", user="asha", day=11, valence=0.3, expected=0.5, invoked=SAD, expressed=SAD),
    Plan(key="b1", user="ben", day=2, valence=0.5, expressed=HAPPY, version="v0"),
    Plan(key="b2", user="ben", day=10, valence=0.5, invoked=ANGRY, expressed=HAPPY, congruence=0.2,
         level="medium", score=0.6, waited_h=5.5),
    Plan(key="b3", user="ben", day=11, valence=0.45, level="high", score=0.8, waited_h=2.5, took_s=0.4),
    Plan(key="c1", user="cara", day=4, valence=0.3, level="high", score=0.95, waited_h=30.5),
    Plan(key="c2", user="cara", day=12, valence=0.8, language="fr", took_s=0.06),
)  # fmt: skip


def plant(store: Store, url: str) -> None:
    """The rows of `PLANS` (a2 came after its later ones), three dead letters, one accepted event without a
    row, and a review of `b3`."""
    for version, active in (("v0", False), (VERSION, True)):
        models.register(store, version, digest=version, manifest={})
        if active:
            models.activate(store, version)
    for version in ("v0", VERSION):
        some = [plan for plan in PLANS if plan.version == version]
        accept(store, [arrival(_reflection(plan)) for plan in some], [], model_version=version, lane="live")
        placed = {plan.key: _placement(plan) for plan in some}

        def place(
            asked: Sequence[tuple[Trace, Timeline]], placed: dict[str, Placement] = placed
        ) -> list[Placement]:
            return [placed[trace.id] for trace, _ in asked]

        for late in (False, True):
            batch = [_appraisal(plan) for plan in some if (plan.key == "a2") == late]
            settle(store, batch, place, model_version=version, timings=[{"encode": 0.01}] * len(batch))
    admit(store, [_reflection(Plan(key="w1", user="ben", day=12, valence=0.5))])
    for number, reason in enumerate(("bad_time", "bad_time", "unknown_field")):
        refused = Rejected(reason, "detail", field="created_at")
        letter = DeadLetter(
            message_id=f"m-{number}", position=0, reason=refused.reason, detail=refused.detail, payload=b"{}"
        )
        dead_letters.park(store, [letter])
    with psycopg.connect(url) as connection:
        connection.execute(
            "UPDATE dead_letters SET parked_at = '2026-11-10 10:00+00' WHERE message_id < 'm-2'"
        )
        connection.execute(
            "UPDATE dead_letters SET parked_at = '2026-11-11 10:00+00' WHERE message_id = 'm-2'"
        )
        for plan in PLANS:
            connection.execute(
                "UPDATE reflections SET received_at = now() - %s * interval '1 hour' WHERE id = %s",
                (plan.waited_h, plan.key),
            )
            connection.execute(
                "UPDATE perceptions p SET enriched_at = r.received_at + %s * interval '1 second'"
                " FROM reflections r WHERE r.id = p.reflection_id AND r.id = %s",
                (plan.took_s, plan.key),
            )
        connection.execute(
            "INSERT INTO review_cases (reflection_id, revision, settled_at, decision, flags)"
            " VALUES ('b3', 1, now(), 'watch', '{}')"
        )


def _reflection(plan: Plan) -> Reflection:
    created_at = datetime(2026, 11, plan.day, 20, 30, tzinfo=UTC)
    told = SelfReport(valence=plan.reported, arousal=None, emotion=None)
    return Reflection(
        id=plan.key,
        user_id=plan.user,
        text=f"entry {plan.key}",
        created_at=created_at,
        utc_offset_min=0,
        timezone="UTC",
        lang="en",
        device="mobile",
        self_report=told if plan.reported is not None else None,
        revision=1,
        digest=plan.key.encode().ljust(32),
    )


def _appraisal(plan: Plan) -> Appraisal:
    given = _reflection(plan)
    made = appraisal(given, level=plan.level, score=plan.score)

    def emotion(path: tuple[str, ...]) -> Emotion:
        return Emotion(path=path, confidence=(0.7,) * len(path), cores=made.invoked.cores)

    return Appraisal(
        reflection=given,
        trace=made.trace,
        language=plan.language,
        language_supported=plan.language in ("en", "hi-Latn"),
        invoked=emotion(plan.invoked),
        expressed=emotion(plan.expressed),
        willingness=0.5,
        willingness_interval=(0.4, 0.6),
        risk=risk(plan.level, plan.score),
        provenance={"bundle": "b" * 64, "devices": {"encoder": {"actual": "CPU", "precision": "bf16"}}},
    )


def _placement(plan: Plan) -> Placement:
    return Placement(
        valence=plan.valence,
        arousal=0.4,
        congruence=plan.congruence,
        expected_valence=plan.expected,
        expected_arousal=0.5,
        comparator=plan.valence - plan.expected,
        intervals={"valence": (plan.valence - 0.1, plan.valence + 0.1), "arousal": (0.3, 0.5)},
        provenance={"history": 0},
    )
