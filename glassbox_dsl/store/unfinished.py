"""Which run of a results file did not end, what it left open, and whether its file is still what it was."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

from glassbox_dsl.diagnostics import Diagnostic, Findings
from glassbox_dsl.store import errors
from glassbox_dsl.store.reader import Reader, RunInfo, open_reader

RESUMABLE: Final = ("started", "interrupted", "incomplete")
SAID: Final = {
    "started": "was killed, or still goes on",
    "interrupted": "was interrupted",
    "incomplete": "was stopped",
}


@dataclass(frozen=True)
class Unfinished:
    """A run that did not end.

    `finished` are its contexts (experiment, model, data set) that stand, `kept` how many numbers of single cells are
    known of the others; `others` are further files whose newest run did not end; `warnings` say what has changed.
    """

    file: Path
    started: datetime
    status: str
    finished: tuple[tuple[str, str, str], ...]
    kept: int
    others: tuple[Path, ...] = ()
    warnings: tuple[Diagnostic, ...] = ()

    def told(self, contexts: Sequence[tuple[str, str, str]]) -> Iterator[str]:
        """What is said of it, a line each; `contexts` are all that its file asks for."""
        yield f"{self.file}: the run of {self.started:%Y-%m-%d %H:%M} UTC {SAID[self.status]}"
        for names in contexts:
            state = "finished" if names in self.finished else "unfinished"
            yield f"  {state}: {names[0]} on {names[1]}, {names[2]}"
        yield f"  {self.kept:,} numbers of single cells are kept and are not computed again"
        for other in self.others:
            yield f"  also unfinished: {other}"


def unfinished(db: Path, file: Path | None = None) -> Unfinished | None:
    """The newest run of `file` (None: of any file), if it did not end; None if it did, or if all did.

    Raises Findings: GB614 when the file is gone, GB619 when it was never run, and what opening the results raises.
    """
    with open_reader(db, with_losses=True) as reader:
        newest = {run.file: run for run in reader.runs()}
        if file is not None and str(file.resolve()) not in newest:
            raise Findings([errors.never_run(str(file), str(db), list(newest))])
        some = newest.values() if file is None else [newest[str(file.resolve())]]
        open_runs = sorted((run for run in some if run.status in RESUMABLE), key=lambda run: run.run_id)
        return _found(reader, open_runs, db) if open_runs else None


def _found(reader: Reader, open_runs: Sequence[RunInfo], db: Path) -> Unfinished:
    run = open_runs[-1]
    file = Path(run.file)
    try:
        now = file.read_bytes()
    except OSError:
        raise Findings([errors.file_gone(str(file), str(db))]) from None
    same = hashlib.sha256(now).hexdigest() == reader.specs(run.run_id)[0].sha256
    warnings = () if same else (errors.file_changed(str(file)),)
    others = tuple(Path(other.file) for other in open_runs[:-1])
    finished, kept = _left_behind(reader, run.run_id)
    return Unfinished(file, run.started, run.status, finished, kept, others, warnings)


def _left_behind(reader: Reader, run_id: str) -> tuple[tuple[tuple[str, str, str], ...], int]:
    """The contexts that a run has finished, and how many numbers it has kept of single cells."""
    ((version,),) = reader.fetch("SELECT max(version) FROM main.store_version", []).rows
    if version < 2:  # it kept neither
        return (), 0
    stands = reader.fetch("SELECT experiment, model, data FROM main.contexts WHERE run_id = ?", [run_id])
    ((kept,),) = reader.fetch("SELECT coalesce(sum(n), 0) FROM main.readings WHERE run_id = ?", [run_id]).rows
    return tuple((str(e), str(m), str(d)) for e, m, d in stands.rows), int(kept)
