"""What line and bar charts share: cells as rows for Altair, and which axis goes across, into colours and into
panels.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from glassbox_dsl.diagnostics import Findings
from glassbox_dsl.report import errors
from glassbox_dsl.report.material import Material
from glassbox_dsl.report.select import DEPTH, Cells
from glassbox_dsl.report.spec import ItemSpec
from glassbox_dsl.report.ticks import position_marks, shown, titled

MOST_COLOURS = 8
FAR = 30


@dataclass(frozen=True)
class Series:
    """Rows with `x`, `y`, `low`, `high`, `color`, `panel`; `order[column]`: its values as they are drawn.

    `log`: the numbers are ranks that a logarithmic axis spreads better.
    """

    rows: tuple[dict[str, Any], ...]
    x: str
    numeric: bool
    color: str | None
    panel: str | None
    order: dict[str, list[Any]]
    y_title: str
    log: bool = False


def series(item: ItemSpec, cells: Cells, material: Material) -> Series:
    """Lay the cells out for a line or bar chart. Raises Findings (GB655)."""
    x = _across(item, cells)
    free = [
        axis
        for axis in cells.axes
        if axis != x and (len(cells.values[axis]) > 1 or axis == item.role("color"))
    ]
    loose = [axis for axis in free if axis not in (item.role("facet"), item.role("row"))]
    color = item.role("color") or ("model" if "model" in loose else loose[0] if loose else None)
    color = color if color in free and len(cells.values[color]) <= MOST_COLOURS else None
    panels = [axis for axis in free if axis != color]
    numeric = cells.kind[x] in ("number", "position")
    names = _names(cells, x, material)
    rows = []
    for cell in cells.cells:
        row = {
            "x": cell.at[x] if numeric else names[cell.at[x]],
            "y": finite(cell.value),
            "low": finite(cell.low),
            "high": finite(cell.high),
            "color": shown(cell.at[color]) if color else "",
            "panel": ", ".join(
                shown(cell.at[a]) if a in ("model", "data") else f"{a} {shown(cell.at[a])}" for a in panels
            ),
        }
        rows.append(row)
    order: dict[str, list[Any]] = {
        "x": [names[v] for v in cells.values[x]],
        "color": [shown(v) for v in cells.values[color]] if color else [],
        "panel": list(dict.fromkeys(row["panel"] for row in rows)),
    }
    unit = f" ({cells.measure.unit})" if cells.measure.unit else ""
    return Series(
        tuple(rows),
        "depth (% of the layers)" if x == DEPTH and numeric else titled(x, cells.axis_of(x)),
        numeric,
        titled(color, cells.axis_of(color)) if color else None,
        "panel" if panels else None,
        order,
        cells.measure.measure + unit,
        cells.measure.unit == "rank" and _spread(rows),
    )


def _spread(rows: list[dict[str, Any]]) -> bool:
    """Whether all numbers are above 0, and the largest far above the smallest."""
    numbers = [row[name] for row in rows for name in ("y", "low", "high") if row[name] is not None]
    return bool(numbers) and min(numbers) > 0 and max(numbers) > FAR * min(numbers)


def _across(item: ItemSpec, cells: Cells) -> str:
    """The axis that goes across: as written, else layer, else the first that is swept."""
    own = [
        axis for axis in cells.axes if axis not in ("model", "data", item.role("color"), item.role("facet"))
    ]
    x = item.role("x") or ("layer" if "layer" in own else own[0] if own else "model")
    if x not in cells.axes:
        name = f"{cells.measure.experiment}.{cells.measure.measure}"
        raise Findings(
            [errors.wrong_axes(name, item.kind, ", ".join(cells.axes) or "no axis", "an axis to go across")]
        )
    return x


def _names(cells: Cells, axis: str, material: Material) -> dict[Any, str]:
    """How the values of an axis are written; positions with the token or label there."""
    marks = position_marks(material, None, None) if cells.kind[axis] == "position" else {}
    return {
        v: f"{shown(v)} {marks[v].text}" if v in marks and marks[v].text else shown(v)
        for v in cells.values[axis]
    }


def finite(value: float) -> float | None:
    """A number that a chart can draw."""
    return value if math.isfinite(value) else None
