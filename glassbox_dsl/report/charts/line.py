"""Numbers along one axis as lines, with the interval over items as a band."""

from __future__ import annotations

from typing import Any

from glassbox_dsl.report.chart import Chart
from glassbox_dsl.report.material import Material
from glassbox_dsl.report.panels import caption, heading, lacking
from glassbox_dsl.report.select import select
from glassbox_dsl.report.series import Series, series
from glassbox_dsl.report.spec import ItemSpec
from glassbox_dsl.report.tables import long
from glassbox_dsl.report.vega import INSTALL, PictureFigure, installed, pictures


def build(item: ItemSpec, material: Material, key: str) -> PictureFigure:
    """The figure of one item."""
    cells = select(item, material)
    laid_out = series(item, cells, material)
    return PictureFigure(
        key=key,
        kind="line",
        **heading(item, cells.measure),
        opened=not installed(),
        caption=caption(cells) + (" The scale of ranks is logarithmic." if laid_out.log else ""),
        sql=cells.sql,
        notes=(*lacking(cells), *(() if installed() else (INSTALL,))),
        tables=(long(cells),),
        **(pictures(laid_out, lambda theme: chart(laid_out)) if cells.cells else {}),
    )


def chart(found: Series) -> Any:
    """The lines and their bands as an Altair chart."""
    import altair as alt

    ticks: dict[str, Any] = {"tickMinStep": 1, "format": "~f"} if found.numeric else {"labelAngle": -50}
    x = alt.X("x:Q" if found.numeric else "x:N", title=found.x, axis=alt.Axis(grid=False, **ticks), sort=None)
    if found.numeric:
        x = x.scale(zero=False, nice=False)
    shared: dict[str, Any] = {"x": x}
    if found.color:
        shared["color"] = alt.Color(
            "color:N", title=found.color, sort=found.order["color"], legend=alt.Legend(symbolOpacity=1)
        )
    base = alt.Chart(alt.InlineData(values=list(found.rows)))
    scale: dict[str, Any] = {"type": "log"} if found.log else {"zero": False}
    axis = alt.Axis(format="~s", tickCount=6) if found.log else alt.Axis()
    low = alt.Y("low:Q", title=found.y_title, axis=axis).scale(**scale)
    band = base.mark_area(opacity=0.18).encode(y=low, y2="high:Q", **shared)
    line = base.mark_line(point={"size": 22}, strokeWidth=1.75).encode(
        y=alt.Y("y:Q", title=found.y_title, axis=axis).scale(**scale), **shared
    )
    layers = alt.layer(band, line).properties(width=300 if found.panel else 520, height=260)
    if not found.panel:
        return layers
    return layers.facet(facet=alt.Facet("panel:N", title=None, sort=found.order["panel"]), columns=2)


TEMPLATE = """
{% import "parts.html" as parts %}
{{ parts.picture(figure) }}
"""

CHART = Chart("line", "lines along one axis, with bands for intervals", build, TEMPLATE)
