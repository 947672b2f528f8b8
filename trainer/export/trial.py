"""One graph after the other made, read back, run and judged; what may not be used is deleted at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import openvino as ov

from trainer.data.labelled import Labelled
from trainer.errors import ExportRefused
from trainer.evaluate.judge import Progress
from trainer.export import effect, parity, quantize, reference, runs, shapes
from trainer.export.effect import Effect, Replay, Texts
from trainer.export.parity import BEYOND, REFUSED, Limits, Parity
from trainer.export.quantize import Count
from trainer.export.reference import Embeddings
from trainer.export.variants import ENCODER, Variant
from worker.bundle.reader import Bundle
from worker.features.embedding import shape
from worker.features.sequence import Sequences
from worker.inference import minilm
from worker.inference.encoder import Encoder
from worker.inference.exports import EXACT
from worker.inference.temporal_net import BATCH, TemporalNet

CALIBRATED = 256
"""Texts (or timelines' batches) whose ranges the integers are chosen by, evenly from all there are."""


@dataclass(frozen=True, kw_only=True)
class Tried:
    """A graph, or an arithmetic of the CPU, with what was found. `reasons` say why the verdict is not
    exact."""

    name: str
    verdict: str
    reasons: Sequence[str]
    parity: Parity | None = None
    variant: Variant | None = None
    quantised: Count | None = None
    shapes_differ: float | None = None
    speed: float | None = None

    def to_json(self) -> dict[str, Any]:
        one = self.variant
        return {
            "verdict": self.verdict,
            "reasons": list(self.reasons),
            "component": ENCODER if one is None else one.component,
            "devices": ["CPU"] if one is None else list(one.devices),
            "shapes": [] if one is None else [list(pair) for pair in one.shapes],
            "fixed shapes differ": self.shapes_differ,
            "quantised": None if self.quantised is None else self.quantised.to_json(),
            "speed beside bf16": self.speed,
            **({} if self.parity is None else self.parity.to_json()),
        }


class Trial:
    """A bundle with rows to judge by, and the reference they gave."""

    def __init__(
        self, bundle: Bundle, rows: Sequence[Labelled], part: Path, scratch: Path,
        encoder: Encoder, net: TemporalNet, texts: Texts, *, limits: Limits, tell: Progress,
    ) -> None:  # fmt: skip
        self._bundle, self._rows, self._part, self._scratch = bundle, rows, part, scratch
        self._encoder, self._net, self._texts = encoder, net, texts
        self._limits, self._tell = limits, tell
        self._weights = minilm.read_weights()
        fork = bundle.contents.fork
        self._fork = None if fork is None else minilm.read_fork(fork)
        tell("reference", 0, 1)
        self._vectors = reference.embed(texts.tokens, self._weights, self._fork)
        tell("reference", 1, 1)
        self._heard: list[Sequences] = []
        self._before = self._perceived(self._vectors, net)

    @classmethod
    def open(
        cls, bundle: Bundle, rows: Sequence[Labelled], part: Path, scratch: Path, *,
        limits: Limits, tell: Progress,
    ) -> Self:  # fmt: skip
        """Compute the reference of `rows`; graphs are made in `part`, caches kept in `scratch`."""
        encoder = _encoder(bundle, scratch, "f32")
        net = TemporalNet.open(bundle.contents.temporal, plan=("CPU",), cache_dir=scratch)
        texts = Texts.of(rows, encoder)
        return cls(bundle, rows, part, scratch, encoder, net, texts, limits=limits, tell=tell)

    def close(self) -> None:
        self._encoder.close()
        self._net.close()

    def serve(self, name: str, precision: str) -> Tried:
        """The worker's own graph on the CPU at `precision`."""
        self._tell(f"judge {name}", 0, 1)
        encoder = _encoder(self._bundle, self._scratch, precision)
        try:
            vectors = encoder.submit(self._texts.tokens).result().vectors
        finally:
            encoder.close()
        found = self._compared(name, vectors, self._net)
        self._tell(f"judge {name}", 1, 1)
        reasons = tuple(map(str, found.breaches))
        return Tried(name=name, verdict=BEYOND if reasons else EXACT, reasons=reasons, parity=found)

    def make(self, variant: Variant, *, allow_loss: bool) -> Tried:
        """Make one graph and judge it; its files stay where the verdict lets them."""
        tried = Tried(name=variant.name, variant=variant, verdict=REFUSED, reasons=())
        try:
            build = self._encoder_graph if variant.component == ENCODER else self._temporal_graph
            tried = _judged(build(variant, tried), allow_loss=allow_loss)
        except ExportRefused as error:
            tried = replace(tried, verdict=REFUSED, reasons=(str(error),))
        if tried.verdict == REFUSED:
            for path in self._part.glob(f"{variant.name}[.-]*"):
                path.unlink()
        return tried

    def _encoder_graph(self, variant: Variant, tried: Tried) -> Tried:
        name, tokens = variant.name, self._texts.tokens
        graph = minilm.build(self._weights, self._fork)
        if variant.quantised:
            some = [tokens[at] for at in _spread(self._texts.phrases, len(tokens))]
            samples = [[call.ids, call.mask] for call in shape(some)]
            graph = quantize.int8(graph, samples, lambda done, of: self._tell(f"quantise {name}", done, of))
        shapes.save(graph, self._part, name, halves=variant.halves, shapes=variant.shapes)
        tried = replace(tried, quantised=self._counted(variant))
        self._tell(f"judge {name}", 0, 3)
        if variant.shapes:
            differ = shapes.check(self._part, name, variant.shapes, tokens[self._texts.phrases :])
            tried = replace(tried, shapes_differ=differ)
        path = self._part / f"{name}.xml"
        exact = runs.compiled(path, "f32")
        if variant.halves:
            # The CPU rounds only the weights; a GPU rounds what the layers hand on too.
            vectors = reference.embed(tokens, self._weights, self._fork, halves=True)
            self._agreeing(name, runs.embed(exact, tokens), vectors)
        else:
            vectors = runs.embed(exact, tokens)
        self._tell(f"judge {name}", 1, 3)
        tried = replace(tried, parity=self._compared(name, vectors, self._net))
        self._tell(f"judge {name}", 2, 3)
        if variant.quantised:
            fork = self._bundle.contents.fork
            plain = runs.compiled(minilm.exported(self._scratch, fork), "bf16")
            models = {"bf16": plain, name: runs.compiled(path, "bf16")}
            tried = replace(tried, speed=runs.ratios(models, "bf16", tokens[self._texts.phrases :])[name])
        self._tell(f"judge {name}", 3, 3)
        return tried

    def _temporal_graph(self, variant: Variant, tried: Tried) -> Tried:
        name = variant.name
        graph = ov.Core().read_model(self._bundle.contents.temporal)
        graph.reshape({port: [BATCH, *list(port.get_partial_shape())[1:]] for port in graph.inputs})
        if variant.quantised:
            graph = quantize.int8(
                graph, self._timelines(), lambda done, of: self._tell(f"quantise {name}", done, of)
            )
        shapes.save(graph, self._part, name, halves=variant.halves)
        tried = replace(tried, quantised=self._counted(variant))
        net = TemporalNet.open(self._part / f"{name}.xml", plan=("CPU",), cache_dir=self._scratch)
        try:
            found = self._compared(name, self._vectors, net)
        finally:
            net.close()
        return replace(tried, parity=found)

    def _counted(self, variant: Variant) -> Count | None:
        if not variant.quantised:
            return None
        found = quantize.count(ov.Core().read_model(self._part / f"{variant.name}.xml"))
        quantize.refuse_unquantised(variant.name, found, spared=variant.spared + self._beside(variant))
        return found

    def _beside(self, variant: Variant) -> int:
        """Products that NNCF takes for a part of attention and spares: of queries with the keys' matrix, one
        in each layer they go through."""
        if variant.component != ENCODER or self._fork is None:
            return 0
        readers = minilm.parts_of(self._fork)
        return sum(len(minilm.layers_of(of)) for of in readers if minilm.QUERIES in of)

    def _agreeing(self, name: str, graph: Embeddings, torch: Embeddings) -> None:
        """The graph on disk is the network whose halves were judged."""
        gap = 1.0 - parity.vectors(torch, graph)["embedding cosine min"]
        if not gap <= parity.HALVES_APART:
            raise ExportRefused(
                f"{name}: the graph lies {gap:.1e} from the same weights in torch, "
                f"{parity.HALVES_APART:.0e} at most"
            )

    def _compared(self, name: str, vectors: Embeddings, net: TemporalNet) -> Parity:
        after = self._perceived(vectors, net)
        return parity.compare(name, self._before, after, parity.vectors(self._vectors, vectors), self._limits)

    def _perceived(self, vectors: Embeddings, net: TemporalNet) -> Effect:
        pipeline = Replay(self._bundle, self._encoder, net, self._texts, vectors)
        found = effect.perceive(pipeline, self._bundle, self._rows, lambda *_: None)
        self._heard = self._heard or pipeline.heard
        return found

    def _timelines(self) -> list[list[Any]]:
        """Full batches of what the reference's pipeline gave the temporal nets, of rows with a past."""
        parts = [
            np.concatenate([getattr(one, name) for one in self._heard]) for name in ("steps", "mask", "now")
        ]
        known = np.flatnonzero(parts[1].any(axis=1))
        if not len(known):
            raise ExportRefused("temporal nets: no row has a past to choose the integers' ranges by")
        rows = known[np.linspace(0, len(known) - 1, CALIBRATED).astype(np.intp)]
        return [[part[some] for part in parts] for some in rows.reshape(-1, BATCH)]


def _judged(tried: Tried, *, allow_loss: bool) -> Tried:
    assert tried.parity is not None
    return replace(
        tried,
        verdict=tried.parity.verdict(allow_loss=allow_loss),
        reasons=tuple(map(str, tried.parity.breaches)),
    )


def _encoder(bundle: Bundle, scratch: Path, precision: str) -> Encoder:
    return Encoder.open(cache_dir=scratch, plan=("CPU",), precision=precision, fork=bundle.contents.fork)


def _spread(start: int, stop: int) -> list[int]:
    return [int(at) for at in np.unique(np.linspace(start, stop - 1, CALIBRATED).astype(np.intp))]
