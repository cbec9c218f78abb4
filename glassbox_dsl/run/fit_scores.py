"""How well a fit does on examples that were held out."""

from __future__ import annotations

import numpy as np

from glassbox_dsl.library.coordinates import explained
from glassbox_dsl.library.fit import Solution
from glassbox_dsl.run.fit_labels import Numbers


def rated(gives: str, solution: Solution, x: Numbers, y: Numbers, mean: Numbers) -> tuple[float, float]:
    """Accuracy and score of held-out examples: the share right; R squared; the share of variance in a basis."""
    if not len(x):
        return np.nan, np.nan
    found = x @ solution.directions.T + solution.offsets
    if gives == "classes":
        right = float(((found[:, 0] > 0) == (y > 0.5)).mean())
        return right, right
    if gives == "number":
        return np.nan, explained(np.square(found[:, 0] - y).sum(), np.square(y - y.mean()).sum())
    rest = (x - mean) - ((x - mean) @ solution.directions.T) @ solution.directions
    return np.nan, explained(np.square(rest).sum(), np.square(x - mean).sum())


def area(numbers: Numbers, y: Numbers) -> float:
    """The area under the receiver operating characteristic, by ranks; NaN with one label only."""
    positive, negative = numbers[y == 1], numbers[y == 0]
    if not len(positive) or not len(negative):
        return np.nan
    ordered = np.sort(negative)
    below = np.searchsorted(ordered, positive, "left") + np.searchsorted(ordered, positive, "right")
    return float(below.sum() / 2 / len(positive) / len(negative))
