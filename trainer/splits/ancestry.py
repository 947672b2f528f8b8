"""Holds the ledger of a fit against the people and texts of its split: what was trained on what, level by
level."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from trainer.splits.check import Check
from trainer.splits.ledger import LEVELS, Entry, Ledger
from trainer.splits.record import Record, codes

Bools = NDArray[np.bool_]


def ancestry(record: Record, ledger: Ledger | None) -> list[Check]:
    """The checks of the ledger: no model predicted a row whose self, person or text it was trained on; none
    was trained on rows that nobody may learn from; gates and calibrators were fitted on values of models that
    had not been trained on their rows."""
    names = (
        "base predictions in fold",
        "gate predictions in fold",
        "calibrator predictions in fold",
        "trained on rows that are not to be learned from",
        "bases fitted on in-fold values",
        "gates fitted on in-fold values",
        "calibrators fitted on in-fold values",
    )
    if ledger is None:
        return [Check(name=name, looked=None, note="no lineage") for name in names]
    akin = _Akin(record)
    leaking = {id(one): akin.predicted_in_fold(one) for one in ledger.entries}
    checks = []
    for level, name in zip(LEVELS, names[:3], strict=True):
        mine = [one for one in ledger.entries if one.level == level]
        checks.append(
            Check(
                name=name,
                looked=sum(int(one.predicted.sum()) for one in mine),
                violations=sum(int(leaking[id(one)].sum()) for one in mine),
                note=_models(mine),
            )
        )
    forbidden = ~record.learned
    checks.append(
        Check(
            name=names[3],
            looked=sum(int(one.trained.sum()) for one in ledger.entries),
            violations=sum(int((one.trained & forbidden).sum()) for one in ledger.entries),
            note=_models(ledger.entries),
        )
    )
    for level, name in zip(LEVELS, names[4:], strict=True):
        # A base reads the text itself, unless it names what it was fitted on.
        mine = [one for one in ledger.entries if one.level == level and (one.inputs or level != LEVELS[0])]
        checks.append(
            Check(
                name=name,
                looked=sum(int(one.trained.sum()) for one in mine),
                violations=sum(int(_fed_in_fold(one, ledger, leaking).sum()) for one in mine),
                note=_models(mine),
            )
        )
    return checks


class _Akin:
    """Which rows share a person or a text with those a model was trained on."""

    def __init__(self, record: Record) -> None:
        self._labels = [codes(record.user), codes(record.text), record.cluster]

    def predicted_in_fold(self, entry: Entry) -> Bools:
        """The rows [n] the model predicted and had learned from, by themselves, their person or a copy."""
        met = np.zeros(len(entry.trained), dtype=bool)
        if entry.predicted.any():
            for labels in self._labels:
                seen = np.zeros(int(labels.max(initial=-1)) + 2, dtype=bool)
                seen[labels[entry.trained & (labels >= 0)]] = True
                met |= seen[labels]
        return entry.predicted & met


def _fed_in_fold(entry: Entry, ledger: Ledger, leaking: dict[int, Bools]) -> Bools:
    """Rows [n] the model was fitted on whose inputs came from models trained on them, or from none on
    record."""
    below = ledger.below(entry)
    clean = np.ones(len(entry.trained), dtype=bool)
    for key in entry.inputs or ("",):
        mine = [one for one in below if not key or one.key == key]
        predicted = np.zeros_like(clean)
        for one in mine:
            predicted |= one.predicted
        clean &= predicted
    for one in below:
        clean &= ~leaking[id(one)]
    return entry.trained & ~clean


def _models(entries: Sequence[Entry]) -> str:
    return f"{len(entries)} models"
