"""Cron lines read as slots, and the clock of the schedules."""

import time
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest

from worker.errors import UsageError
from worker.service.timetable import Clock, Entry

NOW = datetime(2026, 11, 25, 14, 7, 31, tzinfo=UTC)  # a Wednesday

LAST = {
    "each minute": ("* * * * *", "2026-11-25 14:07"),
    "past this hour": ("17 * * * *", "2026-11-25 13:17"),
    "on the minute itself": ("7 14 * * *", "2026-11-25 14:07"),
    "a minute later": ("8 14 * * *", "2026-11-24 14:08"),
    "weekly": ("0 3 * * sun", "2026-11-22 03:00"),
    "every six hours": ("30 */6 * * *", "2026-11-25 12:30"),
    "the first of the month": ("0 0 1 * *", "2026-11-01 00:00"),
    "a leap day": ("0 0 29 2 *", "2024-02-29 00:00"),
}


def entry(cron: str) -> Entry:
    return Entry(task="t", cron=cron, queue="q")


@pytest.mark.parametrize(("cron", "slot"), LAST.values(), ids=LAST)
def test_the_last_slot_is_the_latest_not_after_now(cron, slot):
    assert entry(cron).last(NOW) == datetime.fromisoformat(f"{slot}+00:00")


def test_another_zone_s_time_names_the_same_slot():
    assert entry("0 3 * * sun").last(NOW.astimezone(ZoneInfo("Asia/Kolkata"))) == entry("0 3 * * sun").last(
        NOW
    )


def test_between_names_every_slot_once_and_in_order():
    found = entry("*/20 * * * *").between(NOW - timedelta(days=2), NOW)
    assert len(found) == 2 * 72
    assert {after - before for before, after in pairwise(found)} == {timedelta(minutes=20)}
    assert found[-1] == datetime(2026, 11, 25, 14, tzinfo=UTC)


def test_no_line_has_no_slots():
    assert entry("").last(NOW) is None
    assert list(entry("").between(NOW - timedelta(days=9), NOW)) == []


@pytest.mark.parametrize("cron", ["often", "61 * * * *", "* * *", "0 0 30 2 *"])
def test_a_bad_line_is_named_with_its_task(cron):
    with pytest.raises(UsageError, match="the schedule of t"):
        entry(cron).last(NOW)


def test_a_fast_clock_runs_at_its_rate_and_reads_itself_back():
    clock = Clock(start=NOW, real=time.time() - 10, rate=3600.0)
    assert abs((clock.now() - NOW).total_seconds() - 36_000) < 3600
    assert Clock.of(str(clock)) == clock
    assert clock.pause(3600) == 1.0


def test_without_a_setting_the_clock_is_the_time():
    assert abs((Clock.of(None).now() - datetime.now(UTC)).total_seconds()) < 1
    with pytest.raises(UsageError, match="FELTSENSE_CLOCK"):
        Clock.of("soon")
