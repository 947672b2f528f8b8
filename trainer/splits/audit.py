"""Proves or refutes that a split keeps people and near-duplicates apart; the certificate goes into the
manifest."""

from __future__ import annotations

import hashlib
from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainer.errors import TrainerError


def certify(
    fold: NDArray[np.int64],
    *,
    people: Sequence[Hashable],
    clusters: Sequence[Hashable | None],
    texts: Sequence[str],
    learned: NDArray[np.bool_] | None = None,
) -> dict[str, Any]:
    """Counts of what was checked; rows that nothing learns from (`learned` False) cannot leak by their
    text. Raises `TrainerError` with the number of violations of each kind when there is one."""
    violations = {
        "people in two folds": _torn(fold, people),
        "near-duplicate clusters in two folds": _torn(fold, _only(clusters, learned)),
        "equal texts in two folds": _torn(
            fold, _only([hashlib.sha256(text.encode()).digest() for text in texts], learned)
        ),
    }
    if any(violations.values()):
        found = ", ".join(f"{count} {kind}" for kind, count in violations.items() if count)
        raise TrainerError(f"the folds leak: {found}")
    return {
        "rows": len(fold),
        "folds": np.bincount(fold).tolist(),
        "people": len(set(people)),
        "near_duplicate_clusters": len({cluster for cluster in clusters if cluster is not None}),
        "never_learned_from": 0 if learned is None else int((~learned).sum()),
        "violations": violations,
        "fingerprint": fingerprint(fold, people),
    }


def fingerprint(fold: NDArray[np.int64], people: Sequence[Hashable]) -> str:
    """SHA-256 over (person, fold) of every row."""
    lines = "\n".join(f"{person}\t{number}" for person, number in zip(people, fold.tolist(), strict=True))
    return hashlib.sha256(lines.encode()).hexdigest()


def _only(labels: Sequence[Hashable | None], learned: NDArray[np.bool_] | None) -> list[Hashable | None]:
    if learned is None:
        return list(labels)
    return [label if used else None for label, used in zip(labels, learned, strict=True)]


def _torn(fold: NDArray[np.int64], labels: Sequence[Hashable | None]) -> int:
    seen: dict[Hashable, int] = {}
    torn = set()
    for number, label in zip(fold.tolist(), labels, strict=True):
        if label is not None and seen.setdefault(label, number) != number:
            torn.add(label)
    return len(torn)
