"""Several anatomies -> what separates them, and what that breaks in methods made for GPT-2 (specs/gaps.toml)."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from functools import cache
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from glassbox_dsl.resolve.anatomy import Anatomy, SiteEntry, is_plain
from glassbox_dsl.resolve.traits import trait_words
from glassbox_dsl.resources import shipped


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)


class Gap(_Part):
    """One entry of specs/gaps.toml: a difference from GPT-2, the technique it breaks, and what to write instead."""

    name: str
    when: dict[str, tuple[bool | int | float | str, ...] | Literal[True]]
    says: str
    technique: str
    breaks: str
    instead: str
    gbx: str
    source: str

    def applies(self, model: Anatomy) -> bool:
        """Whether a model has the difference. A feature that is not known of it makes no gap."""
        values = model.values
        return all(
            name in values
            and (not is_plain(name, values[name]) if wanted is True else values[name] in wanted)
            for name, wanted in self.when.items()
        )


@cache
def gaps() -> tuple[Gap, ...]:
    """All gaps, in the order in which they are shown."""
    with open(shipped("specs") / "gaps.toml", "rb") as file:
        return tuple(Gap(name=name, **entry) for name, entry in tomllib.load(file).items())


MEANINGLESS = "-"
"""In the place of a trait that means nothing for a model: the base of rotary positions where there are none."""


class Line(_Part):
    """A feature of models side by side, a value each; None where it is not known, "-" where it has no meaning."""

    name: str
    group: str
    title: str
    values: tuple[Any, ...]
    differs: bool

    @property
    def worth_showing(self) -> bool:
        """Whether it says more than that none of the models has something."""
        if self.group == "sizes" or None in self.values:
            return True
        return not all(value == MEANINGLESS or is_plain(self.name, value) for value in self.values)


class SiteLine(_Part):
    """A site of several models side by side: its size there, or why it is absent."""

    name: str
    values: tuple[str, ...]
    differs: bool


class Break(_Part):
    """A gap with the models that have it."""

    gap: Gap
    models: tuple[str, ...]


class Comparison(_Part):
    """Models side by side. `breaks` has what every model has, too: against GPT-2, not against each other."""

    models: tuple[Anatomy, ...]
    lines: tuple[Line, ...]
    sites: tuple[SiteLine, ...]
    breaks: tuple[Break, ...]


def compare(models: Sequence[Anatomy]) -> Comparison:
    """Put models side by side; one alone is compared with GPT-2 only."""
    found = [(gap, tuple(m.shown for m in models if gap.applies(m))) for gap in gaps()]
    return Comparison(
        models=tuple(models),
        lines=tuple(_lines(models)),
        sites=tuple(_sites(models)),
        breaks=tuple(Break(gap=gap, models=names) for gap, names in found if names),
    )


def _lines(models: Sequence[Anatomy]) -> list[Line]:
    words = {feature.name: feature for model in models for feature in model.features}
    lines = [
        Line(
            name=name,
            group=f.group,
            title=f.title,
            values=(values := _of(models, name)),
            differs=_differ(values),
        )
        for name, f in words.items()
    ]
    counted = tuple(m.n_parameters or None for m in models)
    lines.append(
        Line(name="parameters", group="parameters", title="all", values=counted, differs=_differ(counted))
    )
    groups = list(dict.fromkeys(line.group for line in lines))
    return sorted(lines, key=lambda line: groups.index(line.group))


def _of(models: Sequence[Anatomy], name: str) -> tuple[Any, ...]:
    return tuple(model.values.get(name, MEANINGLESS if _described(model, name) else None) for model in models)


def _described(model: Anatomy, name: str) -> bool:
    """Whether the family of a model states its traits, and this is one that it could have stated."""
    return name in trait_words() and "norm_place" in model.values


def _differ(values: Sequence[Any]) -> bool:
    return any(type(value) is not type(values[0]) or value != values[0] for value in values)


def _sites(models: Sequence[Anatomy]) -> list[SiteLine]:
    lines = []
    for entries in zip(*(model.sites for model in models), strict=True):
        values = tuple(site_size(entry) for entry in entries)
        has = [entry.absent is None for entry in entries]
        lines.append(SiteLine(name=entries[0].name, values=values, differs=len(set(has)) > 1))
    return lines


def site_size(entry: SiteEntry) -> str:
    """The axes of a site with their lengths, and the width of its values: `layer 30, head 9, pos; dim 64`."""
    if entry.absent is not None:
        return f"absent: {entry.absent}"
    axes = ", ".join(axis if size is None else f"{axis} {size}" for axis, size in entry.axes.items())
    return axes if entry.feature is None else f"{axes}; {entry.feature} {entry.width}"
