"""`gbx resume`: goes on with the newest run that did not end; `gbx run` of the same file does the same."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from glassbox_dsl.cli.output import complain, say, write_json
from glassbox_dsl.cli.running import run_and_tell
from glassbox_dsl.diagnostics import render


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("resume")(resume)


def resume(
    db: Annotated[Path, typer.Argument(metavar="DB", help="The DuckDB file of the run.")] = Path(
        "results.duckdb"
    ),
    report: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Write the report of the run into this folder.")
    ] = None,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Show no progress and no summary, only what is wrong.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Write what came of it as one JSON object.")] = False,
) -> None:
    """Go on with the newest run that was interrupted or killed; nothing it computed is computed again."""
    from glassbox_dsl.store.unfinished import unfinished

    found = unfinished(db)
    if found is None:
        done = f"nothing to resume: every file in {db} was run to its end"
        write_json({"db": str(db), "done": done}) if json else say(done)
        return
    file, warnings = found
    for diagnostic in warnings:
        complain(render(diagnostic) + "\n")
    run_and_tell(file, db, report, quiet, json=json)
