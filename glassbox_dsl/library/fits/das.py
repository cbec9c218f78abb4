"""A subspace that carries one variable, found by distributed alignment search."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from glassbox_dsl.library.coordinates import Floats
from glassbox_dsl.library.fit import FitKind, Judge, Solution, Unfit

FIRST, SECOND, SMALL = 0.9, 0.999, 1e-8
"""Adam's decay of both moments, and what keeps its quotient finite."""


def compute(x: Floats, y: Floats, options: Mapping[str, Any], judge: Judge) -> Solution:
    """The orthonormal rows R for which x + (y - x) R'R in the place of x gives the answer with the least mean loss.

    Adam on the slope along the manifold of orthonormal rows; behind each step the rows are made orthonormal again
    (the polar factor). All examples are in every step; the start depends on the seed alone.
    """
    k, dim, steps = int(options["dim"]), x.shape[1], int(options["steps"])
    if not 1 <= k <= dim:
        raise Unfit(f"a basis of {dim} coordinates has 1 to {dim} directions")
    change, rows = y - x, np.arange(len(x))
    basis = orthonormal(np.random.default_rng(int(options["seed"])).standard_normal((k, dim)))
    mean, square = np.zeros_like(basis), np.zeros_like(basis)
    for step in range(1, steps + 1):
        inside = change @ basis.T
        slopes = judge.slopes(x + inside @ basis, rows)
        slope = tangent(basis, (inside.T @ slopes + (slopes @ basis.T).T @ change) / len(x))
        mean = FIRST * mean + (1 - FIRST) * slope
        square = SECOND * square + (1 - SECOND) * slope * slope
        size = np.sqrt(square / (1 - SECOND**step)) + SMALL
        basis = orthonormal(basis - float(options["rate"]) * mean / (1 - FIRST**step) / size)
    return Solution(basis, np.zeros(k))


def orthonormal(rows: Floats) -> Floats:
    """The nearest orthonormal rows [k, dim]."""
    u, _, v = np.linalg.svd(rows, full_matrices=False)
    found: Floats = u @ v
    return found


def tangent(basis: Floats, slope: Floats) -> Floats:
    """A slope [k, dim] without what would make orthonormal rows longer or bend them towards each other."""
    along = slope @ basis.T
    return slope - (along + along.T) / 2 @ basis


def score(solution: Solution, x: Floats, y: Floats, judge: Judge) -> float:
    """Interchange intervention accuracy: the share of the examples for which the exchange gives the answer."""
    inside = (y - x) @ solution.directions.T
    return float(judge.right(x + inside @ solution.directions).mean())


FIT = FitKind(
    name="das",
    gives="basis",
    summary="a subspace that carries a variable: exchanging what lies in it for the source's gives the answer",
    compute=compute,
    example="das(base: clean.resid_post[layer, last], source: other.resid_post[layer, last], answer: NAME, dim: 1)",
    source="Geiger et al. 2023, arXiv:2303.02536",
    options=(("dim", None), ("steps", 100), ("rate", 0.01)),
    asks="interchange",
    score=score,
    values=("base", "source", "answer"),
)
