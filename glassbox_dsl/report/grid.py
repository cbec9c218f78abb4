"""Matrices as pictures: cells in an 8-bit image, everything around them as SVG text, so that it prints and
scales.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from glassbox_dsl.report.colours import Scale
from glassbox_dsl.report.page import Figure
from glassbox_dsl.report.png import data_uri, enlarged, png
from glassbox_dsl.report.ticks import Mark, Ticks

CHARACTER = 6.3  # width of a character at the size of tick labels, in pixels
MOST_INTERVALS, MOST_NUMBERS = 12_000, 60_000  # cells of a figure whose numbers the page carries
MARK_RISE, MARK_RUN = math.sin(math.radians(55)), math.cos(math.radians(55))


@dataclass(frozen=True)
class Text:
    """A word in the picture, at its place in pixels."""

    x: float
    y: float
    text: str
    strong: bool = False


@dataclass(frozen=True)
class Panel:
    """One matrix. `values` [ny, nx], the row on top first; `low`, `high`, `n` of that shape or None."""

    title: str
    x: Ticks
    y: Ticks
    values: NDArray[np.float64] = field(repr=False)
    low: NDArray[np.float64] | None = field(default=None, repr=False)
    high: NDArray[np.float64] | None = field(default=None, repr=False)
    n: NDArray[np.float64] | None = field(default=None, repr=False)


@dataclass(frozen=True)
class Drawn:
    """A panel with its geometry, in pixels: the cells fill `width` x `height` at (`left`, `top`)."""

    title: str
    image: str
    left: float
    top: float
    width: float
    height: float
    total_width: float
    total_height: float
    x_name: str
    y_name: str
    x_texts: tuple[Text, ...]
    y_texts: tuple[Text, ...]
    marks: tuple[Text, ...]
    name_y: float
    new_row: bool = False


@dataclass(frozen=True)
class Bar:
    """The colour bar: its picture and the numbers at its ends and middle."""

    image: str
    name: str
    texts: tuple[str, ...]


@dataclass(frozen=True)
class GridFigure(Figure):
    """A figure of matrices that share one colour scale."""

    panels: tuple[Drawn, ...] = ()
    bar: Bar | None = None
    missing: int = 0


def cell_size(shape: tuple[int, ...], target: float) -> tuple[float, float]:
    """Width and height of a cell in pixels, so that a matrix [ny, nx] is about `target` wide and not too
    high.
    """
    ny, nx = shape
    return min(26.0, max(4.0, target / max(nx, 1))), min(22.0, max(4.0, 380 / max(ny, 1)))


def draw(panel: Panel, scale: Scale, cell: tuple[float, float], top: float = 4.0, grain: int = 1) -> Drawn:
    """Lay a panel out with cells of this width and height in pixels, the first row at `top`.

    The image has `grain` pixels to the side of a cell.
    """
    ny, nx = panel.values.shape
    cell_width, cell_height = cell
    panel = replace(panel, x=leaning(panel.x, cell_width))
    longest = max((len(mark.text[:16]) for mark in panel.x.marks), default=0)
    beside = 26 + CHARACTER * max((len(label) for label in panel.y.labels), default=1)
    left = max(beside, MARK_RUN * CHARACTER * longest - cell_width / 2)
    width, height = cell_width * nx, cell_height * ny
    numbered = 16 if any(panel.x.labels) or not longest else 3
    below = numbered + (MARK_RISE * CHARACTER * longest + 6 if longest else 0)
    return Drawn(
        title=panel.title,
        image=data_uri(png(enlarged(scale.steps(panel.values), grain), scale.palette())),
        left=left,
        top=top,
        width=width,
        height=height,
        total_width=max(left + width + 14, left + CHARACTER * len(panel.x.title) + 10),
        total_height=top + height + below + 16,
        x_name=panel.x.title,
        y_name=panel.y.title,
        x_texts=across(panel.x, left, top + height + 13, cell_width) if any(panel.x.labels) else (),
        y_texts=down(panel.y, left - 5, top, cell_height),
        marks=slanted(panel.x, left, top + height + 9 + numbered, cell_width),
        name_y=top + height + below + 11,
    )


def leaning(axis: Ticks, cell: float) -> Ticks:
    """Names that are wider than their cells as marks, which lean; numbers stay, and some are left out."""
    widest = CHARACTER * max((len(label) for label in axis.labels), default=1) + 4
    numbers = all(label.lstrip("-").replace(".", "").rstrip("%").isdigit() for label in axis.labels)
    if axis.marks or numbers or widest <= cell:
        return axis
    return replace(
        axis, labels=("",) * len(axis.labels), marks=tuple(Mark(label, True) for label in axis.labels)
    )


def across(axis: Ticks, left: float, y: float, cell: float) -> tuple[Text, ...]:
    """The labels under the cells, as many as fit."""
    widest = CHARACTER * max((len(label) for label in axis.labels), default=1) + 4
    step = stride(widest / cell)
    return tuple(Text(left + cell * (i + 0.5), y, axis.labels[i]) for i in range(0, len(axis.labels), step))


def down(axis: Ticks, x: float, top: float, cell: float) -> tuple[Text, ...]:
    """The labels left of the cells, as many as fit; the lowest row always has one."""
    step = stride(12 / cell)
    last = len(axis.labels) - 1
    return tuple(Text(x, top + cell * (i + 0.5) + 4, axis.labels[i]) for i in range(last, -1, -step))


def slanted(axis: Ticks, left: float, y: float, cell: float) -> tuple[Text, ...]:
    """The marks under the labels: where room is short, the span labels and what fits between them."""
    step = stride(11 / cell)
    shown = [i for i, m in enumerate(axis.marks) if m.text and (i % step == 0 or m.strong)]
    strong = {i for i in shown if axis.marks[i].strong}
    kept = [i for i in shown if i in strong or not any(0 < abs(i - s) < step for s in strong)]
    return tuple(
        Text(left + cell * (i + 0.5) + 3, y, _short(axis.marks[i]), axis.marks[i].strong) for i in kept
    )


def _short(mark: Mark) -> str:
    return mark.text if len(mark.text) <= 16 else mark.text[:15] + "…"


def stride(wanted: float) -> int:
    """The smallest round step of at least `wanted`: 1, 2, 5, 10, ..."""
    size = 1
    while True:
        for step in (size, 2 * size, 5 * size):
            if step >= wanted:
                return step
        size *= 10


def colour_bar(scale: Scale, name: str) -> Bar:
    """The bar for a scale, low on the left."""
    middle = (scale.low + scale.high) / 2
    texts = tuple(brief(v) for v in (scale.low, 0.0 if scale.signed else middle, scale.high))
    return Bar(data_uri(png(np.arange(1, 256, dtype=np.uint8)[None, :], scale.palette())), name, texts)


def payload(panels: Sequence[Panel]) -> list[dict[str, Any]]:
    """What the script reads: for each panel the places in words and the exact numbers, row by row.

    Of large figures the intervals stay in the database, of very large ones the numbers too.
    """
    size = sum(panel.values.size for panel in panels)
    return [
        {
            "x": panel.x.spoken(),
            "y": panel.y.spoken(),
            **{
                name: numbers(part)
                for name, part, most in (
                    ("values", panel.values, MOST_NUMBERS),
                    ("low", panel.low, MOST_INTERVALS),
                    ("high", panel.high, MOST_INTERVALS),
                    ("n", panel.n, MOST_INTERVALS),
                )
                if part is not None and size <= most
            },
        }
        for panel in panels
    ]


def numbers(values: NDArray[np.float64]) -> list[float | None | str]:
    """Numbers for JSON with the seven digits that float32 has; None where missing, text where infinite."""
    return [
        None if math.isnan(v) else (exact(v) if math.isinf(v) else float(f"{v:.7g}"))
        for v in values.ravel().tolist()
    ]


def exact(value: float | None) -> str:
    """A number with all digits that a float32 has; a dash where it is missing."""
    if value is None or math.isnan(value):
        return "–"
    if math.isinf(value):
        return "inf" if value > 0 else "−inf"
    return f"{value:.7g}".replace("-", "−")


def brief(value: float | None) -> str:
    """A number for the eye: four digits, thousands apart."""
    if value is None or math.isnan(value):
        return "–"
    if 1e4 <= abs(value) < 1e9:
        return f"{float(f'{value:.4g}'):,.0f}".replace("-", "−")
    return f"{value:.4g}".replace("-", "−") if math.isfinite(value) else exact(value)
