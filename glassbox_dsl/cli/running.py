"""Running a file from the command line, for `gbx run` and `gbx resume`."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from glassbox_dsl.cli import exits
from glassbox_dsl.cli.output import Format, complain, say, write_json, write_table
from glassbox_dsl.diagnostics import render
from glassbox_dsl.plan.progress import Stopped

if TYPE_CHECKING:
    from glassbox_dsl.pipeline import RunOutcome


def run_and_tell(
    file: Path,
    db: Path,
    report: Path | None,
    quiet: bool,
    fresh: bool = False,
    memory: int | None = None,
    json: bool = False,
) -> int:
    """Run a file and say what came of it (`quiet`: only what is wrong, and where it is). Its exit code."""
    from glassbox_dsl.run.fetch import require_run_extra

    require_run_extra()  # the pipeline's later stages cannot even be imported without it
    from glassbox_dsl.cli.progress import watching
    from glassbox_dsl.pipeline import run_file
    from glassbox_dsl.store.receive import is_broken

    try:
        with stopping_in_order(), watching(quiet) as progress:
            outcome = run_file(file, db, report, progress, fresh, memory)
    except Stopped:
        complain(f"stopped; what was computed is in {db}, and `gbx resume --db {db}` goes on from there")
        return exits.INCOMPLETE
    for diagnostic in outcome.diagnostics:
        complain(render(diagnostic) + "\n")
    if json:
        write_json(_document(outcome))
        return outcome.exit_code
    if quiet:
        for line in outcome.headlines:
            if is_broken(line):
                complain(line)
    else:
        _tell(outcome)
    say(f"results: {outcome.db}")
    for page in outcome.reports:
        say(f"report:  {page}")
    return outcome.exit_code


def _tell(outcome: RunOutcome) -> None:
    """The claims, what the run came to, and the table of its measures."""
    from glassbox_dsl.cli.summary import COLUMNS, bars_for, summary

    for line in outcome.headlines:
        say(line)
    lines = summary(outcome.db, outcome.run_id) if outcome.run_id else ()
    if lines:
        bars = bars_for()
        say("")
        write_table(COLUMNS, [line.row(bars) for line in lines], Format.table)
        say("")


def _document(outcome: RunOutcome) -> dict[str, Any]:
    from glassbox_dsl.cli.summary import summary

    lines = summary(outcome.db, outcome.run_id) if outcome.run_id else ()
    return {
        **{"run_id": outcome.run_id, "exit_code": outcome.exit_code, "db": str(outcome.db)},
        "reports": [str(page) for page in outcome.reports],
        "headlines": list(outcome.headlines),
        "measures": [line.document() for line in lines],
        "diagnostics": [
            {"code": d.code, "severity": d.severity, "headline": d.headline} for d in outcome.diagnostics
        ],
    }


@contextmanager
def stopping_in_order() -> Iterator[None]:
    """Within, a request to end (SIGTERM, as batch systems send it) is raised as `Stopped`."""

    def stop(_: int, __: FrameType | None) -> None:
        raise Stopped

    before = None
    with suppress(ValueError):  # not in the main thread
        before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        if before is not None:
            signal.signal(signal.SIGTERM, before)
