"""`make demo`: the whole journey. Reflections go onto a queue, a worker perceives them, people read rows."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from worker.client.publisher import Publisher
from worker.embedded.supervisor import Endpoints, running
from worker.errors import FeltsenseError, Rejected, ServiceMissing, UsageError
from worker.events.lines import LABELS, Revisions, read
from worker.events.message import BULK
from worker.events.reflection import identity
from worker.interruption import INTERRUPTED, Stopped
from worker.report.progress import bars
from worker.report.timeline import timeline_view
from worker.settings import Settings
from worker.store import dead_letters, journal
from worker.store.deliveries import GIVEN_UP
from worker.store.engine import Store
from worker.store.origins import Origin, Published, clock, origins_of, unfinished

SAMPLE = Path(__file__).parents[1] / "samples" / "reflections.jsonl"
TIMELINE_ROWS = 14
REFUSALS = 40
PATIENCE_S = 120.0
POLL_S = 0.05
LOOK_S = 0.5


class WorkFailed(FeltsenseError):
    """Events that keep the contract got no row."""

    exit_code = 3


@dataclass(kw_only=True)
class Input:
    """A file's lines, sorted by what is to be expected of them: nothing is published that is no JSON object.

    `accepted` are the acceptable events, `refused` (line number, id, reason) of the others: the
    worker is to park them, as it would another program's.
    """

    events: list[dict[str, Any]] = field(default_factory=list, repr=False)
    accepted: list[Published] = field(default_factory=list)
    refused: list[tuple[int, str | None, str]] = field(default_factory=list)
    unpublished: list[tuple[int, Rejected]] = field(default_factory=list)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demo on FILE, or on the sample; the exit code."""
    given = sys.argv[1:] if arguments is None else arguments
    console = Console()
    try:
        if len(given) > 1:
            raise UsageError("python -m worker.demo [FILE]")
        with _ending_with_the_caller():
            _run(Path(given[0]) if given else SAMPLE, console)
    except KeyboardInterrupt:
        Console(stderr=True).print("The demo was stopped; nothing of it runs any more.")
        return INTERRUPTED
    except FeltsenseError as error:
        Console(stderr=True).print(f"demo: {error}", markup=False, highlight=False)
        return error.exit_code
    return 0


def _run(file: Path, console: Console) -> None:
    began = time.monotonic()
    with _lines(file) as lines:
        given = _sorted(lines)
    # Always its own servers: a demo must not write into somebody's database.
    own = {"broker_url": None, "database_url": None, "flower": False, "metrics_port": 0}
    settings = Settings().model_copy(update=own | {"run_dir": Settings().run_dir / "demo"})
    console.print("Starting Postgres, Valkey and a worker of the demo's own.")
    with running(settings, flower=False, temporary=True) as endpoints:
        console.print(f"Ready after {time.monotonic() - began:.1f} s. Publishing {_name(file)}.")
        started = time.monotonic()
        with Store.open(endpoints.database_url, pool_size=1) as store:
            _publish(given, settings, endpoints, store)
            took_s = time.monotonic() - started
            failed = sum(dead_letters.count(store)[reason] for reason in GIVEN_UP)
            _show(store, given, took_s, console, with_text=file == SAMPLE)
    if failed:
        log = settings.run_dir / "logs" / "worker.log"
        raise WorkFailed(f"{failed} accepted events failed on the way; see {log}")
    console.print(
        "\nThis was a temporary instance; it has been stopped. To keep one:\n"
        "  .venv/bin/feltsense up                 in one terminal, then in another\n"
        f"  .venv/bin/feltsense publish {_name(file)} --wait\n"
        "  .venv/bin/feltsense show USER",
        highlight=False,
    )


def _publish(given: Input, settings: Settings, endpoints: Endpoints, store: Store) -> None:
    """Put everything on the queue and return when it has come to rest: a row, or a dead letter, for each."""
    total, wanted, start = len(given.events), sorted(set(given.accepted)), clock(store)
    with Publisher.connect(endpoints.broker_url, settings.wire_key) as publisher, bars() as shown:
        publisher.publish_many(given.events, lane=BULK)
        shown.tell("published", total, total)
        seen, since = -1, time.monotonic()
        while True:
            endpoints.check()
            left = unfinished(store, wanted, since=start)
            parked = sum(dead_letters.count(store).values())
            shown.tell("rows", len(wanted) - left, len(wanted))
            if left == 0 and parked >= len(given.refused):
                return
            if len(wanted) - left + parked != seen:
                seen, since = len(wanted) - left + parked, time.monotonic()
            elif time.monotonic() - since > PATIENCE_S:
                raise ServiceMissing(
                    f"no progress for {PATIENCE_S:g} s: {left} events have no row, and {parked} of "
                    f"{len(given.refused)} are parked; see {settings.run_dir / 'logs' / 'worker.log'}"
                )
            time.sleep(POLL_S)


def _show(store: Store, given: Input, took_s: float, console: Console, *, with_text: bool) -> None:
    """Print the rows as a person would want to see them, then the sums and the speed."""
    people = journal.users(store)
    if people:
        chosen = people[0].user_id
        timeline = journal.timeline_of(store, chosen)
        origins = origins_of(store, chosen, with_text=with_text)
        if with_text:
            console.print(_example(timeline, origins), "")
        console.print(timeline_view(chosen, timeline, origins=origins, limit=TIMELINE_ROWS), "")
    console.print(_tallies(journal.entries(store)), "")
    console.print(_refusals(store, given))
    counts = journal.counts(store)
    parked, published = counts.dead_letters.total(), len(given.events)
    console.print(
        f"{published + len(given.unpublished)} lines: {len(given.unpublished)} cannot be sent, {published} "
        f"published. Of these {counts.perceived} are rows of {counts.persons} people, {parked} dead letters, "
        f"and {published - counts.perceived - parked} duplicates or replaced revisions.",
        highlight=False,
    )
    if latencies := sorted(journal.latencies(store)):
        middle, high = (1000 * latencies[int(len(latencies) * share)] for share in (0.5, 0.95))
        console.print(
            f"{len(latencies) / took_s:.0f} reflections a second, everything queued at once; "
            f"from acceptance to row p50 {middle:.0f} ms, p95 {high:.0f} ms.",
            highlight=False,
        )


def _example(timeline: Sequence[journal.Entry], origins: Mapping[str, Origin]) -> Table:
    """One reflection as it went in and the row that came out: the shortest text, to fit a line."""
    row = min(timeline, key=lambda row: len(origins[row.reflection_id].text or ""))
    table = Table.grid(padding=(0, 2))
    table.add_row("in", Text(origins[row.reflection_id].text or ""))
    for name in ("valence", "arousal", "willingness", "congruence", "comparator"):
        low, high = row.intervals[name]
        table.add_row(name, f"{getattr(row, name):.2f}   (80 %: {low:.2f} to {high:.2f})")
    for name in ("invoked", "expressed"):
        table.add_row(name, " > ".join(getattr(row, name)) or "(abstains)")
    return table


def _tallies(rows: Sequence[journal.Entry]) -> Table:
    """How many rows there are by language, risk, and the core of each emotion."""
    table = Table.grid(padding=(0, 2))
    for name, values in {
        "language": [row.language for row in rows],
        "risk": [row.risk_level for row in rows],
        "felt inside": [row.invoked[0] if row.invoked else "(abstains)" for row in rows],
        "shown": [row.expressed[0] if row.expressed else "(abstains)" for row in rows],
    }.items():
        table.add_row(name, ", ".join(f"{value} {count}" for value, count in Counter(values).most_common()))
    return table


def _refusals(store: Store, given: Input) -> Table:
    """What was refused, by line: before publishing, and the dead letters the worker made of the rest."""
    found = [(number, "-", refusal.reason, refusal.detail) for number, refusal in given.unpublished]
    lines = {(key, reason): number for number, key, reason in given.refused}
    letters = dead_letters.rejected(store, limit=REFUSALS)
    found += [
        (
            lines.get((letter.reflection_id, letter.reason), 0),
            letter.reflection_id or "-",
            letter.reason,
            letter.detail,
        )
        for letter in letters
    ]
    table = Table(title="Refused", title_justify="left", title_style="bold", box=SIMPLE_HEAD, padding=0)
    for heading in ("line", "id", "reason", "detail"):
        table.add_column(heading, justify="right" if heading == "line" else "left", overflow="fold")
    for number, key, reason, detail in sorted(found):
        table.add_row(str(number) if number else "-", Text(key), reason, Text(detail))
    return table


def _sorted(lines: Iterable[bytes]) -> Input:
    """Read the whole file as the worker will: what it accepts and refuses, and what cannot be sent at all."""
    given, revisions, now = Input(), Revisions(), datetime.now(UTC)
    for number, raw in enumerate(lines, 1):
        for line in read([raw], now=now):
            try:
                event = json.loads(raw)
            except (ValueError, RecursionError):
                event = None
            if not isinstance(event, dict):
                assert line.refused is not None, "an acceptable line is a JSON object"
                given.unpublished.append((number, line.refused))
                continue
            event = {name: value for name, value in event.items() if name not in LABELS}
            given.events.append(event)
            refused = line.refused
            if line.reflection is not None:
                before = len(revisions.refused)
                revisions.take(line, line.reflection)
                if len(revisions.refused) > before:
                    refused = revisions.refused[-1].refused
                else:
                    given.accepted.append(Published.of(line.reflection))
            if refused is not None:
                given.refused.append((number, identity(event)[0], refused.reason))
    return given


def _name(file: Path) -> str:
    """The path as the reader would type it."""
    here = Path.cwd()
    return str(file.relative_to(here)) if file.is_relative_to(here) else str(file)


@contextmanager
def _lines(file: Path) -> Iterator[Iterable[bytes]]:
    try:
        with file.open("rb") as lines:
            yield lines
    except OSError as error:
        if error.filename != str(file):
            raise
        raise UsageError(f"cannot read {file}: {error.strerror}") from None


@contextmanager
def _ending_with_the_caller() -> Iterator[None]:
    """End as by a signal when the caller is gone without one: kill -9 of make, or of the shell that runs it.

    A demo under `nohup` stays, as asked.
    """
    if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
        yield
        return
    callers = _callers()

    def look(_number: int, _frame: FrameType | None) -> None:
        if _callers() != callers:
            signal.setitimer(signal.ITIMER_REAL, 0)  # said once
            raise Stopped("the caller is gone")

    before = signal.signal(signal.SIGALRM, look)
    signal.setitimer(signal.ITIMER_REAL, LOOK_S, LOOK_S)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _callers() -> tuple[int, ...]:
    """Our parent, and where that is make (it sets MAKELEVEL) its parent too."""
    parent = os.getppid()
    if "MAKELEVEL" not in os.environ:
        return (parent,)
    try:
        status = Path(f"/proc/{parent}/stat").read_text()
    except OSError:  # gone in this very moment
        return (0,)
    return (parent, int(status.rpartition(")")[2].split()[1]))


if __name__ == "__main__":
    sys.exit(main())
