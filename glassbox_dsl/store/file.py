"""Opening the results file: for milliseconds to write, read-only to read, hardened to run what a user typed.

The file is attached to an empty in-memory database under a name that no experiment can have. Opened directly,
DuckDB names it after the file, and `ioi.recovered` in a file `ioi.duckdb` would be ambiguous between the file
and the schema.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from glob import escape
from pathlib import Path
from typing import Final

import duckdb
from duckdb import DuckDBPyConnection

from glassbox_dsl.diagnostics import Diagnostic, Findings
from glassbox_dsl.resources import PACKAGE
from glassbox_dsl.store import errors, ledger
from glassbox_dsl.store.layout import literal

SCHEMA_VERSION: Final = 3
STORAGE_VERSION: Final = "v1.5.0"
ATTACHED: Final = '"glassbox-results"'
SCHEMA: Final = PACKAGE / "store" / "schema.sql"
_STEP_SECONDS: Final = 0.02
_DAMAGE: Final = (
    duckdb.PermissionException,  # a view in it reaches outside
    duckdb.CatalogException,
    duckdb.FatalException,
    duckdb.InternalException,
    duckdb.SerializationException,
)


@contextmanager
def writing(path: Path, wait_seconds: float) -> Iterator[DuckDBPyConnection]:
    """The existing file open for writing, migrated if it is older. Waits for a holder, then raises StoreLocked
    (GB600); see `_explained`."""
    with _current(path, "READ_WRITE", wait_seconds) as connection:
        connection.execute("SET enable_external_access = false")
        yield connection


@contextmanager
def reading(path: Path, wait_seconds: float = 2.0, with_losses: bool = False) -> Iterator[DuckDBPyConnection]:
    """The file open for reading only, migrated if it is older; other readers may have it too.

    Raises Findings (GB600, GB603 ... GB608, GB616), and GB615 where acknowledged transactions are gone, unless
    `with_losses`.
    """
    if not path.exists():
        raise Findings([errors.no_file(str(path))])
    with _current(path, "READ_ONLY", wait_seconds) as connection:
        if not with_losses and (losses := ledger.losses(connection, path)):
            raise Findings(losses)
        yield connection


@contextmanager
def _current(path: Path, mode: str, wait_seconds: float) -> Iterator[DuckDBPyConnection]:
    """The file attached, after it was brought to this version."""
    with attached(path, mode, wait_seconds) as connection:
        version = _version(connection, path)
        if version == SCHEMA_VERSION:
            yield connection
            return
    from glassbox_dsl.store.migration import migrate  # it opens files itself

    migrate(path, version)
    with attached(path, mode, wait_seconds) as connection:
        yield connection


def utc_now() -> datetime:
    """The time as the tables hold it: UTC without a zone (reading a zoned one would need another package)."""
    return datetime.now(UTC).replace(tzinfo=None)


def harden(
    connection: DuckDBPyConnection,
    seconds: float | None = None,
    memory_limit: str | None = None,
    threads: int | None = None,
) -> None:
    """Shut a connection off from everything but the attached file, limit it, and lock that.

    Views are SQL that lies in the file, so this also holds for our own queries on a file from a stranger.
    """
    settings = {
        "autoinstall_known_extensions": "false",
        "autoload_known_extensions": "false",
        "allow_community_extensions": "false",
        "python_enable_replacements": "false",
        "memory_limit": literal(memory_limit) if memory_limit else None,
        "threads": str(threads) if threads else None,
        "max_execution_time": str(max(1, round(seconds * 1000))) if seconds else None,
        "max_temp_directory_size": "'0B'" if memory_limit else None,
        "enable_external_access": "false",
        "lock_configuration": "true",
    }
    for name, value in settings.items():
        if value is not None:
            connection.execute(f"SET {name} = {value}")


def create(path: Path, glassbox: str) -> None:
    """Make an empty store whole or not at all: built under a temporary name, then linked into place.

    A store that another process made meanwhile is left as it is. Raises Findings (GB601, GB602).
    """
    probe(path)
    sweep(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.new")
    try:
        with attached(temporary, "READ_WRITE", 0.0) as connection:
            connection.execute(SCHEMA.read_text(encoding="utf-8"))
            note_version(connection, glassbox)
        flush_to_disk(temporary)
        _put_in_place(temporary, path)
        flush_to_disk(path.parent)
    except OSError as problem:
        raise Findings([errors.not_writable(str(path), problem.strerror or str(problem))]) from None
    finally:
        for left in (temporary, temporary.with_name(temporary.name + ".wal")):
            left.unlink(missing_ok=True)


def note_version(connection: DuckDBPyConnection, glassbox: str) -> None:
    """Say that the tables are of this version."""
    connection.execute(
        "INSERT INTO main.store_version VALUES (?, ?, ?, ?)",
        [SCHEMA_VERSION, glassbox, duckdb.__version__, utc_now()],
    )


def sweep(path: Path) -> None:
    """Remove the unfinished files of processes that were killed while they made or migrated this one."""
    for left in path.parent.glob(f".{escape(path.name)}.*.new*"):
        pid = left.name.removeprefix(f".{path.name}.").split(".")[0]
        if pid.isdigit() and not _alive(int(pid)):
            with suppress(OSError):
                left.unlink()


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def probe(path: Path) -> None:
    """Check that a file can be made at a path, without leaving one. Raises Findings (GB601, GB602, GB603)."""
    if not path.parent.is_dir():
        raise Findings([errors.no_folder(str(path), str(path.parent))])
    trial = path.with_name(f".{path.name}.{os.getpid()}.probe")
    try:
        trial.touch(exist_ok=True)
        trial.unlink()
    except OSError as problem:
        raise Findings([errors.not_writable(str(path), problem.strerror or str(problem))]) from None


def _put_in_place(temporary: Path, path: Path) -> None:
    """Give a finished file its name, unless another process was faster."""
    try:
        os.link(temporary, path)
    except FileExistsError:
        return
    except OSError:  # a file system without links
        if not path.exists():
            os.rename(temporary, path)


def flush_to_disk(path: Path) -> None:
    """Force a file or the entries of a folder to the disk, where the system can."""
    with suppress(PermissionError, IsADirectoryError):
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


@contextmanager
def attached(path: Path, mode: str, wait_seconds: float) -> Iterator[DuckDBPyConnection]:
    """A file of any version, or a new one, attached. Raises Findings (GB600, GB602 ... GB607)."""
    config: dict[str, str | bool | int | float | list[str]] = {
        "storage_compatibility_version": STORAGE_VERSION,
        "autoinstall_known_extensions": False,
        "autoload_known_extensions": False,
    }
    connection = duckdb.connect(":memory:", config=config)
    try:
        _attach(connection, path, mode, wait_seconds)
        connection.execute(f"USE {ATTACHED}")
        connection.execute("DETACH memory")  # so that an experiment may be called `memory`
        yield connection
    except duckdb.Error as problem:
        finding = broken(path, mode, problem)
        if finding is None:
            raise
        raise Findings([finding]) from problem
    finally:
        with suppress(duckdb.Error):  # closing writes too, and says again what already went wrong
            connection.close()


def _attach(connection: DuckDBPyConnection, path: Path, mode: str, wait_seconds: float) -> None:
    if path.is_dir():
        raise Findings([errors.not_duckdb(str(path), "it is a folder")])
    deadline = time.monotonic() + wait_seconds
    while True:
        try:
            connection.execute(f"ATTACH {literal(str(path))} AS {ATTACHED} ({mode})")
            return
        except duckdb.Error as problem:
            finding = _explained(path, mode, str(problem))
            if finding.code != "GB600":
                raise Findings([finding]) from None
            if time.monotonic() >= deadline:
                raise errors.StoreLocked([finding]) from None
        time.sleep(_STEP_SECONDS)


def broken(path: Path, mode: str, problem: duckdb.Error) -> Diagnostic | None:
    """What a failure while the file was open means, when the file or the disk is to blame; else None."""
    reason = str(problem).splitlines()[0]
    if isinstance(problem, _DAMAGE) or "corrupt" in reason.lower():
        return errors.damaged(str(path), reason)
    if isinstance(problem, duckdb.IOException):
        explain = errors.damaged if mode == "READ_ONLY" else errors.write_failed
        return explain(str(path), reason)
    if mode == "READ_WRITE" and isinstance(
        problem, duckdb.OutOfMemoryException | duckdb.TransactionException
    ):
        return errors.write_failed(str(path), reason)
    return None


def _explained(path: Path, mode: str, message: str) -> Diagnostic:
    """What DuckDB's refusal to open a file means."""
    name = str(path)
    first = message.splitlines()[0]
    if "Unique file handle conflict" in message or "different configuration" in message:
        return errors.locked(name, os.getpid(), "", here=True)
    if "Could not set lock" in message or "being used by another process" in message:
        found = re.search(r"held in (.+?) \(PID (\d+)", message)
        program, pid = (found[1], int(found[2])) if found else ("", None)
        return errors.locked(name, pid, program, here=pid == os.getpid())
    if "not a valid DuckDB database" in message:
        return errors.not_duckdb(
            name, "it is empty" if path.stat().st_size == 0 else "its contents are something else"
        )
    if "version number" in message:
        return errors.newer_version(name, "a newer storage format", f"DuckDB {duckdb.__version__}")
    if mode == "READ_WRITE" and not os.access(path, os.W_OK):
        return errors.not_writable(name, "it is read-only")
    if not os.access(path, os.R_OK):
        return errors.not_writable(name, "it may not be read")
    return errors.damaged(name, first)


def _version(connection: DuckDBPyConnection, path: Path) -> int:
    """The version of the tables. Raises Findings (GB604 there are none, GB605 a newer one)."""
    try:
        row = connection.execute("SELECT max(version) FROM main.store_version").fetchone()
    except duckdb.CatalogException:
        raise Findings([errors.not_a_store(str(path))]) from None
    version = row[0] if row else None
    if version is None:
        raise Findings([errors.not_a_store(str(path))])
    if version > SCHEMA_VERSION:
        raise Findings([errors.newer_version(str(path), f"schema {version}", f"schema {SCHEMA_VERSION}")])
    return int(version)
