"""The wording of everything the store has to say, as functions of facts.

Exit codes: GB600 (locked) ends the program with 4, everything else here with 1.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal

from glassbox_dsl.diagnostics import Diagnostic, Findings, did_you_mean
from glassbox_dsl.source import Source, Span


class StoreLocked(Findings):
    """The file is held by another process; `gbx` ends with exit code 4."""

    exit_code = 4


MOST_FILES = 3
"""Files that a message names."""


def locked(path: str, pid: int | None, program: str, here: bool) -> Diagnostic:
    """Another process (or another part of this one) has the file open."""
    holder = f"process {pid}" if pid is not None else "another process"
    return Diagnostic(
        "GB600",
        f"`{path}` is in use by {'this process' if here else holder}",
        label=f"held by {program}" if program and not here else "",
        help=(
            "close what has the file open here first"
            if here
            else "close that program, or write to another file with --db"
        ),
    )


def no_folder(path: str, folder: str) -> Diagnostic:
    """The folder that the results file should lie in is missing."""
    return Diagnostic(
        "GB601", f"there is no folder `{folder}`", label=f"for the results file `{path}`",
        help=f'make it with: mkdir -p "{folder}"',
    )  # fmt: skip


def not_writable(path: str, reason: str) -> Diagnostic:
    """The results file cannot be created or opened for writing."""
    return Diagnostic(
        "GB602",
        f"cannot write `{path}`",
        label=reason,
        help="name another place with --db, or change its permissions",
    )


def not_duckdb(path: str, reason: str) -> Diagnostic:
    """What lies there is not a DuckDB database."""
    return Diagnostic(
        "GB603",
        f"`{path}` is not a DuckDB file",
        label=reason,
        help="name another file with --db; this one is left as it is",
    )


def not_a_store(path: str) -> Diagnostic:
    """A DuckDB database, made by something else."""
    return Diagnostic(
        "GB604",
        f"`{path}` is a DuckDB file, but holds no Glassbox results",
        help="name another file with --db; this one is left as it is",
    )


def newer_version(path: str, found: str, known: str) -> Diagnostic:
    """Written by a later version of the program or of DuckDB."""
    return Diagnostic(
        "GB605",
        f"`{path}` was written by a newer version",
        label=f"it has {found}, this program knows {known}",
        help="upgrade Glassbox, or write to another file with --db",
    )


def write_failed(path: str, reason: str) -> Diagnostic:
    """A transaction could not be written; nothing of it is in the file."""
    return Diagnostic(
        "GB606",
        f"could not write results to `{path}`",
        label=reason,
        help="make room or repair the place, then run again; what was stored before is intact",
    )


def damaged(path: str, reason: str) -> Diagnostic:
    """DuckDB cannot read what is in the file."""
    return Diagnostic(
        "GB607",
        f"`{path}` is damaged",
        label=reason,
        help="keep the file and its .wal together, restore them from a copy, or run again into another file",
    )


def no_file(path: str) -> Diagnostic:
    """There is no results file to read."""
    return Diagnostic("GB608", f"there is no file `{path}`", help="make one with: gbx run FILE --db " + path)


def no_run(path: str, wanted: str | None, known: Iterable[str]) -> Diagnostic:
    """The file holds no run, or not this one, or the beginning of the id fits several."""
    if wanted is None:
        return Diagnostic("GB609", f"`{path}` holds no run", help="make one with: gbx run FILE --db " + path)
    fitting = [run for run in known if run.startswith(wanted)]
    headline = f"`{path}` holds no run `{wanted}`"
    if len(fitting) > 1:
        headline = f"`{wanted}` is the beginning of {len(fitting)} runs"
    return Diagnostic("GB609", headline, help=did_you_mean(wanted, fitting or known, "runs"))


def no_measure(kind: str, name: str, known: Iterable[str]) -> Diagnostic:
    """A run has no measure or record of that name."""
    return Diagnostic("GB610", f"the run has no {kind} `{name}`", help=did_you_mean(name, known, f"{kind}s"))


def file_changed(file: str) -> Diagnostic:
    """The file of an interrupted run is another one now."""
    return Diagnostic(
        "GB613",
        f"`{file}` has changed since its run was interrupted",
        severity="warning",
        help="this is a new run; what did not change is not computed again",
    )


def file_gone(file: str, db: str) -> Diagnostic:
    """The file of an interrupted run cannot be read."""
    return Diagnostic(
        "GB614",
        f"`{file}`, whose run was interrupted, cannot be read",
        help=f'its text is in the results: gbx query {db} "SELECT source FROM main.specs WHERE ordinal = 0"',
    )


def lost(
    path: str, run_id: str, noted: int, present: int, severity: Literal["error", "warning"] = "error"
) -> Diagnostic:
    """Transactions that were acknowledged are not in the file."""
    return Diagnostic(
        "GB615",
        f"`{path}` has lost {noted - present} of {noted} transactions of run {run_id}",
        severity=severity,
        label="its write-ahead log (the .wal file) is torn or missing, or the file is an older copy",
        help=(
            f"put the .wal file back beside it; or go on without what is lost: gbx resume --db {path}"
            if severity == "error"
            else "what is missing is computed again where this file needs it"
        ),
    )


def not_migrated(path: str, version: int, known: int, reason: str) -> Diagnostic:
    """An older file that cannot be brought to this version where it lies."""
    return Diagnostic(
        "GB616",
        f"`{path}` was written by an older version, and cannot be migrated there",
        label=f"it has version {version} of the tables, this program has {known}: {reason}",
        help="copy it to a folder where there is room and you may write",
    )


def nothing_shared(before: str, after: str, one: Iterable[str], other: Iterable[str]) -> Diagnostic:
    """Two runs that have no measure in common."""
    return Diagnostic(
        "GB617",
        f"the runs {before} and {after} have no measure of numbers in common",
        label=f"the first has {', '.join(one) or 'none'}; the second {', '.join(other) or 'none'}",
        help='compare two runs of one file, or of files that share experiments: gbx query DB "FROM run_list"',
    )


def never_run(file: str, db: str, others: Sequence[str]) -> Diagnostic:
    """A file is to be resumed of which the results know no run."""
    known = ", ".join(f"`{other}`" for other in others[:MOST_FILES]) or "no file"
    more = f" and {len(others) - MOST_FILES} more" if len(others) > MOST_FILES else ""
    return Diagnostic(
        "GB619",
        f"`{file}` was never run into `{db}`",
        help=f"run it: gbx run {file} --db {db} (these results are of {known}{more})",
    )


def bad_sql(sql: str, offset: int | None, reason: str, hint: str) -> Diagnostic:
    """DuckDB does not accept the statement."""
    return Diagnostic("GB620", "the query is not valid", span=_place(sql, offset), label=reason, help=hint)


def refused_sql(sql: str, what: str) -> Diagnostic:
    """The statement does something else than read the results."""
    return Diagnostic(
        "GB621",
        f"a query may only read the results, not {what}",
        span=_place(sql, 0),
        label="refused",
        help="use SELECT on the tables and views of this file",
    )


def too_slow(sql: str, seconds: float) -> Diagnostic:
    """The statement ran into the time limit."""
    return Diagnostic(
        "GB622",
        f"the query took longer than {seconds:g} s",
        span=_place(sql, 0),
        label="stopped",
        help="select fewer rows, or aggregate earlier",
    )


def too_big(sql: str, reason: str) -> Diagnostic:
    """The statement ran into the memory limit."""
    return Diagnostic(
        "GB623", "the query needs more memory than it may use", span=_place(sql, 0), label=reason,
        help="select fewer rows or aggregate earlier",
    )  # fmt: skip


def not_one_statement(sql: str, found: int) -> Diagnostic:
    """Nothing to run, or several statements."""
    return Diagnostic(
        "GB624",
        "the query is empty" if found == 0 else f"the query has {found} statements",
        span=_place(sql, 0) if sql else None,
        help="write one SELECT statement",
    )


def no_export(path: str, reason: str) -> Diagnostic:
    """The file that an answer should go to cannot be written."""
    return Diagnostic(
        "GB625",
        f"cannot write `{path}`",
        label=reason,
        help="name another file with -o, in a folder that is there",
    )


def _place(sql: str, offset: int | None) -> Span | None:
    """Where in the SQL: the word at the offset."""
    if offset is None or not sql:
        return None
    start = min(offset, len(sql) - 1)
    while start < len(sql) - 1 and sql[start].isspace():
        start += 1
    end = start + 1
    while (
        end < len(sql)
        and (sql[end].isalnum() or sql[end] == "_")
        and (sql[start].isalnum() or sql[start] == "_")
    ):
        end += 1
    return Span(Source("query", sql), start, end)
