"""Where the project's own labelled events come from: synthetic people, deterministic by seed.

They stand in for what no public corpus that may ship has: what was felt inside, congruence, graded
willingness, the risk categories, Hinglish journals. Reports call figures on them `synthetic`. Read
`people` first; `person`, `mood`, `expression`, `hand` are its steps, the words lie in `grammar/`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from trainer.data.synthetic import population

PEOPLE = 800
SEED = 7


def people(seed: int, count: int) -> Iterator[dict[str, Any]]:
    """Labelled events of `count` people, person by person in order of time; equal seeds give equal events.

    Each is the wire event plus `labels`, `source` ("synthetic") and `cluster` (`category/language/...`,
    one per template).
    """
    return population.people(seed, count)


def write(out: Path, people: int = PEOPLE, seed: int = SEED) -> int:
    """Write the events of `people` people to `out` as JSON lines and return how many there are."""
    lines = [json.dumps(event, ensure_ascii=False) for event in population.people(seed, people)]
    out.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return len(lines)
