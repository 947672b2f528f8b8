"""The sample that `make demo` publishes is what its generator makes; only the intended lines are refused."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from trainer.data.synthetic.oddities import CONTRADICTIONS, EDITS, EVENTS, REJECTED
from trainer.data.synthetic.sample import LAST, SAMPLE, lines
from worker.events.lines import Line, read
from worker.events.reflection import TEXT_LIMIT, Reflection

NOW = datetime(2026, 11, 21, tzinfo=UTC)
COMMITTED = Path(__file__).parents[2] / SAMPLE


@pytest.fixture(scope="module")
def sample() -> list[Line]:
    return list(read(COMMITTED.read_bytes().splitlines(), now=NOW))


@pytest.fixture(scope="module")
def accepted(sample: list[Line]) -> list[Reflection]:
    return [line.reflection for line in sample if line.reflection is not None]


def test_the_committed_sample_is_what_the_generator_writes() -> None:
    assert COMMITTED.read_text(encoding="utf-8").splitlines() == lines()


def test_exactly_the_intended_lines_are_refused_each_for_its_reason(sample: list[Line]) -> None:
    refused = [line.refused for line in sample if line.refused is not None]
    assert [error.reason for error in refused] == [reason for reason, _ in REJECTED]
    assert 500 <= len(sample) <= 750


def test_every_reason_of_the_contradictions_stands_beside_what_it_contradicts(
    accepted: list[Reflection],
) -> None:
    for reason, event in CONTRADICTIONS:
        same = [r for r in accepted if r.id == event["id"]]
        if reason == "user_changed":
            assert len({r.user_id for r in same}) == 2
        else:
            assert len({r.digest for r in same if r.revision == 1}) == 2


def test_edits_and_duplicates_refer_to_events_of_the_sample(accepted: list[Reflection]) -> None:
    first = {r.id for r in accepted if r.revision == 1}
    assert {event["id"] for event in EDITS} <= first
    copies = Counter((r.id, r.revision, r.digest) for r in accepted)
    assert sum(count - 1 for count in copies.values()) >= 4


def test_some_events_arrive_late_and_none_lies_in_the_future(accepted: list[Reflection]) -> None:
    latest: dict[str, datetime] = {}
    late = 0
    for reflection in accepted:
        late += reflection.created_at < latest.get(reflection.user_id, reflection.created_at)
        latest[reflection.user_id] = max(
            reflection.created_at, latest.get(reflection.user_id, reflection.created_at)
        )
        assert reflection.created_at <= LAST + timedelta(days=1)
    assert late >= 5


def test_some_25_people_write_for_weeks_in_english_and_hinglish(accepted: list[Reflection]) -> None:
    times = defaultdict(list)
    for reflection in accepted:
        times[reflection.user_id].append(reflection.created_at)
    weeks = [max(moments) - min(moments) > timedelta(weeks=3) for moments in times.values()]
    assert 24 <= len(times) <= 30
    assert sum(weeks) >= 24
    languages = Counter(reflection.lang for reflection in accepted)
    assert languages["en"] > 100
    assert languages["hi-Latn"] > 100
    assert len({reflection.timezone for reflection in accepted}) >= 6
    assert sum(reflection.self_report is not None for reflection in accepted) > 100


def test_the_odd_texts_are_there_untouched(accepted: list[Reflection]) -> None:
    by_id = {reflection.id: reflection for reflection in accepted}
    assert {event["id"] for event in EVENTS} <= by_id.keys()
    assert max(len(reflection.text) for reflection in accepted) == TEXT_LIMIT
    assert min(len(reflection.text) for reflection in accepted) == 1


def test_no_line_carries_labels() -> None:
    fields = ("labels", "source", "cluster")
    rows = [row for row in lines() if row not in {line for _, line in REJECTED}]
    assert not [row for row in rows if any(name in json.loads(row) for name in fields)]
