"""The directions in which examples differ most."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from glassbox_dsl.library.coordinates import Floats
from glassbox_dsl.library.fit import FitKind, Solution, Unfit


def compute(x: Floats, y: Floats, options: Mapping[str, Any]) -> Solution:
    """The first principal components; each has its largest coordinate positive. Coordinates count from the mean."""
    k, most = int(options["dim"]), min(len(x) - 1, x.shape[1])
    if not 1 <= k <= most:
        raise Unfit(f"{len(x)} training examples of {x.shape[1]} coordinates have at most {most} components")
    mean = x.mean(0)
    basis = np.linalg.svd(x - mean, full_matrices=False)[2][:k]
    largest = np.abs(basis).argmax(1)
    basis = basis * np.sign(basis[np.arange(k), largest])[:, None]
    return Solution(basis, -(basis @ mean))


FIT = FitKind(
    name="pca",
    gives="basis",
    summary="the first principal components, an orthonormal basis",
    compute=compute,
    example="pca(clean.resid_post[layer, last], dim: 2)",
    options=(("dim", None),),
)
