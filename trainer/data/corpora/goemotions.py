"""GoEmotions: Reddit comments with the emotions raters saw in them, so a label of `expressed`, never of
`invoked`.

A comment may carry several of the 27 emotions (or neutral); all are kept, by name and as the paths they map
to.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path

from trainer.data import mappings
from trainer.data.corpora.corpus import Corpus, Draft, Row, Table, paths
from trainer.errors import RowRefused, WrongCorpus

COLUMNS = ("text", "label", "id")


def _names(folder: Path) -> Sequence[str]:
    """The names of the label numbers, from the corpus' own `taxonomy.json`."""
    path = folder / "taxonomy.json"
    try:
        names = json.loads(path.read_text(encoding="utf-8"))["labels"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        expected = 'corpus goemotions expects its taxonomy.json, with the label names under "labels"'
        raise WrongCorpus(f"{path} cannot be read ({type(error).__name__}); {expected}") from error
    unknown = set(names) - set(mappings.load("goemotions"))
    if unknown:
        raise WrongCorpus(f"{path} has labels that are not GoEmotions': {', '.join(sorted(unknown))}")
    return tuple(names)


def _convert(row: Row, names: Sequence[str]) -> Iterable[Draft]:
    try:
        numbers = [int(number) for number in row["label"].split(",")]
    except ValueError:
        raise RowRefused("column 'label' is no list of label numbers") from None
    if not all(0 <= number < len(names) for number in numbers):
        raise RowRefused(f"column 'label' holds a number outside 0..{len(names) - 1}")
    emotions = [names[number] for number in numbers]
    yield Draft(
        id=row["id"],
        text=row["text"],
        labels={
            "goemotions": emotions,
            "expressed": paths("goemotions", emotions),
            "split": row.file.removesuffix(".tsv"),
        },
    )


CORPUS = Corpus(
    name="goemotions",
    tables=tuple(Table(file=f"{split}.tsv", columns=COLUMNS, delimiter="\t") for split in ("train", "dev")),
    prepare=_names,
    convert=_convert,
)
