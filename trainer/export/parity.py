"""How far an exported graph, or an arithmetic of the CPU, is from torch in f32: in the vectors, in each of
the seven variables and in every figure, against limits."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainer.evaluate.figures import Figure
from trainer.export.effect import Effect
from worker.inference.exports import EXACT, TRADE
from worker.inference.minilm import HIDDEN

Embeddings = NDArray[np.float32]

REFUSED, BEYOND = "refused", "beyond"
"""Verdicts of a graph that is not kept, and of an arithmetic of the CPU beyond the limits: nothing is shipped
there, so nothing is refused."""
_ROUNDING = 1e-9
"""Two rows of 1,000 are .002, not more."""
HALVES_APART = 1e-3
"""Largest distance (1 - cosine) of a graph with half-precision weights from torch with the same."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What is still the same: the largest change of a `variable` in any row, and of a `metric` that rests on
    `rows` rows at least (two rows alone move a share of fewer by more)."""

    variable: float = 0.01
    metric: float = 0.002
    rows: int = 1000


@dataclass(frozen=True, kw_only=True)
class Breach:
    """A figure beyond its limit."""

    graph: str
    figure: str
    value: float
    limit: float

    def __str__(self) -> str:
        return f"{self.graph}: {self.figure} is {self.value:.4f}, {self.limit:g} at most"


@dataclass(frozen=True, kw_only=True)
class Parity:
    """One graph against the reference. `vectors`: cosines and differences; `variables`: max, p99 and mean
    absolute change; `paths`: share of rows whose emotion path is another; `metrics`: value, its change, and
    whether it is judged."""

    graph: str
    vectors: Mapping[str, float]
    variables: Mapping[str, Mapping[str, float]]
    paths: Mapping[str, float]
    metrics: Sequence[Mapping[str, Any]]
    breaches: Sequence[Breach]

    def verdict(self, *, allow_loss: bool) -> str:
        return EXACT if not self.breaches else TRADE if allow_loss else REFUSED

    @property
    def worst(self) -> Mapping[str, Any] | None:
        """The judged metric that changed most."""
        judged = [one for one in self.metrics if one["judged"]]
        return max(judged, key=lambda one: abs(one["change"])) if judged else None

    def to_json(self) -> dict[str, Any]:
        return {
            "vectors": dict(self.vectors),
            "variables": {name: dict(change) for name, change in self.variables.items()},
            "paths": dict(self.paths),
            "metrics": [dict(one) for one in self.metrics],
            "breaches": [asdict(one) for one in self.breaches],
        }


def compare(
    graph: str, before: Effect, after: Effect, vectors: Mapping[str, float], limits: Limits
) -> Parity:
    """Hold `after` against the reference's `before`, made of the same rows."""
    variables = {}
    for name, values in before.variables.items():
        off = np.abs(after.variables[name] - values)
        off = off.reshape(len(off), -1).max(axis=1)
        variables[name] = {
            "max": float(off.max()),
            "p99": float(np.quantile(off, 0.99)),
            "mean": float(off.mean()),
        }
    metrics = list(_metrics(before.figures, after.figures, limits))
    return Parity(
        graph=graph,
        vectors=vectors,
        variables=variables,
        paths={
            name: float(np.mean([a != b for a, b in zip(paths, after.paths[name], strict=True)]))
            for name, paths in before.paths.items()
        },
        metrics=metrics,
        breaches=list(_breaches(graph, variables, metrics, limits)),
    )


def vectors(reference: Embeddings, found: Embeddings) -> dict[str, float]:
    """Cosines of the embedding's half, and of the tuned half where there is one, with its largest
    difference."""
    told = {}
    for name, half in (("embedding", slice(0, HIDDEN)), ("tuned", slice(HIDDEN, None))):
        a, b = reference[:, half].astype(np.float64), found[:, half].astype(np.float64)
        if a.shape[1]:
            cosine = (a * b).sum(axis=1) / (np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1))
            told[f"{name} cosine mean"] = float(cosine.mean())
            told[f"{name} cosine min"] = float(cosine.min())
            told[f"{name} largest difference"] = float(np.abs(a - b).max())
    return told


def _metrics(before: Sequence[Figure], after: Sequence[Figure], limits: Limits) -> Iterator[dict[str, Any]]:
    then = {_key(figure): figure for figure in after}
    for figure in before:
        found = then.get(_key(figure))
        value = figure.estimate.value
        if not math.isfinite(value):
            continue
        # A figure that has vanished is a change without bound, not one left out.
        now = found.estimate.value if found is not None else math.nan
        yield {
            **dict(zip(("slice", "variable", "metric", "regime"), _key(figure), strict=True)),
            "rows": figure.estimate.rows,
            "value": now,
            "change": now - value if math.isfinite(now) else math.inf,
            "judged": figure.estimate.rows >= limits.rows,
        }


def _key(figure: Figure) -> tuple[str, str, str, str]:
    return figure.slice, figure.variable, figure.metric, figure.regime


def _breaches(
    graph: str,
    variables: Mapping[str, Mapping[str, float]],
    metrics: Sequence[Mapping[str, Any]],
    limits: Limits,
) -> Iterator[Breach]:
    for name, change in variables.items():
        if not change["max"] <= limits.variable + _ROUNDING:
            yield Breach(
                graph=graph,
                figure=f"the largest change of {name}",
                value=change["max"],
                limit=limits.variable,
            )
    judged = [one for one in metrics if one["judged"]]
    for one in judged:
        if not abs(one["change"]) <= limits.metric + _ROUNDING:
            yield Breach(
                graph=graph,
                figure=f"the change of {one['variable']} {one['metric']} ({one['slice']}, {one['regime']})",
                value=one["change"],
                limit=limits.metric,
            )
    if not judged:
        # Nothing judged is nothing proven: a gate on zero rows fails.
        most = max((one["rows"] for one in metrics), default=0)
        yield Breach(
            graph=graph,
            figure=f"no metric rests on {limits.rows} labelled rows, the most is {most}: the shortfall",
            value=float(limits.rows - most),
            limit=0.0,
        )
