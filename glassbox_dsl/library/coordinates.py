"""Coordinates of examples as fits use them: standardised, and brought back."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from glassbox_dsl.library.fit import Solution

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


def standardised(x: Floats) -> tuple[Floats, Floats, Floats]:
    """x [n, dim] with mean 0 and deviation 1 along every coordinate, the means and the deviations [dim]."""
    mean, deviation = x.mean(0), x.std(0)
    deviation = np.where(deviation > 0, deviation, 1.0)
    return (x - mean) / deviation, mean, deviation


def unstandardised(weights: Floats, offset: float, mean: Floats, deviation: Floats) -> Solution:
    """Weights of standardised coordinates [dim] as a direction of the raw ones."""
    direction = weights / deviation
    return Solution(direction[None], np.array([offset - float(direction @ mean)]))


def explained(left: float, whole: float) -> float:
    """1 - left / whole: the share of a sum of squares or losses that is explained; NaN where there is none."""
    return float(1 - left / whole) if whole > 0 else float("nan")
