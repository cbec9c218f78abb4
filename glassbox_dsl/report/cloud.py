"""What scatters and histograms share: the axes inside a panel are pooled, and models stand apart unless told else."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from glassbox_dsl.report.panels import Group, groups
from glassbox_dsl.report.select import Cell, Cells
from glassbox_dsl.report.spec import ItemSpec
from glassbox_dsl.report.ticks import shown

SIDE = 300
ALONE = 420
CODE = Path(__file__).read_text(encoding="utf-8")
"""A part of what kept pictures rest on, beside the numbers and the file of their chart."""


def pooled(item: ItemSpec, cells: Cells) -> tuple[Group, ...]:
    """The cells by panel: `facet` and `row` apart, and models and data sets where there are several."""
    apart = {item.role("facet"), item.role("row")}
    apart |= {axis for axis in ("model", "data") if len(cells.values.get(axis, ())) > 1}
    apart -= {item.role("color")}
    return groups(item, cells, [axis for axis in cells.axes if axis not in apart])


def within(cells: Cells, found: Sequence[Group]) -> tuple[str, ...]:
    """The axes along which a panel pools its numbers; columns of the data are none of them."""
    held = set(found[0].held) if found else set()
    own = {"model", "data", "item", *(v.name for v in cells.measure.variables)}
    return tuple(a for a in cells.axes if a in own and a not in held and len(cells.values[a]) > 1)


def place(cell: Cell, axes: Sequence[str]) -> str:
    """Where a cell stands, as short as the field writes it: `L9H6`, else `layer 9, alpha 0.5`."""
    short = {"layer": "L", "head": "H"}
    if set(axes) <= set(short) and axes:
        return "".join(f"{short[axis]}{cell.at[axis]}" for axis in sorted(axes, key="layer head".index))
    return ", ".join(("" if a in ("model", "data") else f"{a} ") + shown(cell.at[a]) for a in axes)


def tinted(cells: Cells, axis: str | None) -> dict[str, Any]:
    """The colours of an axis, in its own order; none where the figure has no `color`."""
    import altair as alt

    order = [shown(value) for value in cells.values[axis]] if axis else []
    return (
        {"color": alt.Color("color:N", title=axis, sort=order, scale=alt.Scale(domain=order))} if axis else {}
    )


def reach(values: Sequence[float]) -> tuple[float, float]:
    """The ends of an axis: all finite values, with a little air."""
    finite = [v for v in values if math.isfinite(v)]
    low, high = min(finite, default=0.0), max(finite, default=1.0)
    air = 0.04 * (high - low) or 0.04 * abs(high) or 1.0
    return low - air, high + air


def beside(drawn: Sequence[Any]) -> Any:
    """Panels as one chart, two in a row, with one legend."""
    import altair as alt

    return drawn[0] if len(drawn) == 1 else alt.concat(*drawn, columns=2).resolve_scale(color="shared")
