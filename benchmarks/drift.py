"""Whether the drift checks can be believed: `python -m benchmarks.drift [--checks 100] [--planted 20]`.

Windows are drawn from one population of synthetic people with real texts, through the worker's own text
features and encoder; what the models would say of them is simulated. On pairs of windows without drift it
counts false alarms, on pairs with one planted change how often that change raises one.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.command import run
from trainer.data import labelled, synthetic
from trainer.drift.compare import LEVEL, Finding, compare
from trainer.drift.measures import Kind
from trainer.drift.window import REPORTED, SIDES, VALUES, Texts, Window, read
from trainer.features import build
from trainer.settings import TrainerSettings
from worker.events.variables import CORES, LEVELS
from worker.features import text

ROWS, KEPT = 6, 0.6
"""Of a window: rows of each of its people, and the share of them who are in the other window too."""
KINDS: tuple[Kind, ...] = ("inputs", "outputs", "calibration")
Rng = np.random.Generator


@dataclass(frozen=True, kw_only=True)
class Pool:
    """Synthetic people and what their texts tell; row i is of `person[i]`."""

    person: NDArray[np.str_]
    language: NDArray[np.str_]
    texts: Texts

    @classmethod
    def make(cls, count: int, settings: TrainerSettings) -> Pool:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "people.jsonl"
            synthetic.write(path, people=count, seed=3)
            rows = labelled.load([path])
        opened = [text.read(row.reflection.text, row.reflection.lang) for row in rows]
        vectors = build.embed([one.normal for one in opened], settings=settings, advance=lambda _: None)
        return cls(
            person=np.array([row.reflection.user_id for row in rows]),
            language=np.array([one.language.code for one in opened]),
            texts=read(opened, np.arange(len(rows)), vectors),
        )

    def window(self, people: NDArray[np.str_], rng: Rng, weight: NDArray[np.float64] | None = None) -> Window:
        """Some rows of each of these people, drawn by `weight` [rows], with simulated answers."""
        rows = []
        for one in people:
            own = np.flatnonzero(self.person == one)
            share = None if weight is None else weight[own] / weight[own].sum()
            rows.append(rng.choice(own, size=1 + rng.poisson(ROWS - 1), p=share))
        return self.answered(np.concatenate(rows), rng)

    def answered(self, row: NDArray[np.intp], rng: Rng) -> Window:
        person, n = self.person[row], len(row)
        names, who = np.unique(person, return_inverse=True)
        mood = {name: _character(names, name) for name in VALUES}
        values = {name: np.clip(rng.normal(mood[name][who], 0.15), 0, 1) for name in VALUES}
        told = rng.random(n) < 0.6
        reported = {
            name: np.where(told, np.clip(values[name] + rng.normal(0, 0.12, n), 0, 1), np.nan)
            for name in REPORTED
        }
        half = 1.2816 * 0.12
        cores = {side: np.where(rng.random(n) < 0.3, "", rng.choice(CORES, n)) for side in SIDES}
        devices = np.array(["mobile", "web"])
        return Window(
            person=person,
            language=self.language[row],
            device=devices[(_character(names, "device") > 0.5).astype(int)[who]],
            values=values,
            low={name: values[name] - half for name in REPORTED},
            high={name: values[name] + half for name in REPORTED},
            reported=reported,
            cores=cores,
            level=rng.choice(LEVELS, n, p=[0.75, 0.15, 0.07, 0.03]),
            texts=Texts(
                row=np.arange(n),
                words=self.texts.words[row],
                unknown=self.texts.unknown[row],
                profile=self.texts.profile[row],
                embedding=self.texts.embedding[row],
            ),
        )


def _character(names: NDArray[np.str_], what: str) -> NDArray[np.float64]:
    """A person's own level of something, always the same."""
    seeds = [abs(int.from_bytes(f"{name} {what}".encode()[-8:], "big")) for name in names]
    return np.array([np.random.default_rng(seed).normal(0.5, 0.12) for seed in seeds])


Plant = Callable[[Pool, NDArray[np.str_], Rng], Window]


def _same(pool: Pool, people: NDArray[np.str_], rng: Rng) -> Window:
    return pool.window(people, rng)


def _drawn(weight: Callable[[Pool], NDArray[np.float64]]) -> Plant:
    return lambda pool, people, rng: pool.window(people, rng, weight(pool))


def _language(pool: Pool, people: NDArray[np.str_], rng: Rng) -> Window:
    """A fifth of the people is replaced by people who write Hinglish."""
    others = np.setdiff1d(np.unique(pool.person), people)
    share = [(pool.language[pool.person == one] == "hi-Latn").mean() for one in others]
    count = len(people) // 5
    hindi = others[np.argsort(share)[-count:]]
    return pool.window(np.concatenate([people[count:], hindi]), rng)


def _topics(pool: Pool) -> NDArray[np.float64]:
    """Texts on one side of the embedding are written four times as often."""
    centred = pool.texts.embedding - pool.texts.embedding.mean(axis=0)
    direction = np.linalg.svd(centred[:400], full_matrices=False)[2][2]
    return np.asarray(np.where(centred @ direction > 0, 4.0, 1.0))


def _topic(pool: Pool, people: NDArray[np.str_], rng: Rng) -> Window:
    """The tenth of all texts that is nearest to one of them is written three times as often."""
    centred = pool.texts.embedding - pool.texts.embedding.mean(axis=0)
    near = centred @ centred[rng.integers(len(centred))] / np.linalg.norm(centred, axis=1)
    return pool.window(people, rng, np.where(near >= np.quantile(near, 0.9), 3.0, 1.0))


def _vocabulary(pool: Pool, people: NDArray[np.str_], rng: Rng) -> Window:
    """In a quarter of the rows a third of the words are new ones."""
    made = pool.window(people, rng)
    assert made.texts is not None
    profile, unknown = made.texts.profile.copy(), made.texts.unknown.copy()
    new = np.zeros(profile.shape[1], dtype=np.float32)
    new[rng.choice(len(new), 5, replace=False)] = 0.2
    hit = rng.random(len(profile)) < 0.25
    profile[hit] = 0.67 * profile[hit] + 0.33 * new
    unknown[hit] = 0.67 * unknown[hit] + 0.33
    return replace(made, texts=replace(made.texts, profile=profile, unknown=unknown))


def _lower(pool: Pool, people: NDArray[np.str_], rng: Rng) -> Window:
    """Valence is read .08 lower, as a broken model would; so are the intervals."""
    made = pool.window(people, rng)
    moved = {name: {**getattr(made, name), "valence": getattr(made, name)["valence"] - 0.08}
             for name in ("values", "low", "high")}  # fmt: skip
    return replace(made, **moved)


def _silent(pool: Pool, people: NDArray[np.str_], rng: Rng) -> Window:
    """The expressed emotion abstains on every fifth row more."""
    made = pool.window(people, rng)
    cores = np.where(rng.random(len(made.person)) < 0.2, "", made.cores["expressed"])
    return replace(made, cores={**made.cores, "expressed": cores})


def _risky(pool: Pool, people: NDArray[np.str_], rng: Rng) -> Window:
    """Every eighth row more is called high-risk."""
    made = pool.window(people, rng)
    return replace(made, level=np.where(rng.random(len(made.person)) < 0.125, "high", made.level))


def _noisy(pool: Pool, people: NDArray[np.str_], rng: Rng) -> Window:
    """Self-reports of arousal are missed by half as much again."""
    made = pool.window(people, rng)
    told = made.reported["arousal"]
    return replace(
        made,
        reported={**made.reported, "arousal": made.values["arousal"] + 1.6 * (told - made.values["arousal"])},
    )


def _biased(pool: Pool, people: NDArray[np.str_], rng: Rng) -> Window:
    """In Hinglish alone, valence is read .15 too high against what people report."""
    made = pool.window(people, rng)
    told = np.where(made.language == "hi-Latn", made.reported["valence"] - 0.15, made.reported["valence"])
    return replace(made, reported={**made.reported, "valence": told})


PLANTED: Mapping[str, tuple[Plant, tuple[str, ...]]] = {
    "language mix": (_language, ("language",)),
    "longer texts": (_drawn(lambda pool: np.where(pool.texts.words > np.median(pool.texts.words), 4.0, 1.0)),
                     ("length",)),
    "new vocabulary": (_vocabulary, ("vocabulary", "unknown words")),
    "other topics": (_drawn(_topics), ("embedding", "topics")),
    "one topic more often": (_topic, ("embedding", "topics")),
    "valence lower": (_lower, ("valence", "valence bias")),
    "abstains more": (_silent, ("expressed", "expressed abstains")),
    "more high risk": (_risky, ("risk level",)),
    "arousal less exact": (_noisy, ("arousal error", "arousal coverage")),
    "valence biased in Hinglish": (_biased, ("valence error", "valence bias", "valence coverage")),
}  # fmt: skip
"""Name -> what is planted in the current window, and the measures that should notice."""


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.drift", description=__doc__)
    parser.add_argument("--checks", type=int, default=100, help="pairs of windows without drift")
    parser.add_argument("--planted", type=int, default=20, help="pairs of windows for each planted change")
    parser.add_argument("--people", type=int, default=160, help="in each window")
    options = parser.parse_args()
    pool = Pool.make(2 * options.people, TrainerSettings())
    print(
        f"{len(pool.person)} texts; windows of {options.people} people, {ROWS} rows each on average",
        flush=True,
    )
    false = [alarms(pool, _same, seed, options.people) for seed in range(options.checks)]
    wrong = sum(bool(found) for found in false)
    print(f"no drift: {wrong} of {options.checks} checks raised an alarm (level {LEVEL:.0%})", flush=True)
    for name, (plant, expected) in PLANTED.items():
        noticed = [alarms(pool, plant, 10_000 + seed, options.people) for seed in range(options.planted)]
        hits = sum(any(one.measure in expected for one in found) for found in noticed)
        loud = sum(bool(found) for found in noticed)
        told = f"{hits} of {options.planted} noticed by {', '.join(expected)}"
        print(f"{name:<28}{told}; alarm of any kind: {loud}", flush=True)


def alarms(pool: Pool, plant: Plant, seed: int, count: int) -> list[Finding]:
    """The alarms of a check on a pair of windows, the current one drawn by `plant`."""
    rng = np.random.default_rng(seed)
    people = rng.permutation(np.unique(pool.person))
    kept = int(count * KEPT)
    first, second = people[:count], people[count - kept : 2 * count - kept]
    found = compare(
        pool.window(first, rng), plant(pool, rng.permutation(second), rng), kinds=KINDS, seed=seed
    )
    return [one for one in found if one.alarm]


if __name__ == "__main__":
    run(main)
