"""Is a source's label what it claims to be? Asked of the selected rows and their features before anything is
fitted.

A file may keep its contract and be wrong all the same: another scale, a constant column, texts that belong
to other rows. The limits were set on the thirteen public corpora and the synthetic people: the weakest honest
label (emotions in sitcom dialogue) is read with r .17 from 1,000 rows, shuffled ones with 0 +- 1 / sqrt(n).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trainer.data import probe
from trainer.data.labelled import PATHS, Labelled
from trainer.errors import ImplausibleData
from trainer.features.targets import CLASSES, classes
from worker.events.variables import FLAGS
from worker.features.lexical import LEXICAL

Floats = NDArray[np.float64]

VALUES = ("valence", "arousal", "willingness", "congruence")
RATED = ("distress", "polarity", "stress")
"""Corpora's own values: no scale of ours to compare them with, but they too must be about their texts."""
FEWEST = 100
"""Rows of a label from which its distribution is judged."""
PROBED = 300
"""Rows (for yes or no, a sixth of it of either kind) from which its relation to the text is judged."""
ALIKE = 0.1
"""Least share of distinct texts."""
SLIVER = 0.1
"""Least width of the middle 98 %; EmoBank's raters, who hardly use the ends, have .32."""
STEPS = 11
"""Most distinct values of a scale with steps."""
AT_AN_END = {True: 0.55, False: 0.3}
"""Most rows on one end of a scale with steps (honest arousal on three has .43), and of one without."""
ONE_SIDE = 0.99
SHORT, FULL = 0.15, 0.05
"""A scale that one end of the values misses by more, and the other by less, was not mapped by its ends."""
WORDS = 0.3
"""Lexical valence (-1..1) beyond which a text is pleasant or unpleasant by its words."""
HEARD = 30
"""Fewest such texts."""
READABLE = 0.15
"""A label that is read with a smaller correlation, two deviations of the permuted labels added, is not
about its texts."""
LARGE = 1_200
SURE = 3.0
"""From so many rows on it must also be so many deviations above the permuted labels."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """What was seen of one source's label: rows, and from `PROBED` rows on the cross-validated correlation
    with what the text tells, that of permuted labels' deviation, and the same within people. `problem` says
    what is wrong and what to do, None when nothing is."""

    source: str
    label: str
    rows: int
    problem: str | None = None
    evidence: probe.Evidence | None = None

    def __str__(self) -> str:
        return f"source {self.source}, {self.label} ({self.rows} rows): {self.problem}"


def check(
    rows: Sequence[Labelled], lexical: Floats, embedding: NDArray[np.floating], *, seed: int = 0
) -> list[Finding]:
    """What was found of every source and label; row i of `lexical` [n, len(LEXICAL)] and of `embedding`
    [n, d] belongs to row i.

    Raises `ImplausibleData` naming every label that cannot be what it claims.
    """
    sources = np.array([row.source for row in rows])
    findings: list[Finding] = []
    for source in sorted(set(sources.tolist())):
        here = np.flatnonzero(sources == source)
        own = [rows[at] for at in here.tolist()]
        distinct = len({row.reflection.text for row in own})
        if len(own) >= FEWEST and distinct < ALIKE * len(own):
            told = f"only {distinct} texts differ: it is a constant column, or a broken export"
            findings.append(Finding(source=source, label="text", rows=len(own), problem=told))
            continue
        features = np.concatenate([lexical[here], embedding[here]], axis=1, dtype=np.float64)
        person = np.unique([row.reflection.user_id for row in own], return_inverse=True)[1]
        for label, columns in _labels(own):
            known = np.isfinite(columns).all(axis=1)
            words = lexical[here][known][:, [LEXICAL.index("valence_mean"), LEXICAL.index("arousal_mean")]]
            findings.append(
                _judge(source, label, columns[known], words, features[known], person[known], seed)
            )
    problems = [str(finding) for finding in findings if finding.problem is not None]
    if problems:
        raise ImplausibleData(problems)
    return findings


def _labels(rows: Sequence[Labelled]) -> Iterator[tuple[str, Floats]]:
    """Name and columns [n, k] of every label that any of the rows has, rows of NaN where it is missing."""
    for name in (*VALUES, *RATED):
        values = [row.labels.get(name, np.nan) for row in rows]
        yield from _present(name, np.array(values, dtype=np.float64)[:, None])
    for name in PATHS:
        yield from _present(name, np.stack([_classes(row.labels.get(name)) for row in rows]))
    for flag in FLAGS:
        values = [row.labels.get("risk", {}).get(flag, np.nan) for row in rows]
        yield from _present(f"risk.{flag}", np.array(values, dtype=np.float64)[:, None])


def _present(name: str, columns: Floats) -> Iterator[tuple[str, Floats]]:
    if np.isfinite(columns).any():
        yield name, columns


def _classes(paths: Sequence[Sequence[str]] | None) -> Floats:
    """Cores and none, NaN without a label."""
    return np.full(len(CLASSES), np.nan) if paths is None else classes(paths, none=True)


def _judge(
    source: str, label: str, columns: Floats, words: Floats,
    features: Floats, person: NDArray[np.intp], seed: int,
) -> Finding:  # fmt: skip
    count = len(columns)
    problem = None
    if count >= FEWEST:
        problem = _constant(label, columns)
        if problem is None and label in VALUES:
            problem = _scale(label, columns[:, 0])
    evidence = None
    kinds = count
    if label.startswith("risk."):
        kinds = int(min(np.count_nonzero(columns > 0.5), np.count_nonzero(columns <= 0.5)))
    if problem is None and count >= PROBED and kinds >= PROBED / 6:
        evidence = probe.read(features, columns, person, seed=seed)
        problem = _unrelated(evidence, count)
    if problem is None and count >= FEWEST and label in ("valence", "arousal"):
        problem = (
            _meaning(columns[:, 0], words[:, 0])
            if label == "valence"
            else _excited(columns[:, 0], words[:, 1])
        )
    return Finding(source=source, label=label, rows=count, problem=problem, evidence=evidence)


def _constant(label: str, columns: Floats) -> str | None:
    if (np.ptp(columns, axis=0) > 1e-9).any():
        return None
    if label.startswith("risk."):  # nobody at risk is a sound set of counter-examples
        return None if columns[0, 0] == 0 else f"every row has {columns[0, 0]:g}: add rows without the flag"
    if label in PATHS:
        return "every row has one and the same class: add the others, or drop the label"
    return f"every row has {columns[0, 0]:g}: a constant column teaches nothing; correct or drop it"


def _scale(label: str, values: Floats) -> str | None:
    """Is this 0-1? Averaged ratings may use the middle only; so what counts are steps that stop short of an
    end, heaps at one, and a reach that is lopsided."""
    low, high = np.quantile(values, [0.01, 0.99])
    if high - low < SLIVER:
        return (
            f"98 % of the values lie between {low:.3f} and {high:.3f}: another scale was divided by too much"
        )
    if problem := _steps(values):
        return problem
    if label in ("willingness", "congruence"):
        return None  # disclosure may be marked yes or no, and mostly no; who masks nothing has congruence 1
    most = AT_AN_END[len(np.unique(values)) <= STEPS]
    for end in (0.0, 1.0):
        share = float(np.mean(values == end))
        if share > most:
            return f"{share:.0%} of the values are exactly {end:g}: another scale was clipped to 0-1"
    if max(np.mean(values <= 0.5), np.mean(values >= 0.5)) > ONE_SIDE:
        return "practically all values lie on one side of .5: the scale is not 0-1 with .5 in the middle"
    low, high = np.quantile(values, [0.005, 0.995])
    if len(values) >= PROBED and max(low, 1 - high) > SHORT and min(low, 1 - high) < FULL:
        return f"the values go from {low:.2f} to {high:.2f}: map the ends of their own scale to 0 and 1"
    return None


def _steps(values: Floats) -> str | None:
    """x / k of a rating 1..k never reaches 0, (x - 1) / k never 1."""
    distinct, counts = np.unique(values.round(6), return_counts=True)
    if not 3 <= len(distinct) <= STEPS or len(values) < PROBED:
        return None
    step = float(np.diff(distinct).min())
    if np.abs(np.diff(distinct) / step - np.round(np.diff(distinct) / step)).max() > 1e-3:
        return None
    ends = {"low": (distinct[0], counts[0]), "high": (1.0 - distinct[-1], counts[-1])}
    for end, other in (("low", "high"), ("high", "low")):
        gap, count = ends[end]
        if abs(gap - step) < 1e-3 and ends[other][0] < 1e-3 and count >= 0.02 * len(values):
            return (
                f"the values are steps of {step:.3g} that stop one short of the {end} end: a rating x of "
                "1..k becomes (x - 1) / (k - 1)"
            )
    return None


def _meaning(values: Floats, words: Floats) -> str | None:
    unpleasant, pleasant = values[words < -WORDS], values[words > WORDS]
    if min(len(unpleasant), len(pleasant)) < HEARD:
        return None
    means = [float(part.mean()) for part in (unpleasant, pleasant)]
    errors = [float(part.std() / np.sqrt(len(part))) for part in (unpleasant, pleasant)]
    seen = f"texts of unpleasant words average {means[0]:.2f}, of pleasant words {means[1]:.2f}"
    if means[0] - means[1] > 2 * math.hypot(*errors):
        return f"{seen}: the scale is reversed, use 1 - x"
    # People in distress rate pleasant words low too, but now and then something high.
    low, high = np.quantile(values, [0.01, 0.99])
    if (means[0] - 2 * errors[0] > 0.5 and low > 0.25) or (means[1] + 2 * errors[1] < 0.5 and high < 0.75):
        return f"{seen}: the scale is shifted, neutral must be .5; map its own ends to 0 and 1"
    return None


def _excited(values: Floats, words: Floats) -> str | None:
    """Arousal has no word that means its middle; but excited words never go with calm writers."""
    heard = words != 0
    if np.count_nonzero(heard) < PROBED or np.ptp(words[heard]) == 0:
        return None
    r = float(np.corrcoef(values[heard], words[heard])[0, 1])
    if r < -0.1 and r < -3 / np.sqrt(np.count_nonzero(heard)):
        return (
            f"the more excited the words, the lower the values (r {r:.2f}): the scale is reversed, use 1 - x"
        )
    return None


def _unrelated(evidence: probe.Evidence, count: int) -> str | None:
    weak = evidence.r + 2 * evidence.deviation < READABLE
    if weak or (count >= LARGE and evidence.r < SURE * evidence.deviation):
        return (
            f"read from the texts with r {evidence.r:.2f}, permuted labels 0 +- {evidence.deviation:.2f}: "
            "texts and labels do not belong together; were they sorted or shuffled apart?"
        )
    if evidence.within is not None and evidence.within + 2 * evidence.within_deviation < READABLE:
        return (
            f"read between people (r {evidence.r:.2f}) and not within them ({evidence.within:.2f} +- "
            f"{evidence.within_deviation:.2f}): were texts shuffled among each person's own rows?"
        )
    return None
