"""The daily checks as slots: the days after the promotion against the newest ones; an alarm asks for an early
rebuild."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

import numpy as np
from numpy.typing import NDArray

from trainer.data import checks, observed
from trainer.data.observed import Stretch
from trainer.drift.compare import Finding, compare
from trainer.drift.measures import Kind
from trainer.settings import TrainerSettings
from worker.inference.encoder import Encoder
from worker.observability import training
from worker.observability.logging import logger
from worker.service.slots import Facts, Turn
from worker.store import models, runs

SEED = 7


def check(
    trainer: TrainerSettings,
    kinds: tuple[Kind, ...],
    rebuild_early: Callable[[], None],
    now: Callable[[], datetime],
    turn: Turn,
) -> Facts:
    """The body of a check's slot: compare, book, and call `rebuild_early` where there is an alarm."""
    serving = models.serving(turn.store)
    if serving is None or serving.since is None:
        return {"skipped": "no model serves"}
    current = Stretch(since=now() - timedelta(days=trainer.drift_days), until=now())
    reference = Stretch(since=serving.since, until=serving.since + timedelta(days=trainer.reference_days))
    if reference.until > current.since:
        return {
            "skipped": f"the model serves since {serving.since:%Y-%m-%d %H:%M}: its first days are not over"
        }
    found = _found(trainer, kinds, serving.version, reference, current, turn)
    if not found:
        return {"skipped": "too few people in one of the windows"}
    checks.write(turn.store, runs.named(turn.slot.name, turn.slot.at), serving.version, found)
    alarms = [one for one in found if one.alarm]
    _tell(found, alarms)
    if alarms and trainer.early_rebuild:
        rebuild_early()
    return {"measures": len(found), "alarms": [f"{one.measure} ({one.slice})" for one in alarms]}


def _found(
    trainer: TrainerSettings,
    kinds: tuple[Kind, ...],
    version: str,
    reference: Stretch,
    current: Stretch,
    turn: Turn,
) -> list[Finding]:
    windows = []
    for step, stretch in (("read the reference", reference), ("read the newest days", current)):
        turn.tell(step=step)
        # Vectors are not kept: whoever is erased leaves nothing here.
        found = observed.window(
            turn.store, version, stretch, seed=SEED, embed=lambda texts: _embed(texts, trainer)
        )
        if found is None:
            return []
        windows.append(found)
    turn.tell(step="compare")
    return compare(windows[0], windows[1], kinds=kinds, seed=SEED)


def _embed(texts: Sequence[str], trainer: TrainerSettings) -> NDArray[np.float32]:
    encoder = Encoder.open(
        cache_dir=trainer.cache_dir, plan=("CPU",), threads=trainer.inference_threads, streams=trainer.streams
    )
    try:
        return np.asarray(encoder.encode(texts), dtype=np.float32)
    finally:
        encoder.close()


def _tell(found: list[Finding], alarms: list[Finding]) -> None:
    for one in found:
        training.DRIFT.labels(one.measure, one.slice).set(one.effect / one.floor)
        training.DRIFT_ALARM.labels(one.measure).set(one.measure in {other.measure for other in alarms})
    for one in alarms:
        logger.warning(
            "drift_alarm", kind=one.kind, measure=one.measure, slice=one.slice, effect=round(one.effect, 3)
        )
