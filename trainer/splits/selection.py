"""Which labelled rows a plan takes: licences first, then the caps, whole people at a time."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from trainer.data.labelled import Labelled
from trainer.data.licences import may_ship
from trainer.errors import TrainerError
from trainer.plan import Plan


def select(rows: Sequence[Labelled], plan: Plan) -> list[Labelled]:
    """Rows in their given order. Raises `TrainerError` where the plan is to ship and a source may not, or
    nothing is left."""
    wanted = [row for row in rows if plan.source(row.source).weight > 0]
    barred = sorted({row.source for row in wanted if not may_ship([row.source])})
    if plan.ship and barred:
        raise TrainerError(
            f"plan {plan.name} makes a bundle that may be shipped, and these sources may not be: "
            f"{', '.join(barred)}. Leave them out, or set ship = false"
        )
    people: defaultdict[str, defaultdict[str, int]] = defaultdict(lambda: defaultdict(int))
    for row in wanted:
        people[row.source][row.reflection.user_id] += 1
    taken: set[tuple[str, str]] = set()
    for source, sizes in sorted(people.items()):
        cap = plan.source(source).cap
        if cap is None or sum(sizes.values()) <= cap:
            taken |= {(source, person) for person in sizes}
            continue
        left = cap
        for person in np.random.default_rng(plan.seed).permutation(sorted(sizes)).tolist():
            if sizes[person] <= left:
                taken.add((source, person))
                left -= sizes[person]
    chosen = [row for row in wanted if (row.source, row.reflection.user_id) in taken]
    if not chosen:
        raise TrainerError("no labelled rows are left to train on")
    return chosen
