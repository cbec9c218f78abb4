"""The part of a vector orthogonal to a direction."""

from __future__ import annotations

from typing import Any

from glassbox_dsl.library.value import ValueFunction


def compute(x: Any, d: Any) -> Any:
    """[..., dim] twice -> [..., dim]; `project + reject = x`."""
    return x - (x * d).sum(-1, keepdim=True) / (d * d).sum(-1, keepdim=True) * d


FUNCTION = ValueFunction(
    name="reject",
    arity=2,
    feature="keep",
    summary="the part of x orthogonal to d",
    compute=compute,
    example="norm(reject(clean.resid_post, corrupt.resid_post))",
)
