"""What a file of a kind of fit says of itself, and the registry of all of them. Fits are made in numpy, float64."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from glassbox_dsl.library.discovery import entries

Floats = NDArray[np.float64]


class Unfit(Exception):
    """The examples do not allow this fit; the text says why, for the user."""


@dataclass(frozen=True)
class Solution:
    """A fit of x [n, dim]: `x @ directions.T + offsets` is [n, k], k = 1 for what predicts a label or a number."""

    directions: Floats
    offsets: Floats


@dataclass(frozen=True)
class FitKind:
    """A kind of fit.

    `gives` says what it is for: `classes` predicts which of two labels an example has (the sigmoid of its one
    coordinate is the probability of the later label in sorted order), `number` predicts a number, and `basis` has
    orthonormal directions and no target. `compute(x [n, dim], y [n], options)` takes the training examples; y is 0 or
    1 for classes and empty for a basis. `options` has each option with its default; None: it has to be given.
    """

    name: str
    gives: Literal["classes", "number", "basis"]
    summary: str
    compute: Callable[[Floats, Floats, Mapping[str, Any]], Solution]
    example: str
    source: str = ""
    options: tuple[tuple[str, float | int | None], ...] = ()


@cache
def fit_kinds() -> dict[str, FitKind]:
    """All kinds of fits by name."""
    return entries("fits", "FIT")


def standardised(x: Floats) -> tuple[Floats, Floats, Floats]:
    """x [n, dim] with mean 0 and deviation 1 along every coordinate, the means and the deviations [dim]."""
    mean, deviation = x.mean(0), x.std(0)
    deviation = np.where(deviation > 0, deviation, 1.0)
    return (x - mean) / deviation, mean, deviation


def unstandardised(weights: Floats, offset: float, mean: Floats, deviation: Floats) -> Solution:
    """Weights of standardised coordinates [dim] as a direction of the raw ones."""
    direction = weights / deviation
    return Solution(direction[None], np.array([offset - float(direction @ mean)]))
