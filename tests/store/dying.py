"""Processes that are killed with SIGKILL at a chosen point of what they write."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from duckdb import DuckDBPyConnection

from glassbox_dsl.store import ledger, writer

FORK = multiprocessing.get_context("fork")
NEVER = 10**9


class Steps:
    """Counts the points at which a kill could matter, and kills this process at one of them."""

    def __init__(self, die_at: int = NEVER) -> None:
        self.die_at = die_at
        self.taken = 0

    def step(self) -> None:
        """One more point; the one to die at does not return."""
        if self.taken == self.die_at:
            os.kill(os.getpid(), signal.SIGKILL)
        self.taken += 1

    def install(self) -> None:
        """Put points around every opening, statement of a transaction, closing, and note of the writer."""
        writing, acknowledge, create = writer.writing, ledger.acknowledge, writer.create
        steps = self

        class Watched:
            def __init__(self, connection: DuckDBPyConnection) -> None:
                self.connection = connection

            def execute(self, sql: str, *values: Any) -> Any:
                watched = sql in ("BEGIN", "COMMIT") or sql.startswith(("INSERT", "CREATE OR REPLACE VIEW"))
                if watched:
                    steps.step()
                done = self.connection.execute(sql, *values)
                if watched:
                    steps.step()
                return done

            def __getattr__(self, name: str) -> Any:
                return getattr(self.connection, name)

        @contextmanager
        def watched(path: Path, wait: float) -> Iterator[Any]:
            steps.step()
            with writing(path, wait) as connection:
                yield Watched(connection)
            steps.step()

        def noted(*arguments: Any) -> None:
            steps.step()
            acknowledge(*arguments)
            steps.step()

        def made(*arguments: Any) -> None:
            steps.step()
            create(*arguments)
            steps.step()

        writer.writing, writer.create, ledger.acknowledge = watched, made, noted  # type: ignore[assignment]


def told(notes: Connection) -> None:
    """Send the run and its number of transactions through a pipe whenever a run acknowledges one."""
    acknowledge = ledger.acknowledge

    def acknowledged(db: Path, run_id: str, flushes: int) -> None:
        acknowledge(db, run_id, flushes)
        notes.send((run_id, flushes))

    ledger.acknowledge = acknowledged


def in_a_child(
    work: Callable[[], object], die_at: int = NEVER, seconds: float | None = None
) -> tuple[dict[str, int], bool, int]:
    """Do some work in a process that is killed at a point, or after some seconds.

    Returns what it acknowledged (transactions by run), whether it was killed, and how many points it passed.
    """
    ours, theirs = FORK.Pipe(duplex=False)

    def body() -> None:
        steps = Steps(die_at)
        steps.install()
        told(theirs)
        work()
        theirs.send(("", steps.taken))

    child = FORK.Process(target=body)
    child.start()
    theirs.close()
    noted: dict[str, int] = {}
    child.join(seconds if seconds is not None else 0)
    if seconds is not None and child.is_alive():
        os.kill(child.pid or 0, signal.SIGKILL)
    try:
        while True:
            run_id, count = ours.recv()
            noted[run_id] = count
    except EOFError:
        child.join()
    killed = child.exitcode == -signal.SIGKILL
    assert killed or child.exitcode == 0, child.exitcode
    return noted, killed, noted.pop("", 0)
