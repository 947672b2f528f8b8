"""What a change of settings gains, from costs measured in pairs on a noisy machine.

Order statistics of the pairs' ratios: the noise may have any shape, and one pair that something else on the
machine disturbed moves the interval by one place.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

MARGIN = 0.01
"""A change must gain this much more than its noise: settings that differ by less are not worth a line."""
PAIRS_LEAST = 6
"""Of fewer pairs not even all on one side are rare enough (2 in 2**6 by chance, 2 in 2**5 are above 5 %)."""


@dataclass(frozen=True, kw_only=True)
class Gain:
    """How many times cheaper the challenger is: the median of paired ratios with its 95 % interval (order
    statistics: no assumption on the noise), and the median costs."""

    ratio: float
    low: float
    high: float
    pairs: int
    before: float
    after: float

    @property
    def proven(self) -> bool:
        return self.low > 1 + MARGIN

    @property
    def worse(self) -> bool:
        return self.high < 1 - MARGIN


def gain_of(before: Sequence[float], after: Sequence[float]) -> Gain:
    """The gain from costs measured in pairs; with fewer than `PAIRS_LEAST` the interval is unbounded."""
    ratios = sorted(one / other for one, other in zip(before, after, strict=True))
    pairs = len(ratios)
    if not pairs:
        return Gain(ratio=math.nan, low=0.0, high=math.inf, pairs=0, before=math.nan, after=math.nan)
    low, high = 0.0, math.inf
    if pairs >= PAIRS_LEAST:
        rank = _rank(pairs)
        low, high = ratios[rank], ratios[-1 - rank]
    return Gain(
        ratio=median(ratios), low=low, high=high, pairs=pairs, before=median(before), after=median(after)
    )


def _rank(pairs: int) -> int:
    """From which sorted value (from 0) to its mirror image the 95 % interval of the median reaches."""
    below, rank = 0.0, -1
    while (below := below + math.comb(pairs, rank + 1) / 2**pairs) <= 0.025:
        rank += 1
    return rank
