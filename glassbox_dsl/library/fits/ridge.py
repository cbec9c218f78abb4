"""A linear probe of a number by least squares with a penalty."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from glassbox_dsl.library.coordinates import Floats, standardised, unstandardised
from glassbox_dsl.library.fit import FitKind, Solution

GRID = np.logspace(-4, 8, 49)
"""Penalties that are tried where none is given."""


def compute(x: Floats, y: Floats, options: Mapping[str, Any]) -> Solution:
    """Minimises |y - z.w - b|^2 + penalty |w|^2 over standardised coordinates z.

    `penalty: 0` takes the one of `GRID` with the least squared error on each training example left out in turn.
    """
    z, mean, deviation = standardised(x)
    u, s, v = np.linalg.svd(z, full_matrices=False)
    centre = float(y.mean())
    target = u.T @ (y - centre)
    penalty = float(options["penalty"])
    if penalty == 0:
        penalty = min(GRID, key=lambda one: left_out(u, s, y - centre, target, one))
    weights = (s / (s * s + penalty) * target) @ v
    return unstandardised(weights, centre, mean, deviation)


def left_out(u: Floats, s: Floats, y: Floats, target: Floats, penalty: float) -> float:
    """The squared error of each example, predicted from the others (closed form)."""
    shrink = s * s / (s * s + penalty)
    residual = y - u @ (shrink * target)
    weight = 1 - 1 / len(y) - (u * u) @ shrink
    return float(np.square(residual / np.maximum(weight, 1e-9)).sum())


FIT = FitKind(
    name="ridge",
    gives="number",
    summary="a linear probe of a number, coordinates standardised, its penalty chosen by leaving examples out",
    compute=compute,
    example="ridge(clean.resid_post[layer, last], label: NAME)",
    source="Gurnee and Tegmark 2023, arXiv:2310.02207",
    options=(("penalty", 0.0),),
)
