"""The rebuild as a slot: labels out of Postgres and files in, a bundle tried or promoted out.

No text leaves the database for it: the operator's rows are read into memory, as they were when the slot was
first begun, so a worker that takes the slot over trains on the same rows and goes on from the steps that the
one before had finished. Who was erased or edited meanwhile is not among them, and then the steps are computed
anew.
"""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import Any

from rich.console import Console

from trainer import plan as plans
from trainer import rebuild as recipe
from trainer.data import labelled, operator
from trainer.data.labelled import Labelled
from trainer.evaluate import floors
from trainer.parts import Crew
from trainer.promote import switch
from trainer.promote.switch import Outcome
from trainer.settings import TrainerSettings
from worker.bundle import manifest
from worker.bundle.manifest import NAME, Manifest
from worker.errors import FeltsenseError
from worker.observability import training
from worker.service.slots import Facts, Interrupted, Turn
from worker.settings import Settings
from worker.store import runs
from worker.store.slots import ATTEMPTS, Slot

LOCK = "feltsense.rebuild"


def rebuild(settings: Settings, trainer: TrainerSettings, turn: Turn, *, crew: Crew | None = None) -> Facts:
    """The body of a rebuild's slot; a `crew` shares the work. Raises what recipe and comparison raise."""
    with turn.store.locked(LOCK) as ours:
        if not ours:
            return {"skipped": "another rebuild runs"}
        name = runs.named(turn.slot.name, turn.slot.at)
        runs.begin(turn.store, name, {"plan": trainer.plan})
        try:
            return _rebuilt(settings, trainer, turn, name, crew)
        except Interrupted:
            raise
        except Exception as error:
            if not getattr(error, "retryable", False) or turn.slot.attempt >= ATTEMPTS:
                told = str(error) if isinstance(error, FeltsenseError) else type(error).__name__
                runs.finish(turn.store, name, "failed", detail=told)
            raise


def _rebuilt(settings: Settings, trainer: TrainerSettings, turn: Turn, name: str, crew: Crew | None) -> Facts:
    started = time.monotonic()
    turn.tell(step="read the labels")
    rows = _rows(trainer, turn)
    out = trainer.work_dir / _folder(turn.slot)
    made = _made(rows, trainer, out, turn, crew)
    outcome = switch.consider(
        turn.store,
        settings,
        out,
        rows=rows,
        automatic=trainer.promote == "auto",
        tell=lambda step, done, total: turn.tell(step=step, done=done, total=total),
    )
    if outcome.done in ("promoted", "refused"):
        training.CHALLENGES.labels(outcome.done).inc()
    facts = {"rows": len(rows), "seconds": round(time.monotonic() - started, 1), **_told(outcome)}
    metrics = {**facts, "floors": {one.floor.name: one.passed for one in floors.judge(made.metrics)}}
    runs.finish(turn.store, name, "done", version=outcome.version, metrics=metrics)
    shutil.rmtree(out)  # it is in the bundle store
    return facts


def _rows(trainer: TrainerSettings, turn: Turn) -> list[Labelled]:
    files = labelled.load([Path(one) for one in trainer.data]) if trainer.data else []
    return [*files, *operator.rows(turn.store, until=turn.slot.began)]


def _made(
    rows: list[Labelled], trainer: TrainerSettings, out: Path, turn: Turn, crew: Crew | None
) -> Manifest:
    """The bundle of this slot: as an earlier attempt left it, if it came so far."""
    if (out / NAME).is_file():
        return manifest.read(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    quiet = Console(quiet=True)
    return recipe.fit(rows, plans.read(trainer.plan), out, quiet, trainer, tell=turn.tell, crew=crew)


def _folder(slot: Slot) -> str:
    return f"{slot.name}-{slot.at:%Y%m%dT%H%M%SZ}"


def _told(outcome: Outcome) -> dict[str, Any]:
    told: dict[str, Any] = {"model_version": outcome.version, "outcome": outcome.done}
    if outcome.verdict is not None:
        told |= {"decision": outcome.verdict.decision, "reasons": list(outcome.verdict.reasons)}
    return told
