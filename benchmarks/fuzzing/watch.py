"""Cases run in processes of their own, so that one that hangs or dies is one case and not the run."""

from __future__ import annotations

import multiprocessing as mp
import os
import resource
import signal
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from random import Random

from benchmarks.fuzzing.targets import Target

HANG_S, PATIENCE = 20.0, 10
"""After so long a case is run again, and after so many times as long it hangs: the slowest honest one needs
2 s of CPU (hundreds of megabytes in an envelope), which a machine that others use may not give it in 20."""
REPORT_S = 0.2
MEMORY = 12 << 30
"""Most address space of a process, in bytes."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Failure:
    """A case that ended otherwise than it may: `kind` is crash, hang or unnamed; `what` says how."""

    target: str
    case: int
    kind: str
    what: str


@dataclass(kw_only=True, slots=True)
class Report:
    """What is known of a target so far."""

    done: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    failures: list[Failure] = field(default_factory=list)
    seconds: float = 0.0


def random_of(seed: int, target: str, case: int) -> Random:
    """The randomness of one case, the same whatever ran before it."""
    return Random(f"{seed}/{target}/{case}")  # noqa: S311  nothing here is a secret


class Runner:
    """Runs the cases `numbers` of one target in a process; `poll` until it is `done`."""

    def __init__(self, name: str, target: Target, numbers: Sequence[int], *, seed: int, folder: Path) -> None:
        self._name = name
        self._target = target
        self._left = list(numbers)
        self._seed = seed
        self._folder = folder
        self._current = mp.RawArray("d", 2)  # the case under way, and since when
        self._slow: set[int] = set()
        self.report = Report()
        self._begin()

    @property
    def done(self) -> bool:
        return not self._left

    def poll(self) -> None:
        """Take in what the process tells, and end it when its case hangs."""
        while self._ours.poll():
            try:
                count, outcomes, failures = self._ours.recv()
            except EOFError:
                break
            self._left = self._left[count:]
            self.report.done += count
            self.report.outcomes.update(outcomes)
            self.report.failures += [Failure(target=self._name, **one) for one in failures]
        case, since = int(self._current[0]), self._current[1]
        if not self._left:
            self._end()
        elif not self._process.is_alive():
            self._blame(case, "crash", f"status {self._process.exitcode}")
        elif since and time.monotonic() - since > HANG_S * (PATIENCE if case in self._slow else 1):
            self._process.kill()
            if case in self._slow:
                self._blame(case, "hang", f"longer than {PATIENCE * HANG_S:g} s")
            else:  # perhaps only slow, on a machine that others use: it runs again, with more patience
                self._slow.add(case)
                self._end()
                self._begin()

    def _begin(self) -> None:
        self._started = time.monotonic()
        self._current[1] = 0.0
        self._ours, theirs = mp.Pipe(duplex=False)
        arguments = (self._target, self._name, self._left, self._seed, self._folder, self._current, theirs)
        self._process = mp.get_context("fork").Process(target=_work, args=arguments, daemon=True)
        self._process.start()
        theirs.close()

    def _end(self) -> None:
        self._process.join()
        self._ours.close()
        self.report.seconds += time.monotonic() - self._started

    def _blame(self, case: int, kind: str, what: str) -> None:
        """One case fewer; those whose report died with the process run again."""
        self._end()
        self.report.failures.append(Failure(target=self._name, case=case, kind=kind, what=what))
        self.report.done += 1
        self._left = [number for number in self._left if number != case]
        if self._left:
            self._begin()


def _work(
    target: Target,
    name: str,
    numbers: Sequence[int],
    seed: int,
    folder: Path,
    current: object,
    told: Connection,
) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    folder.mkdir(parents=True, exist_ok=True)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for output in (sys.stdout, sys.stderr):  # of libraries, too
        os.dup2(nowhere, output.fileno())
    case = target.open(folder)
    for batch in _timed(numbers):
        outcomes: Counter[str] = Counter()
        failures = []
        for number in batch:
            current[0], current[1] = number, time.monotonic()
            try:
                outcomes[case(random_of(seed, name, number))] += 1
            except BaseException as error:  # noqa: BLE001  finding these is what this is for
                failures.append({"case": number, "kind": "unnamed", "what": said(error)})
        told.send((len(batch), outcomes, failures))
    told.close()


def _timed(numbers: Sequence[int]) -> Iterator[list[int]]:
    """The numbers in parts that take about as long as a report may be late."""
    at, size = 0, 1
    while at < len(numbers):
        begun = time.monotonic()
        yield list(numbers[at : at + size])
        at += size
        size = size * 2 if time.monotonic() - begun < REPORT_S / 2 else max(size // 2, 1)


def said(error: BaseException) -> str:
    """An error with the last place of ours that it passed."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [f for f in frames if "site-packages" not in f.filename and "fuzzing" not in f.filename] or frames
    where = f"{Path(ours[-1].filename).name}:{ours[-1].lineno}" if ours else ""
    return f"{type(error).__name__} at {where}: {str(error)[:200]}"


def run(
    targets: dict[str, Target], counts: dict[str, int], *, seed: int, folder: Path, processes: int,
    told: Callable[[int], None],
) -> dict[str, Report]:  # fmt: skip
    """Every target's cases, `processes` of them at a time; `told` gets the cases done so far."""
    waiting = sorted(counts, key=lambda name: counts[name])  # the small, slow ones last
    reports: dict[str, Report] = {}
    running: list[Runner] = []
    while waiting or running:
        while waiting and len(running) < processes:
            name = waiting.pop()
            runner = Runner(name, targets[name], range(counts[name]), seed=seed, folder=folder / name)
            reports[name] = runner.report
            running.append(runner)
        for runner in running:
            runner.poll()
        running = [runner for runner in running if not runner.done]
        told(sum(report.done for report in reports.values()))
        time.sleep(0.02)
    return reports
