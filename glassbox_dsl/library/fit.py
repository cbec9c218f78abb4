"""What a file of a kind of fit says of itself, and the registry of all of them.

Fits are made in numpy, float64. It is imported by their files alone: most files that are checked have no fit.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, Literal

from glassbox_dsl.library.discovery import entries

if TYPE_CHECKING:
    from glassbox_dsl.library.coordinates import Floats


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
