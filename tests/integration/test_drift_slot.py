"""The drift check on rows in Postgres: booked, alarmed about what was planted, and an early rebuild asked
for."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Event

import psycopg
import pytest

from tests.support.appraisals import VERSION, admit, enrich, reflection
from trainer.service import drift, schedule
from trainer.settings import TrainerSettings
from worker.service.slots import Turn
from worker.store import models, slots
from worker.store.engine import Store

TRAINER = TrainerSettings(cache_dir=Path(".cache"))
NOW = datetime.now(UTC)


@pytest.fixture
def served(store: Store, database_url: str) -> Store:
    """30 people who consented, in the days after the promotion and in the newest ones."""
    given = [
        reflection(f"{when}-{person}-{n}", f"u-{person}", at_min=n, text=f"words of day {n}, person {person}")
        for when in ("then", "now")
        for person in range(30)
        for n in range(2)
    ]
    admit(store, given)
    enrich(store, given)
    models.register(store, VERSION, digest="d", manifest={})
    models.activate(store, VERSION)
    with psycopg.connect(database_url) as connection:
        connection.execute("UPDATE reflections SET consent_training = true, self_valence = 0.5")
        for when, days in (("then", 35), ("now", 1)):
            connection.execute(
                "UPDATE reflections SET received_at = %s WHERE id LIKE %s",
                (NOW - timedelta(days=days), f"{when}-%"),
            )
        connection.execute("UPDATE model_versions SET activated_at = %s", (NOW - timedelta(days=40),))
    return store


def check(store: Store, at: datetime = NOW) -> tuple[dict[str, object], int]:
    """What the slot's body says, and how many early rebuilds it asked for."""
    asked: list[int] = []
    slot = slots.claim(store, schedule.DRIFT, at, "w", fresh=True)
    assert slot is not None
    turn = Turn(slot, store, lambda _: None, Event())
    facts = drift.check(TRAINER, ("inputs", "outputs"), lambda: asked.append(1), lambda: NOW, turn)
    return dict(facts), len(asked)


def test_a_planted_drift_is_booked_and_asks_for_an_early_rebuild(served: Store, database_url: str) -> None:
    quiet, asked = check(served)
    assert (quiet["alarms"], asked) == ([], 0)
    assert quiet["measures"] > 20  # type: ignore[operator]

    with psycopg.connect(database_url) as connection:
        connection.execute("UPDATE perceptions SET valence = 0.01 WHERE reflection_id LIKE 'now-%'")
    loud, asked = check(served, NOW + timedelta(days=1))
    assert "valence (all)" in loud["alarms"]  # type: ignore[operator]
    assert asked == 1
    with psycopg.connect(database_url) as connection:
        booked = connection.execute(
            "SELECT count(*), count(*) FILTER (WHERE alarm), count(DISTINCT slot), min(current_people)"
            " FROM drift_checks"
        ).fetchone()
    assert booked == (2 * quiet["measures"], len(loud["alarms"]), 2, 30)  # type: ignore[arg-type, operator]


def test_a_model_that_has_just_begun_to_serve_is_not_judged(served: Store, database_url: str) -> None:
    with psycopg.connect(database_url) as connection:
        connection.execute("UPDATE model_versions SET activated_at = %s", (NOW - timedelta(days=20),))
    facts, asked = check(served)
    assert "are not over" in str(facts["skipped"])
    assert asked == 0


def test_an_early_rebuild_has_one_slot_a_week() -> None:
    monday = datetime(2026, 11, 23, tzinfo=UTC)
    assert {schedule.early(monday + timedelta(hours=hours)) for hours in range(7 * 24)} == {monday}
    assert schedule.early(monday + timedelta(days=7)) == monday + timedelta(days=7)
