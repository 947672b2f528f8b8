"""Where a corpus' own emotion words enter the taxonomy: one data file per label set, each with its source.

Importers load a mapping by name; a label that maps to None is one on which the models should abstain.
"""

from __future__ import annotations

import json
from pathlib import Path

from worker.events.taxonomy import taxonomy

FOLDER = Path(__file__).parent
NAMES = ("goemotions", "isear", "masac", "ekman")


def load(name: str) -> dict[str, tuple[str, ...] | None]:
    """Foreign label -> path (core, or core and nuance), None where no core is defensible.

    Raises FileNotFoundError for an unknown mapping and ValueError where a path is not of the taxonomy.
    """
    labels = json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))["labels"]
    mapping = {label: None if path is None else tuple(path) for label, path in labels.items()}
    wrong = sorted(
        label for label, path in mapping.items() if path is not None and not taxonomy().is_path(path)
    )
    if wrong:
        raise ValueError(
            f"mapping {name}: {', '.join(wrong)} lead to no node of taxonomy {taxonomy().version}"
        )
    return mapping
