"""`gbx run`: runs what a file asks for and the store lacks, then writes the report."""

from __future__ import annotations

from pathlib import Path

import click

from glassbox_dsl.cli.memory import memory_budget
from glassbox_dsl.cli.running import run_and_tell
from glassbox_dsl.cli.values import PATH
from glassbox_dsl.cli.with_families import with_families


@click.command()
@click.argument("file", metavar="FILE", type=PATH, help="The .gbx file to run.")
@click.option("--db", type=PATH, default="results.duckdb", help="The DuckDB file that results are added to.")
@click.option("--report", metavar="DIR", type=PATH, help="Write the report of the run into this folder.")
@click.option("--fresh", is_flag=True, help="Compute everything again, whatever the DuckDB file knows.")
@memory_budget
@click.option("--quiet", "-q", is_flag=True, help="Show no progress and no summary, only what is wrong.")
@click.option("--json", is_flag=True, help="Write what came of it as one JSON object.")
@with_families
def run(
    file: Path, db: Path, report: Path | None, fresh: bool, memory: int | None, quiet: bool, json: bool
) -> int:
    """Run the experiments of a file; results go to DuckDB, the report to a folder."""
    return run_and_tell(file, db, report, quiet, fresh, memory, json)
