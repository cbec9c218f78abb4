"""The rows of a context from one run to another, by SQL: what is known whole is neither computed nor read.

Numbers are not copied: the new run's series point to the rows that are there.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from duckdb import DuckDBPyConnection

from glassbox_dsl.plan.contexts import Key

Lines = Mapping[str, int]
"""Where statements stand now: claims by their text, edits by `RUN: TEXT`."""

OF_CONTEXT: Final = ("series", "tensors", "cells", "receipts", "expectations")
OF_DATA: Final = ("items", "prompts", "tokens")
OF_MODEL: Final = ("models", "verification", "vocabulary")


def copy_model(connection: DuckDBPyConnection, source: str, run: str, model: str) -> None:
    """What was read and checked of a model."""
    for table in OF_MODEL:
        _copy(connection, table, source, run, {"model": model})


def copy_items(connection: DuckDBPyConnection, source: str, run: str, data: str, model: str) -> None:
    """The items of a data set as a model sees them."""
    for table in OF_DATA:
        _copy(connection, table, source, run, {"data": data, "model": model})


def copy_context(
    connection: DuckDBPyConnection, source: str, run: str, flush: int, context: Key, lines: Lines
) -> dict[str, int]:
    """Everything that was computed in a context. Returns how many rows went to each table."""
    where = dict(zip(("experiment", "model", "data"), context, strict=True))
    texts, numbers = list(lines), list(lines.values())
    moved = "coalesce(list_extract(?, list_position(?, {})), line) AS line"
    replaced: dict[str, dict[str, list[object]]] = {
        "series": {"? AS flush": [flush]},
        "cells": {"? AS flush": [flush]},
        "receipts": {moved.format("run || ': ' || edit"): [numbers, texts]},
        "expectations": {moved.format("text"): [numbers, texts]},
    }
    return {table: _copy(connection, table, source, run, where, replaced.get(table)) for table in OF_CONTEXT}


def copy_summaries(connection: DuckDBPyConnection, source: str, run: str) -> None:
    """All summaries of a run."""
    _copy(connection, "summaries", source, run, {})


def same_contexts(connection: DuckDBPyConnection, source: str, run: str) -> bool:
    """Whether all that a run holds was copied from one complete run, and is all that that one holds."""
    ended = connection.execute(
        "SELECT 1 FROM main.run_ends WHERE run_id = ? AND status = 'complete'", [source]
    ).fetchall()
    sql = "SELECT DISTINCT key, experiment, model, data FROM main.contexts WHERE run_id = ?"
    conditions = " AND experiment NOT LIKE 'keep %' ORDER BY ALL"
    there, here = (connection.execute(sql + conditions, [r]).fetchall() for r in (source, run))
    others = connection.execute(
        "SELECT 1 FROM main.contexts WHERE run_id = ? AND reused_from IS DISTINCT FROM ? LIMIT 1",
        [run, source],
    ).fetchall()
    return bool(ended) and there == here and not others


def _copy(
    connection: DuckDBPyConnection,
    table: str,
    source: str,
    run: str,
    where: dict[str, str],
    replaced: dict[str, list[object]] | None = None,
) -> int:
    terms: dict[str, list[object]] = {"? AS run_id": [run], **(replaced or {})}
    conditions = " AND ".join(f"{column} = ?" for column in ("run_id", *where))
    ((count,),) = connection.execute(
        f"INSERT INTO main.{table} BY NAME SELECT * REPLACE ({', '.join(terms)}) FROM main.{table}"
        f" WHERE {conditions} ORDER BY rowid",
        [*(v for values in terms.values() for v in values), source, *where.values()],
    ).fetchall()
    return int(count)
