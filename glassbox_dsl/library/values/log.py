"""The natural logarithm, cell by cell."""

from __future__ import annotations

from typing import Any

from glassbox_dsl.library.value import ValueFunction


def compute(x: Any) -> Any:
    """Any shape -> the same shape."""
    return x.log()


FUNCTION = ValueFunction(
    name="log",
    arity=1,
    feature="any",
    summary="natural logarithm",
    compute=compute,
    example="log(logit(clean, target))",
)
