"""`gbx resume`: goes on with a run that did not end; `gbx run` of the same file does the same."""

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
    file: Annotated[
        Path | None,
        typer.Argument(
            metavar="[FILE]", help="The .gbx file (default: that of the newest run that did not end)."
        ),
    ] = None,
    db: Annotated[Path, typer.Option(help="The DuckDB file of the run.")] = Path("results.duckdb"),
    report: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Write the report of the run into this folder.")
    ] = None,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Show no progress and no summary, only what is wrong.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Write what came of it as one JSON object.")] = False,
) -> None:
    """Say what a run that was interrupted or killed left open, and complete it; nothing is computed twice."""
    from glassbox_dsl.language.file import read_program
    from glassbox_dsl.plan.contexts import contexts
    from glassbox_dsl.store.unfinished import unfinished

    if file is not None and file.suffix in (".duckdb", ".db"):
        raise typer.BadParameter(
            f"`{file}` is no .gbx file; results are given with --db {file}", param_hint="FILE"
        )
    found = unfinished(db, file)
    if found is None:
        done = f"nothing to resume: {'every file' if file is None else file} in {db} was run to its end"
        write_json({"db": str(db), "done": done}) if json else say(done)
        return
    program, _ = read_program(found.file)
    for line in found.told(tuple(contexts(program)) if program is not None else ()):
        complain(line)
    for diagnostic in found.warnings:
        complain(render(diagnostic) + "\n")
    run_and_tell(found.file, db, report, quiet, json=json)
