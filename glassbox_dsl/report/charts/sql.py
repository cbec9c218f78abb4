"""The answer to a query that the file spells out."""

from __future__ import annotations

from glassbox_dsl.report.chart import Chart
from glassbox_dsl.report.material import Material
from glassbox_dsl.report.page import Figure
from glassbox_dsl.report.spec import ItemSpec
from glassbox_dsl.report.tables import MOST_ROWS, answer


def build(item: ItemSpec, material: Material, key: str) -> Figure:
    """The figure of one item. Raises Findings (GB620 ... GB624) for a query that cannot be run."""
    sql = str(item.source)
    found = material.ask(sql)
    table = answer(found.columns, found.rows[:MOST_ROWS], left_out=max(0, len(found.rows) - MOST_ROWS))
    caption = f"The answer to the file's query: {len(found.rows)} rows, from the newest complete runs."
    return Figure(
        key=key,
        kind="sql",
        title=str(item.options.get("title") or "Query"),
        caption=caption,
        sql=sql,
        opened=True,
        tables=(table,),
    )


TEMPLATE = """
{% import "parts.html" as parts %}
{% for table in figure.tables %}{{ parts.values(table) }}{% endfor %}
"""

CHART = Chart("sql", "the answer to a query", build, TEMPLATE)
