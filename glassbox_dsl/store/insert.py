"""Rows and arrays into tables: always as numpy columns, for `executemany` is ten thousand times slower."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import numpy as np
from duckdb import DuckDBPyConnection
from numpy.typing import NDArray

from glassbox_dsl.diagnostics import InternalError
from glassbox_dsl.store.layout import LISTS, Placed, place, quoted
from glassbox_dsl.store.rows import MISSING, MeasureRow, MeasureRows, TensorRecord

_BATCH: Final = "glassbox_batch"
Columns = dict[str, NDArray[Any]]


def insert_records(connection: DuckDBPyConnection, table: str, records: Sequence[Mapping[str, Any]]) -> None:
    """Insert mappings (all with the same keys, columns of the table); lists and mappings become JSON."""
    if not records:
        return
    names = records[0].keys()
    insert_columns(connection, table, {name: _column([record[name] for record in records]) for name in names})


def insert_columns(
    connection: DuckDBPyConnection,
    table: str,
    columns: Columns,
    constants: Mapping[str, str | int] | None = None,
    expressions: Mapping[str, str] | None = None,
) -> None:
    """Insert numpy columns by name. `constants` are the same in every row; `expressions` replace a column.

    Columns called `number_1` ... `text_6` become entries of the lists `numbers` and `texts`.
    """
    constants, expressions = constants or {}, expressions or {}
    safe = {f"c{i}": _encodable(column) for i, column in enumerate(columns.values())}
    read = {
        name: expressions.get(name, "{}").format(short) for name, short in zip(columns, safe, strict=True)
    }
    terms = [f"? AS {quoted(name)}" for name in constants]
    terms += [f"{expression} AS {quoted(name)}" for name, expression in with_lists(read).items()]
    connection.register(_BATCH, safe)
    try:
        connection.execute(
            f"INSERT INTO main.{quoted(table)} BY NAME SELECT {', '.join(terms)} FROM {_BATCH}",
            list(constants.values()),
        )
    finally:
        connection.unregister(_BATCH)


def with_lists(read: Mapping[str, str]) -> dict[str, str]:
    """Expressions by column, where the entries of a list column are gathered into one."""
    found = dict(read)
    for column, beginning in LISTS.items():
        entries = {int(n.removeprefix(beginning)): found.pop(n) for n in read if n.startswith(beginning)}
        if entries:
            listed = (entries.get(i, "NULL") for i in range(1, max(entries) + 1))
            found[column] = f"[{', '.join(listed)}]"
    return found


def insert_measure_rows(
    connection: DuckDBPyConnection, table: str, series: int, measure: MeasureRow, rows: MeasureRows
) -> int:
    """Insert the rows of one measure into `value_rows` or `top_rows`; returns how many there were."""
    if rows.variables != measure.variables:
        raise InternalError(
            f"rows of `{rows.experiment}.{rows.measure}` have other variables than its definition"
        )
    columns: Columns = {} if rows.item is None else {"item": rows.item.astype(np.int32)}
    integers = set() if rows.item is None else {"item"}
    for placed in place(measure):
        columns |= _variable_columns(placed, rows)
        if placed.variable.kind == "position":
            integers.add(placed.stored)
    columns |= _value_columns(measure, rows)
    if len({len(column) for column in columns.values()}) != 1:
        raise InternalError(f"the columns of `{rows.experiment}.{rows.measure}` differ in length")
    if len(rows.value):
        # only where it is needed: it is a third of the time of an insert
        present = {name: f"nullif({{}}, {MISSING})" for name in integers if (columns[name] == MISSING).any()}
        insert_columns(connection, table, columns, {"series": series}, present)
    return len(rows.value)


def insert_tensors(connection: DuckDBPyConnection, run_id: str, tensors: Iterable[TensorRecord]) -> None:
    """Insert whole tensors."""
    insert_records(
        connection,
        "tensors",
        [
            {
                **{"run_id": run_id, "experiment": t.experiment, "record": t.record, "model": t.model},
                **{"data": t.data, "item": t.item, "cell": dict(t.cell), "axes": t.axes, "shape": t.shape},
                **{"dtype": t.dtype, "labels": dict(t.labels), "bytes": t.content},
            }
            for t in tensors
        ],
    )


def _variable_columns(placed: Placed, rows: MeasureRows) -> Columns:
    name = placed.variable.name
    values = rows.columns[name]
    columns: Columns = {placed.stored: values.astype(np.int32) if values.dtype.kind == "i" else values}
    labels = rows.labels.get(name)
    if placed.stored_label is not None and labels is not None:
        columns[placed.stored_label] = labels
    return columns


def _value_columns(measure: MeasureRow, rows: MeasureRows) -> Columns:
    """The columns of the measure's kind; a bug when rows do not have what their kind needs."""
    found: Columns = {"value": rows.value}
    if rows.num is not None and rows.den is not None:
        found |= {"num": rows.num, "den": rows.den}
    if rows.top is not None:
        found |= {name: getattr(rows.top, name) for name in ("rank", "token_id", "token", "logit", "prob")}
    if rows.text is not None:
        found["text"] = rows.text
    needed = {
        "ratio": {"num", "den"},
        "top": {"rank", "token_id", "token", "logit", "prob"},
        "text": {"text"},
    }
    if set(found) - {"value"} != needed.get(measure.kind, set()):
        raise InternalError(
            f"rows of `{rows.experiment}.{rows.measure}` do not fit its kind `{measure.kind}`"
        )
    return found


def _column(values: Sequence[Any]) -> NDArray[Any]:
    """Python values of one column as an array: typed where none is missing, else objects (None is NULL)."""
    kinds = {type(value) for value in values}
    if kinds <= {int} or kinds <= {bool} or kinds <= {int, float}:
        return np.array(values)
    if kinds <= {int, float, type(None)}:
        mask = [value is None for value in values]
        return np.ma.masked_array([0 if value is None else value for value in values], mask=mask)
    column = np.empty(len(values), dtype=object)
    column[:] = [_json(value) if isinstance(value, Mapping | tuple | list) else value for value in values]
    return column


def _encodable(column: NDArray[Any]) -> NDArray[Any]:
    """The column with lone surrogates replaced: some tokens and file names are no whole UTF-8 text."""
    if column.dtype != object or not isinstance(next(iter(column), None), str | None):
        return column
    try:
        "".join(text for text in set(column.tolist()) if isinstance(text, str)).encode()
        return column
    except UnicodeEncodeError:
        clean = np.empty(len(column), dtype=object)
        clean[:] = [v.encode("utf-8", "replace").decode() if isinstance(v, str) else v for v in column]
        return clean


def _json(value: Any) -> str:
    """JSON, where infinities and NaN, which it lacks, become text."""
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False)
    except ValueError:
        return json.dumps(_finite(value), ensure_ascii=False)


def _finite(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, Mapping):
        return {key: _finite(entry) for key, entry in value.items()}
    return [_finite(entry) for entry in value] if isinstance(value, list | tuple) else value
