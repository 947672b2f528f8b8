"""Labelled rows laid into their timelines: what stage B is fitted on, and what its settings are searched on.

Every timeline twice, with the person's self-reports and without, so that both are learned.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trainer.features.targets import Targets
from worker.events.reflection import Reflection
from worker.events.timeline import Moment, Timeline, timelines
from worker.features import personal, sequence, temporal
from worker.features.schema import HISTORY
from worker.features.sequence import Sequences
from worker.place import NET

Floats = NDArray[np.float64]
Rows = NDArray[np.bool_]

CHUNK = 2048
"""Timelines padded at once: 64 moments each take memory."""
HARDLY = 1e-3
"""Weight that keeps a fit defined where nobody reported, and tells it next to nothing where somebody did."""
REPORTS = [HISTORY.index(f"self_{kind}") for kind in ("valence", "arousal")]


@dataclass(frozen=True, kw_only=True)
class Laid:
    """`row` [m] numbers the labelled row, `numbers` [m, len(TEMPORAL)] is its past, `own` [m, .] what the
    personal reading sees, `steps` what the temporal net does; `known` [m]: there is a past, `diary` [m]: the
    person wrote more than once. `target[name]` and `weight[name]` are [m], `dampened` [m] what the number of
    the person's rows has done to the weight."""

    row: NDArray[np.intp]
    numbers: Floats
    own: Floats
    steps: Sequences
    known: Rows
    diary: Rows
    fold: NDArray[np.int64]
    target: dict[str, Floats]
    weight: dict[str, Floats]
    dampened: Floats

    def in_diary(self, name: str) -> Floats:
        """Weights [m] of the forecast: a first and only text has none."""
        return self.weight[name] * self.diary

    @property
    def readable(self) -> Rows:
        """Rows [m] with an earlier self-report."""
        return personal.readable(self.numbers)

    def evenly(self, name: str) -> Floats:
        """Weights [m] of the personal reading: how to read a person is learned from long histories, where
        every moment counts alike; without an earlier self-report it is not used, and hardly learned from."""
        heard = np.where(self.readable, 1.0, HARDLY)
        return np.asarray(self.weight[name] * self.known * heard / self.dampened)

    def beside_texts(self, name: str) -> Floats:
        """Weights [m] of a value's gate and calibrator: where there is a past every moment counts alike, as
        for the reading of the person, which is what they weigh against the bases of the text."""
        return np.where(self.known, self.weight[name] / self.dampened, self.weight[name])

    def lessons(self) -> tuple[Floats, Floats, Rows]:
        """What the temporal nets learn: targets [m, len(NET)] (NaN: unlabelled) with their weights, and the
        rows [m] that teach any."""
        mass = np.stack([self.in_diary(name) for name in NET], axis=1)
        goal = np.where(mass > 0, np.stack([self.target[name] for name in NET], axis=1), np.nan)
        return goal, mass, self.known & (mass > 0).any(axis=1)


def lay(
    reflections: Sequence[Reflection],
    static: Floats,
    history: Floats,
    targets: Targets,
    fold: NDArray[np.int64],
) -> Laid:
    """Lay every row that has a label of valence, arousal or congruence; `static` [n, len(STATIC)] and
    `history` [n, len(HISTORY)] are cross-fitted."""
    rows = np.flatnonzero(np.any([np.isfinite(targets.values[name]) for name in NET], axis=0))
    row = np.concatenate([rows, rows])
    people = [reflection.user_id for reflection in reflections]
    moments = [
        Moment(id=one.id, created_at=one.created_at, history=own)
        for one, own in zip(reflections, history, strict=True)
    ]
    numbers, steps = _extract(timelines(people, moments, len(HISTORY), rows.tolist()), static[rows])
    written = Counter(people)
    return Laid(
        row=row,
        numbers=numbers,
        own=personal.extract(numbers, history[row]),
        steps=steps,
        known=steps.mask[:, -1] > 0,
        diary=np.array([written[people[number]] > 1 for number in row]),
        fold=fold[row],
        target={name: targets.values[name][row] for name in NET},
        weight={name: targets.weight[name][row] for name in NET},
        dampened=targets.dampened[row],
    )


def _extract(timelines: Sequence[Timeline], static: Floats) -> tuple[Floats, Sequences]:
    """TEMPORAL features and sequences of both copies, [2 n, .]: with the self-reports, then without."""
    numbers: tuple[list[Floats], list[Floats]] = ([], [])
    steps: tuple[list[Sequences], list[Sequences]] = ([], [])
    for start in range(0, len(timelines), CHUNK):
        past, ages = temporal.pad(timelines[start : start + CHUNK])
        now = static[start : start + CHUNK]
        for copy in (0, 1):
            if copy:
                past[:, :, REPORTS] = np.nan
            numbers[copy].append(temporal.extract(past, ages, now))
            steps[copy].append(sequence.extract(past, ages, now))
    parts = [*steps[0], *steps[1]]
    joined = Sequences(
        steps=np.concatenate([part.steps for part in parts]),
        mask=np.concatenate([part.mask for part in parts]),
        now=np.concatenate([part.now for part in parts]),
    )
    return np.concatenate([*numbers[0], *numbers[1]]), joined
