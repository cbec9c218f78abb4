"""A batch into its tables, inside the transaction that the writer opened."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC
from typing import Any

import numpy as np
from duckdb import DuckDBPyConnection

from glassbox_dsl.diagnostics import InternalError
from glassbox_dsl.plan.shelf import Readings
from glassbox_dsl.store.file import utc_now
from glassbox_dsl.store.insert import insert_columns, insert_measure_rows, insert_records, insert_tensors
from glassbox_dsl.store.rows import Batch, ItemRow, MeasureRow, Row, RunManifest, TokenRow

Measures = Mapping[tuple[str, str], MeasureRow]


def insert_manifest(connection: DuckDBPyConnection, manifest: RunManifest) -> None:
    """What is known of a run before its first number: runs, run_env, specs."""
    run = manifest.run_id
    started = manifest.started.astimezone(UTC).replace(tzinfo=None)
    insert_records(
        connection,
        "runs",
        [{**manifest.model_dump(exclude={"sources", "versions", "platform", "actual"}), "started": started}],
    )
    env = {"version": manifest.versions, "platform": manifest.platform}
    insert_records(
        connection,
        "run_env",
        [
            {"run_id": run, "kind": kind, "key": key, "value": value}
            for kind, facts in env.items()
            for key, value in facts.items()
        ],
    )
    insert_records(
        connection,
        "specs",
        [
            {"run_id": run, "ordinal": i, "path": s.path, "sha256": s.sha256, "source": s.text}
            for i, s in enumerate(manifest.sources)
        ],
    )


def insert_batch(
    connection: DuckDBPyConnection,
    run: str,
    flush: int,
    batch: Batch,
    fresh: Sequence[MeasureRow],
    known: Measures,
    copied: Mapping[str, int] | None = None,
) -> None:
    """Everything of a batch, with its row in `flushes`. `fresh`: definitions not in the store yet.

    `copied`: rows by table that the same transaction has copied from another run.
    """
    _insert(connection, "models", run, batch.models)
    _insert_items(connection, run, batch.items)
    _insert_vocabulary(connection, run, batch.vocabulary)
    measures = [{**m.model_dump(), "run_id": run, "is_ratio": m.kind == "ratio"} for m in fresh]
    insert_records(connection, "measures", measures)
    actual = [{"run_id": run, "kind": "actual", "key": k, "value": str(n)} for k, n in batch.actual.items()]
    insert_records(connection, "run_env", actual)
    _insert(connection, "receipts", run, batch.receipts)
    _insert(connection, "expectations", run, batch.expectations)
    _insert(connection, "verification", run, batch.checks)
    _insert(connection, "diagnostics", run, batch.diagnostics)
    insert_records(
        connection, "cells", [{**c.model_dump(), "run_id": run, "flush": flush} for c in batch.cells]
    )
    insert_records(
        connection, "contexts", [{**c.model_dump(), "run_id": run, "flush": flush} for c in batch.contexts]
    )
    _insert_readings(connection, run, flush, batch.readings)
    measurements, lens = _insert_numbers(connection, run, flush, batch, known)
    insert_tensors(connection, run, batch.tensors)
    written = {
        "cells": len(batch.cells),
        "measurements": measurements,
        "lens": lens,
        "tensors": len(batch.tensors),
    }
    connection.execute(
        "INSERT INTO main.flushes VALUES (?, ?, ?, ?, ?, ?, ?)",
        [run, flush, utc_now(), *(n + (copied or {}).get(t, 0) for t, n in written.items())],
    )


def _insert_readings(
    connection: DuckDBPyConnection, run: str, flush: int, readings: Sequence[Readings]
) -> None:
    """Readings: those of one name in one row."""
    by_name: dict[str, list[Readings]] = {}
    for found in readings:
        by_name.setdefault(f"{found.name}/{found.numbers.shape[1]}", []).append(found)
    records = []
    for some in by_name.values():
        keys, numbers = (np.concatenate(a) for a in ([r.keys for r in some], [r.numbers for r in some]))
        records.append(
            {
                **{"run_id": run, "flush": flush, "reading": some[0].name, "n": len(keys)},
                **{"width": numbers.shape[1], "keys": keys.astype("<u8").tobytes()},
                "numbers": numbers.astype("<f4").tobytes(),
            }
        )
    insert_records(connection, "readings", records)


def _insert(connection: DuckDBPyConnection, table: str, run: str, rows: Iterable[Row]) -> None:
    insert_records(connection, table, [{**row.model_dump(), "run_id": run} for row in rows])


def _insert_numbers(
    connection: DuckDBPyConnection, run: str, flush: int, batch: Batch, known: Measures
) -> tuple[int, int]:
    """Numbers, and one series for each group of them. Returns how many rows went to each of the two tables."""
    written = {"value_rows": 0, "top_rows": 0}
    series = []
    first = _next_series(connection) if batch.rows else 0
    for number, rows in enumerate(batch.rows, first):
        measure = known.get((rows.experiment, rows.measure))
        if measure is None:
            raise InternalError(f"rows of `{rows.experiment}.{rows.measure}` came before its definition")
        table = "top_rows" if measure.kind == "top" else "value_rows"
        n_rows = insert_measure_rows(connection, table, number, measure, rows)
        written[table] += n_rows
        series.append(
            {
                **{"series": number, "run_id": run, "flush": flush, "experiment": rows.experiment},
                **{"measure": rows.measure, "model": rows.model, "data": rows.data, "n_rows": n_rows},
            }
        )
    insert_records(connection, "series", series)
    return written["value_rows"], written["top_rows"]


def _next_series(connection: DuckDBPyConnection) -> int:
    """The first free number; nobody else can take it, for a writer has the file to itself."""
    ((number,),) = connection.execute("SELECT coalesce(max(series), 0) + 1 FROM main.series").fetchall()
    return int(number)


def _insert_vocabulary(connection: DuckDBPyConnection, run: str, tokens: Sequence[TokenRow]) -> None:
    """Tokens that the run has not stored yet."""
    sql = "SELECT model, token_id FROM main.vocabulary WHERE run_id = ?"
    known = set(connection.execute(sql, [run]).fetchall()) if tokens else set()
    _insert(connection, "vocabulary", run, (t for t in tokens if (t.model, t.token_id) not in known))


def _insert_items(connection: DuckDBPyConnection, run: str, items: Sequence[ItemRow]) -> None:
    """Items, their prompts and their tokens."""
    records: list[dict[str, Any]] = []
    prompts: list[dict[str, Any]] = []
    tokens: dict[str, list[Any]] = {name: [] for name in (*_PROMPT_KEY, "pos", "token_id", "token", "label")}
    for item in items:
        answers = {a.answer: {"texts": a.texts, "token_ids": a.token_ids} for a in item.answers}
        records.append({**item.model_dump(exclude={"prompts", "answers"}), "run_id": run, "answers": answers})
        for p in item.prompts:
            key = (item.data, item.model, item.item, p.prompt)
            prompts.append(
                {
                    "run_id": run,
                    **dict(zip(_PROMPT_KEY, key, strict=True)),
                    "text": p.text,
                    "n_tokens": len(p.tokens),
                }
            )
            for name, value in zip(_PROMPT_KEY, key, strict=True):
                tokens[name] += [value] * len(p.tokens)
            tokens["pos"] += range(len(p.tokens))
            tokens["token_id"] += p.token_ids
            tokens["token"] += p.tokens
            tokens["label"] += p.labels
    insert_records(connection, "items", records)
    insert_records(connection, "prompts", prompts)
    if tokens["pos"]:
        columns = {
            name: np.array(values, dtype=_TOKEN_TYPES.get(name, object)) for name, values in tokens.items()
        }
        insert_columns(connection, "tokens", columns, {"run_id": run})


_PROMPT_KEY = ("data", "model", "item", "prompt")
_TOKEN_TYPES: Mapping[str, Any] = {"item": np.int64, "pos": np.int64, "token_id": np.int64}
