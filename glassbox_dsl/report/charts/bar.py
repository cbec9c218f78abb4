"""Numbers over names as bars from 0, with the interval over items as a whisker."""

from __future__ import annotations

from typing import Any

from glassbox_dsl.report.chart import Chart
from glassbox_dsl.report.material import Material
from glassbox_dsl.report.panels import caption, heading, lacking
from glassbox_dsl.report.select import select
from glassbox_dsl.report.series import Series, series
from glassbox_dsl.report.spec import ItemSpec
from glassbox_dsl.report.tables import long
from glassbox_dsl.report.vega import INK, INSTALL, PictureFigure, installed, pictures


def build(item: ItemSpec, material: Material, key: str) -> PictureFigure:
    """The figure of one item."""
    cells = select(item, material)
    laid_out = series(item, cells, material)
    return PictureFigure(
        key=key,
        kind="bar",
        **heading(item, cells.measure),
        opened=not installed(),
        caption=caption(cells),
        sql=cells.sql,
        notes=(*lacking(cells), *(() if installed() else (INSTALL,))),
        tables=(long(cells),),
        **(pictures(laid_out, lambda theme: chart(laid_out, theme)) if cells.cells else {}),
    )


def chart(found: Series, theme: str) -> Any:
    """The bars and their whiskers as an Altair chart."""
    import altair as alt

    names = [
        {**row, "x": str(row["x"]) if not found.numeric else _name(found, row["x"])} for row in found.rows
    ]
    x = alt.X(
        "x:N",
        title=found.x,
        sort=found.order["x"],
        axis=alt.Axis(labelAngle=-50 if len(found.order["x"]) > 6 else 0),
    )
    shared: dict[str, Any] = {"x": x}
    if found.color:
        shared["xOffset"] = alt.XOffset("color:N", sort=found.order["color"])
    base = alt.Chart(alt.InlineData(values=names))
    bars = (
        {"color": alt.Color("color:N", title=found.color, sort=found.order["color"])} if found.color else {}
    )
    bar = base.mark_bar().encode(y=alt.Y("y:Q", title=found.y_title), **shared, **bars)
    whisker = base.mark_rule(color=INK[theme], strokeWidth=1.25).encode(
        y=alt.Y("low:Q"), y2="high:Q", **shared
    )
    count = len(found.order["x"]) * max(1, len(found.order["color"]))
    width = min(300 if found.panel else 520, max(120, 30 * count))
    layers = alt.layer(bar, whisker).properties(width=width, height=260)
    if not found.panel:
        return layers
    return layers.facet(facet=alt.Facet("panel:N", title=None, sort=found.order["panel"]), columns=2)


def _name(found: Series, value: Any) -> str:
    """The written form of a number on the axis across: `order` lists them by size."""
    numbers = sorted({row["x"] for row in found.rows})
    return str(found.order["x"][numbers.index(value)])


TEMPLATE = """
{% import "parts.html" as parts %}
{{ parts.picture(figure) }}
"""

CHART = Chart("bar", "bars from 0, with whiskers for intervals", build, TEMPLATE)
