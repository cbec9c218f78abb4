"""The pages of a run drawn again and again while it goes on."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

from glassbox_dsl.diagnostics import Findings
from glassbox_dsl.report.pages import write_pages
from glassbox_dsl.store.errors import StoreLocked, no_run
from glassbox_dsl.store.reader import RunInfo, open_reader


def watch(
    db: Path,
    out: Path,
    every_seconds: float,
    run_id: str | None = None,
    sleep: Callable[[float], object] = time.sleep,
) -> Iterator[tuple[RunInfo, tuple[Path, ...]]]:
    """Draw the pages of a run (None: the newest) whenever the results file has changed, until the run has ended.

    Yields the run and its pages after each drawing. While it goes on the pages load themselves again. A file that is
    held by the run just then is tried again; it need not be there yet.
    """
    seen: tuple[int, int] | None = None
    while True:
        try:
            state = db.stat()
        except FileNotFoundError:
            sleep(every_seconds)
            continue
        now = (state.st_mtime_ns, state.st_size)
        if now != seen:
            try:
                run = _run(db, run_id)
                going = run.status == "started"
                refresh = max(1, round(every_seconds)) if going else None
                pages = write_pages(db, out, None, run.run_id, refresh)
            except StoreLocked:
                pages = ()
            else:
                seen = now
                yield run, pages
                if not going:
                    return
        sleep(every_seconds)


def _run(db: Path, run_id: str | None) -> RunInfo:
    """The run to watch: the newest one whatever its state, unlike elsewhere."""
    with open_reader(db) as reader:
        runs = [run for run in reader.runs() if run_id is None or run.run_id.startswith(run_id)]
        if not runs:
            raise Findings([no_run(str(db), run_id, [run.run_id for run in reader.runs()])])
        return runs[-1]
