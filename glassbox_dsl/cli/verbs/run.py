"""`gbx run`: runs what a file asks for and the store lacks, then writes the report."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from glassbox_dsl.cli.memory import MEMORY, memory_budget
from glassbox_dsl.cli.output import complain, say
from glassbox_dsl.diagnostics import render


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("run")(run)


def run(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The .gbx file to run.")],
    db: Annotated[Path, typer.Option(help="The DuckDB file that results are added to.")] = Path(
        "results.duckdb"
    ),
    report: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Write the report of the run into this folder.")
    ] = None,
    memory: Annotated[str | None, typer.Option(metavar="SIZE", help=MEMORY)] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress.")] = False,
) -> None:
    """Run the experiments of a file; results go to DuckDB, the report to a folder."""
    from glassbox_dsl.run.fetch import require_run_extra

    require_run_extra()  # the pipeline's later stages cannot even be imported without it
    from glassbox_dsl.cli.progress import watching
    from glassbox_dsl.pipeline import run_file

    with watching(quiet) as progress:
        outcome = run_file(file, db, report, progress, memory_budget(memory))
    for diagnostic in outcome.diagnostics:
        complain(render(diagnostic) + "\n")
    for line in outcome.headlines:
        say(line)
    say(f"results: {outcome.db}")
    for page in outcome.reports:
        say(f"report:  {page}")
    raise typer.Exit(outcome.exit_code)
