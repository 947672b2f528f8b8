"""`feltsense tune` from the sample to the written settings: what is tried, and what becomes of it."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import get_args

from worker.embedded import rundir
from worker.errors import UsageError
from worker.events.lines import read
from worker.interruption import insist, stoppable
from worker.settings import Settings
from worker.tune import envfile
from worker.tune.envfile import PREFIX
from worker.tune.machine import Machine
from worker.tune.search import Choice, Factor, Outcome, Search, Values

TUNED = ("precision", "inference_threads", "streams", "token_budget", "max_batch_size", "max_wait_ms")
LOSSY = ("int8",)
"""Encoder arithmetics that change the variables' values; the others keep them."""
TOKENS = (128, 256, 512, 1024)
BATCHES = (32, 64, 128, 256, 512, 1024)
WAITS_MS = (0.0, 2.0, 5.0)
BATCH_LONGEST_S = 0.75
"""A live message waits for the bulk batch under way: a larger one is not tried."""
BUSY = 0.5
"""Load a core above which the figures are called disturbed."""


@dataclass(frozen=True, kw_only=True)
class Tuned:
    """What was found, and what of it was written (variables with values) where; `refused` lines of the
    sample were no events."""

    outcome: Outcome
    written: Mapping[str, str]
    refused: int


def tune(
    lines: Iterable[bytes],
    *,
    settings: Settings,
    out: Path | None,
    seconds: float,
    allow_loss: bool,
    say: Callable[[str], None],
    passed: Callable[[float], None],
    judged: Callable[[Choice], None],
) -> Tuned:
    """Find the settings for this machine in about `seconds`, and write those that changed into `out`.

    `say` gets remarks, `passed` the seconds gone, `judged` each choice. Nothing is written unless all choices
    together were proven to beat what was there. Raises `UsageError`, and what opening a pipeline raises.
    """
    began = time.monotonic()
    if out is not None:
        envfile.check(out)
    events = list(read(lines, now=datetime.now(UTC)))
    rows = [(line.event, line.reflection) for line in events if line.event and line.reflection]
    if not rows:
        raise UsageError("no line of the sample is an event")
    for disturbance in disturbances(settings):
        say(disturbance)

    def measured() -> None:
        insist()
        passed(time.monotonic() - began)

    start = {name: getattr(settings, name) for name in TUNED}
    defaults = {name: Settings.model_fields[name].default for name in TUNED}
    with stoppable(), Machine(settings, rows, seconds=seconds) as machine:
        on_cpu = "CPU" in str(machine.encoder(start)["device"])
        search = Search(
            machine,
            seconds=seconds - (time.monotonic() - began),
            clock=time.monotonic,
            allow_loss=allow_loss,
            measured=measured,
            judged=judged,
        )
        outcome = search.run(
            factors(cores=len(os.sched_getaffinity(0)), rate=machine.rate, on_cpu=on_cpu),
            start,
            references={"defaults": defaults},
        )
    if outcome.chosen != start and not outcome.totals:
        say("no time was left to measure all choices together: give more --seconds, or a quieter machine")
    changed = {name: value for name, value in outcome.chosen.items() if value != start[name]}
    spelled = (
        {f"{PREFIX}{name.upper()}": f"{value}" for name, value in changed.items()} if outcome.beats else {}
    )
    if out is not None and spelled:
        envfile.write(out, spelled)
        for name in spelled:
            if name in os.environ:
                say(f"{name} is set in the environment, which goes before {out}: unset it there")
    return Tuned(outcome=outcome, written=spelled, refused=sum(line.refused is not None for line in events))


def factors(*, cores: int, rate: float, on_cpu: bool) -> list[Factor]:
    """What is tried on `cores` at `rate` texts a second: first the encoder's settings, then the stages'."""
    defaults = {name: Settings.model_fields[name].default for name in TUNED}
    precisions = [{"precision": name} for name in get_args(Settings.model_fields["precision"].annotation)]
    exact = [one for one in precisions if one["precision"] not in LOSSY]
    lossy = [one for one in precisions if one["precision"] in LOSSY]
    lanes = [
        (threads, streams)
        for threads in sorted({cores, (cores + 1) // 2})
        for streams in sorted({1, *(part for part in (threads // 4, threads // 2, threads) if part)})
    ]
    sizes = [size for size in BATCHES if size <= rate * BATCH_LONGEST_S]
    encoded, staged = ("bulk",), ("bulk", "live")
    listed = [Factor(name="precision", candidates=exact, measure="encoder", totals=encoded)]
    if on_cpu:
        listed.append(
            _of(("inference_threads", "streams"), lanes, defaults, measure="encoder", totals=encoded)
        )
    listed.append(
        _of(
            ("token_budget",),
            [(most,) for most in TOKENS],
            defaults,
            measure="encoder",
            guard="live",
            totals=encoded,
        )
    )
    if lossy:
        listed.append(
            Factor(name="precision, lossy", candidates=lossy, measure="encoder", totals=encoded, lossy=True)
        )
    listed.append(
        _of(("max_batch_size",), [(size,) for size in sizes], defaults, measure="steps", totals=staged)
    )
    listed.append(
        _of(
            ("max_wait_ms",),
            [(wait,) for wait in WAITS_MS],
            defaults,
            measure="bulk",
            totals=encoded,
        )
    )
    return listed


def _of(
    names: Sequence[str], values: Iterable[Sequence[object]], defaults: Values, *,
    measure: str, totals: Sequence[str], guard: str | None = None,
) -> Factor:  # fmt: skip
    """A factor of these settings; the defaults are always among its candidates."""
    default = tuple(defaults[name] for name in names)
    candidates = [dict(zip(names, one, strict=True)) for one in dict.fromkeys([default, *map(tuple, values)])]
    return Factor(
        name=", ".join(names),
        candidates=candidates,
        measure=measure,
        totals=totals,
        guard=guard,
    )


def disturbances(settings: Settings) -> list[str]:
    """What else runs on this machine, in sentences."""
    cores = len(os.sched_getaffinity(0))
    load = os.getloadavg()[0]
    found = []
    if rundir.held(settings.run_dir):
        found.append(
            f"an instance runs on {settings.run_dir}: it is not touched, but it disturbs the figures; "
            "better stop it, and start it again with the new settings"
        )
    elif load > BUSY * cores:
        found.append(f"the machine is busy (load {load:.1f} on {cores} cores): the figures are disturbed")
    return found
