"""Worse challengers, really made, and a better one: who is promoted, who is refused, and why.

    python -m benchmarks.challengers [--seeds 3] [--people 120]

On each seed three small bundles are trained on synthetic people: one on few people, one on all, and ruined
ones: on shuffled labels, on labels of one slice turned round (Hinglish, high-risk, short). Two more are the
good bundle with its calibrators or its intervals bent and its digests made anew. All are judged on other
people. Writes bench/challengers.json; the exit code is 3 when one of them was judged wrongly.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from benchmarks import command
from trainer import rebuild
from trainer.data import labelled, plausible, synthetic
from trainer.data.labelled import Labelled
from trainer.errors import ImplausibleData
from trainer.plan import Linear, Net, Plan, Source, Trees
from trainer.promote.challenge import Verdict, challenge
from trainer.settings import TrainerSettings
from trainer.splits.strata import language, length
from worker.bundle import manifest
from worker.errors import REJECTED
from worker.settings import Settings

OUT = Path("bench/challengers.json")
LINEAR = Linear(value=0.5, classes=0.01, flags=0.01, steps=8)
PLAN = Plan(
    name="challenger",
    folds=3,
    ngram_bits=12,
    holdout=False,
    sentence=True,
    trees=Trees(rounds=20, class_rounds=8, least_rows=10),
    ngrams=LINEAR,
    embedding=LINEAR,
    net=Net(hidden=4, epochs=2),
    sources={"synthetic": Source(person_power=0.5)},
)
FEW = 4
"""The better challenger has so many times the champion's people."""
JUDGED_ON = 40
"""People whom none of the bundles has seen."""


def shuffled(rows: Sequence[Labelled], rng: np.random.Generator) -> list[Labelled]:
    """Every label at another row."""
    order = rng.permutation(len(rows))
    return [dataclasses.replace(row, labels=rows[at].labels) for row, at in zip(rows, order, strict=True)]


def turned(rows: Sequence[Labelled], inside: Callable[[Labelled], bool]) -> list[Labelled]:
    """In one slice good is bad, calm is excited, felt is its opposite, and nobody is at risk."""
    return [dataclasses.replace(row, labels=_turned(row.labels)) if inside(row) else row for row in rows]


_OPPOSITE = {"Happy": "Sad", "Sad": "Happy", "Strong": "Fearful", "Fearful": "Strong", "Peaceful": "Angry",
             "Angry": "Peaceful"}  # fmt: skip


def _turned(labels: Any) -> dict[str, Any]:
    new = dict(labels)
    for name in ("valence", "arousal", "willingness"):
        if isinstance(new.get(name), int | float):
            new[name] = 1.0 - new[name]
    for name in ("expressed", "invoked"):
        if new.get(name):
            new[name] = [[_OPPOSITE[path[0]]] for path in new[name]]
    if "risk" in new:
        new["risk"] = dict.fromkeys(new["risk"], 0.0)
    return new


def hinglish(row: Labelled) -> bool:
    return language(row) in ("hi-Latn", "mixed")


def short(row: Labelled) -> bool:
    return length(row.reflection.text) == "SHORT"


def high_risk(row: Labelled) -> bool:
    return any(score > 0.5 for score in row.labels.get("risk", {}).values())


def bent(bundle: Path, out: Path, bend: Callable[[dict[str, Any]], None]) -> Path:
    """The bundle with its blend bent: whole and valid, with digests and a version of its own."""
    shutil.rmtree(out, ignore_errors=True)
    shutil.copytree(bundle, out)
    blend = json.loads((out / "blend.json").read_bytes())
    bend(blend)
    (out / "blend.json").write_text(json.dumps(blend, indent=1, sort_keys=True))
    facts = json.loads((out / manifest.NAME).read_bytes())
    facts["files"]["blend.json"] = manifest.digest_of(out / "blend.json")
    facts["model_version"] = manifest.version_of(facts["files"])
    (out / manifest.NAME).write_text(json.dumps(facts))
    manifest.read(out)
    return out


def overconfident(blend: dict[str, Any]) -> None:
    """Calibrators that push every value away from the middle, and every probability to an end."""
    for one in blend["calibrators"].values():
        match one["kind"]:
            case "isotonic":
                one["y"] = [min(max(0.5 + 2.0 * (y - 0.5), 0.0), 1.0) for y in one["y"]]
            case "linear":
                one["slope"], one["intercept"] = 2.0 * one["slope"], 2.0 * one["intercept"] - 0.5
                one["y"] = [0.0, 1.0]
            case "platt":
                one["slope"], one["intercept"] = 3.0 * one["slope"], 3.0 * one["intercept"]
            case "temperature":
                one["slope"] = one["slope"] / 3.0


def too_narrow(blend: dict[str, Any]) -> None:
    """80 % intervals a third as wide as they were found to have to be."""
    for one in blend["intervals"].values():
        for side in ("below", "above"):
            one[side] = (np.array(one[side]) / 3).tolist()


@contextmanager
def unchecked() -> Iterator[None]:
    """A rebuild refuses shuffled labels before it fits: here the challenge has to."""
    check = plausible.check
    plausible.check = lambda *_, **__: []  # type: ignore[assignment]
    try:
        yield
    finally:
        plausible.check = check


def fitted(rows: Sequence[Labelled], out: Path, seed: int, cache: Path) -> Path:
    plan = PLAN.model_copy(update={"seed": seed})
    rebuild.fit(list(rows), plan, out, Console(quiet=True), TrainerSettings(cache_dir=cache))
    return out


def one_seed(seed: int, people: int, folder: Path, cache: Path) -> Iterator[dict[str, Any]]:
    """Each challenger of this seed with what became of it."""

    def population(name: str, count: int, own_seed: int) -> list[Labelled]:
        path = folder / f"{name}.jsonl"
        synthetic.write(path, people=count, seed=own_seed)
        return labelled.load([path])

    rows = population("train", people, 1_000 + seed)
    reserved = population("reserved", JUDGED_ON, 5_000 + seed)
    first = {row.reflection.user_id for row in population("few", people // FEW, 1_000 + seed)}
    settings = Settings(cache_dir=cache, device_plan=("CPU",), temporal_device_plan=("CPU",))
    rng = np.random.default_rng(seed)
    small = fitted([row for row in rows if row.reflection.user_id in first], folder / "small", seed, cache)
    good = fitted(rows, folder / "good", seed, cache)

    def judged(name: str, champion: Path, challenger: Path, expected: str, **more: Any) -> dict[str, Any]:
        started = time.process_time()
        verdict = challenge(champion, challenger, rows=reserved, settings=settings)
        return {
            "seed": seed, "challenger": name, "expected": expected, **more,
            "cpu_s": round(time.process_time() - started, 1), **_told(verdict),
        }  # fmt: skip

    yield judged(f"{FEW} times the people", small, good, "promote")
    yield judged("a quarter of the people", good, small, "refuse")
    yield judged("overconfident calibrators", good, bent(good, folder / "over", overconfident), "refuse")
    yield judged("intervals too narrow", good, bent(good, folder / "narrow", too_narrow), "refuse")
    for name, ruined in (
        ("labels shuffled", shuffled(rows, rng)),
        ("Hinglish labels turned", turned(rows, hinglish)),
        ("high-risk labels turned", turned(rows, high_risk)),
        ("short texts' labels turned", turned(rows, short)),
    ):
        early = None
        try:
            challenger = fitted(ruined, folder / "ruined", seed, cache)
        except ImplausibleData as error:
            early = error.problems[0]
            with unchecked():
                challenger = fitted(ruined, folder / "ruined", seed, cache)
        yield judged(name, good, challenger, "refuse", before_fitting=early)


def _told(verdict: Verdict) -> dict[str, Any]:
    return {
        "decision": verdict.decision,
        "better": verdict.better,
        "reasons": list(verdict.reasons),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.challengers", description=__doc__.split("\n")[0]
    )
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--people", type=int, default=120, help="synthetic people of the good bundle")
    call = parser.parse_args()
    console = Console(width=None if sys.stdout.isatty() else 170)
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for name in ("seed", "challenger", "asked", "decision", "worse figures", "first reason"):
        table.add_column(name)
    found: list[dict[str, Any]] = []
    OUT.parent.mkdir(exist_ok=True)
    for seed in range(1, call.seeds + 1):
        with tempfile.TemporaryDirectory() as scratch:
            for one in one_seed(seed, call.people, Path(scratch), Path(".cache").absolute()):
                found.append(one)
                count = len(one["reasons"]) if one["decision"] == "refuse" else 0
                print(f"seed {seed}, {one['challenger']}: {one['decision']}", file=sys.stderr)
                table.add_row(
                    str(seed), one["challenger"], one["expected"], one["decision"], str(count),
                    one["reasons"][0],
                )  # fmt: skip
                told = {"people": call.people, "judged_on": JUDGED_ON, "challengers": found}
                OUT.write_text(json.dumps(told, indent=1))
    console.print(table)
    wrong = [one for one in found if one["decision"] != one["expected"]]
    print(f"{len(found) - len(wrong)} of {len(found)} judged as asked; {OUT} written")
    if wrong:
        sys.exit(REJECTED)


if __name__ == "__main__":
    command.run(main, stopped=f"Stopped; {OUT} holds what was judged so far.")
