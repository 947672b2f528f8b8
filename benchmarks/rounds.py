"""Interleaved rounds: everybody runs in every round, nobody always first, and medians with their spread."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from benchmarks.context import Event


@dataclass(frozen=True, kw_only=True)
class Run:
    """One contestant's turn: events from first in to last out, seconds, and CPU seconds by process."""

    events: int
    seconds: float
    cpu_s: Mapping[str, float] = field(default_factory=dict)

    @property
    def rate(self) -> float:
        return self.events / self.seconds


class Contestant(Protocol):
    """Something that takes events at a rate of its own."""

    name: str

    def run(self, events: Sequence[Event], tag: str) -> Run:
        """Take the events to their end; `tag` tells this turn's ids from all others'."""
        ...


@dataclass(frozen=True, kw_only=True)
class Entrant:
    """A contestant and the seconds of one of its turns: a slow one gets fewer events of the same mix."""

    contestant: Contestant
    most_s: float


def order(names: Sequence[str], number: int) -> list[str]:
    """Who runs in which place of round `number`: each round begins with the next one."""
    start = number % len(names)
    return [*names[start:], *names[:start]]


def interleaved(
    entrants: Sequence[Entrant], events: Sequence[Event], rounds: int, warm: int, say: Callable[[str], None]
) -> dict[str, list[Run]]:
    """The turns of each contestant. A turn on `warm` events comes first, uncounted, and says how many the
    contestant gets; turns on fewer than all events take the same stretch in each round."""
    by_name = {entrant.contestant.name: entrant for entrant in entrants}
    counts: dict[str, int] = {}
    for name, entrant in by_name.items():
        found = entrant.contestant.run(events[:warm], "warm")
        # The first turn finds shapes, plans and caches cold; its second half is nearer the truth.
        found = entrant.contestant.run(events[:warm], "warm2")
        counts[name] = max(min(warm, len(events)), min(len(events), int(found.rate * entrant.most_s)))
        say(f"{name}: about {found.rate:.0f}/s; {counts[name]} events a round")
    turns: dict[str, list[Run]] = {name: [] for name in by_name}
    for number in range(rounds):
        for name in order(list(by_name), number):
            done = by_name[name].contestant.run(events[: counts[name]], f"r{number}")
            turns[name].append(done)
            say(f"round {number + 1} of {rounds}  {name:<34}{done.rate:>9.1f}/s")
    return turns


def spread(values: Sequence[float]) -> dict[str, float]:
    """Median, least and most."""
    return {
        "median": round(statistics.median(values), 1),
        "min": round(min(values), 1),
        "max": round(max(values), 1),
    }


def summary(turns: Sequence[Run]) -> dict[str, Any]:
    """A contestant's rates a second and its CPU milliseconds an event by process, medians over the rounds."""
    report: dict[str, Any] = {
        **spread([turn.rate for turn in turns]),
        "rounds": [round(turn.rate, 1) for turn in turns],
        "events": turns[0].events,
    }
    if turns[0].cpu_s:
        report["cpu_ms_an_event"] = {
            name: round(statistics.median(1000 * turn.cpu_s[name] / turn.events for turn in turns), 3)
            for name in turns[0].cpu_s
        }
    return report
