"""What a bundle holds, in memory; the reader fills it from a folder, the trainer from its fits, the writer
stores it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from worker.blend.gate import Gate
from worker.calibrate.interval import Interval
from worker.calibrate.maps import Calibrator
from worker.models.boosted import Boosted
from worker.models.heads import DenseHeads, NgramHeads
from worker.models.hierarchy import Thresholds

TREES = ("valence", "arousal", "willingness", "expressed")
GATED = (
    "text_valence", "text_arousal", "valence", "arousal", "willingness", "expressed", "invoked", "congruence",
    "expected_valence", "expected_arousal",
)  # fmt: skip
"""Every blend has a gate and a calibrator of its name."""
INTERVALS = (
    "valence",
    "arousal",
    "willingness",
    "congruence",
    "comparator",
    "expected_valence",
    "expected_arousal",
)


@dataclass(frozen=True, kw_only=True)
class Contents:
    """The fitted parts.

    `trees` by target of `TREES` ('expressed' is multiclass: cores, then none). `ngrams` and `embedding`
    heads have targets valence, arousal, willingness, congruence, expressed.<core|none>, invoked.<core>,
    risk.<flag> and, on the embedding, {expressed,invoked}.nuance.<core>.<nuance>; a target a head lacks
    masks that base. `emotion` maps the 13 log probabilities of expressed and invoked to willingness (base
    Em). `forecast` maps TEMPORAL features to valence and arousal (Tm of the expectation), `personal` maps
    PERSONAL features to both as this person means the text (Tm of valence and arousal). `fork` is the file of
    what stands on the encoder's lower layers in the place of its upper ones, None where nothing does;
    `tuned` the heads on its tuned layers (base Tr), None where it has none.
    `temporal` is the IR of the temporal net. `gates`, `calibrators` by `GATED`, calibrators also
    risk.<flag>, `intervals` by `INTERVALS`. `nuance_temperature` divides nuance logits; `micro_scale`
    multiplies micro cosines. A gate's trees are a file of their own, gates/<name>.txt.
    """

    trees: Mapping[str, Boosted]
    ngrams: NgramHeads
    embedding: DenseHeads
    emotion: DenseHeads
    forecast: DenseHeads
    personal: DenseHeads
    fork: Path | None = None
    tuned: DenseHeads | None = None
    temporal: Path
    gates: Mapping[str, Gate]
    calibrators: Mapping[str, Calibrator]
    intervals: Mapping[str, Interval]
    thresholds: Mapping[str, Thresholds]
    nuance_temperature: Mapping[str, float]
    micro_scale: float
    risk_thresholds: Mapping[str, float]

    def blend_json(self) -> dict[str, Any]:
        """The contents of `blend.json`."""
        return {
            "gates": {name: gate.to_json() for name, gate in self.gates.items()},
            "calibrators": {name: calibrator.to_json() for name, calibrator in self.calibrators.items()},
            "intervals": {name: interval.to_json() for name, interval in self.intervals.items()},
            "thresholds": {
                name: {"core": t.core, "nuance": t.nuance, "micro": t.micro, "neutral": t.neutral}
                for name, t in self.thresholds.items()
            },
            "nuance_temperature": dict(self.nuance_temperature),
            "micro_scale": self.micro_scale,
            "risk_thresholds": dict(self.risk_thresholds),
        }
