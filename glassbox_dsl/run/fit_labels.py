"""Labels of examples as numbers, for fits and their scores."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from glassbox_dsl.diagnostics import Findings
from glassbox_dsl.run import errors
from glassbox_dsl.syntax import nodes

Labels = NDArray[np.object_]
Numbers = NDArray[np.float64]


def classes(labels: Labels, name: str, node: nodes.Node) -> Numbers:
    """Labels of two values as 0 and 1, in sorted order; NaN for None."""
    values = sorted(
        {v for v in labels.reshape(-1).tolist() if v is not None}, key=lambda v: (str(type(v)), v)
    )
    if len(values) != 2:
        shown = ", ".join(map(repr, values[:4])) + (", ..." if len(values) > 4 else "")
        raise Findings(
            [errors.unfit(node.span, name, "", f"`{name}` has {len(values)} values ({shown}), not two")]
        )
    return _numbers(labels, lambda v: float(v == values[1]))


def numbers(labels: Labels, name: str, node: nodes.Node) -> Numbers:
    """Labels that are numbers; NaN for None."""
    try:
        return _numbers(labels, float)
    except (TypeError, ValueError):
        raise Findings(
            [errors.unfit(node.span, name, "", f"`{name}` has values that are no numbers")]
        ) from None


def _numbers(labels: Labels, convert: Callable[[Any], float]) -> Numbers:
    flat = [np.nan if v is None else convert(v) for v in labels.reshape(-1).tolist()]
    return np.array(flat, dtype=np.float64).reshape(labels.shape)
