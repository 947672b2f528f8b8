"""`make chaos`: is every accepted event enriched exactly once or parked, whatever is killed?

`python -m benchmarks.chaos --seed 1 --faults 20 --events 2000` draws the faults, strikes them one a round at
a running instance of its own, and settles the account of every event by plain SQL. Ctrl-C stops it; the same
command goes on with the round it was in. Exit codes: 0 all accounts balance; 1 an event was lost, doubled or
left in part; 2 the call is wrong; 4 a service is missing; 130 stopped.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console

from benchmarks import command, load
from benchmarks.chaos import report, values
from benchmarks.chaos.account import Account
from benchmarks.chaos.campaign import Campaign
from benchmarks.chaos.disk import broker_disk, database_disk
from benchmarks.chaos.fault import Kind, draw
from benchmarks.chaos.instance import Instance
from benchmarks.chaos.ledger import Ledger
from benchmarks.chaos.messages import Round, round_of, shares
from benchmarks.chaos.publishing import Publishing
from worker.embedded import home
from worker.errors import UsageError
from worker.observability import logging
from worker.report.progress import bars
from worker.settings import Settings

WRONG = 1
PLAN_VERSION = 1
"""Raised when the same seed begins to mean other rounds."""
LEAST = 5
"""Events a round."""


def main() -> None:
    """Run, print, write the JSON; exits 1 where the account does not balance."""
    call = _call()
    logging.configure("warning")
    name = f"seed-{call.seed}-{call.faults}-{call.events}"
    folder = (call.folder or call.out.parent / "chaos" / name).absolute()
    texts = load.events(call.data)
    rounds = [
        round_of(fault, count, texts, seed=call.seed)
        for fault, count in zip(
            draw(call.seed, call.faults, hosts=call.hosts, kinds=call.kinds),
            shares(call.events, call.faults),
            strict=True,
        )
    ]
    plan = _plan(call, rounds)
    ledger = Ledger(folder, plan)
    began = time.monotonic()
    with bars() as shown:
        if ledger.read():
            shown.say(f"going on after {len(ledger.rounds)} of {len(rounds)} faults ({folder})")
        else:
            _clear(folder)
            ledger.begin()
        shown.say(f"a full disk is {broker_disk(folder).how}")
        instance = Instance(folder, _settings(call), hosts=call.hosts)
        publishing = Publishing(folder / "publisher.log")
        try:
            instance.start()
            publishing.start(instance.publisher_url)
            account = Campaign(
                instance=instance,
                publishing=publishing,
                ledger=ledger,
                rounds=rounds,
                tell=lambda done, total: shown.tell("faults", done, total),
                say=shown.say,
            ).run()
            shown.say("comparing every row with an in-order run without faults")
            account = replace(account, differing=tuple(_differing(instance, account, rounds, call, folder)))
        finally:
            publishing.stop()
            instance.stop()
    result = report.told(account, ledger.rounds, plan=plan, took_s=time.monotonic() - began)
    call.out.parent.mkdir(parents=True, exist_ok=True)
    call.out.write_text(json.dumps(result, indent=2) + "\n")
    report.show(result, Console())
    if account.balanced:
        _clear(folder)
        print(f"{result['took_s']:.0f} s; written to {call.out}")
        return
    print(f"written to {call.out}; database, queue and logs are kept in {folder}", file=sys.stderr)
    (folder / "ledger.jsonl").rename(folder / "ledger.done.jsonl")
    sys.exit(WRONG)


def _call() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.chaos", description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--faults", type=int, default=20)
    parser.add_argument("--events", type=int, default=2000)
    parser.add_argument(
        "--hosts", type=int, default=2, help="instances of `feltsense up` on the same servers"
    )
    parser.add_argument(
        "--kinds", nargs="+", type=Kind, default=list(Kind), metavar="KIND", help=", ".join(Kind)
    )
    parser.add_argument(
        "--data", nargs="+", type=Path, default=[load.SAMPLE], help="whose texts are published"
    )
    parser.add_argument("--bundle", type=Path, help="instead of the starter bundle")
    parser.add_argument("--folder", type=Path, help="of the instance and of what was done so far")
    parser.add_argument("--out", type=Path, default=Path("bench/chaos.json"))
    call = parser.parse_args()
    if call.faults < 1 or call.hosts < 1 or call.seed < 0 or call.events < LEAST * call.faults:
        raise UsageError(f"give at least one fault, one host and {LEAST} events a fault; a seed is 0 or more")
    return call


def _settings(call: argparse.Namespace) -> Settings:
    """Never the operator's own services."""
    own: dict[str, Any] = {"broker_url": None, "database_url": None, "event_key": None}
    chosen = {"bundle": call.bundle.absolute()} if call.bundle else {}
    settings = Settings(**own, **chosen)
    threads = max(1, len(os.sched_getaffinity(0)) // call.hosts)
    return settings.model_copy(
        update={"cache_dir": settings.cache_dir.absolute(), "inference_threads": threads, "streams": 1}
    )


def _plan(call: argparse.Namespace, rounds: list[Round]) -> dict[str, Any]:
    """What must be the same for a run to go on."""
    content = hashlib.sha256()
    for round_ in rounds:
        content.update(json.dumps(round_.fault.to_json(), sort_keys=True).encode())
        for message in round_.messages:
            content.update(json.dumps([message.task_id, *message.events], sort_keys=True).encode())
    return {
        "version": PLAN_VERSION,
        "seed": call.seed,
        "faults": call.faults,
        "events": call.events,
        "hosts": call.hosts,
        "bundle": str(call.bundle.absolute()) if call.bundle else None,
        "rounds": content.hexdigest()[:16],
    }


def _differing(
    instance: Instance, account: Account, rounds: list[Round], call: argparse.Namespace, folder: Path
) -> list[str]:
    """While the database still runs, and with all cores: nothing else works any more."""
    without_row = {*account.lost, *account.parked}
    events = {event["id"]: event for one in rounds for message in one.messages for event in message.events}
    settings = _settings(call).model_copy(update={"inference_threads": len(os.sched_getaffinity(0))})
    return values.differing(
        instance.postgres.url,
        events.values(),
        events.keys() - without_row,
        settings,
        folder / "in-order.jsonl",
    )


def _clear(folder: Path) -> None:
    """Removes an instance's data, wherever they lie."""
    for disk in (broker_disk(folder), database_disk(folder)):
        disk.restore()
    home.remove(folder / "postgres")
    shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    command.run(main, stopped="Stopped; the same command goes on where this one was.")
