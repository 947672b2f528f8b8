"""What the journey yields: the appraisal of a text by itself, its placement in a timeline, and both
together as a perception.

Stage A (`Appraisal`) needs only the text; stage B (`Placement`) needs the person's earlier traces. A
`Trace` is what stage A leaves for stage B, now and whenever an earlier reflection arrives late.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from worker.events.reflection import Reflection
from worker.events.timeline import Moment


@dataclass(frozen=True, kw_only=True, slots=True)
class Emotion:
    """An emotion on the taxonomy: `path` (0-3 names, empty when abstaining), the probability of each level
    reached, the distribution over the six cores (sums to 1) and how much of the mass was 'no emotion'
    (0-1)."""

    path: tuple[str, ...]
    confidence: tuple[float, ...]
    cores: Mapping[str, float]
    neutral: float = 0.0

    def to_json(self) -> dict[str, Any]:
        return {"path": list(self.path), "confidence": list(self.confidence), "cores": dict(self.cores)}


@dataclass(frozen=True, kw_only=True, slots=True)
class Risk:
    """Scores 0-1 for each flag of `variables.FLAGS`, the thresholds they were held against, and the level
    they add up to. `uncalibrated`: the scores that put texts of one level in order."""

    level: str
    flags: Mapping[str, float]
    thresholds: Mapping[str, float]
    uncalibrated: Mapping[str, float]

    def to_json(self) -> dict[str, Any]:
        return {
            "level": self.level,
            "flags": dict(self.flags),
            "thresholds": dict(self.thresholds),
            "uncalibrated": dict(self.uncalibrated),
        }


@dataclass(frozen=True, kw_only=True, slots=True)
class Trace:
    """Stage A's numbers for one reflection: all that stage B needs of it, ever.

    `static` is float64 [len(schema.STATIC)], `history` float64 [len(schema.HISTORY)] (NaN: no self-report).
    """

    id: str
    user_id: str
    created_at: datetime
    static: NDArray[np.float64]
    history: NDArray[np.float64]

    @property
    def moment(self) -> Moment:
        """What later reflections of the person see of it."""
        return Moment(id=self.id, created_at=self.created_at, history=self.history)


@dataclass(frozen=True, kw_only=True, slots=True)
class Appraisal:
    """Stage A's outcome: the variables that depend on the text alone, and the trace for the rest."""

    reflection: Reflection
    trace: Trace
    language: str
    language_supported: bool
    invoked: Emotion
    expressed: Emotion
    willingness: float
    willingness_interval: tuple[float, float]
    risk: Risk
    provenance: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class Placement:
    """Stage B's outcome for one trace in its timeline. `comparator` is exactly `valence - expected_valence`.

    `intervals` holds [lo, hi] for valence, arousal, congruence, comparator, expected_valence,
    expected_arousal.
    """

    valence: float
    arousal: float
    congruence: float
    expected_valence: float
    expected_arousal: float
    comparator: float
    intervals: Mapping[str, tuple[float, float]]
    provenance: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class Perception:
    """All seven variables of one reflection under one model version."""

    appraisal: Appraisal
    placement: Placement
    model_version: str

    @property
    def intervals(self) -> dict[str, list[float]]:
        both = {**self.placement.intervals, "willingness": self.appraisal.willingness_interval}
        return {name: [lo, hi] for name, (lo, hi) in sorted(both.items())}

    @property
    def provenance(self) -> dict[str, Any]:
        return {**self.appraisal.provenance, **self.placement.provenance}

    def to_json(self) -> dict[str, Any]:
        """The line `feltsense enrich` writes (product page, section 4)."""
        a, p = self.appraisal, self.placement
        return {
            "id": a.reflection.id,
            "user_id": a.reflection.user_id,
            "valence": p.valence,
            "arousal": p.arousal,
            "invoked": a.invoked.to_json(),
            "expressed": a.expressed.to_json(),
            "willingness": a.willingness,
            "congruence": p.congruence,
            "comparator": p.comparator,
            "expected": {"valence": p.expected_valence, "arousal": p.expected_arousal},
            "language_supported": a.language_supported,
            "intervals": self.intervals,
            "risk": a.risk.to_json(),
            "model_version": self.model_version,
            "provenance": self.provenance,
        }
