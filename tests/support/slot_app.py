"""A trainer whose one slot waits for a file, so that a test can kill it in the middle."""

from __future__ import annotations

import os
import time
from pathlib import Path

from trainer.service.application import create
from trainer.service.schedule import QUEUE
from trainer.settings import TrainerSettings
from worker.service.slots import Facts, Turn
from worker.service.timetable import Entry
from worker.settings import Settings

TASK = "feltsense.waiting"


def body(turn: Turn) -> Facts:
    gate = Path(os.environ["GATE"])
    done = 0
    while not gate.exists():
        done += 1
        turn.tell(step="waiting", done=done)
        time.sleep(0.05)
    return {"waited": done}


entry = Entry(task=TASK, cron=os.environ.get("LINE", "0 3 * * sun"), queue=QUEUE)
app = create(Settings(), TrainerSettings(), entries=[entry], bodies={TASK: body})
