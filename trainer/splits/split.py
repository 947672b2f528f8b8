"""A split of labelled rows: who is in which fold, what is never learned from, and a certificate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainer.data.duplicates import clusters
from trainer.data.labelled import Labelled
from trainer.features import targets
from trainer.plan import Plan
from trainer.splits import audit, folds
from worker.events.taxonomy import Taxonomy

BALANCED = ("valence", "arousal")


@dataclass(frozen=True, kw_only=True)
class Split:
    """`fold` [n] numbers from 0; `learned` [n] is False for rows that nothing may be fitted on."""

    fold: NDArray[np.int64]
    learned: NDArray[np.bool_]
    certificate: dict[str, Any]


def make(rows: Sequence[Labelled], plan: Plan, taxonomy: Taxonomy, *, count: int, seed: int) -> Split:
    """`count` folds of whole people and near-duplicate clusters, balanced in size, valence and arousal.

    Raises `TrainerError` should the folds leak.
    """
    people = [row.reflection.user_id for row in rows]
    texts = [row.reflection.text for row in rows]
    copies = clusters(texts).tolist()
    common = folds.shared(people, copies, [plan.source(row.source).unlearn_shared for row in rows])
    joining = [None if alike else copy for copy, alike in zip(copies, common, strict=True)]
    fold = folds.assign(
        folds.groups(people, joining, [row.cluster for row in rows]),
        [row.source for row in rows],
        folds=count,
        seed=seed,
        balance=targets.extract(rows, plan, taxonomy, ~common).deviations(BALANCED),
    )
    certificate = audit.certify(fold, people=people, clusters=copies, texts=texts, learned=~common)
    return Split(fold=fold, learned=~common, certificate=certificate)
