"""Bringing an older results file to the tables of this version.

Version 2 added tables of what is known. Version 3 numbers the series that rows belong to, in place of five names in
every row, and keeps a column only for the axes that most measures have: a row costs half as much to write.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

from duckdb import DuckDBPyConnection

from glassbox_dsl import __version__
from glassbox_dsl.diagnostics import Findings
from glassbox_dsl.store import errors, views
from glassbox_dsl.store.file import SCHEMA, SCHEMA_VERSION, attached, flush_to_disk, note_version, sweep
from glassbox_dsl.store.insert import with_lists
from glassbox_dsl.store.layout import place, quoted
from glassbox_dsl.store.rows import MeasureRow, VariableColumn
from glassbox_dsl.vocabulary.axes import SITE_AXES

OLD_TABLES: Final = ("measurements", "lens", "summaries")
_OF_MEASURE: Final = "run_id = ? AND experiment = ? AND measure = ?"


def migrate(path: Path, version: int) -> Path:
    """Bring an older file to this version and return the name under which the old one is kept.

    A copy is migrated and then takes the file's place in one step: a kill at any moment leaves the old file or
    the new one, whole. Raises Findings (GB600 somebody wrote to it meanwhile, GB616 nothing can be written there).
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.new")
    sweep(path)
    backup = _free(path.with_name(f"{path.name}.version-{version}"))
    try:
        with attached(path, "READ_WRITE", 0.0):
            pass  # what is left in a write-ahead log goes into the file, so that the copy is whole
        before = path.stat()
        shutil.copyfile(path, temporary)
        with attached(temporary, "READ_WRITE", 0.0) as connection:
            _rewrite(connection)
        flush_to_disk(temporary)
        after = path.stat()
        if (before.st_mtime_ns, before.st_size) != (after.st_mtime_ns, after.st_size):
            raise errors.StoreLocked([errors.locked(str(path), None, "", here=False)])
        _keep_as(path, backup)
        os.replace(temporary, path)
        flush_to_disk(path.parent)
    except OSError as problem:
        reason = problem.strerror or str(problem)
        raise Findings([errors.not_migrated(str(path), version, SCHEMA_VERSION, reason)]) from None
    finally:
        for left in (temporary, temporary.with_name(temporary.name + ".wal")):
            with suppress(OSError):
                left.unlink(missing_ok=True)
    note = "`%s` was brought from version %d to %d of the tables; the old file is kept as `%s`"
    logging.getLogger("glassbox_dsl").warning(note, path, version, SCHEMA_VERSION, backup)
    return backup


def _rewrite(connection: DuckDBPyConnection) -> None:
    """Move old tables aside, make those of this version, move the rows over: all or nothing."""
    connection.execute("BEGIN")
    for table in OLD_TABLES:
        connection.execute(f"ALTER TABLE {table} RENAME TO old_{table}")
    connection.execute(SCHEMA.read_text(encoding="utf-8"))
    for run_id, measure in _measures(connection):
        _move(connection, run_id, measure)
    for table in OLD_TABLES:
        connection.execute(f"DROP TABLE old_{table}")
    note_version(connection, __version__)
    views.refresh(connection)
    connection.execute("COMMIT")


def _measures(connection: DuckDBPyConnection) -> Iterator[tuple[str, MeasureRow]]:
    """Every measure of every run."""
    sql = "SELECT run_id, experiment, measure, variables, kind FROM main.measures ORDER BY rowid"
    for run_id, experiment, measure, variables, kind in connection.execute(sql).fetchall():
        columns = tuple(VariableColumn(**v) for v in json.loads(variables))
        yield run_id, MeasureRow(experiment=experiment, measure=measure, variables=columns, kind=kind)


def _move(connection: DuckDBPyConnection, run_id: str, measure: MeasureRow) -> None:
    """The rows of a measure: a series for each model and data set, then its summaries."""
    top = measure.kind == "top"
    old, new = ("old_lens", "top_rows") if top else ("old_measurements", "value_rows")
    chosen = [run_id, measure.experiment, measure.measure]
    values = ("rank", "token_id", "token", "logit", "prob") if top else ("num", "den", "text")
    parts = connection.execute(
        f"SELECT model, data, count(*) FROM main.{old} WHERE {_OF_MEASURE} GROUP BY ALL ORDER BY min(rowid)",
        chosen,
    ).fetchall()
    ((series,),) = connection.execute("SELECT coalesce(max(series), 0) FROM main.series").fetchall()
    moved = _moved(measure, ("item", "value", *values))
    for number, (model, data, n_rows) in enumerate(parts, series + 1):
        row = [number, run_id, 0, measure.experiment, measure.measure, model, data, n_rows]
        connection.execute("INSERT INTO main.series VALUES (?, ?, ?, ?, ?, ?, ?, ?)", row)
        connection.execute(
            f"INSERT INTO main.{new} BY NAME SELECT {number} AS series, {moved} FROM main.{old}"
            f" WHERE {_OF_MEASURE} AND model = ? AND data = ? ORDER BY rowid",
            [*chosen, model, data],
        )
    kept = ("run_id", "experiment", "measure", "model", "data", "cell", "n", "mean", "stderr", "lo", "hi")
    connection.execute(
        f"INSERT INTO main.summaries BY NAME SELECT {_moved(measure, kept)} FROM main.old_summaries"
        f" WHERE {_OF_MEASURE} ORDER BY rowid",
        chosen,
    )


def _moved(measure: MeasureRow, kept: tuple[str, ...]) -> str:
    """What to select for the columns of this version: every axis had a column, and there were six slots."""
    read = {name: quoted(name) for name in kept}
    for before, now in zip(place(measure, axes=SITE_AXES), place(measure), strict=True):
        read[now.stored] = before.stored
        if now.stored_label is not None and before.stored_label is not None:
            read[now.stored_label] = before.stored_label
    return ", ".join(f"{expression} AS {quoted(name)}" for name, expression in with_lists(read).items())


def _free(path: Path) -> Path:
    """The path, or the first one made from it that nothing has."""
    numbered = (path.with_name(f"{path.name}-{i}") for i in range(2, 10_000))
    return next(p for p in (path, *numbered) if not p.exists())


def _keep_as(path: Path, backup: Path) -> None:
    """Give a file a second name; on a file system without links, a copy."""
    try:
        os.link(path, backup)
    except OSError:
        shutil.copyfile(path, backup)
        flush_to_disk(backup)
