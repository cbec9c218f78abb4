"""`[traits]` of a family file -> what a model is like, beyond its sizes: in the words of specs/traits.toml.

Nothing is computed from traits but descriptions: `gbx inspect`, `gbx gap` and the number of parameters.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from functools import cache
from typing import Any

from pydantic import (
    BaseModel,
    ConfigDict,
    RootModel,
    StrictBool,
    StrictFloat,
    StrictInt,
    StrictStr,
    model_validator,
)

from glassbox_dsl.resolve.families import NOTHING, Family, under
from glassbox_dsl.resolve.model_errors import brief
from glassbox_dsl.resources import shipped

Value = StrictBool | StrictInt | StrictFloat | StrictStr


class TraitKey(BaseModel):
    """A trait that a config states: the first of `keys` that is there and not null; `values` puts it into words.

    `default`: what the model code assumes, in those words.
    `null`: what it means that a key is there and null, where that is not the same as a missing key (no cap, say).
    """

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)
    keys: tuple[str, ...]
    default: Value
    null: Value | None = None
    values: dict[str, Value] = {}

    def read(self, config: Mapping[str, Any]) -> Any:
        """The value for a config."""
        said = [value for key in self.keys if (value := under(config, key)) is not NOTHING]
        found = next((value for value in said if value is not None), None)
        if found is None:
            return self.null if said and self.null is not None else self.default
        if not isinstance(found, bool | int | float | str):
            return brief(found)
        return self.values.get(str(found).lower(), found)


class TraitWords(BaseModel):
    """One entry of specs/traits.toml."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)
    name: str
    group: str
    title: str
    meaning: str
    default: Value | None = None
    values: dict[str, str] = {}
    needs: dict[str, tuple[str, ...]] = {}

    def fits(self, traits: Mapping[str, Any]) -> bool:
        """Whether the trait means something for a model: there is no rotary base without rotary positions."""
        return all(traits[name] in values for name, values in self.needs.items())

    def explain(self, value: Any) -> str:
        """What a value of the trait means."""
        return self.values.get(value, self.meaning) if isinstance(value, str) else self.meaning


@cache
def trait_words() -> dict[str, TraitWords]:
    """All traits by name, in the order in which they are shown."""
    with open(shipped("specs") / "traits.toml", "rb") as file:
        return {name: TraitWords(name=name, **entry) for name, entry in tomllib.load(file).items()}


class Traits(RootModel[dict[str, Value | TraitKey]]):
    """The `[traits]` of a family: names are those of specs/traits.toml, constants those that it lists."""

    model_config = ConfigDict(frozen=True, defer_build=True)

    @model_validator(mode="after")
    def _known(self) -> Traits:
        words = trait_words()
        for name, value in self.root.items():
            if name not in words:
                raise ValueError(f"no trait `{name}` in specs/traits.toml")
            if isinstance(value, str) and words[name].values and value not in words[name].values:
                raise ValueError(f"trait `{name}` is one of {', '.join(words[name].values)}; not `{value}`")
        missing = [name for name, word in words.items() if word.default is None and name not in self.root]
        if missing:
            raise ValueError(f"traits that a family must state: {', '.join(missing)}")
        return self

    @property
    def keys(self) -> frozenset[str]:
        """The config keys that traits are read from, the outermost of each path."""
        told = (value for value in self.root.values() if isinstance(value, TraitKey))
        return frozenset(key.split(".")[0] for value in told for key in value.keys)

    def of(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """Every trait for a config, in the order of specs/traits.toml."""
        found = {}
        for name, words in trait_words().items():
            value = self.root.get(name, words.default)
            found[name] = value.read(config) if isinstance(value, TraitKey) else value
        return found


def traits_of(family: Family) -> Traits | None:
    """The traits of a family; None where its file states none. ValueError for words that there are not."""
    return Traits(family.traits) if family.traits else None
