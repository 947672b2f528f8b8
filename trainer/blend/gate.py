"""Fits gates that trees have no part in: plain average, best base, constant weights, weights linear in the
context."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from trainer.blend.material import Material
from worker.blend.gate import DROPPED, Gate

Floats = NDArray[np.float64]

_TIE = 1e-4
"""Penalty on biases: keeps the bias of a base that does not help finite."""
_STEPS = 60


def plain(material: Material) -> Gate:
    """The plain average of the bases that are there."""
    return Gate.constant(
        material.bases, np.zeros(len(material.bases)), material.context.shape[1], kind="plain"
    )


def alone(material: Material, base: int) -> Gate:
    """One base only; where it is missing, the plain average of the rest."""
    bias = np.full(len(material.bases), DROPPED)
    bias[base] = 0.0
    return Gate.constant(material.bases, bias, material.context.shape[1], kind="best")


def best(material: Material) -> Gate:
    """The base whose loss is smallest."""
    gates = [alone(material, base) for base in range(len(material.bases))]
    return min(gates, key=lambda gate: material.loss(material.blend(gate)))


def constant(material: Material) -> Gate:
    """The same weights in every context."""
    empty = np.zeros((0, len(material.weight)))
    flat = _minimise(material, empty, penalty=0.0, start=np.zeros(len(material.bases)))
    return Gate.constant(material.bases, flat, material.context.shape[1], kind="constant")


def linear(material: Material, *, penalty: float) -> Gate:
    """Scores linear in the context. `penalty` is on half the squared slopes, in units of the plain
    average's loss."""
    share = material.weight / material.weight.sum()
    mean = share @ material.context
    scale = np.sqrt(share @ (material.context - mean) ** 2)
    scale = np.where(scale > 1e-9, scale, 1.0)
    standard = np.ascontiguousarray(((material.context - mean) / scale).T)
    count = len(material.bases)
    start = np.concatenate([np.zeros(len(standard) * count), constant(material).bias])
    flat = _minimise(material, standard, penalty=penalty, start=start)
    return Gate(
        bases=material.bases,
        slopes=flat[:-count].reshape(count, -1).T,
        bias=flat[-count:],
        mean=mean,
        scale=scale,
        kind="linear",
    )


def _minimise(material: Material, standard: Floats, *, penalty: float, start: Floats) -> Floats:
    """Slopes [bases, c] and bias [bases], flat, for `standard` [c, n]: least weighted mean loss in units of
    the plain average's, plus the penalties."""
    count = len(material.bases)
    share = material.weight / material.weight.sum()
    share = share / max(material.loss(material.blend(plain(material))), 1e-12)

    def objective(flat: Floats) -> tuple[float, Floats]:
        slopes, bias = flat[:-count].reshape(count, -1), flat[-count:, None]
        weights = material.softmax(slopes @ standard + bias)
        blended = material.mix(weights)
        slope = material.slopes(weights, blended) * share
        gradient = np.concatenate(
            [(slope @ standard.T + penalty * slopes).ravel(), slope.sum(axis=1) + _TIE * bias[:, 0]]
        )
        size = penalty * (slopes**2).sum() + _TIE * (bias**2).sum()
        return float(share @ material.losses(blended) + 0.5 * size), gradient

    options = {"maxiter": _STEPS, "ftol": 1e-6}
    return np.asarray(minimize(objective, start, jac=True, method="L-BFGS-B", options=options).x)
