"""Stage B: a trace in its person's timeline. The forecast from before now, then valence, arousal,
congruence and the comparator."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from worker.blend.stack import Blended, combine
from worker.bundle.contents import Contents
from worker.events.perception import Placement, Trace
from worker.events.timeline import Timeline
from worker.features import context, sequence, temporal
from worker.features.schema import STATIC
from worker.inference.temporal_net import TemporalNet

Floats = NDArray[np.float64]

NET = ("valence", "arousal", "congruence")
"""Order of the temporal net's outputs."""


def place(
    contents: Contents,
    net: TemporalNet,
    items: Sequence[tuple[Trace, Timeline]],
    *,
    devices: Mapping[str, Any],
) -> list[Placement]:
    """Place each trace in its timeline (cut at the trace's own `created_at`); rows do not depend on one
    another.

    The expectation comes from the timeline alone; `comparator` is exactly `valence - expected_valence`.
    """
    if not items:
        return []
    static = np.stack([trace.static for trace, _ in items])
    history, ages = temporal.pad([timeline for _, timeline in items])
    numbers = temporal.extract(history, ages, static)
    known = np.asarray(np.isfinite(ages).any(axis=1))
    forecast = {
        "Tm": np.clip(contents.forecast.predict(numbers), 0.0, 1.0),
        "GRU": np.where(known[:, None], net.run(sequence.extract(history, ages, static)), np.nan),
    }
    blended = blends(contents, static, numbers, known, forecast)
    values = {name: blend.after for name, blend in blended.items()}
    values["comparator"] = values["valence"] - values["expected_valence"]
    intervals = {
        name: contents.intervals[name].around(values[name]).tolist()
        for name in ("valence", "arousal", "congruence", "comparator", "expected_valence", "expected_arousal")
    }
    told = {name: blend.provenance() for name, blend in blended.items()}
    return [
        Placement(
            **{name: float(column[row]) for name, column in values.items()},
            intervals={name: (ends[row][0], ends[row][1]) for name, ends in intervals.items()},
            provenance={**{name: rows[row] for name, rows in told.items()}, "temporal_device": dict(devices)},
        )
        for row in range(len(items))
    ]


def blends(
    contents: Contents,
    static: Floats,
    numbers: Floats,
    known: NDArray[np.bool_],
    forecast: Mapping[str, Floats],
) -> dict[str, Blended]:
    """The five stacks of stage B from STATIC and TEMPORAL columns [n, .], whether there is a history [n],
    and the forecasts of Tm [n, 2] and the GRU [n, 3]."""
    around = context.extract(static, numbers)
    out = {}
    for at, kind in enumerate(("valence", "arousal")):
        expected = {base: values[:, at] for base, values in forecast.items()}
        text = {base: static[:, STATIC.index(f"{kind}.{base}")] for base in ("Lx", "Ng", "Eb")}
        columns = {
            kind: {**text, "Tm": np.where(known, expected["Tm"], np.nan)},
            f"expected_{kind}": expected,
        }
        for name, bases in columns.items():
            out[name] = combine(contents.gates[name], contents.calibrators[name], bases, around)
    agreement = {
        "overlap": static[:, STATIC.index("congruence.overlap")],
        "Eb": static[:, STATIC.index("congruence.Eb")],
        "GRU": forecast["GRU"][:, NET.index("congruence")],
    }
    name = "congruence"
    out[name] = combine(contents.gates[name], contents.calibrators[name], agreement, around)
    return out
