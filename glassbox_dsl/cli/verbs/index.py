"""`gbx index`: a page over all runs of a database."""

from __future__ import annotations

from pathlib import Path

import click

from glassbox_dsl.cli.output import say
from glassbox_dsl.cli.values import PATH
from glassbox_dsl.cli.verbs.report import beside


@click.command()
@click.argument("db", metavar="DB", type=PATH, help="A DuckDB file written by `gbx run`.")
@click.option("--out", "-o", metavar="DIR", type=PATH, help="The folder to write to; beside DB if left out.")
@click.option(
    "--pages/--no-pages", default=True, help="Also draw the pages of each run, to open from the list."
)
def index(db: Path, out: Path | None, pages: bool) -> None:
    """List all runs of a database on one static page: search, status, failures, and their pages to open."""
    from glassbox_dsl.report.index import write_index

    say(str(write_index(db, out if out is not None else beside(db), pages)))
