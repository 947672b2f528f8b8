"""Features of all labelled rows at once, by the worker's own extractors; embeddings come from the cache
where they can."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import vstack

from trainer.features.cache import EmbeddingCache
from trainer.settings import TrainerSettings
from worker.bundle.manifest import digest_of
from worker.events.reflection import Reflection
from worker.events.taxonomy import Taxonomy
from worker.features import lexical, ngrams, text
from worker.features.assemble import Anchors, Features, assemble
from worker.inference import minilm
from worker.inference.encoder import Encoder
from worker.risk.screen import screen

CHUNK = 512
Progress = Callable[[int], None]


def rows_of(features: Features, rows: NDArray[np.intp] | NDArray[np.bool_]) -> Features:
    """The features of some rows."""
    return Features(
        lexical=features.lexical[rows],
        counts=features.counts[rows],
        dense=features.dense[rows],
        micros=features.micros[rows],
        tuned=None if features.tuned is None else features.tuned[rows],
        asked=features.asked and {name: column[rows] for name, column in features.asked.items()},
    )


def build(
    reflections: Sequence[Reflection],
    taxonomy: Taxonomy,
    *,
    bits: int,
    settings: TrainerSettings,
    advance: Progress,
    reader: Path | None = None,
) -> tuple[Features, NDArray[np.float64]]:
    """Features and lexical risk screens [n, len(FLAGS)] of the reflections; `advance` is told rows done (2
    n in all). Embeddings are the published encoder's, or as a sentence `reader` gives them."""
    texts, parts, counts, screens = [], [], [], []
    for start in range(0, len(reflections), CHUNK):
        read = [
            text.read(reflection.text, reflection.lang) for reflection in reflections[start : start + CHUNK]
        ]
        texts += [one.normal for one in read]
        parts.append(lexical.extract(read))
        counts.append(ngrams.extract(read, bits))
        screens += [screen(one) for one in read]
        advance(len(read))
    phrases = [phrase for _, phrase in taxonomy.anchors()]
    vectors = embed([*phrases, *texts], settings=settings, advance=advance, reader=reader)
    anchors = Anchors.of(vectors[: len(phrases)])
    stacked = vstack(counts, format="csr")
    return assemble(np.concatenate(parts), stacked, vectors[len(phrases) :], anchors), np.stack(screens)


def normalised(reflections: Sequence[Reflection]) -> list[str]:
    """The texts as the encoder reads them."""
    return [text.read(reflection.text, reflection.lang).normal for reflection in reflections]


def embed(
    texts: Sequence[str], *, settings: TrainerSettings, advance: Progress, reader: Path | None = None
) -> NDArray[np.float32]:
    """Embeddings f32 [n, width] of normalised texts, as a sentence `reader` gives them where there is one;
    only those the cache lacks go through the encoder."""
    encoder_digest = minilm.weights_digest()
    if reader is not None:
        encoder_digest = hashlib.sha256(f"{encoder_digest}{digest_of(reader)}".encode()).hexdigest()
    cache = EmbeddingCache.open(settings.cache_dir, encoder=encoder_digest, width=Encoder.width)
    missing = cache.missing(texts)
    advance(len(texts) - len(missing))
    if missing:
        encoder = Encoder.open(
            cache_dir=settings.cache_dir,
            plan=("CPU",),
            threads=settings.inference_threads,
            streams=settings.streams,
            fork=reader,
        )
        try:
            for start in range(0, len(missing), CHUNK):
                part = missing[start : start + CHUNK]
                cache.add(part, encoder.encode(part))
                advance(len(part))
        finally:
            encoder.close()
        cache.save()
    return cache.get(texts)
