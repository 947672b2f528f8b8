"""The rebuild's slot on a real database and a tiny recipe: interrupted, taken over, tried and booked."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from threading import Event
from typing import Any

import pytest

from trainer import rebuild as recipe
from trainer.data import synthetic
from trainer.errors import TrainerError
from trainer.service import rebuilding
from trainer.service.schedule import REBUILD
from trainer.settings import TrainerSettings
from worker.service.slots import Interrupted, Turn
from worker.settings import Settings
from worker.store import models, slots
from worker.store.engine import Store

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

AT = datetime(2026, 11, 22, 3, tzinfo=UTC)
PLAN = """
name = "few"
folds = 3
ngram_bits = 12
trees = { rounds = 5, class_rounds = 3, least_rows = 10 }
ngrams = { value = 0.5, classes = 0.01, flags = 0.01, steps = 8 }
embedding = { value = 0.5, classes = 0.01, flags = 0.01, steps = 8 }
net = { hidden = 4, epochs = 1 }

[sources.synthetic]
person_power = 0.5
"""


def turn(store: Store, *, stop_at: str | None = None) -> Turn:
    """A run of the slot; it is interrupted where the step `stop_at` begins."""
    stopping = Event()
    slot = slots.claim(store, REBUILD, AT, "w", fresh=True)
    assert slot is not None

    class Watched(Turn):
        def tell(self, **progress: Any) -> None:
            if progress["step"] == stop_at:
                stopping.set()
            super().tell(**progress)

    return Watched(slot, store, lambda _: None, stopping)


@pytest.fixture
def settings(tmp_path: Path) -> tuple[Settings, TrainerSettings]:
    data, plan = tmp_path / "synthetic.jsonl", tmp_path / "few.toml"
    synthetic.write(data, people=30, seed=11)
    plan.write_text(PLAN)
    trainer = TrainerSettings(
        data=(str(data),), plan=str(plan), work_dir=tmp_path / "work", cache_dir=Path(".cache")
    )
    return Settings(run_dir=tmp_path / "run", device_plan=("CPU",)), trainer


def test_an_interrupted_rebuild_goes_on_from_its_steps_and_what_it_made_serves(
    store: Store, settings: tuple[Settings, TrainerSettings], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = turn(store, stop_at="stack what one text tells")
    with pytest.raises(Interrupted):
        rebuilding.rebuild(*settings, first)
    assert slots.release(store, first.slot, counts=False)
    (run,) = _runs(store)
    assert run[:3] == ("feltsense.rebuild 2026-11-22T03:00:00+00:00", "running", None)

    # what the first had finished is not computed again
    second = turn(store)
    with monkeypatch.context() as patched:
        patched.setattr(recipe.build, "build", _never)
        facts = rebuilding.rebuild(*settings, second)

    assert facts["outcome"] == "promoted"
    served = models.serving(store)
    assert served is not None
    assert served.version == facts["model_version"]
    assert served.location is not None
    assert Path(served.location).is_dir()
    (run,) = _runs(store)
    assert run[1:3] == ("done", served.version)
    assert run[3]["rows"] == facts["rows"]
    assert list((settings[1].work_dir).iterdir()) == []


def test_a_rebuild_beside_another_is_skipped_and_one_without_rows_says_why(
    store: Store, database_url: str, settings: tuple[Settings, TrainerSettings]
) -> None:
    mine = turn(store)
    with Store.open(database_url) as other, other.locked(rebuilding.LOCK):
        assert rebuilding.rebuild(*settings, mine) == {"skipped": "another rebuild runs"}
    assert _runs(store) == []
    nothing = settings[1].model_copy(update={"data": ()})
    with pytest.raises(TrainerError, match="no labelled rows"):
        rebuilding.rebuild(settings[0], nothing, mine)
    (run,) = _runs(store)
    assert run[1] == "failed"


def _never(*_: Any, **__: Any) -> None:
    raise AssertionError("computed before")


def _runs(store: Store) -> list[tuple[Any, ...]]:
    query = "SELECT slot, state, model_version, metrics FROM training_runs"
    return store.transact(lambda cursor: cursor.execute(query).fetchall())
