"""The manifest's facts: what the bundle was fitted on, by which split, with which libraries, and how well."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

import orjson

from trainer.data.labelled import Labelled
from trainer.data.licences import LICENCES
from trainer.plan import Plan
from worker.bundle.manifest import DataSource, EncoderFacts
from worker.events.taxonomy import taxonomy
from worker.features import schema
from worker.inference import minilm

LIBRARIES = ("numpy", "scipy", "scikit-learn", "lightgbm", "torch", "openvino", "tokenizers")
EVIDENCE = {
    "valence": "measured",
    "arousal": "measured",
    "comparator": "measured",
    "expressed": "measured",
    "willingness": "proxy",
    "invoked": "synthetic",
    "congruence": "synthetic",
}


def of(
    rows: Sequence[Labelled], plan: Plan, *, metrics: dict[str, Any], leakage: dict[str, Any]
) -> dict[str, Any]:
    """The fields of `Manifest` but `format`, `files` and `model_version`."""
    names = sorted({row.source for row in rows})
    return {
        "name": plan.name,
        "created_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "feature_schema": schema.DIGEST,
        "taxonomy": taxonomy().version,
        "encoder": EncoderFacts(name=minilm.NAME, digest=minilm.weights_digest(), width=minilm.HIDDEN),
        "ngram_bits": plan.ngram_bits,
        "data": [_source(name, [row for row in rows if row.source == name]) for name in names],
        "splits": {"folds": plan.folds, "seed": plan.seed, "fingerprint": leakage["fingerprint"]},
        "evidence": _evidence(names),
        "metrics": metrics,
        "leakage": leakage,
        "libraries": {name: version(name) for name in LIBRARIES},
        "seed": plan.seed,
        "notes": [
            f"{name}: {LICENCES[name].note}" for name in names if name in LICENCES and LICENCES[name].note
        ],
    }


def _source(name: str, rows: Sequence[Labelled]) -> DataSource:
    licence = LICENCES.get(name)
    digest = hashlib.sha256()
    for row in rows:
        digest.update(row.reflection.digest)
        digest.update(orjson.dumps(dict(row.labels), option=orjson.OPT_SORT_KEYS))
    return DataSource(
        name=name,
        rows=len(rows),
        people=len({row.reflection.user_id for row in rows}),
        fingerprint=digest.hexdigest(),
        licence=licence.licence if licence else "the operator's own",
        may_ship=licence.may_ship if licence else False,
    )


def _evidence(names: Sequence[str]) -> Mapping[str, str]:
    """A variable without its measured source has only the synthetic people behind it."""
    behind = {"valence": "semeval2026", "arousal": "semeval2026", "comparator": "semeval2026"}
    behind |= {"expressed": "goemotions", "willingness": "offmychest"}
    return {
        name: grade if behind.get(name, name) in names or name not in behind else "synthetic"
        for name, grade in EVIDENCE.items()
    }
