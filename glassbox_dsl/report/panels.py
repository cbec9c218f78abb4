"""Which axis goes where: x, y and one panel for every combination of what is left."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

from glassbox_dsl.diagnostics import Findings
from glassbox_dsl.report import errors
from glassbox_dsl.report.select import Cell, Cells
from glassbox_dsl.report.spec import ItemSpec
from glassbox_dsl.report.ticks import shown
from glassbox_dsl.store.rows import MeasureRow

ACROSS = ("pos", "key", "head", "kv_head", "neuron", "expert", "item")
MOST_PANELS = 24


@dataclass(frozen=True)
class Group:
    """The cells of one panel: `held` are the axes that have one value in it."""

    held: dict[str, Any]
    cells: tuple[Cell, ...]

    def values(self, cells: Cells, axis: str) -> tuple[Any, ...]:
        """The values of an axis that occur in this panel, in the order to draw them."""
        present = {cell.at[axis] for cell in self.cells}
        return tuple(value for value in cells.values[axis] if value in present)


def axes_of(item: ItemSpec, cells: Cells) -> tuple[str, str]:
    """The x and y of a matrix: as written, else position or head across and layer up. Raises Findings
    (GB655).
    """
    free = [axis for axis in cells.axes if axis not in (item.role("facet"), item.role("row"))]
    name = f"{cells.measure.experiment}.{cells.measure.measure}"
    x, y = item.role("x"), item.role("y")
    rest = [axis for axis in free if axis not in ("model", "data", x, y)]
    if y is None:
        y = (
            "layer"
            if "layer" in rest
            else next((a for a in rest if a not in ACROSS or len(rest) == 1 and x), None)
        )
        rest = [axis for axis in rest if axis != y]
    if x is None:
        x = next((axis for axis in ACROSS if axis in rest), rest[0] if rest else None)
    if y is None:
        y = next((axis for axis in (*rest, "model", "data") if axis in free and axis != x), None)
    if x is None or y is None or x == y:
        found = ", ".join(axis for axis in free if axis not in ("model", "data")) or "no axis"
        raise Findings([errors.wrong_axes(name, item.kind, found, "two axes")])
    return x, y


def groups(item: ItemSpec, cells: Cells, inside: Sequence[str]) -> tuple[Group, ...]:
    """The cells by panel: axes not `inside` a panel are held, `row` first, then `facet`, then the others."""
    outer = [axis for axis in cells.axes if axis not in inside]
    outer.sort(key=lambda axis: (axis != item.role("row"), axis != item.role("facet")))
    by_key: dict[tuple[Any, ...], list[Cell]] = {}
    for cell in cells.cells:
        by_key.setdefault(tuple(cell.at[axis] for axis in outer), []).append(cell)
    keys = [key for key in product(*(cells.values[axis] for axis in outer)) if key in by_key]
    return tuple(Group(dict(zip(outer, key, strict=True)), tuple(by_key[key])) for key in keys)


def panel_title(group: Group, cells: Cells) -> str:
    """What is held in a panel, without what is held in all of them: `gemma`, `alpha = 0.5`."""
    words = [
        shown(value) if axis in ("model", "data") else f"{axis} {shown(value)}"
        for axis, value in group.held.items()
        if len(cells.values[axis]) > 1 or axis == "model"
    ]
    return ", ".join(words)


def heading(item: ItemSpec, measure: MeasureRow) -> dict[str, Any]:
    """Title, group and definition of a figure of one measure; what it holds fixed tells it from its neighbours."""
    held = [shown(v) if axis == "model" else f"{axis} {shown(v)}" for axis, v in item.fixed.items()]
    name = ", ".join((f"{measure.experiment}.{measure.measure}", *held))
    return {
        "title": str(item.options.get("title") or name),
        "group": measure.title,
        "definition": measure.source if "=" in measure.source else "",
    }


def caption(cells: Cells, intervals: bool = True) -> str:
    """What a number of the figure means: over how many items it is a mean, and what its interval is."""
    measure = cells.measure
    name = f"{measure.experiment}.{measure.measure}"
    unit = f" ({measure.unit})" if measure.unit else ""
    held = "; ".join(f"{axis} = {shown(value)}" for axis, value in cells.fixed.items())
    counts = {cell.n for cell in cells.cells if cell.n is not None}
    if not cells.over and "item" in cells.axes:
        text = f"{name}{unit}, each item by itself."
    elif not counts:
        text = f"{name}{unit}: one value per cell, from all items together, not an average over items."
    else:
        of = "ratio of means (numerator by denominator)" if measure.kind == "ratio" else "mean"
        what = "items" if cells.over == ("item",) else "values (" + ", ".join(cells.over) + ")"
        text = f"{name}{unit}: {of} over n = {spread(counts)} {what}."
    text += f" {MEANING[measure.unit]}" if measure.unit in MEANING else ""
    if cells.has_interval and intervals:
        text += " Intervals (lo to hi) are 95% bootstrap intervals over items."
    return text + (f" Shown for {held}." if held else "")


MEANING = {
    "rank": "1 is the best rank.",
    "0 or 1": "It is the share for which it holds.",
    "nats": "Nats are natural logarithms: 0.69 nats are one bit.",
}
"""What a reader may not know of a unit."""


def spread(counts: set[int]) -> str:
    """How many: one number, or the least and the most."""
    return f"{min(counts)}" if len(counts) == 1 else f"{min(counts)} to {max(counts)}"


def lacking(cells: Cells) -> tuple[str, ...]:
    """A sentence about missing numbers, when there are some."""
    if not cells.cells:
        return ("The run stored no number for this figure.",)
    if not cells.missing:
        return ()
    infinite = sum(math.isinf(cell.value) for cell in cells.cells)
    empty = cells.missing - infinite
    parts = [f"{empty} of {len(cells.cells)} cells have no value"] if empty else []
    parts += [f"{infinite} of {len(cells.cells)} cells are infinite"] if infinite else []
    return (" and ".join(parts) + " (hatched).",)
