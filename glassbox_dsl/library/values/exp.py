"""The e to the power, cell by cell."""

from __future__ import annotations

from typing import Any

from glassbox_dsl.library.value import ValueFunction


def compute(x: Any) -> Any:
    """Any shape -> the same shape."""
    return x.exp()


FUNCTION = ValueFunction(
    name="exp",
    arity=1,
    feature="any",
    summary="e to the power",
    compute=compute,
    example="exp(logit(clean, target))",
)
