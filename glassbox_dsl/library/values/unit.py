"""The vector of length 1 in the same direction."""

from __future__ import annotations

from typing import Any

from glassbox_dsl.library.value import ValueFunction


def compute(x: Any) -> Any:
    """[..., dim] -> [..., dim]; the zero vector gives NaN."""
    return x / x.norm(dim=-1, keepdim=True)


FUNCTION = ValueFunction(
    name="unit",
    arity=1,
    feature="keep",
    summary="x / |x|",
    compute=compute,
    example="norm(unit(clean.resid_post))",
)
