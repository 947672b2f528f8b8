"""The whole story of a reflection: read the text, encode it, appraise it by itself, place it in its
person's timeline.

The worker runs the four steps as overlapping stages, `feltsense enrich` one after the other, the trainer
step by step; all of them through this file, so training and serving cannot drift apart.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from worker.appraise import appraise, risk_of
from worker.bundle.manifest import Manifest
from worker.bundle.reader import Bundle, load
from worker.errors import BundleRefused, UsageError
from worker.events.perception import Appraisal, Perception, Placement, Risk, Trace
from worker.events.reflection import Reflection, parse
from worker.events.taxonomy import Taxonomy, taxonomy
from worker.events.timeline import Timeline, timelines
from worker.features import lexical, ngrams, text
from worker.features.assemble import Anchors, assemble
from worker.features.schema import HISTORY
from worker.features.text import Text
from worker.inference import minilm
from worker.inference.devices import Policy
from worker.inference.encoder import Encoder
from worker.inference.exports import Exports
from worker.inference.lanes import Encoded
from worker.inference.temporal_net import TemporalNet
from worker.place import place
from worker.risk.screen import screen
from worker.settings import Settings

if TYPE_CHECKING:
    from worker.inference.llm import Asker

BATCH = 256
"""Reflections `perceive` takes through the steps at once."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Look:
    """The first look at a reflection, without any model: its text, the screen's scores f64 [len(FLAGS)], and
    the risk floor they make."""

    text: Text
    screen: NDArray[np.float64]
    risk: Risk


def look(reflections: Sequence[Reflection], thresholds: Mapping[str, float]) -> list[Look]:
    """Normalise the texts and screen them for risk: the floor that is committed before any model runs."""
    looks = []
    for reflection in reflections:
        seen = text.read(reflection.text, reflection.lang)
        scores = screen(seen)
        looks.append(Look(text=seen, screen=scores, risk=risk_of(scores, thresholds)))
    return looks


@dataclass(frozen=True, kw_only=True)
class Readings:
    """What the texts of a batch say before any model: row i of every part belongs to reflection i."""

    reflections: Sequence[Reflection]
    texts: Sequence[Text]
    lexical: NDArray[np.float64]
    counts: csr_matrix
    screens: NDArray[np.float64]
    tokens: Sequence[Sequence[int]]


class Pipeline:
    """One bundle and one encoder, ready to perceive. Steps may be called from several threads at once."""

    def __init__(
        self,
        bundle: Bundle,
        encoder: Encoder,
        net: TemporalNet,
        anchors: Anchors,
        words: Taxonomy,
        asker: Asker | None,
    ) -> None:
        self._bundle = bundle
        self._encoder = encoder
        self._net = net
        self._anchors = anchors
        self._taxonomy = words
        self._asker = asker
        self.model_version = bundle.manifest.model_version

    @classmethod
    def open(
        cls,
        bundle: Path | None = None,
        settings: Settings | None = None,
        *,
        beside: Pipeline | None = None,
    ) -> Pipeline:
        """Load `bundle` (the settings' or the starter bundle when None) and compile its models; the encoder
        is that of `beside`, a pipeline under the same settings, where both bundles have the same.

        Raises `BundleRefused`, `ExportsRefused`, `EncoderMissing`, `DeviceFailed`.
        """
        chosen = settings or Settings()
        loaded = load(bundle or chosen.bundle, keys=chosen.bundle_keys)
        if chosen.risk_thresholds:
            own = {**loaded.contents.risk_thresholds, **chosen.risk_thresholds}
            loaded = replace(loaded, contents=replace(loaded.contents, risk_thresholds=own))
        if loaded.manifest.encoder.digest != minilm.weights_digest():
            raise BundleRefused(loaded.folder, "it was fitted on another encoder than the one installed")
        if loaded.manifest.taxonomy != taxonomy().version:
            raise BundleRefused(
                loaded.folder, f"its taxonomy is {loaded.manifest.taxonomy}, not {taxonomy().version}"
            )
        policy = Policy.of(chosen)
        if chosen.exports is not None:
            parts = loaded.contents
            exports = Exports.open(
                chosen.exports, weights=minilm.weights_digest(), fork=parts.fork, temporal=parts.temporal
            )
            policy = replace(policy, exports=exports)
        with ExitStack() as opening:
            shared = beside is not None and beside.fork == _fork(loaded)
            encoder = (
                beside._encoder.share()
                if beside is not None and shared
                else Encoder.open(
                    cache_dir=chosen.cache_dir,
                    plan=chosen.device_plan,
                    precision=chosen.precision,
                    threads=chosen.inference_threads,
                    streams=chosen.streams,
                    token_budget=chosen.token_budget,
                    fork=loaded.contents.fork,
                    policy=policy,
                )
            )
            opening.callback(encoder.close)
            net = TemporalNet.open(
                loaded.contents.temporal,
                plan=chosen.temporal_device_plan,
                cache_dir=chosen.cache_dir,
                policy=policy,
            )
            opening.callback(net.close)
            if beside is not None and shared:
                # The same vectors; and behind a full live lane they would not be encoded before it is empty.
                anchors = beside._anchors
            else:
                phrases = encoder.encode([phrase for _, phrase in taxonomy().anchors()])
                anchors = Anchors.of(phrases[:, : Encoder.width])
            opened = cls(loaded, encoder, net, anchors, taxonomy(), _asker(loaded, chosen))
            opening.pop_all()
        return opened

    def look(self, reflections: Sequence[Reflection]) -> list[Look]:
        """`look` with the bundle's thresholds."""
        return look(reflections, self._bundle.contents.risk_thresholds)

    @property
    def folder(self) -> Path:
        """Where its bundle lies."""
        return self._bundle.folder

    @property
    def manifest(self) -> Manifest:
        return self._bundle.manifest

    @property
    def fork(self) -> str | None:
        """What tells its encoder from another's: the digest of the bundle's tuned layers, None without."""
        return _fork(self._bundle)

    def read(self, reflections: Sequence[Reflection], looks: Sequence[Look] | None = None) -> Readings:
        """Count and tokenise, after a first look where none is given; no model runs."""
        seen = self.look(reflections) if looks is None else looks
        texts = [look.text for look in seen]
        return Readings(
            reflections=reflections,
            texts=texts,
            lexical=lexical.extract(texts),
            counts=ngrams.extract(texts, self._bundle.contents.ngrams.bits),
            screens=np.stack([look.screen for look in seen]),
            tokens=self._encoder.tokenise([one.normal for one in texts]),
        )

    def encode(self, readings: Readings, *, live: bool = False) -> Future[Encoded]:
        """Start the encoder on the readings, before all others where they are `live`; the future gives what
        `Encoder.submit` does, in their order."""
        return self._encoder.submit(readings.tokens, live=live)

    def appraise(self, readings: Readings, encoded: Encoded) -> list[Appraisal]:
        """Stage A: everything that depends on the text alone."""
        features = assemble(readings.lexical, readings.counts, encoded.vectors, self._anchors)
        if self._asker is not None:
            answers = self._asker.ask([one.normal for one in readings.texts])
            features = replace(features, asked=answers.columns())
        return appraise(
            self._bundle.contents,
            self._taxonomy,
            features,
            reflections=readings.reflections,
            languages=[one.language for one in readings.texts],
            screens=readings.screens,
            facts=[
                {
                    "bundle": self._bundle.manifest.digest,
                    "evidence": self._bundle.manifest.evidence,
                    "devices": {"encoder": placed.to_json(), "trees": "CPU"},
                }
                for placed in encoded.placed
            ],
        )

    def place(self, items: Sequence[tuple[Trace, Timeline]]) -> list[Placement]:
        """Stage B: what depends on the person's earlier reflections."""
        return place(self._bundle.contents, self._net, items)

    def perceive(
        self, reflections: Iterable[Reflection | Mapping[str, Any]], *, live: bool = False
    ) -> list[Perception]:
        """Perceive a closed set of events (reflections, or mappings as on the wire; one revision each): every
        row sees the earlier ones of its person in it. `live` texts are encoded before all others.

        Returns perceptions in the order of `created_at`, the same values as the queue writes for these
        events in any order. Raises `Rejected` for a mapping that is no event.
        """
        now = datetime.now(UTC)
        read = (r if isinstance(r, Reflection) else parse(r, now=now) for r in reflections)
        ordered = sorted(read, key=lambda r: (r.created_at, r.id))
        appraisals: list[Appraisal] = []
        for start in range(0, len(ordered), BATCH):
            readings = self.read(ordered[start : start + BATCH])
            appraisals += self.appraise(readings, self.encode(readings, live=live).result())
        traces = [appraisal.trace for appraisal in appraisals]
        cuts = timelines(
            [trace.user_id for trace in traces], [trace.moment for trace in traces], len(HISTORY)
        )
        items = list(zip(traces, cuts, strict=True))
        placements = [
            p for start in range(0, len(items), BATCH) for p in self.place(items[start : start + BATCH])
        ]
        return [
            Perception(appraisal=appraisal, placement=placement, model_version=self.model_version)
            for appraisal, placement in zip(appraisals, placements, strict=True)
        ]

    def warm(self) -> Iterator[int]:
        """`Encoder.warm`: every shape once, so that no reflection pays for it."""
        return self._encoder.warm()

    def facts(self) -> dict[str, Any]:
        """Bundle and devices, for `doctor` and logs."""
        return {
            "model_version": self.model_version,
            "bundle": str(self._bundle.folder),
            "encoder": self._encoder.placed.to_json(),
            "temporal": self._net.placed.to_json(),
        }

    def close(self) -> None:
        self._encoder.close()
        self._net.close()
        if self._asker is not None:
            self._asker.close()

    def __enter__(self) -> Pipeline:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _fork(bundle: Bundle) -> str | None:
    return bundle.manifest.files.get("fork.npz")


def _asker(bundle: Bundle, settings: Settings) -> Asker | None:
    """Base Ll, where the settings name an endpoint and the bundle was fitted on the answers of its model:
    another's would be weighed by what this one was worth."""
    if settings.llm_url is None or bundle.manifest.asked is None:
        return None
    from worker.inference.llm import Asker  # its HTTP client is not imported where nobody asks

    asker = Asker.open(settings)
    if asker is not None and asker.identity != bundle.manifest.asked:
        asker.close()
        raise UsageError(
            f"the bundle's base Ll was fitted on answers of {bundle.manifest.asked!r}, the endpoint is "
            f"{asker.identity!r}: set FELTSENSE_LLM_MODEL, or leave FELTSENSE_LLM_URL unset to mask it"
        )
    return asker
