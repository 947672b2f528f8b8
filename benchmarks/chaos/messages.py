"""What is published in a round: events with ids given by seed, round and place, in messages of many sizes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np

from benchmarks.chaos.fault import POISON, Fault, Kind
from benchmarks.context import Event
from worker.events.message import BULK, LIVE

SIZES = (1, 1, 1, 2, 3, 5, 8, 16)
"""Events a message: mostly one, as apps publish."""
REFUSED_SHARE, TWICE_SHARE = 0.01, 0.05
"""Events that break the contract, and messages that are published twice."""
PEOPLE = 60
SPREAD_S = 0.3
"""A round is published in about this time: faster than it is worked off, so that a fault finds work in every
stage."""
FIRST = datetime(2026, 1, 1, tzinfo=UTC)
TOKEN = "feltsense-fault:"  # noqa: S105  what the worker's test plug looks for, no secret


@dataclass(frozen=True, kw_only=True)
class Message:
    """One message; `pause_s` passes before it is sent."""

    task_id: str
    queue: str
    events: Sequence[Event]
    pause_s: float

    @property
    def ids(self) -> list[str]:
        return [str(event["id"]) for event in self.events]


@dataclass(frozen=True, kw_only=True)
class Round:
    """A fault and what is published around it. `poison` and `refused` are ids that must end as dead
    letters."""

    fault: Fault
    messages: Sequence[Message]
    poison: frozenset[str]
    refused: frozenset[str]

    @property
    def ids(self) -> frozenset[str]:
        return frozenset(id_ for message in self.messages for id_ in message.ids)


def shares(events: int, rounds: int) -> list[int]:
    """How many of `events` each round publishes; they differ by one at most."""
    return [events // rounds + (number < events % rounds) for number in range(rounds)]


def round_of(fault: Fault, count: int, texts: Sequence[Event], *, seed: int) -> Round:
    """The round of `fault` with `count` new events, the same for the same call."""
    generator = np.random.default_rng([seed, fault.number])
    refused: set[str] = set()
    poison: set[str] = set()
    events: list[dict[str, Any]] = []
    # A hang costs three stalls and three starts; one shows as much as two.
    poisonous = {Kind.POISON_HANG: 1}.get(fault.kind, 2) if fault.kind in POISON else 0
    doomed = set(generator.choice(count, size=min(poisonous, count), replace=False))
    for place in range(count):
        event = {
            **texts[int(generator.integers(len(texts)))],
            "id": f"chaos-{seed}-{fault.number}-{place}",
            "user_id": f"chaos-{seed}-u{generator.integers(PEOPLE)}",
            "created_at": (FIRST + timedelta(minutes=int(generator.integers(400_000)))).isoformat(),
            "revision": 1,
        }
        if place in doomed:
            event["text"] = f"{TOKEN}{POISON[fault.kind]} on my way home."
            poison.add(event["id"])
        elif generator.uniform() < REFUSED_SHARE:
            event["mood"] = "a field that the contract does not know"
            refused.add(event["id"])
        events.append(event)
    return Round(
        fault=fault,
        messages=_messages(events, generator, name=f"chaos-{seed}-{fault.number}"),
        poison=frozenset(poison),
        refused=frozenset(refused),
    )


def _messages(events: Sequence[Event], generator: np.random.Generator, *, name: str) -> list[Message]:
    bodies: list[Sequence[Event]] = []
    start = 0
    while start < len(events):
        size = int(generator.choice(SIZES))
        bodies.append(events[start : start + size])
        start += size
    twice = np.flatnonzero(generator.uniform(size=len(bodies)) < TWICE_SHARE)
    for again in reversed(twice.tolist()):  # from the end: an insertion moves what is behind it
        # What is parked is known by its message: one published under two ids may well be parked twice.
        if all("mood" not in event and TOKEN not in event["text"] for event in bodies[again]):
            bodies.insert(int(generator.integers(again, len(bodies))) + 1, bodies[again])
    return [
        Message(
            task_id=f"{name}-m{number}",
            queue=LIVE if generator.uniform() < (0.7 if len(body) == 1 else 0.2) else BULK,
            events=body,
            pause_s=float(generator.exponential(SPREAD_S / len(bodies))),
        )
        for number, body in enumerate(bodies)
    ]
