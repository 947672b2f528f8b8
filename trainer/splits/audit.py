"""Proves or refutes that a split, and what was fitted on it, keeps people, texts and times apart; the
certificate goes into the manifest.

Every check counts what it looked at and what broke it, from the rows and masks themselves: nothing is taken
from what a plan or a manifest says of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainer.data import duplicates
from trainer.splits import embargo, holdout
from trainer.splits.ancestry import ancestry
from trainer.splits.check import Check, refuse
from trainer.splits.embargo import Blocks
from trainer.splits.holdout import EMBARGO, HISTORY, PARTS, TEST, TRAIN, VALIDATION
from trainer.splits.ledger import Ledger
from trainer.splits.record import Record, codes

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]


def examine(
    record: Record, *, ledger: Ledger | None = None, texts: Sequence[str | None] | None = None
) -> list[Check]:
    """All checks of a split: `texts` [n] (None where unknown) are compared anew, `ledger` is held against the
    people and texts of the record."""
    person = codes(record.user)
    checks = [
        Check(
            name="ids twice in the split",
            looked=len(record.id),
            violations=len(record.id) - int(codes(record.id).max(initial=-1)) - 1,
        ),
        _people(record, person),
        _copies("equal texts", record, codes(record.text)),
        _copies("near-duplicate clusters", record, record.cluster),
        _recomputed(record, texts),
        _embargo(record, person),
        Check(
            name="rows learned from that nobody may learn from",
            looked=int(record.learned.sum()),
            violations=int((record.learned & ((record.part > TRAIN) | record.shared)).sum()),
        ),
    ]
    return [*checks, *ancestry(record, ledger)]


def certify(record: Record, starts: dict[str, Blocks]) -> dict[str, Any]:
    """What the manifest says of the split; `starts` are the blocks of the sources cut by time. Raises
    `LeakFound` with the number of violations of each kind when there is one."""
    checks = examine(record)
    refuse(checks)
    return {
        "rows": len(record.part),
        "parts": {name: int((record.part == number).sum()) for number, name in enumerate(PARTS)},
        "folds": np.bincount(record.fold[record.fold >= 0]).tolist(),
        "people": len(np.unique(codes(record.user))),
        "near_duplicate_clusters": len(np.unique(record.cluster[record.cluster >= 0])),
        "never_learned_from": int(((record.part <= TRAIN) & ~record.learned).sum()),
        "embargo": {name: _drops(record, name, block) for name, block in sorted(starts.items())},
        "violations": {check.name: check.violations for check in checks if check.looked is not None},
        "fingerprint": record.fingerprint,
    }


def _drops(record: Record, name: str, block: Blocks) -> dict[str, Any]:
    mine = record.sources == name
    return {
        "days": embargo.DAYS,
        "validation_from": _day(block.validation),
        "test_from": _day(block.test),
        "dropped": int((mine & (record.part == EMBARGO)).sum()),
        "history_only": int((mine & (record.part == HISTORY)).sum()),
    }


def _day(microseconds: int) -> str:
    return datetime.fromtimestamp(microseconds / 1e6, UTC).isoformat(timespec="seconds")


def _people(record: Record, person: Ints) -> Check:
    """A person is in one of train, validation and test, and in one fold; who has history there is held
    out."""
    sides = np.where(record.part <= TEST, record.part, -1)
    older, taught = np.unique(person[record.part == HISTORY]), np.unique(person[record.part == TRAIN])
    parts = np.union1d(_torn(person, sides), np.intersect1d(older, taught))
    return _check("people", person, parts, _torn(person, _folds(record)))


def _copies(what: str, record: Record, labels: Ints) -> Check:
    """A text is in two parts or folds where somebody learned from, or chose on, one of its rows there; what
    nobody learned from cannot leak."""
    chosen_on = (record.part == VALIDATION) & ~record.shared
    sides = np.where(record.part <= TEST, record.part, -1)
    return _check(
        what,
        labels,
        _torn(labels, sides, record.learned | chosen_on),
        _torn(labels, _folds(record), record.learned),
    )


def _recomputed(record: Record, texts: Sequence[str | None] | None) -> Check:
    """As `_copies`, with clusters made anew of the texts."""
    what = "near-duplicates compared anew"
    known = [row for row, text in enumerate(texts or ()) if text is not None]
    if texts is None or not known:
        return Check(name=_across(what), looked=None, note="no texts: give them by --data")
    labels = np.full(len(record.part), -1, dtype=np.int64)
    labels[known] = duplicates.clusters([text for text in texts if text is not None])
    check = _copies(what, record, labels)
    note = f"{len(known)} of {len(labels)} rows' texts"
    return replace(check, note=f"{note}; {check.note}" if check.note else note)


def _embargo(record: Record, person: Ints) -> Check:
    """In every source that is cut by time: rows of a part lie a week before the first row judged after it."""
    gap = embargo.DAYS * embargo.DAY_US
    looked, late, cut = 0, 0, []
    for number, name in enumerate(record.names.tolist()):
        rows = record.source == number
        held = rows & ((record.part == VALIDATION) | (record.part == TEST))
        if not held.any() or not holdout.blocked(person.tolist(), record.group, record.created_at, rows):
            continue
        cut.append(name)
        for part, later in ((TRAIN, VALIDATION), (TRAIN, TEST), (VALIDATION, TEST)):
            judged = rows & (record.part == later)
            before = rows & (record.part == part)
            looked += int(before.sum())
            if judged.any():
                late += int((record.created_at[before] > record.created_at[judged].min() - gap).sum())
    return Check(
        name=f"rows inside the {embargo.DAYS}-day embargo",
        looked=looked,
        violations=late,
        note=f"cut by time: {', '.join(cut) or 'no source'}",
    )


def _check(what: str, labels: Ints, parts: Ints, folds: Ints) -> Check:
    found = [f"{len(torn)} in two {kind}" for torn, kind in ((parts, "parts"), (folds, "folds")) if len(torn)]
    return Check(
        name=_across(what),
        looked=len(np.unique(labels[labels >= 0])),
        violations=len(np.union1d(parts, folds)),
        note=", ".join(found),
    )


def _across(what: str) -> str:
    return f"{what} in two parts or folds"


def _folds(record: Record) -> Ints:
    """The folds of the rows that are cross-fitted, -1 elsewhere."""
    return np.where(record.part <= TRAIN, record.fold, -1)


def _torn(labels: Ints, side: Ints, taught: Bools | None = None) -> Ints:
    """The labels with rows on two sides (negative ones do not count), one of them `taught` [n] (all when
    None)."""
    rows = (labels >= 0) & (side >= 0)
    count = int(labels.max(initial=-1)) + 1
    low, high = np.full(count, np.iinfo(np.int64).max), np.full(count, -1)
    np.minimum.at(low, labels[rows], side[rows])
    np.maximum.at(high, labels[rows], side[rows])
    hot = np.zeros(count, dtype=bool)
    hot[labels[rows if taught is None else rows & taught]] = True
    return np.flatnonzero(hot & (low < high))
