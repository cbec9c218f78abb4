"""What a page shall show: the report blocks that a run carries, and a sensible one where there is none."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from pydantic import BaseModel, ConfigDict

from glassbox_dsl.store.rows import MeasureRow

ROLES: Final = ("x", "y", "color", "facet", "row", "value")
WORDS: Final = (*ROLES, "over", "title", "minus")


class ItemSpec(BaseModel):
    """One line of a report. `source` is (experiment, measure), or text for `markdown` and `sql`.

    `options`: the words of LANGUAGE.md section 9; every other key is an axis with the value it is fixed to.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)
    kind: str
    source: tuple[str, str] | str
    options: Mapping[str, Any] = {}

    @property
    def fixed(self) -> dict[str, Any]:
        """Axes that the item holds at one value."""
        return {name: value for name, value in self.options.items() if name not in WORDS}

    @property
    def over(self) -> tuple[str, ...]:
        """Axes that the item averages over; the items of the data set when nothing is written."""
        written = self.options.get("over", ("item",))
        return (written,) if isinstance(written, str) else tuple(written)

    @property
    def numbers(self) -> tuple[str, str] | str:
        """The measure whose numbers are shown: the source, or what `value` names beside it."""
        value = self.role("value")
        return self.source if value is None or isinstance(self.source, str) else (self.source[0], value)

    def role(self, name: str) -> str | None:
        """What `x`, `y`, ... names, None when it is left to the chart."""
        value = self.options.get(name)
        return None if value is None else str(value)


class PageSpec(BaseModel):
    """One page."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)
    name: str
    title: str | None = None
    items: tuple[ItemSpec, ...]


def default_page(
    name: str, measures: tuple[MeasureRow, ...], patterns: tuple[tuple[str, str], ...]
) -> PageSpec:
    """Everything a run stored, each measure as its axes suggest; `patterns` are records of attention."""
    items = [ItemSpec(kind=suited(m), source=(m.experiment, m.measure)) for m in measures]
    items += [ItemSpec(kind="attention", source=source) for source in patterns]
    return PageSpec(name=name, items=tuple(items))


def suited(measure: MeasureRow) -> str:
    """The chart for a measure: a grid of tokens, texts, a heatmap for two axes, a line or bars for one, else a
    table.
    """
    if measure.kind == "top":
        return "lens"
    if measure.kind in ("text", "edges"):
        return "graph" if measure.kind == "edges" else "text"
    if not measure.variables:
        return "table"
    if len(measure.variables) >= 2:
        return "heatmap"
    return "bar" if measure.variables[0].kind == "text" or measure.variables[0].named else "line"
