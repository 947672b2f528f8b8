"""The parts of a split: what is learned from, what choices are made on, what is opened once, and what is
left out between them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Sequence

import numpy as np
from numpy.typing import NDArray

from trainer.splits import embargo, folds
from trainer.splits.embargo import Blocks

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

PARTS = ("train", "validation", "test", "history", "embargo")
"""`history`: rows of held-out people from before their block starts, neither learned from nor judged.
`embargo`: dropped."""
TRAIN, VALIDATION, TEST, HISTORY, EMBARGO = range(len(PARTS))
SHARES = (0.70, 0.15, 0.15)

FEWEST_GROUPS = 20
LARGEST_SHARE = 0.1
"""A source is cut by time only where its groups are at least so many and none is larger: coarser ones cannot
be put in order and still give 15 %."""


def parts(
    group: Ints,
    people: Sequence[Hashable],
    source: Sequence[str],
    created_at: Ints,
    dealt: NDArray[np.float64],
    *,
    seed: int,
) -> tuple[Ints, Ints, dict[str, Blocks]]:
    """Every row's part [n] (0-4 in `PARTS`), the part [n] of its group (0-2), and the blocks of the sources
    cut by time.

    A time-blocked source's groups go by their median time, the earliest 70 % of rows to train, the latest
    15 % to test (all to train where the source is shorter than the embargo); those of the others are dealt by
    the seed so that the parts are even in `dealt` (`folds.measures`). `created_at` is microseconds since
    1970.
    """
    names = np.asarray(source)
    whole = np.full(len(dealt), -1, dtype=np.int64)
    owned = folds.by_source(group, source)
    timed = {name for name in owned if blocked(people, group, created_at, names == name)}
    rng = np.random.default_rng(seed)
    rows_of = _rows_of(group)
    blocks: dict[str, Blocks] = {}
    for name, numbers in owned.items():
        if name in timed:
            for number, side in _by_time(numbers, rows_of, created_at, names == name).items():
                whole[number] = side
            times = [created_at[(names == name) & (whole[group] == side)] for side in range(len(SHARES))]
            found = embargo.starts(*times, shares=SHARES)
            if found is None:
                whole[numbers] = TRAIN
            else:
                blocks[name] = found
            continue
        for number, side in folds.portion(numbers, dealt, SHARES, rng).items():
            whole[number] = side
    of_group = whole[group]
    part = of_group.copy()
    for name, block in blocks.items():
        part[names == name] = _embargoed(of_group, created_at, block)[names == name]
    return part, of_group, blocks


def blocked(people: Sequence[Hashable], group: Ints, created_at: Ints, rows: Bools) -> bool:
    """Whether the source with these `rows` [n] is cut by time: most of its rows are of people who wrote on
    several days, and its groups are many and small enough to be put in order."""
    days: defaultdict[Hashable, set[int]] = defaultdict(set)
    mine = np.flatnonzero(rows).tolist()
    for row in mine:
        days[people[row]].add(int(created_at[row]) // embargo.DAY_US)
    dated = sum(len(days[people[row]]) > 1 for row in mine)
    sizes = np.unique(group[rows], return_counts=True)[1]
    return dated > len(mine) / 2 and len(sizes) >= FEWEST_GROUPS and sizes.max() <= LARGEST_SHARE * len(mine)


def _embargoed(of_group: Ints, created_at: Ints, block: Blocks) -> Ints:
    gap = embargo.DAYS * embargo.DAY_US
    validation, test = of_group == VALIDATION, of_group == TEST
    part = of_group.copy()
    part[(of_group == TRAIN) & (created_at > block.validation - gap)] = EMBARGO
    part[validation & (created_at > block.test - gap)] = EMBARGO
    part[validation & (created_at < block.validation)] = HISTORY
    part[test & (created_at < block.test)] = HISTORY
    return part


def _by_time(
    numbers: Sequence[int], rows_of: dict[int, list[int]], created_at: Ints, mine: Bools
) -> dict[int, int]:
    """Group -> part: a group belongs where the middle of its rows falls when all are laid out in order."""
    own = {number: _of(rows_of[number], mine) for number in numbers}
    median = {number: float(np.median(created_at[rows])) for number, rows in own.items()}
    ends = np.cumsum(SHARES)[:-1] * sum(len(rows) for rows in own.values())
    laid, part_of = 0, {}
    for number in sorted(numbers, key=lambda number: (median[number], number)):
        part_of[number] = int(np.searchsorted(ends, laid + len(own[number]) / 2, "right"))
        laid += len(own[number])
    return part_of


def _rows_of(group: Ints) -> dict[int, list[int]]:
    found: defaultdict[int, list[int]] = defaultdict(list)
    for row, number in enumerate(group.tolist()):
        found[number].append(row)
    return found


def _of(rows: Sequence[int], mine: Bools) -> list[int]:
    return [row for row in rows if mine[row]]
