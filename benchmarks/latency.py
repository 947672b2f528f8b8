"""From just before an event's publishing until its committed row is visible to another connection, under a
load."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import closing
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.context import Event
from benchmarks.load import tagged
from benchmarks.machine import cpu_s
from benchmarks.served import Served
from worker.embedded.process import bound_to_parent

LOADS = (10, 50, 80)
"""Per cent of a contestant's capacity."""
LOOK_EVERY_S = 0.0015
HEAD_START_S = 0.3
GIVE_UP_S = 60.0


def schedule(rate: float, seconds: float, seed: int) -> NDArray[np.float64]:
    """Moments in seconds, ascending, of a Poisson process of `rate` a second."""
    random = np.random.default_rng(seed)
    gaps = random.exponential(1 / rate, size=max(1, round(rate * seconds)))
    moments: NDArray[np.float64] = np.cumsum(gaps)
    return moments


def measure(served: Served, events: Sequence[Event], rate: float, seconds: float, tag: str) -> dict[str, Any]:
    """Latencies in ms at `rate` events a second for `seconds`, sent one a message by another process.

    The look-out asks for all outstanding rows every 1.5 ms while there are any, so a latency is up to one
    look too long; what it and its Postgres backend use of one core is told as `look_out_cpu`. `late_ms` is
    how far the sender fell behind its schedule (p99): the latency counts from the actual sending.
    """
    moments = schedule(rate, seconds, seed=len(tag))
    load = tagged([events[at % len(events)] for at in range(len(moments))], f"lat-{tag}")
    load = [{**event, "id": f"{at}-{event['id']}"[:128]} for at, event in enumerate(load)]
    at = served.address
    call = {
        "address": {"broker_url": at.broker_url, "task": at.task, "queue": at.queue, "listed": at.listed},
        "events": load,
        "moments": moments.tolist(),
    }
    with subprocess.Popen(
        [sys.executable, "-m", "benchmarks.arrivals"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        preexec_fn=bound_to_parent(signal.SIGKILL),
    ) as sender:
        assert sender.stdin is not None
        assert sender.stdout is not None
        sender.stdin.write(json.dumps(call) + "\n")
        sender.stdin.flush()
        if sender.stdout.readline().strip() != "ready":
            raise ChildProcessError("the process of the arrivals ended before it was ready")
        start = time.monotonic() + HEAD_START_S
        sender.stdin.write(f"{start!r}\n")
        sender.stdin.flush()
        seen, look_out_cpu = _watch(served, [event["id"] for event in load], start + moments)
        sent = json.loads(sender.stdout.readline())
    taken = [
        1000 * (seen[event["id"]] - then)
        for event, then in zip(load, sent, strict=True)
        if event["id"] in seen
    ]
    late = 1000 * (np.array(sent) - start - moments)
    p50, p95, p99 = np.percentile(taken, [50, 95, 99]) if taken else (np.nan,) * 3
    return {
        "rate_per_s": round(rate, 1),
        "events": len(load),
        "rows": len(taken),
        "p50": round(float(p50), 1),
        "p95": round(float(p95), 1),
        "p99": round(float(p99), 1),
        "max": round(max(taken, default=float("nan")), 1),
        "within_1_s": round(sum(one <= 1000 for one in taken) / len(load), 4),
        "late_ms": round(float(np.percentile(late, 99)), 1),
        "look_out_cpu": round(look_out_cpu, 3),
    }


def _watch(served: Served, ids: list[str], due: NDArray[np.float64]) -> tuple[dict[str, float], float]:
    """When each row was first seen (CLOCK_MONOTONIC), and the share of a core that looking took."""
    seen: dict[str, float] = {}
    outstanding: set[str] = set()
    following = 0
    gives_up = due[-1] + GIVE_UP_S
    with closing(served.rows.connect()) as connection:
        backend = connection.info.backend_pid
        began, own, theirs = time.monotonic(), time.process_time(), cpu_s(backend)
        while len(seen) < len(ids):
            looked = time.monotonic()
            while following < len(ids) and due[following] <= looked:
                outstanding.add(ids[following])
                following += 1
            if outstanding:
                found = connection.execute(served.rows.present, (list(outstanding),), binary=True).fetchall()
                now = time.monotonic()
                for (key,) in found:
                    seen[key] = now
                    outstanding.discard(key)
            elif following < len(ids):
                time.sleep(max(0.0, min(due[following] - looked, 0.05)))
            if looked > gives_up:
                served.check()
                break
            time.sleep(max(0.0, looked + LOOK_EVERY_S - time.monotonic()))
        spent = time.process_time() - own + cpu_s(backend) - theirs
        return seen, spent / (time.monotonic() - began)


def at_loads(
    served: Served, events: Sequence[Event], capacity: float, seconds: float, tag: str
) -> dict[str, Any]:
    """`measure` at each of `LOADS` per cent of `capacity`."""
    return {
        str(load): measure(served, events, capacity * load / 100, seconds, f"{tag}-{load}") for load in LOADS
    }
