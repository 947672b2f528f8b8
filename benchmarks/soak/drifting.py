"""The drift check of a soak, in a process of its own.

    python -m benchmarks.soak.drifting VERSION FROM CHANGE

What VERSION said between FROM and CHANGE (Unix times) is held against what it said since, and, as a control,
the first half of the time before the change against the second. Prints the alarms as JSON.
"""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime
from typing import Any

import numpy as np

from benchmarks import command
from trainer.data.observed import Stretch, window
from trainer.drift.compare import Finding, compare
from trainer.drift.measures import Kind
from trainer.settings import TrainerSettings
from worker.commands.configured import opened
from worker.courtesy import give_way
from worker.inference.encoder import Encoder
from worker.settings import Settings
from worker.store.engine import Store

KINDS: tuple[Kind, ...] = ("inputs", "outputs", "calibration")
SEED = 7


def found(store: Store, encoder: Encoder, version: str, moments: tuple[float, float, float]) -> list[Finding]:
    """The comparison of the stretches between the first two moments and between the last two."""
    begins, ends = moments[:2], moments[1:]
    windows = [
        window(
            store,
            version,
            Stretch(since=datetime.fromtimestamp(since, UTC), until=datetime.fromtimestamp(until, UTC)),
            seed=SEED,
            embed=lambda texts: np.asarray(encoder.encode(texts), dtype=np.float32),
        )
        for since, until in zip(begins, ends, strict=True)
    ]
    return compare(windows[0], windows[1], kinds=KINDS, seed=SEED) if all(windows) else []


def told(findings: list[Finding]) -> dict[str, Any]:
    alarms = [one for one in findings if one.alarm]
    return {
        "measures": len(findings),
        "alarms": len(alarms),
        "first": [f"{one.measure} ({one.slice}): {one.effect:.3f}" for one in alarms[:8]],
    }


def main() -> None:
    version, began, changed = sys.argv[1], float(sys.argv[2]), float(sys.argv[3])
    give_way()  # as the trainer does
    now, trainer = datetime.now(UTC).timestamp(), TrainerSettings()
    encoder = Encoder.open(
        cache_dir=trainer.cache_dir, plan=("CPU",), threads=trainer.inference_threads, streams=trainer.streams
    )
    try:
        with opened(Settings()) as store:
            drift = told(found(store, encoder, version, (began, changed, now)))
            control = told(found(store, encoder, version, (began, (began + changed) / 2, changed)))
    finally:
        encoder.close()
    print(json.dumps({**drift, "without_drift": control}))


if __name__ == "__main__":
    command.run(main)
