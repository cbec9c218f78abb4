"""SQL that a user typed, on a results file: one statement that reads, shut off from everything else.

DuckDB can read files, write files and load code from SQL. The connection is read-only, has no access outside
the file, cannot be reconfigured, and stops at a limit of time and memory; and only statements that read are
let through at all.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import duckdb
from duckdb import DuckDBPyConnection, StatementType

from glassbox_dsl.diagnostics import Diagnostic, Findings
from glassbox_dsl.store import errors
from glassbox_dsl.store.file import broken, harden, reading
from glassbox_dsl.store.layout import literal, quoted
from glassbox_dsl.store.table import Table

SECONDS: Final = 30.0
MEMORY: Final = "2GB"
_READS: Final = (StatementType.SELECT, StatementType.EXPLAIN, StatementType.MULTI)
_ZONED: Final = "TIMESTAMP WITH TIME ZONE"


def query(
    path: str | Path,
    sql: str,
    limit: int | None = None,
    seconds: float = SECONDS,
    memory: str = MEMORY,
    threads: int = 2,
) -> Table:
    """The answer to one reading statement; `limit` cuts the rows and sets `truncated`.

    Raises Findings: the file (GB600, GB603 ... GB608), the statement (GB620, GB621, GB624), its limits
    (GB622, GB623).
    """
    with querying(path, seconds, memory, threads) as ask:
        return ask(sql, limit)


def export(path: str | Path, sql: str, out: Path, seconds: float = SECONDS) -> None:
    """Write the answer to one reading statement as a Parquet file, whole or not at all.

    That one file is all that the statement can reach outside the results. Raises what `query` raises, and GB625
    where the file cannot be written.
    """
    temporary = out.resolve().with_name(f".{out.name}.{os.getpid()}.new")
    try:
        with reading(Path(path).resolve()) as connection:
            connection.execute(f"SET allowed_paths = [{literal(str(temporary))}]")
            harden(connection, seconds, MEMORY, threads=2)
            _check(connection, sql)
            text = sql.rstrip().rstrip(";")
            copy = f"COPY (SELECT * FROM ({text}\n)) TO {literal(str(temporary))} (FORMAT parquet)"
            with _explaining(path, sql, seconds, out):
                connection.execute(copy)
        os.replace(temporary, out)
    except OSError as problem:
        raise Findings([errors.no_export(str(out), problem.strerror or str(problem))]) from None
    finally:
        temporary.unlink(missing_ok=True)


def write_whole(out: Path, text: str) -> None:
    """Write a text under another name first, then give it its own. Raises Findings (GB625)."""
    temporary = out.with_name(f".{out.name}.{os.getpid()}.new")
    try:
        temporary.write_text(text, encoding="utf-8", newline="")
        os.replace(temporary, out)
    except OSError as problem:
        temporary.unlink(missing_ok=True)
        raise Findings([errors.no_export(str(out), problem.strerror or str(problem))]) from None


@contextmanager
def _explaining(path: str | Path, sql: str, seconds: float, out: Path | None = None) -> Iterator[None]:
    """Turn what DuckDB says of a statement into findings; `out` is the file that it writes, if any."""
    try:
        yield
    except (duckdb.CatalogException, duckdb.PermissionException) as problem:  # the user's, not the file's
        raise Findings([_explained(sql, problem, seconds)]) from None
    except duckdb.Error as problem:
        if out is not None and isinstance(problem, duckdb.IOException):
            raise Findings([errors.no_export(str(out), str(problem).splitlines()[0])]) from None
        damage = broken(Path(path), "READ_ONLY", problem)
        raise Findings([damage or _explained(sql, problem, seconds)]) from None


Ask = Callable[[str, int | None], Table]
"""The answer to one statement; at most so many rows."""


@contextmanager
def querying(
    path: str | Path, seconds: float = SECONDS, memory: str = MEMORY, threads: int = 2
) -> Iterator[Ask]:
    """`query` for many statements on one file, which is opened once."""
    with reading(Path(path).resolve()) as connection:
        harden(connection, seconds, memory, threads)

        def ask(sql: str, limit: int | None = None) -> Table:
            _check(connection, sql)
            with _explaining(path, sql, seconds):
                return _table(connection, sql, limit)

        yield ask


def _check(connection: DuckDBPyConnection, sql: str) -> None:
    """Let one reading statement through. Raises Findings (GB620, GB621, GB624)."""
    try:
        sql.encode()
        statements = connection.extract_statements(sql)
    except UnicodeEncodeError as problem:
        raise Findings([errors.bad_sql(sql, problem.start, "this is no character", "")]) from None
    except duckdb.Error as problem:
        raise Findings([_explained(sql, problem, 0)]) from None
    if len(statements) != 1:
        raise Findings([errors.not_one_statement(sql, len(statements))])
    kind = statements[0].type
    if kind not in _READS:
        raise Findings([errors.refused_sql(sql, kind.name.replace("_", " "))])


def frame(path: str | Path, sql: str, kind: str, seconds: float = SECONDS) -> Any:
    """The answer as DuckDB converts it: `df` (pandas), `pl` (Polars) or `to_arrow_table` (pyarrow).

    Raises what `query` raises, and ImportError where the package is not installed.
    """
    with reading(Path(path).resolve()) as connection:
        harden(connection, seconds, MEMORY, threads=2)
        _check(connection, sql)
        with _explaining(path, sql, seconds):
            return getattr(connection.sql(sql), kind)()


def _table(connection: DuckDBPyConnection, sql: str, limit: int | None) -> Table:
    relation = connection.execute(sql)
    described = relation.description or []
    names, types = tuple(d[0] for d in described), tuple(str(d[1]) for d in described)
    if _ZONED in types:  # fetching these needs a package that is not there; as text they need none
        columns = ", ".join(
            f"CAST(#{i + 1} AS VARCHAR)" if kind == _ZONED else f"#{i + 1}" for i, kind in enumerate(types)
        )
        relation = connection.execute(f"SELECT {columns} FROM ({sql.rstrip().rstrip(';')}\n)")
    rows = relation.fetchall() if limit is None else relation.fetchmany(limit + 1)
    cut = limit is not None and len(rows) > limit
    return Table(names, types, tuple(rows[:limit] if cut else rows), truncated=cut)


def _explained(sql: str, problem: duckdb.Error, seconds: float) -> Diagnostic:
    """What DuckDB's refusal of a statement means, with its place in the SQL."""
    message = str(problem)
    if isinstance(problem, duckdb.InterruptException):
        return errors.too_slow(sql, seconds)
    if isinstance(problem, duckdb.OutOfMemoryException):
        return errors.too_big(sql, message.splitlines()[0])
    if isinstance(problem, duckdb.PermissionException):
        return errors.refused_sql(sql, "what lies outside this file")
    headline, _, rest = message.partition("\n")
    hint = next(
        (line for line in rest.splitlines() if line.startswith(("Did you mean", "Candidate bindings"))), ""
    )
    if isinstance(problem, duckdb.ParserException):
        hint = hint or _quoting_hint(sql)
    return errors.bad_sql(sql, _offset(sql, message), re.sub(r"^\w+ Error: ", "", headline), hint)


def _quoting_hint(sql: str) -> str:
    """An experiment may be called `order` or `both`: SQL wants such names in quotes."""
    with duckdb.connect(":memory:") as words:
        found = words.execute(
            "SELECT keyword_name FROM duckdb_keywords() WHERE keyword_category <> 'unreserved'"
        )
        keywords = {word for (word,) in found.fetchall()}
    for schema, view in re.findall(r"\b([a-z_][a-z0-9_]*)\.([a-z_][a-z0-9_]*)\b", sql):
        if {schema, view} & keywords:
            parts = (quoted(part) if part in keywords else part for part in (schema, view))
            return f"a name that is a word of SQL stands in quotes: {'.'.join(parts)}"
    return ""


def _offset(sql: str, message: str) -> int | None:
    """Where DuckDB's `LINE n:` and its caret point; a long line is shown from the middle."""
    found = re.search(r"^LINE (\d+): (.*)\n( *)\^", message, re.MULTILINE)
    if found is None:
        return None
    shown, caret = found[2], len(found[3]) - len(f"LINE {found[1]}: ")
    lines = sql.splitlines(keepends=True)
    start = sum(len(line) for line in lines[: int(found[1]) - 1])
    cut_left = 3 if shown.startswith("...") else 0
    text = shown[cut_left:].removesuffix("...")
    at = sql.find(text, start)
    return at + caret - cut_left if at >= 0 and caret >= cut_left else None
