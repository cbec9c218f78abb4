"""What a value-function file says of itself, and the registry of all of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

from glassbox_dsl.library.discovery import entries


@dataclass(frozen=True)
class ValueFunction:
    """A function of values, elementwise in everything but the feature axis.

    `feature`: "any" works cell by cell and keeps the feature axis; "drop" reads the feature axis (last) of every
    argument and gives one number a cell; "keep" reads it and gives a vector again.
    """

    name: str
    arity: int
    feature: Literal["any", "drop", "keep"]
    summary: str
    compute: Callable[..., Any]
    example: str


@cache
def value_functions() -> dict[str, ValueFunction]:
    """All value functions by name."""
    return entries("values", "FUNCTION")
