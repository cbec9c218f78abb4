"""Numbers, tokens or texts as a table, straight from the query."""

from __future__ import annotations

from glassbox_dsl.report.chart import Chart
from glassbox_dsl.report.material import Material
from glassbox_dsl.report.page import Figure
from glassbox_dsl.report.panels import caption, heading, lacking
from glassbox_dsl.report.select import select
from glassbox_dsl.report.spec import ItemSpec
from glassbox_dsl.report.tables import MOST_ROWS, answer, long


def build(item: ItemSpec, material: Material, key: str) -> Figure:
    """The figure of one item."""
    measure = material.measure(item.source)
    if measure.kind in ("top", "text", "edges"):
        return _rows(item, material, key)
    cells = select(item, material)
    return Figure(
        key=key,
        kind="table",
        **heading(item, measure),
        caption=caption(cells),
        sql=cells.sql,
        opened=True,
        notes=lacking(cells),
        tables=(long(cells),),
    )


def _rows(item: ItemSpec, material: Material, key: str) -> Figure:
    """The rows of a measure that has no numbers to average."""
    measure = material.measure(item.source)
    none = {"text": "run_id, value"}.get(measure.kind, "run_id")  # a text has no number
    sql = f"SELECT * EXCLUDE ({none})\nFROM {material.table(measure, summary=False)}"
    found = material.ask(sql)
    left_out = max(0, len(found.rows) - MOST_ROWS)
    table = answer(found.columns, found.rows[:MOST_ROWS], left_out=left_out)
    return Figure(
        key=key,
        kind="table",
        **heading(item, measure),
        caption=f"{measure.experiment}.{measure.measure}, every row.",
        sql=sql,
        opened=True,
        tables=(table,),
    )


TEMPLATE = """
{% import "parts.html" as parts %}
{% for table in figure.tables %}{{ parts.values(table) }}{% endfor %}
"""

CHART = Chart("table", "rows of numbers, tokens or texts", build, TEMPLATE)
