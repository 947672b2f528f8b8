"""`make upgrade-under-load`: the schema goes up and down under two generations of workers, nothing lost.

`python -m benchmarks.upgrade [--old COMMIT] [--rate 30] [--dwell 6]`: a bare Celery client publishes all the
while. The old worker is the code of the newest commit whose migrations ended earlier, taken from this
repository's history; both generations serve the old one's bundle. Then the account of every event, by plain
SQL. Exit codes: 0 nothing lost, doubled, partial or parked without cause; 1 something was; 4 a service is
missing.
"""

from __future__ import annotations

import argparse
import json
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
from alembic.config import Config
from alembic.script import ScriptDirectory

from benchmarks import command, load
from benchmarks.chaos import account
from benchmarks.chaos.messages import Message
from benchmarks.chaos.publishing import Publishing
from benchmarks.context import Event
from benchmarks.servers import serving
from benchmarks.workers import await_event
from worker.embedded.process import Process
from worker.embedded.supervisor import APP, QUEUES, environment
from worker.errors import ServiceMissing
from worker.events.message import BULK, LIVE
from worker.report.progress import bars
from worker.settings import Settings
from worker.store.engine import MIGRATIONS, Store

ROOT = MIGRATIONS.parent
VERSIONS = "migrations/versions"
SIZES = (1, 1, 2, 4, 8)
PEOPLE = 40
REFUSED_SHARE = 0.02
BEGAN = datetime(2026, 1, 1, tzinfo=UTC)
REST_S = 180.0
WRONG = 1


@dataclass(frozen=True, kw_only=True)
class Generation:
    """Code of one time: where it lies, and the newest revision it knows."""

    name: str
    folder: Path
    head: str


def main() -> None:
    """Run, print, write the JSON; exits 1 where the account does not balance."""
    call = _call()
    with bars() as shown, tempfile.TemporaryDirectory(prefix="feltsense-upgrade-") as scratch:
        report = run(
            Path(scratch), commit=call.old or previous(), texts=load.events(call.data), rate=call.rate,
            dwell_s=call.dwell, say=shown.say,
        )  # fmt: skip
    call.out.parent.mkdir(parents=True, exist_ok=True)
    call.out.write_text(json.dumps(report, indent=2) + "\n")
    print(
        f"{'' if report['passed'] else 'FAILED: '}accepted {report['accepted']} = rows {report['rows']} +"
        f" dead letters {report['dead_letters']} | lost {report['lost']}, doubled {report['doubled']},"
        f" partial {report['partial']}, parked without cause {report['parked_without_cause']};"
        f" written to {call.out}"
    )
    if not report["passed"]:
        sys.exit(WRONG)


def _call() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.upgrade", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("--old", help="commit of the old worker; else the last one of the schema before")
    parser.add_argument("--rate", type=float, default=30.0, help="events published a second")
    parser.add_argument("--dwell", type=float, default=6.0, help="seconds between two steps")
    parser.add_argument("--data", type=Path, nargs="+", default=[load.SAMPLE], help="whose texts")
    parser.add_argument("--out", type=Path, default=Path("bench/upgrade.json"))
    return parser.parse_args()


def run(
    folder: Path, *, commit: str | None, texts: Sequence[Event], rate: float, dwell_s: float,
    say: Callable[[str], None], bundle: Path | None = None, bottom: str | None = None,
) -> dict[str, Any]:  # fmt: skip
    """All steps and the account. Without `commit` the steps run under a worker of our code alone, from
    `bottom` (the revision before the last) on."""
    new = Generation(name="new", folder=ROOT, head=_head(MIGRATIONS))
    before = _extracted(commit, folder / "old") if commit else None
    if before is None:
        say("the repository's history holds no code of an earlier schema (a shallow clone?): no old worker")
    bottom = before.head if before else bottom or _revisions()[-2]
    bundle = bundle or (before or new).folder / "worker" / "starter"
    up = _revisions()[_revisions().index(bottom) + 1 :]
    down = [*reversed(up[:-1]), bottom]
    say(f"old: {commit or 'no worker'}, schema {bottom}; new: schema {new.head}")
    with serving(folder / "servers") as servers, ExitStack() as stack:
        database, broker = servers.database("upgrade"), servers.broker(0)
        settings = Settings(
            run_dir=folder, database_url=database, broker_url=broker, event_key=None, bundle=bundle,
            metrics_port=0,
        )  # fmt: skip
        settings = settings.model_copy(update={"cache_dir": settings.cache_dir.absolute()})
        store = stack.enter_context(Store.open(database, pool_size=1))
        publishing = Publishing(folder / "publisher.log")
        stack.callback(publishing.stop)
        messages, guilty = _messages(texts, round(rate * dwell_s * (2 * len(up) + len(down) + 6)), rate)
        steps: list[dict[str, Any]] = []

        def step(what: str, act: Callable[[], object] = lambda: None) -> None:
            done = _finished(database)
            began = time.monotonic()
            act()
            took = time.monotonic() - began
            time.sleep(dwell_s)
            steps.append({"step": what, "took_s": round(took, 2), "finished": _finished(database) - done})
            say(f"{what}: {took:.1f} s, {steps[-1]['finished']} events finished meanwhile")

        def climb() -> None:
            for revision in up:
                step(f"up to {revision}", lambda to=revision: store.migrate(to))  # type: ignore[misc]

        store.migrate(bottom)
        publishing.start(broker)
        if before is None:
            store.migrate()
        first = stack.enter_context(_worker(before or new, settings, folder / "first.log"))
        publishing.publish(messages)
        step("before")
        if before is not None:
            climb()
            second = stack.enter_context(_worker(new, settings, folder / "second.log"))
            step("old and new worker on the new schema")
        else:
            second = first
        for revision in down:
            step(f"down to {revision}", lambda to=revision: store.downgrade(to))  # type: ignore[misc]
        if before is not None:
            step("new worker stopped on the old schema", lambda: second.stop(REST_S))
        climb()
        if before is not None:
            stack.enter_context(_worker(new, settings, folder / "third.log"))
            step("old worker stopped on the new schema", lambda: first.stop(REST_S))
        _rest(publishing, database)
        found = account.settle(account.found(database, publishing.accepted), guilty=guilty)
    counts = {
        "accepted": found.accepted, "rows": found.rows, "dead_letters": found.dead_letters,
        "lost": len(found.lost), "doubled": len(found.doubled), "partial": len(found.partial),
        "parked_without_cause": len(found.innocent),
    }  # fmt: skip
    return {
        **counts,
        "passed": found.balanced and not found.innocent,
        "old": {"commit": commit, "schema": bottom},
        "new": {"schema": new.head},
        "ids": {"lost": found.lost[:20], "doubled": found.doubled[:20], "partial": found.partial[:20],
                "parked_without_cause": found.innocent[:20]},
        "steps": steps,
    }  # fmt: skip


def previous() -> str | None:
    """The newest commit of this branch whose migrations end earlier than ours; None where there is none."""
    ours = _head(MIGRATIONS)
    for commit in _git("log", "--first-parent", "--format=%h", "HEAD").split():
        names = [
            Path(name).name[:4] for name in _git("ls-tree", "--name-only", commit, f"{VERSIONS}/").split()
        ]
        if (numbers := [name for name in names if name.isdigit()]) and max(numbers) < ours:
            return commit
    return None


def _git(*args: str) -> str:
    done = subprocess.run(["git", "-C", str(ROOT), *args], capture_output=True, text=True)  # noqa: S607
    return done.stdout if done.returncode == 0 else ""


def _extracted(commit: str, folder: Path) -> Generation:
    folder.mkdir(parents=True)
    packed = subprocess.run(
        ["git", "-C", str(ROOT), "archive", commit, "worker", "migrations"],  # noqa: S607
        capture_output=True,
    )
    if packed.returncode:
        raise ServiceMissing(f"no commit {commit} in {ROOT}: {packed.stderr.decode().strip()}")
    subprocess.run(["tar", "-x", "-C", str(folder)], input=packed.stdout, check=True)  # noqa: S607
    return Generation(name="old", folder=folder, head=_head(folder / "migrations"))


def _head(migrations: Path) -> str:
    config = Config()
    config.set_main_option("script_location", str(migrations).replace("%", "%%"))
    head = ScriptDirectory.from_config(config).get_current_head()
    assert head is not None, "the project ships migrations"
    return head


def _revisions() -> list[str]:
    """Ours, oldest first."""
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    return [one.revision for one in ScriptDirectory.from_config(config).walk_revisions()][::-1]


@contextmanager
def _worker(generation: Generation, settings: Settings, log: Path) -> Iterator[Process]:
    """A ready worker of that generation while the block runs."""
    argv = [sys.executable, "-m", "celery", "--app", APP, "worker", "--pool", "threads"]
    argv += ["--concurrency", str(settings.concurrency), "--queues", QUEUES]
    argv += ["--without-gossip", "--without-mingle", "--loglevel", settings.log_level]
    process = Process(
        f"{generation.name} worker", argv, log=log, orphaned=signal.SIGKILL, folder=generation.folder,
        environment=environment(settings) | {"PYTHONPATH": str(generation.folder)},
    )  # fmt: skip
    process.start()
    try:
        await_event(log, "worker_ready", process)
        yield process
    finally:
        process.stop(REST_S)


def _messages(texts: Sequence[Event], count: int, rate: float) -> tuple[list[Message], set[str]]:
    """`count` events at `rate` a second; and the ids of those that break the contract."""
    random = np.random.default_rng(1)
    guilty: set[str] = set()
    events = []
    for place in range(count):
        event: dict[str, Any] = {
            **texts[place % len(texts)],
            "id": f"upgrade-{place}",
            "user_id": f"upgrade-u{random.integers(PEOPLE)}",
            "created_at": (BEGAN + timedelta(minutes=int(random.integers(100_000)))).isoformat(),
            "revision": 1,
        }
        if random.random() < REFUSED_SHARE:
            event["mood"] = "a field that the contract does not know"
            guilty.add(event["id"])
        events.append(event)
    messages = []
    while events:
        size = int(random.choice(SIZES))
        body, events = events[:size], events[size:]
        queue = LIVE if random.random() < 0.5 else BULK
        messages.append(
            Message(task_id=f"upgrade-m{len(messages)}", queue=queue, events=body, pause_s=len(body) / rate)
        )
    return messages, guilty


def _finished(database_url: str) -> int:
    with psycopg.connect(database_url) as connection:
        row = connection.execute("SELECT count(*) FROM deliveries WHERE state <> 'accepted'").fetchone()
    return int(row[0]) if row else 0


def _rest(publishing: Publishing, database_url: str) -> None:
    """Return when all is published and at rest, or patience ends: then the account tells."""
    while publishing.waiting:
        time.sleep(0.2)
    expires = time.monotonic() + REST_S
    with psycopg.connect(database_url, autocommit=True) as connection:
        while time.monotonic() < expires:
            if len(account.resting(connection, publishing.accepted)) == len(publishing.accepted):
                return
            time.sleep(0.5)


if __name__ == "__main__":
    command.run(main, stopped="Stopped.")
