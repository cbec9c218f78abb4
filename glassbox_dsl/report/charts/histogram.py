"""How many numbers of a measure have which value: bars over shared bins, models apart."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from glassbox_dsl.report.chart import Chart
from glassbox_dsl.report.cloud import ALONE, CODE, SIDE, beside, pooled, tinted, within
from glassbox_dsl.report.grid import brief
from glassbox_dsl.report.material import Material
from glassbox_dsl.report.page import Table
from glassbox_dsl.report.panels import MOST_PANELS, caption, heading, lacking, panel_title
from glassbox_dsl.report.select import Cell, Cells, select
from glassbox_dsl.report.spec import ItemSpec
from glassbox_dsl.report.ticks import shown
from glassbox_dsl.report.vega import INK, INSTALL, PictureFigure, installed, pictures

MOST_BINS = 60
MOST_STEPS = 20  # whole numbers spread no wider than this get a bin each


@dataclass(frozen=True)
class Counted:
    """The counts of one colour in one panel: `counts[i]` numbers lie in bin i."""

    panel: str
    color: str
    counts: tuple[int, ...]
    middle: float


@dataclass(frozen=True)
class Histogram:
    """Counts over `edges`, of one more than the bins; a number on an inner edge counts upwards."""

    cells: Cells
    edges: NDArray[np.float64]
    counted: tuple[Counted, ...]
    inside: tuple[str, ...]
    color: str | None


def build(item: ItemSpec, material: Material, key: str) -> PictureFigure:
    """The figure of one item. Raises Findings (GB652 ... GB656)."""
    found = histogram(item, material)
    of = " and ".join(found.inside)
    each = f"each number is of one {of}" if of else "one number a model"
    total = sum(sum(part.counts) for part in found.counted)
    panels = len({part.panel for part in found.counted})
    meaning = caption(found.cells, intervals=False)
    notes = [note.replace(" (hatched)", " and are not counted") for note in lacking(found.cells)]
    if panels > MOST_PANELS:
        notes.append(f"{MOST_PANELS} of {panels} panels are shown; fix an axis to see the others.")
    return PictureFigure(
        key=key,
        kind="histogram",
        **heading(item, found.cells.measure),
        opened=not installed(),
        caption=f"How {total} numbers spread: {each}. {meaning} The rule marks the median.",
        sql=found.cells.sql,
        notes=(*notes, *(() if installed() else (INSTALL,))),
        tables=(table(found),),
        **(pictures((CODE, found, found.edges.tolist()), lambda theme: chart(found, theme)) if total else {}),
    )


def histogram(item: ItemSpec, material: Material) -> Histogram:
    """Ask for the numbers and count them. A measure without axes is counted item by item."""
    measure = material.measure(item.numbers)
    if "over" not in item.options and not measure.variables and measure.has_items:
        item = item.model_copy(update={"options": {**item.options, "over": ()}})
    cells = select(item, material)
    found = pooled(item, cells)
    edges = bins([cell.value for cell in cells.cells])
    color = item.role("color")
    counted = []
    for group in found:
        for value in cells.values[color] if color else (None,):
            mine = [c for c in group.cells if color is None or c.at[color] == value]
            counted.append(count(mine, edges, panel_title(group, cells), shown(value) if color else ""))
    inside = tuple(axis for axis in within(cells, found) if axis != color)
    return Histogram(cells, edges, tuple(c for c in counted if any(c.counts)), inside, color)


def count(cells: Sequence[Cell], edges: NDArray[np.float64], panel: str, color: str) -> Counted:
    """The finite numbers of some cells by bin, and their median."""
    values = np.array([cell.value for cell in cells if math.isfinite(cell.value)])
    counts, _ = np.histogram(values, edges)
    return Counted(
        panel, color, tuple(counts.tolist()), float(np.median(values)) if values.size else math.nan
    )


def bins(values: Sequence[float]) -> NDArray[np.float64]:
    """Edges of equal bins: one for each whole number where they are few, else as wide as Freedman and Diaconis
    (1981) say.
    """
    finite = np.array([v for v in values if math.isfinite(v)])
    if finite.size == 0:
        return np.array([0.0, 1.0])
    low, high = finite.min(), finite.max()
    if np.all(finite == np.round(finite)) and high - low <= MOST_STEPS:
        return np.arange(low - 0.5, high + 1)
    edges = np.histogram_bin_edges(finite, "fd") if finite.size > 1 else np.array([low, high])
    many = len(edges) - 1 > MOST_BINS or len(edges) < 3
    return (
        np.histogram_bin_edges(finite, min(MOST_BINS, max(2, round(math.sqrt(finite.size)))))
        if many
        else edges
    )


def whole(edges: NDArray[np.float64]) -> bool:
    """Whether each bin is one whole number."""
    return bool(edges[0] % 1 == 0.5 and np.all(np.diff(edges) == 1))


def table(found: Histogram) -> Table:
    """One row per bin that holds something."""
    rows = []
    for part in found.counted:
        for low, high, n in zip(
            found.edges[:-1].tolist(), found.edges[1:].tolist(), part.counts, strict=True
        ):
            if n:
                rows.append(
                    (part.panel, *((part.color,) if found.color else ()), brief(low), brief(high), str(n))
                )
    names = ("panel", *((found.color,) if found.color else ()), "from", "below", "count")
    return Table(names, tuple(rows), (*(False for _ in names[:-3]), True, True, True))


def chart(found: Histogram, theme: str) -> Any:
    """The panels as an Altair chart, on one scale."""
    titles = list(dict.fromkeys(part.panel for part in found.counted))[:MOST_PANELS]
    top = max(n for part in found.counted for n in part.counts)
    width = ALONE if len(titles) == 1 else SIDE
    return beside([
        _panel(found, title, [p for p in found.counted if p.panel == title], top, width, theme) for title in titles
    ])  # fmt: skip


def _panel(found: Histogram, title: str, parts: list[Counted], top: int, width: int, theme: str) -> Any:
    import altair as alt

    edges = found.edges.tolist()
    rows = [
        {"from": edges[i], "to": edges[i + 1], "n": n, "zero": 0, "color": part.color}
        for part in parts for i, n in enumerate(part.counts) if n
    ]  # fmt: skip
    middles = [{"x": part.middle, "color": part.color} for part in parts]
    measure = found.cells.measure
    scale = alt.Scale(domain=[edges[0], edges[-1]], nice=False, zero=False)
    name = measure.measure + (f" ({measure.unit})" if measure.unit else "")
    y = alt.Y(
        "n:Q",
        title="count",
        scale=alt.Scale(domain=[0, 1.06 * top], nice=False),
        axis=alt.Axis(tickMinStep=1, format="d"),
    )
    tint = tinted(found.cells, found.color)
    across: dict[str, Any] = {"grid": False}
    if whole(found.edges):
        across |= {"values": (found.edges[:-1] + 0.5).tolist(), "format": "d"}
    bars = alt.Chart(alt.InlineData(values=rows)).mark_rect(
        opacity=0.55 if found.color else 0.85, xOffset=0.5, x2Offset=-0.5
    )
    bars = bars.encode(
        x=alt.X("from:Q", title=name, scale=scale, axis=alt.Axis(**across)),
        x2="to:Q",
        y=y,
        y2="zero:Q",
        **tint,
    )
    rule: dict[str, Any] = {} if found.color else {"color": INK[theme]}
    middle = alt.Chart(alt.InlineData(values=middles)).mark_rule(strokeWidth=1.5, **rule)
    middle = middle.encode(x=alt.X("x:Q", scale=scale), **tint)
    total = sum(n for part in parts for n in part.counts)
    words = f"{title}: {total} numbers" if title else f"{total} numbers"
    return alt.layer(bars, middle).properties(
        width=width, height=200, title=alt.TitleParams(words, color=INK[theme], fontSize=12)
    )


TEMPLATE = """
{% import "parts.html" as parts %}
{{ parts.picture(figure) }}
"""

CHART = Chart("histogram", "how many numbers have which value", build, TEMPLATE)
