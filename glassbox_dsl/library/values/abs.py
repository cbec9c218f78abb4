"""The absolute value, cell by cell."""

from __future__ import annotations

from typing import Any

from glassbox_dsl.library.value import ValueFunction


def compute(x: Any) -> Any:
    """Any shape -> the same shape."""
    return x.abs()


FUNCTION = ValueFunction(
    name="abs",
    arity=1,
    feature="any",
    summary="absolute value",
    compute=compute,
    example="abs(logit(clean, target))",
)
