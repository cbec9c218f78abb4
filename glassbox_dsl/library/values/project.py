"""The part of a vector along a direction."""

from __future__ import annotations

from typing import Any

from glassbox_dsl.library.value import ValueFunction


def compute(x: Any, d: Any) -> Any:
    """[..., dim] twice -> [..., dim]; `project + reject = x`."""
    return (x * d).sum(-1, keepdim=True) / (d * d).sum(-1, keepdim=True) * d


FUNCTION = ValueFunction(
    name="project",
    arity=2,
    feature="keep",
    summary="the part of x along d",
    compute=compute,
    example="norm(project(clean.resid_post, corrupt.resid_post))",
)
