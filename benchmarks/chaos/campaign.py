"""The rounds of a run: publish, strike, lift, wait until all is at rest; then the account of everything."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

import psycopg

from benchmarks.chaos import account, inflict
from benchmarks.chaos.account import Account
from benchmarks.chaos.instance import Instance
from benchmarks.chaos.ledger import Ledger
from benchmarks.chaos.messages import Round
from benchmarks.chaos.publishing import Publishing
from worker.errors import ServiceMissing
from worker.interruption import insist

POLL_S, STRIKE_POLL_S = 0.1, 0.005
READY_S = 300.0
ROUND_S = 240.0
"""A round that is not at rest by then is left behind, to be looked for again at the end."""
LAST_S = 180.0
"""At the end: longer than the worker's reconciler waits before it looks itself."""


@dataclass(kw_only=True)
class Campaign:
    """One run. `tell` is given rounds done and rounds in all; `say` prints a line."""

    instance: Instance
    publishing: Publishing
    ledger: Ledger
    rounds: list[Round]
    tell: Callable[[int, int], None]
    say: Callable[[str], None]

    def run(self) -> Account:
        """Does the rounds that the ledger does not know, and settles the account of all."""
        self.await_ready()
        for round_ in self.rounds[len(self.ledger.rounds) :]:
            self.tell(len(self.ledger.rounds), len(self.rounds))
            done = self.round(round_)
            self.ledger.add(done)
            self.say(line(done, len(self.rounds)))
        self.tell(len(self.rounds), len(self.rounds))
        accepted = frozenset[str]().union(*(one.ids for one in self.rounds))
        guilty = frozenset[str]().union(*(one.poison | one.refused for one in self.rounds))
        left = self._wait(accepted, LAST_S)[0]
        if left:
            self.say(f"{len(left)} events are not at rest after {LAST_S:g} s")
        self._until(lambda: self._queued() == 0, 60.0)
        found = account.found(self.instance.postgres.url, accepted)
        return account.settle(found, guilty=guilty, queued=self._queued())

    def round(self, round_: Round) -> dict[str, Any]:
        """One fault; what it did, as the ledger keeps it."""
        fault, instance = round_.fault, self.instance
        inflict.prepare(instance, fault)
        self.await_ready()
        before = [host.taken() for host in instance.hosts]
        starts = [host.starts for host in instance.hosts]
        workers = [host.workers for host in instance.hosts]
        refused = self.publishing.refused
        self.publishing.publish(round_.messages)
        enough = fault.after * len(round_.ids)
        self._until(
            lambda: len(self.publishing.accepted & round_.ids) >= enough, ROUND_S, poll_s=STRIKE_POLL_S
        )
        accepted = self.publishing.accepted & round_.ids
        with psycopg.connect(instance.postgres.url, autocommit=True) as connection:
            in_flight = len(accepted) - len(account.resting(connection, accepted))
        struck = time.monotonic()
        instance.tends_servers = False
        lift = inflict.strike(instance, fault)
        try:
            self._until(lambda: time.monotonic() - struck >= fault.held_s, fault.held_s + 1)
        finally:
            said = lift()
            instance.tends_servers = True
        lifted = time.monotonic()
        if not self._until(lambda: self.publishing.waiting == 0, ROUND_S):
            raise ServiceMissing(f"the broker did not acknowledge every message within {ROUND_S:g} s")
        left, last = self._wait(round_.ids, ROUND_S)
        done: dict[str, Any] = {
            "fault": fault.to_json(),
            "events": len(round_.ids),
            "accepted_before": len(accepted),
            "in_flight": in_flight,
            "held_s": round(lifted - struck, 2),
            "recovery_s": None if left else round(max(0.0, last - lifted), 2),
            "not_at_rest": len(left),
            "refused_publishings": self.publishing.refused - refused,
            "restarts": [host.starts - then for host, then in zip(instance.hosts, starts, strict=True)],
            "said": said,
        }
        inflict.restore(instance, fault)
        done["ready_s"] = round(self.await_ready() - lifted, 2)
        # A worker that was there all the time and has ended no event: the fault before left it deaf.
        done["idle_hosts"] = [
            place
            for place, host in enumerate(instance.hosts)
            if before[place] is not None and host.workers == workers[place] and host.taken() == before[place]
        ]
        done["worker_restarts"] = sum(
            host.workers != then for host, then in zip(instance.hosts, workers, strict=True)
        )
        return done

    def await_ready(self) -> float:
        """The moment (`time.monotonic`) at which every host's worker served its numbers.

        Raises `ServiceMissing` when one does not within `READY_S`.
        """
        if not self._until(lambda: all(host.taken() is not None for host in self.instance.hosts), READY_S):
            raise ServiceMissing(f"a host is not ready after {READY_S:g} s; see its log")
        return time.monotonic()

    def _wait(self, ids: Collection[str], patience_s: float) -> tuple[set[str], float]:
        """Those of `ids` that are not at rest after `patience_s`, and when (`time.monotonic`) the last one
        came."""
        left, last = set(ids), time.monotonic()
        expires = last + patience_s
        while left and time.monotonic() < expires:
            self._breathe()
            try:
                with psycopg.connect(self.instance.postgres.url, autocommit=True, connect_timeout=5) as open_:
                    while left and time.monotonic() < expires:
                        if now := account.resting(open_, left):
                            left -= now
                            last = time.monotonic()
                        self._breathe()
            except psycopg.OperationalError:  # on its way up again
                continue
        return left, last

    def _until(self, holds: Callable[[], bool], patience_s: float, *, poll_s: float = POLL_S) -> bool:
        """Wait until `holds()`; whether it came to that within `patience_s`."""
        expires = time.monotonic() + patience_s
        while not holds():
            if time.monotonic() > expires:
                return False
            self._breathe(poll_s)
        return True

    def _breathe(self, poll_s: float = POLL_S) -> None:
        insist()
        self.instance.tend()
        time.sleep(poll_s)

    def _queued(self) -> int:
        return account.queued(self.instance.valkey.url)


def line(done: dict[str, Any], rounds: int) -> str:
    """A finished round in one line."""
    fault, recovery = done["fault"], done["recovery_s"]
    told = f"{fault['number'] + 1:>3}/{rounds} {fault['kind']:<19}"
    told += f" at {done['accepted_before']:>3} of {done['events']} accepted, {done['in_flight']:>3} in flight"
    told += f", held {done['held_s']:>5.1f} s" if fault["held_s"] else " " * 13
    told += (
        f": {done['not_at_rest']} not at rest" if recovery is None else f": at rest after {recovery:5.1f} s"
    )
    if done["refused_publishings"]:
        told += f"; {done['refused_publishings']} publishings refused"
    if done["said"]:
        told += f"; {done['said']}"
    return told
