"""The embargo of a time-blocked source: what was written within a week before the rows that are judged is
dropped.

A held-out block is no stripe of time, since people stay whole: some of its people began long before most of
the others. So a block has a start. Its people are judged on their rows from there on, their older rows are
history only, and rows of the part before that lie later than the start less the embargo are dropped. Train
rows and judged rows are then a week apart whoever wrote them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]

DAY_US = 86_400_000_000
"""Times are microseconds since 1970."""
DAYS = 7
CANDIDATES = 256
"""Most starts tried for a block, at equal ranks of its rows' times."""


@dataclass(frozen=True, kw_only=True)
class Blocks:
    """Where the validation and the test block of a source start, microseconds since 1970."""

    validation: int
    test: int


def starts(
    train: Ints, validation: Ints, test: Ints, *, shares: tuple[float, float, float], days: int = DAYS
) -> Blocks | None:
    """The starts that keep most: of the three parts' times (microseconds, any order) those at which the
    product of the kept shares, each to the power of its part's share, is largest. None where no start leaves
    rows in every part: the source is then too short for time blocks.

    With parts that lie one after another this is the block's first row but for stragglers; with people who
    all write all the time it is the plain cut at 70 and 85 % of the time.
    """
    if not (len(train) and len(validation) and len(test)):
        return None
    gap = days * DAY_US
    train, validation, test = np.sort(train), np.sort(validation), np.sort(test)
    first, last = _candidates(validation), _candidates(test)
    kept_train = np.searchsorted(train, first - gap, "right") / len(train)
    kept_test = 1.0 - np.searchsorted(test, last, "left") / len(test)
    until = np.searchsorted(validation, last - gap, "right")
    since = np.searchsorted(validation, first, "left")
    kept_validation = np.maximum(until[None, :] - since[:, None], 0) / len(validation)
    kept = kept_train[:, None] ** shares[0] * kept_validation ** shares[1] * kept_test[None, :] ** shares[2]
    if not kept.max() > 0:
        return None
    row, column = np.unravel_index(int(kept.argmax()), kept.shape)
    return Blocks(validation=int(first[row]), test=int(last[column]))


def _candidates(times: Ints) -> Ints:
    distinct = np.unique(times)
    ranks = np.unique(np.linspace(0, len(distinct) - 1, CANDIDATES).astype(np.int64))
    return np.asarray(distinct[ranks])
