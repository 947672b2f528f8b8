"""Suspects are tried apart: in groups, then one by one, and nobody else is in hand meanwhile."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

import pytest

from tests.support.events import event
from worker.events.reflection import parse
from worker.service import trials
from worker.service.batcher import Closed
from worker.service.journey import Journey, Message
from worker.service.trials import Trials


class Place:
    """What is in hand, and how it came there."""

    def __init__(self) -> None:
        self.entered: list[list[str]] = []
        self.began: list[list[str]] = []
        self.inside: list[Journey] = []
        self.trials = Trials(self._enter, self._begin)

    def _enter(self, batch: Sequence[Journey]) -> None:
        self.entered.append([one.reflection.id for one in batch])
        self.inside += batch

    def _begin(self, batch: Sequence[Journey]) -> None:
        assert not self.inside
        self.began.append([one.reflection.id for one in batch])
        self.inside += batch

    def end(self) -> None:
        inside, self.inside = self.inside, []
        for one in inside:
            one.ended("written")


def journeys(message: Message, attempts: int, *names: str) -> list[Journey]:
    made = [Journey(message, parse(event(name), now=datetime.now(UTC)), 0, None) for name in names]
    for one in made:
        one.attempts = attempts
    return made


def test_suspects_wait_for_the_others_and_the_others_for_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trials, "GROUP", 2)
    place, message = Place(), Message("m", 9, live=True)
    place.trials.take(journeys(message, 0, "a", "b"))
    place.trials.take([*journeys(message, 1, "c", "d", "e"), *journeys(message, 2, "f", "g")])
    place.trials.take(journeys(message, 0, "h", "i"))
    assert (place.entered, place.began) == ([["a", "b"]], [])
    place.end()
    for expected in (["c", "d"], ["e"], ["f"], ["g"]):
        assert place.began[-1] == expected
        assert place.entered == [["a", "b"]]
        place.end()
    assert place.entered == [["a", "b"], ["h", "i"]]
    place.end()
    assert message.wait() == {"written": 9}


def test_at_the_end_the_running_trial_is_finished_and_the_waiting_suspects_go_back() -> None:
    place, message = Place(), Message("m", 4, live=True)
    place.trials.take(journeys(message, 2, "a", "b", "c"))
    place.trials.take(journeys(message, 0, "d"))
    place.trials.hurry()
    place.end()
    assert (place.began, place.entered) == ([["a"]], [["d"]])
    place.end()
    with pytest.raises(Closed):
        message.wait()
