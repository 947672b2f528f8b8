"""Which task runs when: cron lines read as the slots they name, and the clock they are read by."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Self

from celery.schedules import ParseException, crontab

from worker.errors import UsageError

HORIZON_DAYS = 8 * 366
"""A line that names no day of so many (30 February) names none."""


@dataclass(frozen=True, kw_only=True)
class Entry:
    """The slots of `task`, which goes to `queue`: the minutes of `cron` (minute, hour, day of month, month,
    weekday, in UTC; a day must be of both kinds). Without a line it has no slots of its own accord."""

    task: str
    cron: str
    queue: str

    @cached_property
    def _line(self) -> crontab | None:
        if not self.cron:
            return None
        try:
            return crontab.from_string(self.cron)
        except (ParseException, ValueError) as error:
            raise UsageError(
                f"the schedule of {self.task} is no cron line: {self.cron!r} ({error}); write five fields as"
                ' in "0 3 * * sun", or nothing to switch it off'
            ) from None

    def last(self, now: datetime) -> datetime | None:
        """The latest slot that is not after `now`; None without a line. Raises `UsageError` for a bad one."""
        line = self._line
        if line is None:
            return None
        now = now.astimezone(UTC).replace(second=0, microsecond=0)
        minutes, hours = sorted(line.minute, reverse=True), sorted(line.hour, reverse=True)
        for back in range(HORIZON_DAYS):
            day = (now - timedelta(days=back)).replace(hour=0, minute=0)
            if (
                day.day not in line.day_of_month
                or day.month not in line.month_of_year
                or day.isoweekday() % 7 not in line.day_of_week
            ):
                continue
            for hour in hours:
                for minute in minutes:
                    slot = day.replace(hour=hour, minute=minute)
                    if slot <= now:
                        return slot
        raise UsageError(f"the schedule of {self.task} names no day at all: {self.cron!r}")

    def between(self, after: datetime, until: datetime) -> Sequence[datetime]:
        """The slots later than `after` and not later than `until`, oldest first."""
        found: list[datetime] = []
        slot = self.last(until)
        while slot is not None and slot > after:
            found.append(slot)
            slot = self.last(slot - timedelta(minutes=1))
        return found[::-1]


@dataclass(frozen=True, kw_only=True)
class Clock:
    """The time, or for the proof of the schedule a faster one: `rate` seconds a second since `real` (seconds
    since 1970) stood for `start`."""

    start: datetime
    real: float
    rate: float

    @classmethod
    def of(cls, told: str | None) -> Self:
        """From the setting: `START,REAL,RATE`, or the true time. Raises `UsageError`."""
        if told is None:
            return cls(start=datetime.fromtimestamp(0, UTC), real=0.0, rate=1.0)
        try:
            start, real, rate = told.split(",")
            made = cls(start=datetime.fromisoformat(start), real=float(real), rate=float(rate))
        except ValueError:
            raise UsageError(
                "FELTSENSE_CLOCK (for tests only) is START,REAL,RATE: an ISO time, seconds since 1970, factor"
            ) from None
        return made

    def __str__(self) -> str:
        return f"{self.start.isoformat()},{self.real!r},{self.rate!r}"

    def now(self) -> datetime:
        """The time by this clock."""
        return self.start + timedelta(seconds=(time.time() - self.real) * self.rate)

    def pause(self, seconds: float) -> float:
        """Real seconds to wait so long by this clock, 20 ms at least."""
        return max(0.02, seconds / self.rate)
