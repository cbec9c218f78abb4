"""What a file of a kind of fit says of itself, and the registry of all of them.

Fits are made in numpy, float64. It is imported by their files alone: most files that are checked have no fit.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, Literal, Protocol

from glassbox_dsl.library.discovery import entries

if TYPE_CHECKING:
    from glassbox_dsl.library.coordinates import Floats, Integers


class Unfit(Exception):
    """The examples do not allow this fit; the text says why, for the user."""


@dataclass(frozen=True)
class Solution:
    """A fit of x [n, dim]: `x @ directions.T + offsets` is [n, k], k = 1 for what predicts a label or a number."""

    directions: Floats
    offsets: Floats


class Judge(Protocol):
    """What the model makes of vectors put in the place of those of some examples."""

    def slopes(self, vectors: Floats, rows: Integers) -> Floats:
        """The slope of the loss, in nats, of each vector [n, dim] in that vector.

        `rows` [n] says which of the examples each vector belongs to.
        """

    def losses(self, vectors: Floats) -> Floats:
        """The loss of a vector for each example [n, dim], in nats: [n]."""

    def right(self, vectors: Floats) -> Floats:
        """Whether the model gives the answer with a vector for each example [n, dim]: 1 or 0, [n]."""


@dataclass(frozen=True)
class FitKind:
    """A kind of fit.

    `gives` says what it is for: `classes` predicts which of two labels an example has (the sigmoid of its one
    coordinate is the probability of the later label in sorted order), `number` predicts a number, `basis` has
    orthonormal directions, and `map` gives a vector. `compute(x [n, dim], y, options)` takes the training examples;
    y [n] is 0 or 1 for classes and empty for a basis. `options` has each option with its default; None: it has to be
    given; `compute` gets the `seed` beside them.

    `asks` says what `compute` and `score` get of the model besides: a `Judge` of vectors that are read out by its end
    in the place of y [n, dim] (`readout`), or of vectors put in the place of x (`interchange`); or the mean slope
    [dim of y, dim of x] of y with respect to x (`slope`). `score(solution, x, y, asked)` rates such a fit on the
    examples that were held out. `values` names the values it is made from; without them it takes one, x. `at_once`: at
    most so many examples are in one step (None: all).
    """

    name: str
    gives: Literal["classes", "number", "basis", "map"]
    summary: str
    compute: Callable[..., Solution]
    example: str
    source: str = ""
    options: tuple[tuple[str, float | int | None], ...] = ()
    asks: Literal["", "readout", "interchange", "slope"] = ""
    score: Callable[[Solution, Floats, Floats, Any], float] | None = None
    values: tuple[str, ...] = ()
    at_once: int | None = None


@cache
def fit_kinds() -> dict[str, FitKind]:
    """All kinds of fits by name."""
    return entries("fits", "FIT")
