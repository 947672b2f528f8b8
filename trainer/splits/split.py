"""A split of labelled rows: who is in which part and fold, what is never learned from, and the proof."""

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
from trainer.splits import audit, folds, holdout, strata
from trainer.splits import record as records
from trainer.splits.embargo import Blocks
from trainer.splits.holdout import TRAIN
from trainer.splits.ledger import Ledger
from trainer.splits.record import Record
from worker.events.taxonomy import Taxonomy

BALANCED = ("valence", "arousal")


@dataclass(frozen=True, kw_only=True)
class Split:
    """`part` [n] numbers `holdout.PARTS`, `fold` [n] from 0 (held-out rows have one too: models that never
    saw them may predict them); `learned` [n] is False for rows that nothing may be fitted on."""

    part: NDArray[np.int64]
    fold: NDArray[np.int64]
    learned: NDArray[np.bool_]
    certificate: dict[str, Any]
    record: Record

    @property
    def inside(self) -> NDArray[np.bool_]:
        """The rows [n] a bundle is made of: the train part, with the rows that are predicted and never
        learned from."""
        return np.asarray(self.part == TRAIN)

    def ledger(self) -> Ledger:
        """An empty ledger for a fit on the `inside` rows."""
        return Ledger(len(self.part), np.flatnonzero(self.inside))


def make(rows: Sequence[Labelled], plan: Plan, taxonomy: Taxonomy, *, count: int, seed: int) -> Split:
    """Train, validation and test parts where the plan holds any out, and `count` folds: whole people and
    near-duplicate clusters, balanced in size, valence, arousal and the strata of `strata.NAMES`.

    Raises `LeakFound` should the parts or folds leak.
    """
    people = [row.reflection.user_id for row in rows]
    texts = [row.reflection.text for row in rows]
    source = [row.source for row in rows]
    copies = clusters(texts)
    common = folds.shared(people, copies.tolist(), [plan.source(name).unlearn_shared for name in source])
    joining = [None if alike else copy for copy, alike in zip(copies.tolist(), common, strict=True)]
    group = folds.groups(people, joining, [row.cluster for row in rows])
    goals = targets.extract(rows, plan, taxonomy, ~common)
    balance = np.concatenate(
        [goals.deviations(BALANCED), strata.columns(strata.of(rows)) * ~common[:, None]], axis=1
    )
    part, of_group = np.zeros((2, len(rows)), dtype=np.int64)
    blocks: dict[str, Blocks] = {}
    if plan.holdout:
        when = records.times(row.reflection.created_at.timestamp() for row in rows)
        dealt = folds.measures(group, balance)
        part, of_group, blocks = holdout.parts(group, people, source, when, dealt, seed=seed)
    inside = part == of_group
    fold = folds.assign(
        group,
        [f"{name}\t{side}" for name, side in zip(source, of_group.tolist(), strict=True)],
        folds=count,
        seed=seed,
        balance=balance * inside[:, None],
        counted=inside,
    )
    learned = (part == TRAIN) & ~common
    record = records.of(
        rows, part=part, fold=fold, cluster=copies, group=group, shared=common, learned=learned
    )
    return Split(
        part=part,
        fold=fold,
        learned=learned,
        certificate=audit.certify(record, blocks),
        record=record,
    )
