"""Stage B: a trace in its person's timeline. The forecast from before now, then valence, arousal,
congruence and the comparator."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from worker.blend.stack import Blended, combine
from worker.bundle.contents import Contents
from worker.calibrate import slices
from worker.events.perception import Placement, Trace
from worker.events.timeline import Timeline
from worker.features import context, personal, sequence, temporal
from worker.features.schema import STATIC, TEXT_BASES
from worker.inference.temporal_net import TemporalNet

Floats = NDArray[np.float64]
Rows = NDArray[np.bool_]

KINDS = ("valence", "arousal")
TEXT = "text"
"""The base of both that is stage A's own blend."""
NET = ("valence", "arousal", "congruence")
"""Order of a temporal net's outputs."""
NETS = ("GRU", "TT")
"""The temporal nets, GRU and transformer, in the order of the IR's outputs; a bundle may lack the last."""


def place(
    contents: Contents,
    net: TemporalNet,
    items: Sequence[tuple[Trace, Timeline]],
) -> list[Placement]:
    """Place each trace in its timeline (cut at the trace's own `created_at`); rows do not depend on one
    another.

    The expectation comes from the timeline alone; `comparator` is exactly `valence - expected_valence`.
    """
    if not items:
        return []
    static = np.stack([trace.static for trace, _ in items])
    history_now = np.stack([trace.history for trace, _ in items])
    history, ages = temporal.pad([timeline for _, timeline in items])
    numbers = temporal.extract(history, ages, static)
    known = np.asarray(np.isfinite(ages).any(axis=1))
    forecasts = net.run(sequence.extract(history, ages, static))
    forecast = {
        "Tm": np.clip(contents.forecast.predict(numbers), 0.0, 1.0),
        **by_net(forecasts.values, known),
    }
    meant = np.clip(contents.personal.predict(personal.extract(numbers, history_now)), 0.0, 1.0)
    texts = texts_of(contents, static)
    said = {kind: text.after for kind, text in texts.items()}
    blended = blends(contents, static, numbers, stacks_of(static, numbers, known, forecast, meant, said))
    values = {name: blend.after for name, blend in blended.items()}
    values["comparator"] = values["valence"] - values["expected_valence"]
    where = slices.number(static)
    intervals = {
        name: contents.intervals[name].around(values[name], where).tolist()
        for name in ("valence", "arousal", "congruence", "comparator", "expected_valence", "expected_arousal")
    }
    told = {name: blend.provenance() for name, blend in blended.items()}
    for kind, text in texts.items():
        told[kind] = [{**of, TEXT: its} for of, its in zip(told[kind], text.provenance(), strict=True)]
    return [
        Placement(
            **{name: float(column[row]) for name, column in values.items()},
            intervals={name: (ends[row][0], ends[row][1]) for name, ends in intervals.items()},
            provenance={
                **{name: rows[row] for name, rows in told.items()},
                "temporal_device": forecasts.placed[row].to_json(),
            },
        )
        for row in range(len(items))
    ]


def by_net(outputs: Floats, known: Rows) -> dict[str, Floats]:
    """The nets' outputs [n, 3 a net] by base [n, 3]; NaN where there is no history to read."""
    masked = np.where(known[:, None], outputs, np.nan)
    return {
        base: masked[:, at * len(NET) : (at + 1) * len(NET)]
        for at, base in enumerate(NETS[: masked.shape[1] // len(NET)])
    }


def texts_of(contents: Contents, static: Floats) -> dict[str, Blended]:
    """Stage A's own blends once more, from the STATIC columns [n, .] it left: of the kinds whose gate reads
    one. A bundle written before there was such a base has none."""
    around = context.extract(static)
    return {
        kind: combine(
            contents.gates[f"text_{kind}"], contents.calibrators[f"text_{kind}"], _apart(static, kind), around
        )
        for kind in KINDS
        if TEXT in contents.gates[kind].bases
    }


def blends(
    contents: Contents, static: Floats, numbers: Floats, stacks: Mapping[str, Mapping[str, Floats]]
) -> dict[str, Blended]:
    """The five blends of stage B from STATIC and TEMPORAL columns [n, .] and what `stacks_of` lays side by
    side."""
    around = context.extract(static, numbers)
    ahead = context.ahead(around)
    return {
        name: combine(
            contents.gates[name],
            contents.calibrators[name],
            columns,
            ahead if name.startswith("expected_") else around,
        )
        for name, columns in stacks.items()
    }


def stacks_of(
    static: Floats,
    numbers: Floats,
    known: Rows,
    forecast: Mapping[str, Floats],
    meant: Floats,
    said: Mapping[str, Floats],
) -> dict[str, dict[str, Floats]]:
    """Every gate's bases [n] from STATIC and TEMPORAL columns [n, .], whether there is a history [n], the
    forecasts of Tm [n, 2] and the nets [n, 3], and the text as this person means it [n, 2] (base Tm of
    valence and arousal). Tm is there from the first self-report on, beside what stage A `said` of the text
    [n], by kind; a kind it is not given for has the text's bases instead, and Tm wherever there is a past."""
    readable = personal.readable(numbers)
    stacks: dict[str, dict[str, Floats]] = {}
    for at, kind in enumerate(KINDS):
        if kind in said:
            stacks[kind] = {TEXT: said[kind], "Tm": np.where(readable, meant[:, at], np.nan)}
        else:
            stacks[kind] = {**_apart(static, kind), "Tm": np.where(known, meant[:, at], np.nan)}
        stacks[f"expected_{kind}"] = {base: values[:, at] for base, values in forecast.items()}
    stacks["congruence"] = {
        **{base: static[:, STATIC.index(f"congruence.{base}")] for base in ("overlap", "Eb", "Tr")},
        **{base: forecast[base][:, NET.index("congruence")] for base in NETS if base in forecast},
    }
    return stacks


def _apart(static: Floats, kind: str) -> dict[str, Floats]:
    """The bases of the text, each by itself [n]."""
    return {base: static[:, STATIC.index(f"{kind}.{base}")] for base in TEXT_BASES}
