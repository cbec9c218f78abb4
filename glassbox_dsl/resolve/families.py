"""specs/families/*.toml -> `Family`: where a family of models keeps its sites, and what its config says.

A family is data. Nothing here, and nothing in the executor, asks for a family's name: they follow the
paths, kinds and keys that the file gives.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from functools import cache
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from glassbox_dsl.resources import shipped


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)


class Spot(_Part):
    """The input (its first argument) or the output (its first item, if a tuple) of a module."""

    module: str
    side: Literal["in", "out"]


class Norm(_Part):
    """A norm: `rms` divides by sqrt(mean(x^2) + eps), `ln` by sqrt(var(x) + eps); `eps` is an attribute."""

    module: str
    kind: Literal["rms", "ln"]
    eps: str


class FactKey(_Part):
    """How a fact is read: the first of `keys` that is there and not null, else one of the other fields."""

    keys: tuple[str, ...]
    default: int | bool | None = None
    same_as: str | None = None
    product: tuple[str | int, ...] = ()
    quotient: tuple[str, ...] = ()


class Windows(_Part):
    """Which layers see only the last `size` keys: those that `types` calls `local`, or all but each n-th."""

    size: FactKey
    types: str
    local: str
    full_every: FactKey


class ModelPaths(_Part):
    """Paths from the model."""

    layers: str
    final_norm: Norm


class LayerPaths(_Part):
    """Paths from a layer."""

    attention: str
    out_proj: str


class ConfigKeys(_Part):
    """Keys beyond those of the facts: taken care of, without effect, and allowed only certain values."""

    handled: tuple[str, ...]
    harmless: tuple[str, ...]
    fixed: dict[str, tuple[Any, ...]]


class Gguf(_Part):
    """How a GGUF file describes a model of the family: `keys` go from its metadata to config keys."""

    architecture: str
    keys: dict[str, str]


class Family(_Part):
    """One family file. `sites` and `norms` go by site, `facts` by field of `ModelFacts`."""

    name: str
    model_types: tuple[str, ...]
    model: ModelPaths
    layer: LayerPaths
    sites: dict[str, Spot]
    norms: dict[str, Norm]
    absent: dict[str, str]
    facts: dict[str, FactKey]
    windows: Windows | None = None
    config: ConfigKeys
    gguf: Gguf | None = None
    tiny: dict[str, Any]


@cache
def family(name: str) -> Family:
    """The family of a file name. KeyError if there is none."""
    path = shipped("specs") / "families" / f"{name}.toml"
    if name not in family_names():
        raise KeyError(name)
    with open(path, "rb") as file:
        return Family(name=name, **tomllib.load(file))


@cache
def family_names() -> tuple[str, ...]:
    """All families, sorted."""
    return tuple(sorted(path.stem for path in (shipped("specs") / "families").glob("*.toml")))


def families() -> Iterator[Family]:
    """All families in order of name."""
    return map(family, family_names())


def family_of(model_type: str) -> Family | None:
    """The family that handles a `model_type`; its own file is tried first, to read one file and not all."""
    if model_type in family_names() and model_type in family(model_type).model_types:
        return family(model_type)
    return next((f for f in families() if model_type in f.model_types), None)


class CommonKeys(_Part):
    """Config keys of every family: without effect on a forward pass, and allowed only certain values."""

    harmless: frozenset[str]
    fixed: dict[str, tuple[Any, ...]]


@cache
def common_keys() -> CommonKeys:
    """The keys of specs/config_keys.toml."""
    with open(shipped("specs") / "config_keys.toml", "rb") as file:
        return CommonKeys(**tomllib.load(file))
