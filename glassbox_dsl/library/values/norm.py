"""Euclidean norm over the feature axis."""

from __future__ import annotations

from typing import Any

from glassbox_dsl.library.value import ValueFunction


def compute(x: Any) -> Any:
    """[..., dim] -> [...]."""
    return x.norm(dim=-1)


FUNCTION = ValueFunction(
    name="norm",
    arity=1,
    feature="drop",
    summary="Euclidean norm",
    compute=compute,
    example="norm(clean.resid_post)",
)
