"""The direction from the mean of one class to that of the other."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from glassbox_dsl.library.coordinates import Floats
from glassbox_dsl.library.fit import FitKind, Solution


def compute(x: Floats, y: Floats, options: Mapping[str, Any]) -> Solution:
    """The difference of means; an example half way between the means has the probability 1/2."""
    low, high = x[y == 0].mean(0), x[y == 1].mean(0)
    direction = high - low
    return Solution(direction[None], np.array([-float(direction @ (low + high)) / 2]))


FIT = FitKind(
    name="mean_difference",
    gives="classes",
    summary="the difference of the means of two classes (mass-mean probe)",
    compute=compute,
    example="mean_difference(clean.resid_post[layer, last], label: NAME)",
    source="Marks and Tegmark 2023, arXiv:2310.06824",
)
