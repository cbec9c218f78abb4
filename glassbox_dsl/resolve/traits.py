"""`[traits]` of a family file -> what a model is like, beyond its sizes: in the words of specs/traits.toml.

Nothing is computed from traits but descriptions: `gbx inspect`, `gbx gap` and the number of parameters.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from functools import cache
from typing import Any

from glassbox_dsl.resolve.families import NOTHING, Family, under
from glassbox_dsl.resolve.model_errors import brief
from glassbox_dsl.resources import shipped
from glassbox_dsl.vocabulary.plain import Plain
from glassbox_dsl.vocabulary.tables import Table, built

Value = bool | int | float | str


class TraitKey(Table):
    """A trait that a config states: the first of `keys` that is there and not null; `values` puts it into words.

    `default`: what the model code assumes, in those words.
    `null`: what it means that a key is there and null, where that is not the same as a missing key (no cap, say).
    """

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


class TraitWords(Table):
    """One entry of specs/traits.toml."""

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
        return {
            name: built(TraitWords, {"name": name, **entry}) for name, entry in tomllib.load(file).items()
        }


class Traits(Plain):
    """The `[traits]` of a family: names are those of specs/traits.toml, constants those that it lists."""

    root: Mapping[str, Value | TraitKey]

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
    """The traits of a family; None where its file states none."""
    told = family.traits.items()
    return (
        Traits(root={n: built(TraitKey, v) if isinstance(v, dict) else v for n, v in told}) if told else None
    )
