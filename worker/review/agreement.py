"""How far two blind readers agree: raw agreement, and Cohen's kappa, which takes off what chance alone would
give.

J. Cohen (1960), A coefficient of agreement for nominal scales.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

Said = tuple[str, str]
"""A reviewer and their decision."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Agreement:
    """Of `texts` read by two. `kappa` is None where chance alone would agree always (one decision only)."""

    texts: int
    raw: float
    kappa: float | None


def agreement(pairs: Sequence[tuple[str, str]]) -> Agreement | None:
    """Of the decisions of a first and a second reader, text by text; None without a text."""
    if not pairs:
        return None
    n = len(pairs)
    observed = sum(one == other for one, other in pairs) / n
    first, second = Counter(one for one, _ in pairs), Counter(other for _, other in pairs)
    chance = sum(first[decision] * second[decision] for decision in first) / n**2
    kappa = (observed - chance) / (1 - chance) if chance < 1 else None
    return Agreement(texts=n, raw=observed, kappa=kappa)


def by_pair(pairs: Sequence[tuple[Said, Said]]) -> dict[tuple[str, str], Agreement]:
    """Of each two reviewers, by their names; each pair's own marginals are what chance is taken from."""
    found: defaultdict[tuple[str, str], list[tuple[str, str]]] = defaultdict(list)
    for (one, said), (other, also) in pairs:
        found[one, other].append((said, also))
    return {names: known for names, said in sorted(found.items()) if (known := agreement(said)) is not None}


def overall(pairs: Sequence[tuple[Said, Said]]) -> Agreement | None:
    """Of all together. Who comes first in a pair of changing readers means nothing, so each counts both ways:
    both readers then have the same marginals."""
    said = [(one, other) for (_, one), (_, other) in pairs]
    both = agreement([*said, *((other, one) for one, other in said)])
    return Agreement(texts=len(said), raw=both.raw, kappa=both.kappa) if both is not None else None
