"""Labelled rows beside everything that was predicted of them by what never saw them: what the figures of a
rebuild are counted on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainer.calibrate import thresholds
from trainer.data.labelled import Labelled
from trainer.evaluate import decisions
from trainer.evaluate.decisions import Named
from trainer.features.targets import Targets
from trainer.oof.appraisal import Appraised
from trainer.oof.crossfit import Columns
from trainer.oof.decision import EMOTIONS, Decided
from trainer.oof.placement import Placed
from worker.events.variables import FLAGS
from worker.models.hierarchy import softmax

Floats = NDArray[np.float64]
Rows = NDArray[np.bool_]
Figures = dict[str, float]


@dataclass(frozen=True, kw_only=True)
class Predicted:
    """Labels and cross-fitted predictions of the same rows; `named` by expressed and invoked; `fold` [n] is
    what thresholds are chosen across."""

    rows: Sequence[Labelled]
    targets: Targets
    columns: Mapping[str, Columns]
    appraised: Appraised
    placed: Placed
    decided: Decided
    named: Mapping[str, Named]
    person: NDArray[np.str_]
    fold: NDArray[np.int64]

    @classmethod
    def of(
        cls, rows: Sequence[Labelled], targets: Targets, columns: Mapping[str, Columns],
        appraised: Appraised, placed: Placed, decided: Decided,
    ) -> Predicted:  # fmt: skip
        person = np.array([row.reflection.user_id for row in rows])
        fold = decisions.deal(person.tolist())
        named = {}
        for name in EMOTIONS:
            logits = columns[f"{name}.nuance"]["mean"]
            named[name] = decisions.emotions(
                appraised.stacks[name].after,
                getattr(targets, name),
                targets.weight[name] > 0,
                softmax(logits / decided.nuance_temperature[name]),
                targets.nuances[name],
                fold,
            )
        return cls(
            rows=rows, targets=targets, columns=columns, appraised=appraised, placed=placed, decided=decided,
            named=named, person=person, fold=fold,
        )  # fmt: skip

    def label(self, name: str, here: Rows) -> list[Any]:
        """The corpus' own label, as imported: no plan has stretched it."""
        return [self.rows[at].labels.get(name) for at in np.flatnonzero(here).tolist()]

    def dev(self, here: Rows) -> Rows:
        """The authors' development part of the rows."""
        split = np.array([row.labels.get("split") == "dev" for row in self.rows], dtype=bool)
        return np.asarray(here & split)

    def text(self, kind: str, here: Rows) -> Floats:
        """What one text alone tells."""
        found: Floats = self.appraised.stacks[f"text_{kind}"].after[here]
        return found

    def flag(self, name: str, here: Rows) -> tuple[Rows, Floats]:
        """Truth and score of the labelled rows."""
        at = FLAGS.index(name)
        known = here & np.isfinite(self.targets.risk[:, at])
        return self.targets.risk[known, at] > 0.5, self.decided.risk[known, at]

    def core_f1(self, name: str, here: Rows) -> float:
        labelled = here & getattr(self.targets, name).any(axis=1)
        return thresholds.core_f1(getattr(self.targets, name)[labelled], self.named[name].core[labelled])
