"""What goes wrong, drawn by seed: one seed gives the same faults, each at the same point of its round."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any, Literal

import numpy as np


class Kind(StrEnum):
    """The kinds of fault. `kill` is SIGKILL, `stop` SIGSTOP and later SIGCONT."""

    WORKER_KILL = "worker-kill"
    WORKER_STOP = "worker-stop"
    BROKER_KILL = "broker-kill"
    BROKER_STOP = "broker-stop"
    BROKER_RESTART = "broker-restart"
    DATABASE_KILL = "database-kill"
    DATABASE_STOP = "database-stop"
    SUPERVISOR_KILL = "supervisor-kill"
    SUPERVISOR_STOP = "supervisor-stop"
    POWER_CUT = "power-cut"
    BROKER_DROPPED = "broker-dropped"
    DATABASE_DROPPED = "database-dropped"
    BROKER_HALF_OPEN = "broker-half-open"
    DATABASE_HALF_OPEN = "database-half-open"
    BROKER_DISK_FULL = "broker-disk-full"
    DATABASE_DISK_FULL = "database-disk-full"
    CLOCK_STEP = "clock-step"
    POISON_RAISE = "poison-raise"
    POISON_HANG = "poison-hang"
    POISON_KILL = "poison-kill"


HELD_S: dict[Kind, tuple[float, float]] = {
    Kind.WORKER_STOP: (1, 40),
    Kind.BROKER_KILL: (0.2, 5),
    Kind.BROKER_STOP: (1, 12),
    Kind.BROKER_RESTART: (0.2, 3),
    Kind.DATABASE_KILL: (0.2, 5),
    Kind.DATABASE_STOP: (1, 12),
    Kind.SUPERVISOR_STOP: (5, 40),  # with all it started, beyond the length of a lease
    Kind.POWER_CUT: (0.5, 5),
    Kind.BROKER_DROPPED: (0.1, 5),
    Kind.DATABASE_DROPPED: (0.1, 5),
    Kind.BROKER_HALF_OPEN: (3, 30),
    Kind.DATABASE_HALF_OPEN: (3, 30),
    Kind.BROKER_DISK_FULL: (1, 8),
    Kind.DATABASE_DISK_FULL: (1, 8),
}
"""Seconds until the cause goes away, least and most, drawn evenly by their logarithm; the other kinds strike
once."""
POISON: dict[Kind, str] = {
    Kind.POISON_RAISE: "raise",
    Kind.POISON_HANG: "hang",
    Kind.POISON_KILL: "kill",
}
FORWARD_S, BACKWARD_S = (60.0, 3600.0), (2.0, 15.0)

End = Literal["worker", "server"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Fault:
    """One fault. `after`: the share of its round's events (0-1) the broker has accepted when it strikes.

    `held_s`: how long its cause stays. `host`: whose worker or supervisor it strikes. `lost`: the end of the
    half-open connections that is gone. `step_s`: the clock's step, negative for back.
    """

    number: int
    kind: Kind
    after: float
    held_s: float
    host: int
    lost: End
    step_s: float

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def draw(seed: int, count: int, *, hosts: int, kinds: Collection[Kind] = tuple(Kind)) -> list[Fault]:
    """`count` faults for an instance of `hosts` hosts: each of `kinds` once in a random order, then again.

    Of two draws from one seed the shorter is the beginning of the longer.
    """
    generator = np.random.default_rng(seed)
    faults: list[Fault] = []
    while len(faults) < count:
        for kind in generator.permutation([kind for kind in Kind if kind in kinds]):
            faults.append(_fault(len(faults), Kind(str(kind)), generator, hosts))
    return faults[:count]


def _fault(number: int, kind: Kind, generator: np.random.Generator, hosts: int) -> Fault:
    # The same draws for every kind, so that a change of one kind's ranges leaves the others as they were.
    after, length, back, how_far = generator.uniform(0.1, 0.8), *generator.uniform(size=3)
    host, end = int(generator.integers(hosts)), int(generator.integers(2))
    least, most = HELD_S.get(kind, (0.0, 0.0))
    step_s = 0.0
    if kind is Kind.CLOCK_STEP:
        step_s = -_between(how_far, *BACKWARD_S) if back < 0.5 else _between(how_far, *FORWARD_S)
    return Fault(
        number=number,
        kind=kind,
        after=round(float(after), 3),
        held_s=round(_between(length, least, most), 2) if most else 0.0,
        host=host,
        lost="worker" if end else "server",
        step_s=round(step_s, 1),
    )


def _between(share: float, least: float, most: float) -> float:
    return float(least * (most / least) ** share)
