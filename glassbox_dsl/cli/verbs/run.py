"""`gbx run`: runs what a file asks for and the store lacks, then writes the report."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from glassbox_dsl.cli.memory import MEMORY, memory_budget
from glassbox_dsl.cli.running import run_and_tell
from glassbox_dsl.cli.with_families import Families


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
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Compute everything again, whatever the DuckDB file knows.")
    ] = False,
    memory: Annotated[str | None, typer.Option(metavar="SIZE", help=MEMORY)] = None,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Show no progress and no summary, only what is wrong.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Write what came of it as one JSON object.")] = False,
    families: Families = None,
) -> None:
    """Run the experiments of a file; results go to DuckDB, the report to a folder."""
    run_and_tell(file, db, report, quiet, fresh, memory_budget(memory), json)
