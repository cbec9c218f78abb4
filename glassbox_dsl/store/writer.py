"""Writing a run: claim the file, begin, flush batches, finish.

The file is open only while a flush is written, for milliseconds, so that others can read it during a run.
Each flush is one transaction with its row in `flushes`: what a flush acknowledged survives a kill, what it
did not left nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from duckdb import DuckDBPyConnection

from glassbox_dsl.diagnostics import Diagnostic, Findings, InternalError
from glassbox_dsl.plan.contexts import Key
from glassbox_dsl.store import ledger, views
from glassbox_dsl.store.batch import insert_batch, insert_manifest
from glassbox_dsl.store.copying import (
    Lines,
    copy_context,
    copy_items,
    copy_model,
    copy_summaries,
    same_contexts,
)
from glassbox_dsl.store.file import create, probe, reading, utc_now, writing
from glassbox_dsl.store.rows import Batch, ContextRow, EndStatus, MeasureRow, RunManifest
from glassbox_dsl.store.summary_rows import insert_summaries, read_summaries

CLAIM_SECONDS: Final = 2.0
FLUSH_SECONDS: Final = 60.0


@dataclass(frozen=True)
class Reused:
    """A finished context of the run `source`, with its measures and the lines of its statements as they are now."""

    source: str
    context: Key
    row: ContextRow
    measures: tuple[MeasureRow, ...]
    lines: Lines
    with_model: bool
    with_items: bool


class Store:
    """One results file, and the run that is being written to it.

    `claim()` before any model is loaded, then `begin(manifest)`, `flush(batch)` as results come,
    `finish(status)`.
    """

    def __init__(self, path: Path, glassbox: str) -> None:
        self.path = path
        self._glassbox = glassbox
        self._manifest: RunManifest | None = None
        self._measures: dict[tuple[str, str], MeasureRow] = {}
        self._flushes = 0
        self._sources: set[str] = set()
        self.losses: tuple[Diagnostic, ...] = ()

    @classmethod
    def create_or_open(cls, path: str | Path, glassbox: str = "") -> Store:
        """A store at a path, claimed (see `claim`). Nothing is made before `begin`."""
        store = cls(Path(path).resolve(), glassbox)
        store.claim()
        return store

    def claim(self) -> None:
        """Check that the file can be written and nobody holds it. Leaves nothing behind.

        Raises StoreLocked (GB600: exit code 4) or Findings (GB601 ... GB605, GB607, GB616). `losses` then holds a
        warning (GB615) for each earlier run of which acknowledged transactions are gone.
        """
        if not self.path.exists():
            probe(self.path)
            return
        with writing(self.path, CLAIM_SECONDS) as connection:
            if damage := ledger.damage(connection, self.path):
                raise Findings([damage])
            self.losses = ledger.losses(connection, self.path, severity="warning")
            _refresh(connection)  # a kill between the end of a run and its views is mended here

    def begin(self, manifest: RunManifest) -> None:
        """Store what is known of the run before its first number; makes the file if there is none."""
        if self._manifest is not None:
            raise InternalError("a store was asked to begin a second run before the first was finished")
        if not self.path.exists():
            create(self.path, self._glassbox or manifest.glassbox)
            ledger.forget(self.path)
        with self._transaction() as connection:
            insert_manifest(connection, manifest)
        ledger.forget(self.path)  # what is there was compared with the file, and the losses are known
        self._manifest, self._measures, self._flushes, self._sources = manifest, {}, 0, set[str]()

    def flush(self, batch: Batch) -> None:
        """Store a batch: one transaction, all of it or nothing.

        Waits up to a minute for a reader to let go of the file. Raises StoreLocked (GB600), Findings (GB606 the
        disk is full or fails).
        """
        run_id = self._started().run_id
        known = self._measures | {(m.experiment, m.measure): m for m in batch.measures}
        fresh = tuple(m for key, m in known.items() if key not in self._measures)
        with self._transaction() as connection:
            insert_batch(connection, run_id, self._flushes, batch, fresh, known)
        self._measures = known
        self._acknowledge()

    def reuse(self, reused: Reused) -> None:
        """Copy a context that an earlier run has finished, in one transaction."""
        run, (_, model, data) = self._started().run_id, reused.context
        with self._transaction() as connection:
            if reused.with_model:
                copy_model(connection, reused.source, run, model)
            if reused.with_items:
                copy_items(connection, reused.source, run, data, model)
            counts = copy_context(connection, reused.source, run, self._flushes, reused.context, reused.lines)
            fresh = tuple(m for m in reused.measures if (m.experiment, m.measure) not in self._measures)
            self._measures = self._measures | {(m.experiment, m.measure): m for m in fresh}
            insert_batch(
                connection, run, self._flushes, Batch(contexts=(reused.row,)), fresh, self._measures, counts
            )
        self._sources.add(reused.source)
        self._acknowledge()

    def finish(self, status: EndStatus) -> None:
        """Compute the summaries, store how the run ended, and (status "complete") point the views at it."""
        manifest = self._started()
        with reading(self.path, FLUSH_SECONDS, with_losses=True) as connection:
            source = min(self._sources, default="")
            copied = len(self._sources) == 1 and same_contexts(connection, source, manifest.run_id)
            measures = () if copied else tuple(self._measures.values())
            summaries = read_summaries(connection, manifest.run_id, measures)
        seconds = (datetime.now(UTC) - manifest.started).total_seconds()
        with self._transaction() as connection:
            if copied:
                copy_summaries(connection, source, manifest.run_id)
            insert_summaries(connection, manifest.run_id, summaries)
            connection.execute(
                "INSERT INTO main.run_ends VALUES (?, ?, ?, ?)", [manifest.run_id, status, utc_now(), seconds]
            )
        with writing(self.path, FLUSH_SECONDS) as connection:
            _refresh(connection)
        ledger.forget(self.path, manifest.run_id)
        self._manifest = None

    def _acknowledge(self) -> None:
        """Note outside the file how many transactions of the run it holds: see `ledger`."""
        self._flushes += 1
        ledger.acknowledge(self.path, self._started().run_id, self._flushes)

    def _started(self) -> RunManifest:
        if self._manifest is None:
            raise InternalError("a store was written to before a run began")
        return self._manifest

    @contextmanager
    def _transaction(self) -> Iterator[DuckDBPyConnection]:
        """The file open for writing inside one transaction, which is rolled back when anything fails."""
        with writing(self.path, FLUSH_SECONDS) as connection:
            connection.execute("BEGIN")
            yield connection
            connection.execute("COMMIT")


def _refresh(connection: DuckDBPyConnection) -> None:
    """Make the views show the newest complete runs, in a transaction of their own."""
    connection.execute("BEGIN")
    views.refresh(connection)
    connection.execute("COMMIT")
