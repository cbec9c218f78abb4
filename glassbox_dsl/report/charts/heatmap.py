"""Numbers over two axes as a matrix of colours; more axes give panels side by side, on one scale."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from glassbox_dsl.report.chart import Chart
from glassbox_dsl.report.colours import Scale, scale_of
from glassbox_dsl.report.grid import (
    MOST_INTERVALS,
    MOST_NUMBERS,
    Drawn,
    GridFigure,
    Panel,
    Text,
    cell_size,
    colour_bar,
    draw,
    payload,
)
from glassbox_dsl.report.material import Material
from glassbox_dsl.report.panels import (
    MOST_PANELS,
    Group,
    axes_of,
    caption,
    groups,
    heading,
    lacking,
    panel_title,
)
from glassbox_dsl.report.select import DEPTH, Cells, select
from glassbox_dsl.report.spec import ItemSpec
from glassbox_dsl.report.tables import matrix
from glassbox_dsl.report.ticks import ticks


def build(item: ItemSpec, material: Material, key: str) -> GridFigure:
    """The figure of one item."""
    cells = select(item, material)
    x, y = axes_of(item, cells)
    found = groups(item, cells, (x, y))
    panels = tuple(panel(material, cells, group, x, y) for group in found[:MOST_PANELS])
    values = np.concatenate([p.values.ravel() for p in panels]) if panels else np.zeros(0)
    scale = scale_of(values)
    name = cells.measure.measure + (f", {cells.measure.unit}" if cells.measure.unit else "")
    hatched = any(not math.isfinite(v) for v in values.tolist())
    return GridFigure(
        key=key,
        kind="heatmap",
        **heading(item, cells.measure),
        caption=caption(cells),
        sql=cells.sql,
        notes=(*lacking(cells), *too_many(len(found)), *too_large(values.size)),
        tables=tuple(matrix(p) for p in panels),
        data={"name": cells.measure.measure, "panels": payload(panels)},
        panels=drawn(item, found, panels, scale),
        bar=colour_bar(scale, name) if panels else None,
        missing=int(hatched),
    )


def panel(material: Material, cells: Cells, group: Group, x: str, y: str) -> Panel:
    """One matrix: layers grow upwards, everything else is read from the top."""
    xs, ys = group.values(cells, x), group.values(cells, y)
    ys = ys[::-1] if y in ("layer", DEPTH) or _on_layers(cells, y) else ys
    at_x, at_y = ({value: i for i, value in enumerate(values)} for values in (xs, ys))
    parts = {name: np.full((len(ys), len(xs)), np.nan) for name in ("value", "low", "high", "n")}
    for cell in group.cells:
        place = at_y[cell.at[y]], at_x[cell.at[x]]
        parts["value"][place] = cell.value
        parts["low"][place], parts["high"][place] = cell.low, cell.high
        parts["n"][place] = math.nan if cell.n is None else cell.n
    some = {name: part if np.isfinite(part).any() else None for name, part in parts.items()}
    return Panel(
        title=panel_title(group, cells),
        x=ticks(material, cells, x, xs, {**cells.fixed, **group.held}),
        y=ticks(material, cells, y, ys, {**cells.fixed, **group.held}),
        values=parts["value"],
        low=some["low"],
        high=some["high"],
        n=some["n"],
    )


def _on_layers(cells: Cells, name: str) -> bool:
    return any(v.name == name and v.axis == "layer" for v in cells.measure.variables)


def drawn(
    item: ItemSpec, found: tuple[Group, ...], panels: tuple[Panel, ...], scale: Scale
) -> tuple[Drawn, ...]:
    """The panels laid out; one that has another value of the axis `row` than the one before begins a new row."""
    target = 560.0 if len(panels) == 1 else 400.0
    row = [group.held.get(item.role("row") or "") for group in found]
    sizes = [cell_size(p.values.shape, target) for p in panels]
    tops = [4.0] * len(panels)
    if item.role("y") == DEPTH and panels:
        sizes, tops = aligned(sizes, [len(p.values) for p in panels])
    drawings = [draw(p, scale, size, top) for p, size, top in zip(panels, sizes, tops, strict=True)]
    if item.role("y") == DEPTH:
        drawings = [
            replace(d, y_texts=quarters(d, len(p.values))) for d, p in zip(drawings, panels, strict=True)
        ]
    return tuple(
        replace(drawing, new_row=i > 0 and row[i] != row[i - 1]) for i, drawing in enumerate(drawings)
    )


def aligned(
    sizes: list[tuple[float, float]], rows: list[int]
) -> tuple[list[tuple[float, float]], list[float]]:
    """Sizes of cells and tops of panels, so that equal depths stand side by side: the middles of the first rows
    and those of the last.
    """
    span = max(size[1] * (count - 1) for size, count in zip(sizes, rows, strict=True))
    heights = [span / (count - 1) if count > 1 else size[1] for size, count in zip(sizes, rows, strict=True)]
    tops = [4.0 + (max(heights) - height) / 2 for height in heights]
    return [(size[0], height) for size, height in zip(sizes, heights, strict=True)], tops


def quarters(drawn: Drawn, rows: int) -> tuple[Text, ...]:
    """The labels of an axis of depths, the same in every panel."""
    height = drawn.height / rows
    last = drawn.top + drawn.height - height / 2
    return tuple(
        Text(drawn.left - 5, last - part / 100 * height * (rows - 1) + 4, f"{part}%")
        for part in (0, 25, 50, 75, 100)
    )


def too_large(size: int) -> tuple[str, ...]:
    """A sentence about numbers that a large figure leaves in the database."""
    if size <= MOST_INTERVALS:
        return ()
    what = "The intervals of this figure are" if size <= MOST_NUMBERS else "The numbers of this figure are"
    return (f"{what} left out of the page to keep it small; the query gives them.",)


def too_many(found: int) -> tuple[str, ...]:
    """A sentence about panels that are left out."""
    if found <= MOST_PANELS:
        return ()
    return (
        f"{MOST_PANELS} of {found} panels are shown; fix an axis to see the others. The query gives all.",
    )


TEMPLATE = """
{% import "parts.html" as parts %}
<div class="panels">
{% for panel in figure.panels %}
{% if panel.new_row %}<div class="break"></div>{% endif %}
{{ parts.panel(panel, figure.key, loop.index0) }}
{% endfor %}
</div>
{% if figure.bar %}{{ parts.bar(figure.bar, figure.missing) }}{% endif %}
"""

CHART = Chart("heatmap", "a matrix of colours over two axes", build, TEMPLATE)
