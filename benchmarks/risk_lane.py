"""From publishing a live event until its committed risk screen is visible, while both lanes are full.

`python -m benchmarks.risk_lane [--rates 25 50 100] [--seconds 20]`: the bulk lane is never empty, and live
events come one a message at each of the rates, as a Poisson process. Another connection looks for each
event's row in `reflections`, which holds the screen and is committed before any model runs; sender and
look-out read the same clock (CLOCK_MONOTONIC). Exit codes: 0 within the goal at every rate; 1 not.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import count as counted
from typing import Any

from benchmarks import command, latency
from benchmarks.alone import alone, parser
from benchmarks.context import Context, Event
from benchmarks.lanes import CHUNK, instance
from benchmarks.load import tagged
from benchmarks.served import Rows, Served
from benchmarks.servers import serving
from worker.client.publisher import Publisher
from worker.events.message import BULK

RATES = (25.0, 50.0, 100.0)
SECONDS, QUICK_S = 20.0, 5.0
SHARE = 0.99
"""Of the live events, to be screened within a second."""
WARM = 200
PATIENCE_S = 600.0
"""Live passes bulk at every step: none of it may be taken for a while, which is no fault."""
MISSED = 1


class BulkLoad(threading.Thread):
    """Keeps the bulk lane full until `stop`."""

    def __init__(self, broker_url: str, events: Sequence[Event]) -> None:
        super().__init__(name="bulk-load", daemon=True)
        self._broker_url = broker_url
        self._events = events
        self._over = threading.Event()
        self._error: Exception | None = None

    def run(self) -> None:
        try:
            with Publisher.connect(self._broker_url) as publisher:
                for message in self._messages():
                    publisher.publish_many(message, chunk=CHUNK, lane=BULK, patience_s=PATIENCE_S)
        except Exception as error:  # noqa: BLE001  raised again by `stop`, in the thread that waits
            self._error = error

    def _messages(self) -> Iterator[Sequence[Event]]:
        for lap in counted():
            events = tagged(self._events, f"bulk-{lap}")
            for start in range(0, len(events), CHUNK):
                if self._over.is_set():
                    return
                yield events[start : start + CHUNK]

    def stop(self) -> None:
        """Raises what ended the load early: then the lane was not full."""
        self._over.set()
        self.join()
        if self._error is not None:
            raise self._error


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--rates", type=float, nargs="+", default=RATES, help="live events a second")
    options.add_argument("--seconds", type=float, default=SECONDS, help="at each rate")
    call = options.parse_args()
    seconds = QUICK_S if call.quick else call.seconds
    report = alone(lambda context: measure(context, call.rates, seconds), call, rounds=1)
    for rate, found in report["rates"].items():
        print(
            f"{rate:>6}/s  {100 * found['within_1_s']:6.2f} % of {found['events']} screened within 1 s;"
            f" ms: p50 {found['p50']}, p99 {found['p99']}, most {found['max']}"
        )
    print(f"bulk meanwhile {report['bulk_per_s']}/s; {'met' if report['met'] else 'MISSED'}: 99 % within 1 s")
    if not report["met"]:
        sys.exit(MISSED)


def measure(context: Context, rates: Sequence[float], seconds: float) -> dict[str, Any]:
    """The screen's latencies by rate of the live events, with the bulk lane full."""
    with (
        serving(context.folder / "risk-lane") as servers,
        instance(servers, context.settings, context.folder, name="risk", broker=0) as feltsense,
    ):
        at = feltsense.live.address
        screens = Rows(feltsense.live.rows.database_url, "id", "reflections")
        live = Served("screens", at, screens, dict(servers.processes))
        feltsense.live.run(context.events[:WARM], "warm")
        found: dict[str, Any] = {}
        with _full(at.broker_url, context.events, feltsense.bulk.rows) as bulk:
            for rate in rates:
                one = latency.measure(live, context.events, rate, seconds, f"{rate:g}")
                found[f"{rate:g}"] = one
                context.say(f"live at {rate:g}/s: {one}")
    return {
        "rates": found,
        "bulk_per_s": bulk["per_s"],
        "met": all(one["within_1_s"] >= SHARE for one in found.values()),
    }


@contextmanager
def _full(broker_url: str, events: Sequence[Event], rows: Rows) -> Iterator[dict[str, float]]:
    """The bulk lane full while the block runs, and then how many of its rows were written a second."""
    told: dict[str, float] = {}
    query = b"""
        SELECT count(*) / extract(epoch FROM max(finished_at) - min(finished_at))
        FROM deliveries WHERE lane = 'reflections.bulk' AND state = 'done'
    """
    load = BulkLoad(broker_url, events)
    load.start()
    try:
        yield told
    finally:
        load.stop()
    with rows.connect() as connection:
        row = connection.execute(query).fetchone()
        told["per_s"] = round(float(row[0]), 1) if row and row[0] else 0.0


if __name__ == "__main__":
    command.run(main)
