"""What the file must hold, noted outside of it: so that a lost or torn write-ahead log does not go unseen.

DuckDB opens a file whose log is cut short or gone without a word, at the last state that it finds. So a run
writes, after each transaction, how many there were into a small file of its own beside the results file
(`results.duckdb.RUN_ID.ledger`), and removes it when it ends. Whoever opens the results file compares.

Inside the file, `series` and `flushes` say how many rows each transaction wrote.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from glob import escape
from pathlib import Path
from typing import Literal

from duckdb import DuckDBPyConnection

from glassbox_dsl.diagnostics import Diagnostic
from glassbox_dsl.store import errors


def acknowledge(db: Path, run_id: str, flushes: int) -> None:
    """Note that the first `flushes` transactions of a run are in the file. Nothing is said if this fails: a full
    disk stops the next transaction."""
    path = _beside(db, run_id)
    temporary = path.with_name(f".{path.name}.new")
    with suppress(OSError):
        with open(temporary, "w", encoding="ascii") as file:
            file.write(f"{flushes}\n")
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)


def forget(db: Path, run_id: str = "*") -> None:
    """Remove the note of a run that has ended, or of all runs."""
    for path in _notes(db, run_id):
        with suppress(OSError):
            path.unlink()


def losses(
    connection: DuckDBPyConnection, db: Path, severity: Literal["error", "warning"] = "error"
) -> tuple[Diagnostic, ...]:
    """One finding (GB615) for each run of which transactions are gone that were acknowledged."""
    return tuple(_compare(connection, db, severity))


def _compare(
    connection: DuckDBPyConnection, db: Path, severity: Literal["error", "warning"]
) -> Iterator[Diagnostic]:
    for path in _notes(db):
        run_id = path.name.removeprefix(f"{db.name}.").removesuffix(".ledger")
        try:
            noted = int(path.read_text(encoding="ascii"))
        except (OSError, ValueError):
            continue  # removed meanwhile, or none of ours
        sql = "SELECT count(*) FROM main.flushes WHERE run_id = ?"
        ((present,),) = connection.execute(sql, [run_id]).fetchall()
        if present < noted:
            yield errors.lost(str(db), run_id, noted, present, severity)


def damage(connection: DuckDBPyConnection, db: Path) -> Diagnostic | None:
    """Why the rows in the file are not those that its transactions wrote (GB607); None when they are."""
    wrong = connection.execute(
        "SELECT s.series, s.n_rows, coalesce(v.n, 0) + coalesce(t.n, 0) AS found"
        " FROM (SELECT DISTINCT series, n_rows FROM main.series) s"
        " LEFT JOIN (SELECT series, count(*) AS n FROM main.value_rows GROUP BY series) v USING (series)"
        " LEFT JOIN (SELECT series, count(*) AS n FROM main.top_rows GROUP BY series) t USING (series)"
        " WHERE found <> s.n_rows ORDER BY s.series LIMIT 1"
    ).fetchone()
    if wrong is not None:
        return errors.damaged(str(db), f"series {wrong[0]} has {wrong[2]} rows, and {wrong[1]} were written")
    for table in ("cells", "tensors"):
        wrong = connection.execute(
            f"SELECT run_id, f.n, coalesce(t.n, 0) FROM (SELECT run_id, sum({table}) AS n FROM main.flushes"
            f" GROUP BY run_id) f LEFT JOIN (SELECT run_id, count(*) AS n FROM main.{table} GROUP BY run_id) t"
            " USING (run_id) WHERE f.n <> coalesce(t.n, 0) LIMIT 1"
        ).fetchone()
        if wrong is not None:
            what = f"run {wrong[0]} has {wrong[2]} rows in `{table}`, and {wrong[1]} were written"
            return errors.damaged(str(db), what)
    return None


def _notes(db: Path, run_id: str = "*") -> list[Path]:
    return sorted(db.parent.glob(f"{escape(db.name)}.{run_id}.ledger"))


def _beside(db: Path, run_id: str) -> Path:
    return db.with_name(f"{db.name}.{run_id}.ledger")
