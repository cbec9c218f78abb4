"""One verification of a model, and the measure of a difference."""

from __future__ import annotations

from typing import Final

from pydantic import BaseModel, ConfigDict
from torch import Tensor

from glassbox_dsl.resolve.facts import ModelFacts

FLOAT_NOISE: Final = 1e-5
"""Share of a value's size that float32 arithmetic in another order may move it by."""
HALF_NOISE: Final = 5e-2
"""The same for 16-bit models."""


class Check(BaseModel):
    """One verification: it passes when `value` is at most `tolerance`. `site` is set for checks of one site."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)
    name: str
    site: str = ""
    value: float
    tolerance: float
    ok: bool
    detail: str


def check(name: str, value: Tensor | float, tolerance: float, detail: str, site: str = "") -> Check:
    """A check; NaN fails it."""
    number = float(value)
    return Check(
        name=name, site=site, value=number, tolerance=tolerance, ok=number <= tolerance, detail=detail
    )


def nearest(facts: ModelFacts, site: str, layer: int) -> int:
    """The layer nearest to one that has a site."""
    return min(facts.layers_with(site), key=lambda other: abs(other - layer))


def furthest(found: Tensor, wanted: Tensor) -> Tensor:
    """The largest difference; NaN if there is one in it, or if both are infinite."""
    return (found.float() - wanted.float()).abs().max()


def relative(found: Tensor, wanted: Tensor) -> Tensor:
    """The largest difference as a share of the largest value."""
    return furthest(found, wanted) / wanted.float().abs().max().clamp(min=1e-6)
