"""`make bench`: Feltsense against the ceiling of the machine and against what else one would build, in one
run.

`python -m benchmarks.bench [--data FILE|FOLDER...] [--quick] [--out bench/results.json]` takes events
(JSONL), or a folder of raw public corpora. All contestants are started first, on one Postgres and one Valkey,
and take turns: who is not at it waits idle. Every turn of a queue's consumer goes from the first publishing
to the last committed row, process start and model load left out; the encoders' turns leave tokenising out
too.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Mapping
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console

from benchmarks import command, latency, load, processes, rivals, rounds, table
from benchmarks.context import Context, Part
from benchmarks.encoders import Ceiling, Own, agreement
from benchmarks.growth import growth
from benchmarks.lanes import instance
from benchmarks.machine import machine, rss_mb
from benchmarks.memory import memory
from benchmarks.rounds import Contestant, Entrant, interleaved
from benchmarks.servers import serving
from benchmarks.start import start
from worker.bundle import reader
from worker.inference.encoder import Encoder
from worker.observability import logging
from worker.settings import Settings

PARTS: Mapping[str, Part] = {
    "processes": processes.measure,
    "start": start,
    "growth": growth,
    "memory": memory,
}
"""What a full run measures after the contest, each on servers of its own."""


def main() -> None:
    """Measure, print the table, write the JSON; what was measured is kept when a later part fails."""
    call = _call()
    logging.configure("warning")
    console = Console(stderr=True)
    began = time.monotonic()
    report: dict[str, Any] = {"measured_at": datetime.now(UTC).isoformat(timespec="seconds")}
    told = machine()

    def say(line: str) -> None:
        passed = time.monotonic() - began
        console.print(f"[{passed:6.1f} s] {line}", markup=False, highlight=False, soft_wrap=True)

    def keep() -> None:
        report["took_s"] = round(time.monotonic() - began, 1)
        call.out.parent.mkdir(parents=True, exist_ok=True)
        call.out.write_text(json.dumps(report, indent=2) + "\n")

    with tempfile.TemporaryDirectory(prefix="feltsense-bench-", dir=call.folder) as folder:
        # Never the operator's own services, and in the open: what is measured is this instance alone.
        own: dict[str, Any] = {"broker_url": None, "database_url": None, "event_key": None, "metrics_port": 0}
        chosen = {"bundle": call.bundle.absolute()} if call.bundle else {}
        ctx = Context(
            quick=call.quick,
            rounds=call.rounds,
            events=load.events(call.data, most=call.count),
            folder=Path(folder),
            settings=Settings(run_dir=Path(folder) / "run", flower=False, **own, **chosen),
            say=say,
        )
        say(f"{len(ctx.events)} different events of {', '.join(path.name for path in call.data)}")
        turn_s, latency_s = (5.0, 4.0) if call.quick else (20.0, 20.0)
        why_no_peers = rivals.missing() if call.peers else "left out"
        report |= contest(ctx, call.count, turn_s=turn_s, latency_s=latency_s, why_no_peers=why_no_peers)
        report["machine"] = told
        report["goals"] = [goal.to_json() for goal in table.goals(report)]
        keep()
        table.show(report, Console())
        for name in [] if call.quick else call.parts:
            say(f"part: {name}")
            report[name] = PARTS[name](ctx)
            keep()
            table.show_part(name, report[name], Console())
    print(f"{report['took_s']:.0f} s; written to {call.out}")


def contest(
    ctx: Context, count: int, *, turn_s: float, latency_s: float, why_no_peers: str | None
) -> dict[str, Any]:
    """Rates of all contestants on the same texts, latencies of the live lane and of the naive peer, and the
    worker's memory: the top level of the JSON."""
    warm = 300
    events = load.repeated(ctx.events, count)
    settings, logs, cores = ctx.settings, ctx.folder / "logs", machine()["cores"]
    with ExitStack() as stack:
        servers = stack.enter_context(serving(ctx.folder / "servers"))
        ceiling = Ceiling()
        peers = []
        if why_no_peers is None:
            ctx.say("starting the peers")
            folder = rivals.prepared(settings.cache_dir, logs)
            peers = [
                rivals.naive(servers, folder, logs, cores),
                rivals.good(servers, folder, logs, cores, ceiling.precision),
            ]
        for peer in peers:
            stack.callback(peer.stop)
            peer.start()
        ctx.say("starting Feltsense")
        feltsense = stack.enter_context(instance(servers, settings, ctx.folder, name="one", broker=1))
        published, own = (_own(settings, stack, fork) for fork in (None, _fork(settings)))
        encoders: list[Contestant] = [
            ceiling,
            Own("published encoder, packed, all texts at once", published, None),
            Own("own encoder, all texts at once", own, None),
            Own("own encoder, a batch a call", own, settings.max_batch_size),
        ]
        ctx.say("warming")
        for peer in peers:
            peer.warm(events[: 4 * cores])
        for one in encoders:
            one.run(events, "shapes")
        entrants = [
            Entrant(contestant=one, most_s=turn_s)
            for one in (*encoders, *(peer.served for peer in peers), feltsense.live, feltsense.bulk)
        ]
        turns = interleaved(entrants, events, ctx.rounds, warm, ctx.say)
        rates = {name: rounds.summary(runs) for name, runs in turns.items()}

        def median(name: str) -> float:
            return statistics.median(run.rate for run in turns[name])

        texts = [event["text"] for event in events[:512]]
        ctx.say(f"latency of the live lane, {latency_s:g} s a load")
        capacity = median(feltsense.live.name)
        latencies = latency.at_loads(feltsense.live, ctx.events, capacity, latency_s, "own")
        of_naive, not_measured = None, {}
        if peers:
            naive, peer = (one.served for one in peers)
            ctx.say("latency of the naive peer, at the same shares of its own capacity")
            of_naive = latency.at_loads(naive, ctx.events, median(naive.name), latency_s, "naive")
        else:
            not_measured = {name: str(why_no_peers) for name in ("naive_per_s", "peer_per_s")}
        return {
            "ceiling_per_s": rates[ceiling.name]["median"],
            "naive_per_s": rates[naive.name]["median"] if peers else None,
            "peer_per_s": rates[peer.name]["median"] if peers else None,
            "live_per_s": rates[feltsense.live.name]["median"],
            "bulk_per_s": rates[feltsense.bulk.name]["median"],
            "latency_ms": latencies,
            "rss_mb": round(sum(rss_mb(one.pid) for one in feltsense.workers), 1),
            "encoder_per_s": rates[encoders[2].name]["median"],
            "published_encoder_per_s": rates[encoders[1].name]["median"],
            "rates": rates,
            "naive_latency_ms": of_naive,
            "ceiling": ceiling.facts,
            "encoder_cosine_to_ceiling": agreement(ceiling, published, texts),
            "own_cosine_to_ceiling": agreement(ceiling, own, texts),
            "encoder": own.placed.to_json(),
            "texts": {"different": len(ctx.events), "a round": len(events)},
            "not_measured": not_measured,
        }


def _own(settings: Settings, stack: ExitStack, fork: Path | None) -> Encoder:
    """The product's encoder as the worker's pipeline opens it: with the bundle's fork, or the published one
    without."""
    encoder = Encoder.open(
        cache_dir=settings.cache_dir,
        plan=settings.device_plan,
        precision=settings.precision,
        threads=settings.inference_threads,
        streams=settings.streams,
        fork=fork,
    )
    stack.callback(encoder.close)
    return encoder


def _fork(settings: Settings) -> Path | None:
    return reader.load(settings.bundle).contents.fork


def _call() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--data", type=Path, nargs="+", default=[load.SAMPLE], help="JSONL, or folders of corpora"
    )
    parser.add_argument("--quick", action="store_true", help="the rates and a short latency, in minutes")
    parser.add_argument("--rounds", type=int, default=3, help="interleaved rounds")
    parser.add_argument("--count", type=int, help="events of a round (6000; 2400 if quick)")
    parser.add_argument("--bundle", type=Path, help="another bundle than the starter")
    parser.add_argument("--no-peers", dest="peers", action="store_false", help="leave the peers out")
    parser.add_argument("--parts", nargs="*", default=list(PARTS), choices=PARTS, help="of a full run")
    parser.add_argument("--folder", type=Path, help="where the databases lie meanwhile; else the system's")
    parser.add_argument("--out", type=Path, default=Path("bench/results.json"))
    call = parser.parse_args()
    call.count = call.count or (2400 if call.quick else 6000)
    if call.rounds < 1 or call.count < 1:
        parser.error("--rounds and --count are at least 1")
    return call


if __name__ == "__main__":
    command.run(main, stopped="The benchmark was stopped; nothing of it runs any more.")
