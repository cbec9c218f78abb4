"""The inner product of two vectors."""

from __future__ import annotations

from typing import Any

from glassbox_dsl.library.value import ValueFunction


def compute(x: Any, y: Any) -> Any:
    """[..., dim] twice -> [...]."""
    return (x * y).sum(-1)


FUNCTION = ValueFunction(
    name="dot",
    arity=2,
    feature="drop",
    summary="inner product",
    compute=compute,
    example="dot(clean.resid_post, clean.resid_pre)",
)
