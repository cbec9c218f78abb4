"""The sites of LANGUAGE.md section 5, read from specs/sites.toml."""

from __future__ import annotations

import tomllib
from functools import cache
from typing import Any

from glassbox_dsl.resources import shipped
from glassbox_dsl.vocabulary.tables import Table, built


class Site(Table):
    """One place in the computation. `axes` in the order a file indexes them; `feature` is None for scalars.

    `of`: the site, of the same axes, whose values it is made from where it is read.
    """

    name: str
    axes: tuple[str, ...]
    feature: str | None = None
    meaning: str
    write: bool = True
    why: str = ""
    of: str | None = None

    @property
    def passed(self) -> bool:
        """Whether a pass comes by the site, so that it can be read there."""
        return self.of is None

    @property
    def kept(self) -> str:
        """The site that has to be kept where this one is read."""
        return self.of or self.name

    @property
    def has_layer(self) -> bool:
        """Whether the site stands once in every layer."""
        return self.axes[:1] == ("layer",)


@cache
def sites() -> dict[str, Site]:
    """All sites of the language by name."""
    with open(shipped("specs") / "sites.toml", "rb") as file:
        table: dict[str, dict[str, Any]] = tomllib.load(file)
    return {name: built(Site, {"name": name, **entry}) for name, entry in table.items()}
