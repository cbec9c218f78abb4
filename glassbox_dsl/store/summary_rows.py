"""Summaries of a run's measures: rows read back, grouped into cells, summarised, and written."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from duckdb import DuckDBPyConnection
from numpy.typing import NDArray

from glassbox_dsl.store.insert import Columns, insert_columns
from glassbox_dsl.store.layout import place
from glassbox_dsl.store.parts import found_parts, names_of, within
from glassbox_dsl.store.rows import MeasureRow
from glassbox_dsl.store.summaries import Summary, summarise, summarise_ratio
from glassbox_dsl.store.views import SUMMARISED


def read_summaries(
    connection: DuckDBPyConnection, run_id: str, measures: Iterable[MeasureRow]
) -> tuple[tuple[MeasureRow, Columns], ...]:
    """The columns of `summaries` for each measure of numbers, cells in the order measured."""
    found = ((m, _summary_columns(connection, run_id, m)) for m in measures if m.kind in SUMMARISED)
    return tuple((measure, columns) for measure, columns in found if columns is not None)


def insert_summaries(
    connection: DuckDBPyConnection, run_id: str, summaries: Iterable[tuple[MeasureRow, Columns]]
) -> None:
    """Write what `read_summaries` made."""
    for measure, columns in summaries:
        constants = {"run_id": run_id, "experiment": measure.experiment, "measure": measure.measure}
        insert_columns(connection, "summaries", columns, constants)


def _summary_columns(connection: DuckDBPyConnection, run_id: str, measure: MeasureRow) -> Columns | None:
    placed = place(measure)
    keys = ["model", "data", *(key for p in placed for key in p.group_keys)]
    parts = found_parts(connection, run_id, measure)
    if not parts:
        return None
    source = f"(SELECT {names_of(parts)}, rowid AS row, * FROM main.value_rows WHERE {within(parts)})"
    coordinates = [
        (column, stored)
        for p in placed
        for column, stored in ((p.column, p.stored), (p.label, p.stored_label))
        if column is not None
    ]
    # a coordinate stands only when all items agree on it: `s2` may lie at another index in each item
    shown = [
        f"CASE WHEN min({c}) = max({c}) AND count({c}) = count(*) THEN min({c}) END AS {stored}"
        for c, stored in coordinates
    ]
    # dense_rank numbers the cells in the order in which GROUP BY ... ORDER BY the same keys lists them
    by = ", ".join(keys)
    cells = connection.execute(
        f"SELECT {', '.join(['model', 'data', *shown])}, min(row) AS first_row FROM {source}"
        f" GROUP BY {by} ORDER BY {by}"
    ).fetchnumpy()
    rows = connection.execute(
        f"SELECT dense_rank() OVER (ORDER BY {by}) - 1 AS cell, item, value, num, den FROM {source}"
    ).fetchnumpy()
    order = np.argsort(np.asarray(cells.pop("first_row")), kind="stable")
    columns: Columns = {name: column[order] for name, column in cells.items()}
    columns["cell"] = np.arange(len(order))
    return columns | _figures(measure, rows, order)


def _figures(measure: MeasureRow, rows: dict[str, NDArray[Any]], order: NDArray[np.intp]) -> Columns:
    """n, mean, stderr, lo, hi of the cells in `order`. Without items the mean is the one value, and n is
    NULL."""
    cell = np.asarray(rows["cell"])
    value, num, den = (np.ma.filled(rows[name], np.nan) for name in ("value", "num", "den"))
    if not measure.has_items:
        mean = np.full(len(order), np.nan)
        mean[cell] = value
        nothing = np.full(len(order), np.nan)
        n: NDArray[Any] = np.ma.masked_array(np.zeros(len(order), np.int64), mask=True)
        return {"n": n, "mean": mean[order], "stderr": nothing, "lo": nothing, "hi": nothing}
    item = np.ma.filled(rows["item"], -1)
    ratio = measure.kind == "ratio"
    summary: Summary = summarise_ratio(cell, item, num, den) if ratio else summarise(cell, item, value)
    return {name: getattr(summary, name)[order] for name in ("n", "mean", "stderr", "lo", "hi")}
