"""Which run of a results file did not end, and whether its file is still what it was."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Final

from glassbox_dsl.diagnostics import Diagnostic, Findings
from glassbox_dsl.store import errors
from glassbox_dsl.store.reader import open_reader

RESUMABLE: Final = ("started", "interrupted", "incomplete")


def unfinished(db: Path) -> tuple[Path, tuple[Diagnostic, ...]] | None:
    """The file whose newest run did not end, with warnings (GB613); the newest of several, None if there is none.

    Raises Findings: GB614 when that file is gone, and what opening the results file raises.
    """
    with open_reader(db, with_losses=True) as reader:
        newest = {run.file: run for run in reader.runs()}
        open_runs = [run for run in newest.values() if run.status in RESUMABLE]
        if not open_runs:
            return None
        run = max(open_runs, key=lambda run: run.run_id)
        source = reader.specs(run.run_id)[0]
    file = Path(run.file)
    try:
        now = file.read_bytes()
    except OSError:
        raise Findings([errors.file_gone(str(file), str(db))]) from None
    same = hashlib.sha256(now).hexdigest() == source.sha256
    return file, () if same else (errors.file_changed(str(file)),)
