"""A linear probe of two classes by penalised maximum likelihood."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from glassbox_dsl.library.coordinates import Floats, standardised, unstandardised
from glassbox_dsl.library.fit import FitKind, Solution

STEPS = 100


def compute(x: Floats, y: Floats, options: Mapping[str, Any]) -> Solution:
    """Minimises sum log(1 + exp(-+(z.w + b))) + penalty/2 |w|^2 over standardised coordinates z, by Newton's method.

    The solution lies in the row space of z, so that the system has at most as many unknowns as there are examples.
    """
    z, mean, deviation = standardised(x)
    u, s, v = np.linalg.svd(z, full_matrices=False)
    weights, offset = newton(u * s, y, float(options["penalty"]))
    return unstandardised(weights @ v, offset, mean, deviation)


def newton(z: Floats, y: Floats, penalty: float) -> tuple[Floats, float]:
    """Weights [k] and offset of the penalised likelihood of y (0 or 1) [n] given z [n, k]."""
    wide = np.concatenate([z, np.ones((len(z), 1))], 1)
    ridge = np.full(wide.shape[1], penalty)
    ridge[-1] = 0.0
    found = np.zeros(wide.shape[1])

    def loss(at: Floats) -> float:
        score = wide @ at
        return float((np.logaddexp(0, score) - y * score).sum() + 0.5 * (ridge * at * at).sum())

    for _ in range(STEPS):
        p = 0.5 * (1 + np.tanh(0.5 * (wide @ found)))
        slope = wide.T @ (p - y) + ridge * found
        if np.abs(slope).max() < 1e-9 * len(y):
            break
        curve = (wide * (p * (1 - p))[:, None]).T @ wide + np.diag(ridge)
        step = np.linalg.lstsq(curve, slope, rcond=None)[0]
        size = 1.0
        while size > 1e-6 and loss(found - size * step) > loss(found):
            size /= 2
        found = found - size * step
    return found[:-1], float(found[-1])


FIT = FitKind(
    name="logistic",
    gives="classes",
    summary="a logistic probe of two classes, coordinates standardised, with an L2 penalty on their weights",
    compute=compute,
    example="logistic(clean.resid_post[layer, last], label: NAME)",
    source="Alain and Bengio 2016, arXiv:1610.01644",
    options=(("penalty", 1.0),),
)
