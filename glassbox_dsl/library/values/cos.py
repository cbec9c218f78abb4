"""The cosine between two vectors."""

from __future__ import annotations

from typing import Any

from glassbox_dsl.library.value import ValueFunction


def compute(x: Any, y: Any) -> Any:
    """[..., dim] twice -> [...]; NaN where one of them is zero."""
    return (x * y).sum(-1) / (x.norm(dim=-1) * y.norm(dim=-1))


FUNCTION = ValueFunction(
    name="cos",
    arity=2,
    feature="drop",
    summary="cosine similarity",
    compute=compute,
    example="cos(clean.resid_post, clean.resid_pre)",
)
