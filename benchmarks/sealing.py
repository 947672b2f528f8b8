"""What sealing costs an arrival: the first commit of the same reflections with and without a key, in turn, on
a Postgres of its own. Run: python -m benchmarks.sealing
"""

from __future__ import annotations

import base64
import secrets
import statistics
import tempfile
import time
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path

from pydantic import SecretStr

from worker.embedded.postgres import Postgres
from worker.events.perception import Risk
from worker.events.reflection import parse
from worker.events.variables import FLAGS
from worker.store.deliveries import Arrival, accept
from worker.store.engine import Store
from worker.store.vault import Keyring, Locker, person_digest, place_of_text

ROUNDS = 12
BATCHES = {1: 150, 64: 24, 256: 8}
TEXT = "Aaj ka din theek tha, bas thoda thak gaya; the meeting ran late and I felt left out again. " * 3
NOTHING = dict.fromkeys(FLAGS, 0.0)
SCREEN = Risk(level="none", flags=NOTHING, thresholds=dict.fromkeys(FLAGS, 0.5), uncalibrated=NOTHING)


def arrivals(name: str, count: int) -> list[Arrival]:
    now = datetime.now(UTC)
    events = [
        {"id": f"{name}-{n}", "user_id": f"u-{n % 100}", "text": TEXT, "created_at": now.isoformat()}
        for n in range(count)
    ]
    return [
        Arrival(reflection=parse(event, now=now), screen=SCREEN, message_id=name, position=n, payload=b"{}")
        for n, event in enumerate(events)
    ]


def timed(store: Store, name: str, size: int, batches: int) -> list[float]:
    """Microseconds a reflection, of each batch."""
    given, took = arrivals(name, size * batches), []
    for at in range(0, len(given), size):
        started = time.perf_counter()
        accept(store, given[at : at + size], [], model_version="v", lane="bulk")
        took.append((time.perf_counter() - started) / size * 1e6)
    return took


def alone() -> float:
    """Microseconds to open a data key and seal a text, without any database."""
    ring = Keyring([secrets.token_bytes(32)])
    person = person_digest("u")
    locker = Locker(person=person, kids=[ring.kid], wrapped=[ring.fresh(person)])
    plain, count = TEXT.encode(), 5000
    started = time.perf_counter()
    for n in range(count):
        ring.seal(locker, plain, place_of_text(str(n), 1))
    return (time.perf_counter() - started) / count * 1e6


def main() -> None:
    key = SecretStr(base64.b64encode(secrets.token_bytes(32)).decode())
    print(f"key and text alone: {alone():.1f} us")
    with tempfile.TemporaryDirectory(prefix="feltsense-sealing-") as folder, ExitStack() as stack:
        server = Postgres(Path(folder) / "postgres", log=Path(folder) / "postgres.log")
        stack.callback(server.remove)
        url = server.start()
        plain = stack.enter_context(Store.open(url))
        sealing = stack.enter_context(Store.open(url, text_keys=key))
        plain.migrate()
        for store in (plain, sealing):  # everybody is known, every statement prepared
            timed(store, f"warm-{store.keyring is None}", 100, 8)
        print(f"{'batch':>6} {'plain us: median, tenth':>26} {'sealed us: median, tenth':>26}")
        for size, batches in BATCHES.items():
            took: dict[bool, list[float]] = {False: [], True: []}
            for turn in range(ROUNDS):
                for store in (plain, sealing) if turn % 2 else (sealing, plain):
                    name = f"{size}-{turn}-{store is sealing}"
                    took[store is sealing] += timed(store, name, size, batches)
            cells = [
                f"{statistics.median(times):.1f}, {statistics.quantiles(times, n=10)[0]:.1f}"
                for times in took.values()
            ]
            print(f"{size:>6} {cells[0]:>26} {cells[1]:>26}")


if __name__ == "__main__":
    main()
