"""What a graph's arithmetic does to the seven variables: the worker's own pipeline, run on vectors that were
computed beforehand, judged by the figures of `feltsense evaluate`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from trainer.data.labelled import Labelled
from trainer.evaluate import figures, judge, references, slices
from trainer.evaluate.bootstrap import Resampling
from trainer.evaluate.figures import Evidence, Figure
from trainer.evaluate.judge import REPORTS, Judged, Progress
from trainer.evaluate.truth import EMOTIONS, Truth, earlier
from worker.bundle.reader import Bundle
from worker.events.perception import Placement, Trace
from worker.events.taxonomy import taxonomy
from worker.events.timeline import Timeline
from worker.features import sequence, temporal, text
from worker.features.assemble import Anchors
from worker.features.sequence import Sequences
from worker.inference.encoder import Encoder
from worker.inference.lanes import Encoded
from worker.inference.temporal_net import TemporalNet
from worker.pipeline import Pipeline, Readings

Floats = NDArray[np.float64]
Embeddings = NDArray[np.float32]

SEED = 7
PLACED = ("valence", "arousal", "congruence", "comparator")


@dataclass(frozen=True, kw_only=True)
class Texts:
    """The token ids of every distinct text of the rows, behind those of the taxonomy's phrases."""

    tokens: Sequence[tuple[int, ...]]
    phrases: int

    @classmethod
    def of(cls, rows: Sequence[Labelled], encoder: Encoder) -> Self:
        phrases = [phrase for _, phrase in taxonomy().anchors()]
        own = [text.read(row.reflection.text, row.reflection.lang).normal for row in rows]
        seen = dict.fromkeys(tuple(ids) for ids in encoder.tokenise(own))
        # A phrase may be somebody's whole text: anchors are the first rows, whatever follows.
        return cls(tokens=[*map(tuple, encoder.tokenise(phrases)), *seen], phrases=len(phrases))


class Replay(Pipeline):
    """The worker's pipeline with `vectors`, row i of which belongs to `texts.tokens[i]`, in the encoder's
    stead; `encoder` only cuts texts into tokens."""

    def __init__(
        self, bundle: Bundle, encoder: Encoder, net: TemporalNet, texts: Texts, vectors: Embeddings
    ) -> None:
        anchors = Anchors.of(vectors[: texts.phrases, : Encoder.width])
        super().__init__(bundle, encoder, net, anchors, taxonomy(), None)
        self._vectors = vectors
        self._rows = {ids: row for row, ids in enumerate(texts.tokens)}
        self.heard: list[Sequences] = []
        """What the temporal nets were given so far."""

    def encode(self, readings: Readings, *, live: bool = False) -> Future[Encoded]:  # noqa: ARG002
        vectors = self._vectors[[self._rows[tuple(ids)] for ids in readings.tokens]]
        done: Future[Encoded] = Future()
        done.set_result(Encoded(vectors=vectors, placed=[self._encoder.placed] * len(vectors)))
        return done

    def place(self, items: Sequence[tuple[Trace, Timeline]]) -> list[Placement]:
        history, ages = temporal.pad([timeline for _, timeline in items])
        self.heard.append(sequence.extract(history, ages, np.stack([trace.static for trace, _ in items])))
        return super().place(items)


@dataclass(frozen=True, kw_only=True)
class Effect:
    """What was perceived of the rows: `variables` by name ([n], emotions [n, 7]), the emotions' `paths`, and
    the `figures` of the whole and of each source."""

    variables: Mapping[str, Floats]
    paths: Mapping[str, Sequence[tuple[str, ...]]]
    figures: Sequence[Figure]


def perceive(pipeline: Pipeline, bundle: Bundle, rows: Sequence[Labelled], tell: Progress) -> Effect:
    """Perceive all rows, each with its person's earlier ones, and count the figures; rows that the bundle has
    learned from count as well, as it is differences that are asked for."""
    judged = judge.judge(pipeline, rows, np.ones(len(rows), dtype=bool), seed=SEED, tell=tell)
    truth = Truth.of(judged.rows)
    evidence = Evidence(
        judged=judged,
        truth=truth,
        before=earlier(judged.rows, truth.reports),
        # Simple references are for verdicts on a bundle: here they are unknown, and none is fitted.
        references={
            "values": {references.AVERAGE: np.full((len(rows), len(figures.TARGETS)), np.nan)},
            "flags": {},
            **{name: {} for name in EMOTIONS},
        },
        people=Resampling(
            [row.reflection.user_id for row in judged.rows], np.random.default_rng(SEED), count=1
        ),
        thresholds=bundle.contents.risk_thresholds,
    )
    parts = [slices.whole(len(rows)), *(part for part in slices.cut(judged, truth) if part.by == "source")]
    return Effect(
        variables=_variables(judged),
        paths={name: judged.appraised[f"{name}.path"].tolist() for name in EMOTIONS},
        figures=[figure for part in parts for figure in figures.measure(evidence, part)],
    )


def _variables(judged: Judged) -> dict[str, Floats]:
    placed = judged.placed[REPORTS]
    return {
        **{name: placed[name] for name in PLACED},
        **{name: judged.appraised[name] for name in ("willingness", *EMOTIONS)},
    }
