"""The mean Jacobian of one value of a pass with respect to another, as an affine map."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from glassbox_dsl.library.coordinates import Floats, explained
from glassbox_dsl.library.fit import FitKind, Solution


def compute(x: Floats, y: Floats, options: Mapping[str, Any], slope: Floats) -> Solution:
    """W x + b: W is the mean of dy/dx over the examples, b the mean of y - W x."""
    return Solution(slope, (y - x @ slope.T).mean(0))


def score(solution: Solution, x: Floats, y: Floats, slope: Floats) -> float:
    """The share of the variance of y that the map explains (R squared over all coordinates together)."""
    left = y - x @ solution.directions.T - solution.offsets
    return explained(float(np.square(left).sum()), float(np.square(y - y.mean(0)).sum()))


FIT = FitKind(
    name="jacobian",
    gives="map",
    summary="a first-order map from one value of a pass to a later one: their mean Jacobian, and a mean offset",
    compute=compute,
    example="jacobian(from: clean.resid_post[layer, subject], to: clean.resid_post[-1, last])",
    source="Hernandez et al. 2023, arXiv:2308.09124",
    asks="slope",
    score=score,
    values=("from", "to"),
)
