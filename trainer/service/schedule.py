"""What the trainer's beat announces: the weekly rebuild, the daily checks, and the early rebuild that only
drift asks for."""

from __future__ import annotations

from datetime import datetime, timedelta

from trainer.settings import TrainerSettings
from worker.service.timetable import Entry

QUEUE = "trainer"
REBUILD = "feltsense.rebuild"
EARLY = "feltsense.rebuild.early"
DRIFT = "feltsense.drift"
CALIBRATION = "feltsense.calibration"
PART = "feltsense.part"
PARTS = "trainer.parts"
"""The queue of parts: of these a process holds one and leaves the others to others."""


def entries(settings: TrainerSettings) -> tuple[Entry, ...]:
    """The trainer's schedules; the early rebuild has no line, so no slot of its own accord."""
    lines = {
        REBUILD: settings.rebuild_schedule,
        EARLY: "",
        DRIFT: settings.drift_schedule,
        CALIBRATION: settings.calibration_schedule,
    }
    return tuple(Entry(task=task, cron=cron, queue=QUEUE) for task, cron in lines.items())


def early(now: datetime) -> datetime:
    """The one slot an early rebuild has in this week: its Monday, so that a slot is one week's."""
    monday = now - timedelta(days=now.weekday())
    return monday.replace(hour=0, minute=0, second=0, microsecond=0)
