"""The numbers of a figure as tables that can be read without seeing, or copied."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from glassbox_dsl.report.grid import Panel, exact
from glassbox_dsl.report.page import Table
from glassbox_dsl.report.select import Cells
from glassbox_dsl.report.ticks import shown
from glassbox_dsl.report.visible import visible

MOST_ROWS = 1000
MOST_CELLS = 6000
MOST_DIGITS = 12


def matrix(panel: Panel) -> Table:
    """A panel as it is drawn: one row per row of cells."""
    marks = panel.x.marks
    heads = [f"{label} {marks[i].text}".strip() if marks else label for i, label in enumerate(panel.x.labels)]
    keep = max(1, MOST_CELLS // max(1, len(heads)))
    rows = [
        (_beside(panel, i), *(exact(v) for v in row)) for i, row in enumerate(panel.values[:keep].tolist())
    ]
    return Table(
        columns=(f"{panel.y.name} \\ {panel.x.name}", *heads),
        rows=tuple(rows),
        numeric=(False, *(True for _ in heads)),
        caption=panel.title,
        left_out=max(0, len(panel.values) - keep),
    )


def _beside(panel: Panel, row: int) -> str:
    mark = panel.y.marks[row].text if panel.y.marks else ""
    return f"{panel.y.labels[row]} {mark}".strip()


def long(cells: Cells, caption: str = "") -> Table:
    """One row per cell, with n and the interval where there are some."""
    counted = any(cell.n is not None for cell in cells.cells)
    columns = [*cells.axes, "value" if not counted else "mean"]
    columns += ["n"] if counted else []
    columns += ["lo", "hi"] if cells.has_interval else []
    kept = cells.cells[:MOST_ROWS]
    parts = [aligned([cell.value for cell in kept])]
    parts += [["–" if cell.n is None else str(cell.n) for cell in kept]] if counted else []
    if cells.has_interval:
        parts += [aligned([cell.low for cell in kept]), aligned([cell.high for cell in kept])]
    rows = [
        (*(shown(cell.at[axis]) for axis in cells.axes), *numbers)
        for cell, numbers in zip(kept, zip(*parts, strict=True), strict=True)
    ]
    numeric = [cells.kind[axis] != "text" for axis in cells.axes]
    return Table(
        columns=tuple(columns),
        rows=tuple(rows),
        numeric=(*numeric, *(True for _ in range(len(columns) - len(numeric)))),
        caption=caption,
        left_out=max(0, len(cells.cells) - MOST_ROWS),
    )


def aligned(values: Sequence[float]) -> list[str]:
    """Numbers of a column with all their digits, and as many behind the point in each where that is readable."""
    texts = [exact(value) for value in values]
    before, behind = (max((len(t.partition(".")[i]) for t in texts), default=0) for i in (0, 2))
    if not behind or before + behind > MOST_DIGITS or any("e" in text for text in texts):
        return texts
    return [
        f"{value:.{behind}f}".replace("-", "−") if math.isfinite(value) else text
        for value, text in zip(values, texts, strict=True)
    ]


def answer(
    columns: Sequence[str], rows: Sequence[Sequence[Any]], caption: str = "", left_out: int = 0
) -> Table:
    """The answer to a query as it came."""
    numeric = tuple(
        any(isinstance(row[i], int | float) and not isinstance(row[i], bool) for row in rows)
        for i in range(len(columns))
    )
    text = tuple(tuple(_plain(value) for value in row) for row in rows)
    return Table(tuple(visible(c) for c in columns), text, numeric, caption, left_out)


def _plain(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, bool):
        return shown(value)
    return exact(value) if isinstance(value, float) else visible(str(value))
