"""A bundle folder becomes `Contents`, or is refused: digests and feature schema first, then every part."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from worker.blend.gate import Gate
from worker.bundle import manifest, signature
from worker.bundle.contents import GATED, INTERVALS, TREES, Contents
from worker.bundle.manifest import Manifest
from worker.calibrate.interval import Interval
from worker.calibrate.maps import Calibrator
from worker.errors import BundleRefused
from worker.models.boosted import Boosted
from worker.models.heads import DenseHeads, NgramHeads
from worker.models.hierarchy import Thresholds

STARTER = Path(__file__).parent.parent / "starter"
"""The bundle that comes with the project, trained only on data that may ship."""


@dataclass(frozen=True, kw_only=True)
class Bundle:
    """A verified bundle, loaded."""

    folder: Path
    manifest: Manifest
    contents: Contents


def load(folder: Path | None = None, *, keys: str | None = None) -> Bundle:
    """Verify and load `folder` (the starter bundle when None); with `keys` it must be signed by one of them.
    Raises `BundleRefused` naming the folder and the reason."""
    place = STARTER if folder is None else folder
    facts = manifest.read(place)
    if keys is not None:
        signature.check(place, keys)
    try:
        blend = json.loads((place / "blend.json").read_bytes())
        contents = Contents(
            trees={name: Boosted.load(place / "trees" / f"{name}.txt") for name in TREES},
            ngrams=NgramHeads.load(place / "ngrams.npz"),
            embedding=DenseHeads.load(place / "embedding.npz"),
            emotion=DenseHeads.load(place / "emotion.npz"),
            forecast=DenseHeads.load(place / "forecast.npz"),
            personal=DenseHeads.load(place / "personal.npz"),
            fork=place / "fork.npz" if "fork.npz" in facts.files else None,
            tuned=DenseHeads.load(place / "tuned.npz") if "tuned.npz" in facts.files else None,
            temporal=place / "temporal.xml",
            gates={name: _gate(place, name, blend["gates"][name]) for name in GATED},
            calibrators={name: Calibrator.from_json(value) for name, value in blend["calibrators"].items()},
            intervals={name: Interval.from_json(blend["intervals"][name]) for name in INTERVALS},
            thresholds={name: Thresholds(**blend["thresholds"][name]) for name in ("expressed", "invoked")},
            nuance_temperature=blend["nuance_temperature"],
            micro_scale=blend["micro_scale"],
            risk_thresholds=blend["risk_thresholds"],
        )
    except Exception as error:  # what a damaged part makes its library raise is the bundle's fault
        raise BundleRefused(place, f"a part cannot be loaded: {type(error).__name__}: {error}") from error
    return Bundle(folder=place, manifest=facts, contents=contents)


def _gate(place: Path, name: str, data: dict[str, Any]) -> Gate:
    trees = (place / "gates" / f"{name}.txt").read_text() if data.get("trees") else None
    return Gate.from_json(data, trees)
