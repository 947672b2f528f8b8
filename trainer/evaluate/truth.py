"""What is known of the judged rows, in arrays beside the table of what was predicted."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from trainer.data.labelled import Labelled
from trainer.data.mappings import load
from trainer.evaluate.metrics import Paths
from trainer.features.targets import classes
from worker.events.variables import FLAGS, LEVELS

Floats = NDArray[np.float64]

VALUES = ("valence", "arousal", "willingness", "congruence")
"""Variables with a label of their own, in their own unit."""
KINDS = ("valence", "arousal")
KIN = ("distress", "polarity", "emotional_disclosure", "informational_disclosure")
"""Labels akin to a variable; `disclosure` is either of the last two."""
EMOTIONS = ("expressed", "invoked")
NATIVE = {"isear": "invoked", "masac": "expressed", "goemotions": "expressed"}
"""Corpora whose own emotion words have a mapping, and the variable they are labels of."""
OTHER_SCALE = ("emobank", "vreg")
"""Sources whose valence and arousal are raters' means on a scale of their own: judged by correlation only,
and left out of figures that mix sources."""
PSEUDO, MIDDLE = 2.0, 0.5
"""Earlier means are shrunken by two pseudo-reports of the middle, as the temporal features are."""


@dataclass(frozen=True, kw_only=True)
class Truth:
    """`values` [n] 0-1 by `VALUES`, `KIN` and `disclosure`, NaN where unlabelled; `mass` [n, 7] (cores, then
    none) by emotion, rows of zeros where unlabelled; `paths` [n] by emotion; `risk` [n, 8], NaN where
    unlabelled; `category` [n]; `reports` [n, 2] self-reported valence and arousal."""

    source: NDArray[np.str_]
    values: dict[str, Floats]
    mass: dict[str, Floats]
    paths: dict[str, list[Paths]]
    risk: Floats
    level: NDArray[np.object_]
    category: NDArray[np.str_]
    reports: Floats

    @classmethod
    def of(cls, rows: Sequence[Labelled]) -> Truth:
        values = {
            name: np.array([_number(row.labels.get(name)) for row in rows], dtype=np.float64)
            for name in (*VALUES, *KIN)
        }
        values["disclosure"] = np.maximum(values["emotional_disclosure"], values["informational_disclosure"])
        reports = [row.reflection.self_report for row in rows]
        return cls(
            source=np.array([row.source for row in rows], dtype=np.str_),
            values=values,
            mass={
                name: np.array([classes(row.labels.get(name), none=True) for row in rows]).reshape(-1, 7)
                for name in EMOTIONS
            },
            paths={name: [row.labels.get(name) or [] for row in rows] for name in EMOTIONS},
            risk=np.array([[_risk(row, flag) for flag in FLAGS] for row in rows]).reshape(-1, len(FLAGS)),
            level=np.array([_level(row) for row in rows], dtype=object),
            category=np.array([_category(row) for row in rows], dtype=np.str_),
            reports=np.array(
                [[np.nan, np.nan] if r is None else [_number(r.valence), _number(r.arousal)] for r in reports]
            ).reshape(-1, 2),
        )


@dataclass(frozen=True, kw_only=True)
class Earlier:
    """Of each row's person, strictly before the row: `mean` (shrunken), `last` and `count` of the finite
    values, [n, k] each; `last` is NaN where there is none."""

    mean: Floats
    last: Floats
    count: Floats


def earlier(rows: Sequence[Labelled], values: Floats) -> Earlier:
    """What the earlier `values` [n, k] of the same person say; ties in time see neither."""
    mean, last = np.full_like(values, MIDDLE), np.full_like(values, np.nan)
    count = np.zeros_like(values)
    people: defaultdict[str, list[int]] = defaultdict(list)
    for at in sorted(
        range(len(rows)), key=lambda at: (rows[at].reflection.created_at, rows[at].reflection.id)
    ):
        people[rows[at].reflection.user_id].append(at)
    for own in people.values():
        times = np.array([rows[at].reflection.created_at.timestamp() for at in own])
        before = np.searchsorted(times, times, side="left")
        known = np.isfinite(values[own])
        total = np.cumsum(np.vstack([np.zeros(values.shape[1]), np.where(known, values[own], 0.0)]), axis=0)
        some = np.cumsum(np.vstack([np.zeros(values.shape[1]), known]), axis=0)
        latest = np.maximum.accumulate(np.where(known, np.arange(len(own))[:, None], -1), axis=0)
        latest = np.vstack([np.full(values.shape[1], -1), latest])[before]
        count[own] = some[before]
        mean[own] = (total[before] + PSEUDO * MIDDLE) / (some[before] + PSEUDO)
        chosen = np.take_along_axis(values[own], np.maximum(latest, 0), axis=0)
        last[own] = np.where(latest >= 0, chosen, np.nan)
    return Earlier(mean=mean, last=last, count=count)


def native(
    name: str, rows: Sequence[Labelled], paths: Sequence[tuple[str, ...]]
) -> tuple[list[str], NDArray[np.int64], NDArray[np.int64]]:
    """A corpus' own emotion words as far as the taxonomy tells them apart: the groups of words that one path
    stands for, each row's true group and the predicted one (of the longest mapped prefix; -1: none)."""
    mapping = load(name)
    groups: dict[tuple[str, ...] | None, list[str]] = {}
    for word, path in mapping.items():
        groups.setdefault(path, []).append(word)
    named = [path for path in groups if path is not None]
    index = {path: at for at, path in enumerate(named)}
    truth = [row.labels[name] if isinstance(row.labels[name], str) else None for row in rows]
    known = [-1 if word is None else index.get(mapping[word] or (), -1) for word in truth]
    found = [
        next((index[path[:depth]] for depth in range(len(path), 0, -1) if path[:depth] in index), -1)
        for path in paths
    ]
    words = [" or ".join(groups[path]) for path in named]
    return words, np.array(known, dtype=np.int64), np.array(found, dtype=np.int64)


def _number(value: float | None) -> float:
    return float("nan") if value is None else float(value)


def _risk(row: Labelled, flag: str) -> float:
    return _number(row.labels.get("risk", {}).get(flag))


def _level(row: Labelled) -> str | None:
    level = row.labels.get("risk_level")
    return level if level in LEVELS else None


def _category(row: Labelled) -> str:
    """The synthetic case (its cluster's first part), else the flag raised highest, `no risk` where all that
    was asked for is absent."""
    if row.source == "synthetic" and row.cluster:
        return f"synthetic {row.cluster.split('/')[0].replace('_', ' ')}"
    risk: dict[str, ArrayLike] = row.labels.get("risk", {})
    if not risk:
        return "not labelled"
    flag, score = max(risk.items(), key=lambda pair: float(np.asarray(pair[1])))
    return flag.replace("_", " ") if float(np.asarray(score)) > 0.5 else "no risk"
