"""Which labelled rows a bundle may be judged on: those that no fitted part of it has seen."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainer.data.labelled import Labelled
from trainer.errors import TrainerError
from trainer.splits import record
from worker.bundle.manifest import Manifest


@dataclass(frozen=True, kw_only=True)
class Membership:
    """`unseen` [n]; `known` False where the bundle has no record of its split, so that every row is judged
    and nothing is promised. `left_out` and `doubtful` count rows by source."""

    known: bool
    unseen: NDArray[np.bool_]
    left_out: dict[str, int]
    doubtful: dict[str, int]
    certificate: dict[str, Any]

    @property
    def remark(self) -> str:
        if self.known:
            count = sum(self.left_out.values())
            return f"{count:,} of {len(self.unseen):,} rows left out: seen by the bundle, or near it"
        if not self.doubtful:
            return f"the bundle has no {record.NAME}, but was trained on none of these sources"
        return (
            f"membership is unknown: the bundle has no {record.NAME}. It was trained on "
            f"{', '.join(self.doubtful)}, so it may have seen these rows, and figures on them "
            "may be too good"
        )

    def to_json(self) -> dict[str, Any]:
        return {
            "known": self.known,
            "rows": len(self.unseen),
            "judged": int(self.unseen.sum()),
            "left_out": self.left_out,
            "doubtful": self.doubtful,
            "remark": self.remark,
            "certificate": self.certificate,
        }


def examine(bundle: Path, facts: Manifest, rows: Sequence[Labelled]) -> Membership:
    """Ask the bundle's own record. Raises `TrainerError` for a broken record, or when no row is left."""
    path = bundle / record.NAME
    known = path.is_file()
    unseen = record.read(path).unseen(rows) if known else np.ones(len(rows), dtype=bool)
    if not unseen.any():
        raise TrainerError(
            "nothing to judge: the bundle has seen the person, the text or a near-duplicate of every row"
            if rows
            else "nothing to judge: the files hold no rows"
        )
    trained = {source.name for source in facts.data}
    sources = [row.source for row in rows]
    return Membership(
        known=known,
        unseen=unseen,
        left_out=_count(sources, ~unseen),
        doubtful={} if known else _count(sources, np.array([name in trained for name in sources])),
        certificate=dict(facts.leakage),
    )


def _count(sources: Sequence[str], chosen: NDArray[np.bool_]) -> dict[str, int]:
    return dict(sorted(Counter(name for name, one in zip(sources, chosen, strict=True) if one).items()))
