"""The steps of a rebuild, each timed by itself: what `benchmarks.training` prints.

Every time is that of the function a rebuild calls, on rows that a rebuild would give it. What takes less than
`SHORT_S` is the median of `ROUNDS` rounds. Growth is measured on three samples of one mix of sources, 1 : 4 :
16, of whole people.
"""

from __future__ import annotations

import math
import os
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property, partial
from itertools import islice
from pathlib import Path
from statistics import median
from typing import TypeVar

import numpy as np
import orjson
from rich.console import Console

from benchmarks.sampled import Sampled, sample
from trainer import progress
from trainer.data import duplicates, labelled, synthetic
from trainer.data.labelled import Labelled
from trainer.features import activations, build, targets
from trainer.fit import text, transformer
from trainer.hpo import study
from trainer.hpo.search import Searcher
from trainer.oof import appraisal, crossfit, placement, timelines
from trainer.plan import Plan, Transformer
from trainer.settings import TrainerSettings
from trainer.splits import split
from worker.events.taxonomy import taxonomy
from worker.features.assemble import Features
from worker.inference import minilm

ROUNDS = 3
SHORT_S = 20.0
ITEMS = 5200
GATE_ROWS = 12_000
GATE_TRIALS = 20
SIZES = (16, 4, 1)
"""Parts of the largest sample that the three are."""
VARIABLES = ("valence", "arousal", "willingness", "expressed", "invoked", "congruence", "risk")
TREE = taxonomy()

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Line:
    """One measured number against its `limit` (None: for information); `cpu_s` tells a slow step from a busy
    machine."""

    name: str
    measured: float
    unit: str
    limit: float | None = None
    cpu_s: float | None = None

    @property
    def verdict(self) -> str:
        return "" if self.limit is None else "ok" if self.measured < self.limit else "MISSED"


@dataclass(frozen=True, kw_only=True)
class Growth:
    """Seconds of one step at three sizes, smallest first; `rows` are those the step itself is given."""

    step: str
    rows: tuple[int, ...]
    seconds: tuple[float, ...]
    cpu_s: tuple[float, ...]

    @property
    def a_row(self) -> float:
        """What a row costs among the most rows, in units of what it costs among the fewest."""
        return self.seconds[-1] / self.rows[-1] / (self.seconds[0] / self.rows[0])

    @property
    def exponent(self) -> float:
        return math.log(self.seconds[-1] / self.seconds[0]) / math.log(self.rows[-1] / self.rows[0])


@dataclass(frozen=True, kw_only=True)
class Took:
    """Seconds on the clock, and of all cores' work."""

    wall: float
    cpu: float

    def line(self, name: str, limit: float | None = None) -> Line:
        return Line(name=name, measured=self.wall, unit="s", limit=limit, cpu_s=self.cpu)


def timed(call: Callable[[], T], before: Callable[[], None] = lambda: None) -> tuple[Took, T]:
    """What `call` took and returned: medians of `ROUNDS`, or one where that takes long; `before` is not
    counted."""
    wall: list[float] = []
    cpu: list[float] = []
    while not wall or (len(wall) < ROUNDS and wall[0] < SHORT_S):
        before()
        worked, started = time.process_time(), time.perf_counter()
        result = call()
        wall.append(time.perf_counter() - started)
        cpu.append(time.process_time() - worked)
    return Took(wall=median(wall), cpu=median(cpu)), result


class Bench:
    """The steps; `cache` is a folder of its own, its embeddings cold where that is said."""

    def __init__(self, plan: Plan, cache: Path) -> None:
        self._plan = plan.model_copy(update={"transformer": None})
        self._tuned = plan.transformer or Transformer(rows=None, epochs=1)
        self._settings = TrainerSettings(cache_dir=cache, llm_url=None)
        self._embed(["."])  # exports the encoder, which an installation does once

    @cached_property
    def _items(self) -> list[Labelled]:
        now = datetime.now(UTC)
        events = islice(synthetic.people(self._plan.seed, synthetic.PEOPLE), ITEMS)
        return [labelled.read(orjson.dumps(event), now=now) for event in events]

    def features(self) -> Iterator[Line]:
        """Of the synthetic items."""
        items = self._items
        texts = build.normalised([row.reflection for row in items])
        what = f"features of {len(items)} synthetic items"
        whole, _ = timed(lambda: self._build(items), self._forget)
        yield whole.line(f"{what}, embedding cache cold", 6.0)
        encoded, _ = timed(lambda: self._embed(texts), self._forget)
        yield encoded.line("  of it the sentence encoder")
        warm, _ = timed(lambda: self._build(items))
        yield warm.line(f"{what}, embedding cache warm", 6.0)

    def bases(self) -> Iterator[Line]:
        """Lx and Eb of one fold, variable by variable: fitted on the other folds and predicting it."""
        sampled = Sampled(self._items, self._plan.model_copy(update={"holdout": False}), self._build)
        for name in VARIABLES:
            took, _ = timed(partial(sampled.variable, name))
            bases = "Lx + Eb" if name in text.TREES else "Eb"
            what = f"{bases} of {name}, one fold of {len(self._items)} synthetic items"
            yield took.line(what, 1.0)

    def gates(self, rows: Sequence[Labelled]) -> Iterator[Line]:
        """The study of the gates as the search runs it, its verdict on all rows included."""
        plan = self._plan.model_copy(
            update={
                "holdout": False,
                "search": self._plan.search.model_copy(update={"trials": {"gate": GATE_TRIALS}}),
            }
        )
        sampled = Sampled(sample(rows, GATE_ROWS, plan.seed), plan, self._build)
        columns = sampled.columns()
        around = appraisal.alone(sampled.reflections, sampled.features)

        def searched() -> None:
            with (
                tempfile.TemporaryDirectory() as fresh,
                study.storage(None, Path(fresh)) as store,
                Path(os.devnull).open("w") as nowhere,
                progress.steps(Console(file=nowhere), plan, len(sampled.rows)) as step,
            ):
                people = [one.user_id for one in sampled.reflections]
                searcher = Searcher(
                    store=store, key="bench", people=people, step=step, keep=crossfit.computed
                )
                searcher.gates(plan, columns, sampled.goals, around, sampled.fold)

        took, _ = timed(searched)
        what = f"{GATE_TRIALS} gate trials at {len(sampled.rows)} rows"
        yield took.line(what, 10.0)

    def growth(self, rows: Sequence[Labelled], most: int, tuned: int) -> list[Growth]:
        """Every step on `most` rows, a quarter and a sixteenth of them (of base Tr on `tuned`)."""
        most = min(most, len(rows))
        found: defaultdict[str, list[tuple[int, Took]]] = defaultdict(list)
        for part in sorted(SIZES, reverse=True):
            chosen = sample(rows, most // part, self._plan.seed)
            few = sample(chosen, tuned // part, self._plan.seed)
            for step, count, took in (*self._steps(chosen), *self._tuning(few)):
                found[step].append((count, took))
                print(f"  {count:>7} rows  {took.wall:9.3f} s  {step}", file=sys.stderr, flush=True)
        return [
            Growth(
                step=step,
                rows=tuple(count for count, _ in points),
                seconds=tuple(took.wall for _, took in points),
                cpu_s=tuple(took.cpu for _, took in points),
            )
            for step, points in found.items()
        ]

    def _steps(self, rows: list[Labelled]) -> Iterator[tuple[str, int, Took]]:
        texts = [row.reflection.text for row in rows]
        normal = build.normalised([row.reflection for row in rows])
        count, plan, nothing = len(rows), self._plan, lambda _: None
        yield "sentence encoder", count, timed(lambda: self._embed(normal), self._forget)[0]
        yield "features but the encoder", count, timed(lambda: self._build(rows))[0]
        yield "near-duplicate clusters", count, timed(lambda: duplicates.clusters(texts))[0]
        cut = timed(lambda: split.make(rows, plan, TREE, count=plan.folds, seed=plan.seed))[0]
        yield "split, clusters included", count, cut
        one = Sampled(rows, plan, self._build)
        count, used = len(one.rows), one.train
        yield "targets", count, timed(lambda: targets.extract(one.rows, plan, TREE, one.goals.learned))[0]
        yield "Lx, a fold", count, timed(lambda: text.trees(one.features, one.goals, used, plan))[0]
        yield "Ng, a fold", count, timed(lambda: text.ngrams(one.features.counts, one.goals, used, plan))[0]
        dense = one.features.dense
        yield "Eb, a fold", count, timed(lambda: text.embedding(dense, one.goals, used, plan, TREE))[0]
        columns = one.columns()
        took, appraised = timed(
            lambda: appraisal.settle(one.reflections, one.features, one.goals, columns, one.fold, plan, TREE)
        )
        yield "gates and calibrators of stage A", count, took
        took, laid = timed(
            lambda: timelines.lay(one.reflections, appraised.static, appraised.history, one.goals, one.fold)
        )
        yield "timelines", len(laid.row), took
        people = [row.user_id for row in one.reflections]
        placed = timed(lambda: placement.settle(laid, appraised.static, people, plan, nothing))[0]
        yield "temporal nets, gates and calibrators of stage B", len(laid.row), placed

    def _tuning(self, rows: list[Labelled]) -> Iterator[tuple[str, int, Took]]:
        reflections = [row.reflection for row in rows]
        depth = minilm.LAYERS - self._tuned.layers
        texts = build.normalised(reflections)
        took, lower = timed(lambda: activations.compute(texts, depth=depth))
        yield "Tr: activations of the lower layers", len(rows), took
        goals = targets.extract(rows, self._plan, TREE)
        sources, every = [row.source for row in rows], np.ones(len(rows), dtype=bool)
        took, _ = timed(
            lambda: transformer.fit(lower, goals, every, sources, self._tuned, TREE, seed=self._plan.seed)
        )
        yield f"Tr: one fit, {self._tuned.epochs} epochs", len(rows), took

    def _embed(self, texts: Sequence[str]) -> None:
        build.embed(texts, settings=self._settings, advance=lambda _: None)

    def _build(self, rows: Sequence[Labelled]) -> Features:
        reflections = [row.reflection for row in rows]
        return build.build(
            reflections, TREE, bits=self._plan.ngram_bits, settings=self._settings, advance=lambda _: None
        )[0]

    def _forget(self) -> None:
        for path in self._settings.cache_dir.glob("embeddings-*.npz"):
            path.unlink()
