"""The application of the proof: the product's own schedules, beats and slot tasks, with bodies that only
write down that they ran."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from trainer.service import schedule
from trainer.service.application import create
from trainer.settings import TrainerSettings
from worker.service import upkeep
from worker.service.slots import Facts, Turn
from worker.settings import Settings


def body(turn: Turn) -> Facts:
    row = (turn.slot.name, turn.slot.at)

    def note(cursor: Any) -> None:
        cursor.execute("INSERT INTO ran (name, slot) VALUES (%s, %s)", row)

    turn.store.transact(note)
    return {"noted": 1}


settings, trainer = Settings(), TrainerSettings()
entries = [
    replace(entry, queue=schedule.QUEUE) for entry in (*upkeep.entries(settings), *schedule.entries(trainer))
]
app = create(settings, trainer, entries=entries, bodies={entry.task: body for entry in entries})
