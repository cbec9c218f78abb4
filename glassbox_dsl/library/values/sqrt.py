"""The square root, cell by cell."""

from __future__ import annotations

from typing import Any

from glassbox_dsl.library.value import ValueFunction


def compute(x: Any) -> Any:
    """Any shape -> the same shape."""
    return x.sqrt()


FUNCTION = ValueFunction(
    name="sqrt",
    arity=1,
    feature="any",
    summary="square root",
    compute=compute,
    example="sqrt(logit(clean, target))",
)
