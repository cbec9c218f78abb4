"""`gbx index`: a page over all runs of a database."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from glassbox_dsl.cli.output import say
from glassbox_dsl.cli.verbs.report import beside


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("index")(write_page)


def write_page(
    db: Annotated[Path, typer.Argument(metavar="DB", help="A DuckDB file written by `gbx run`.")],
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", metavar="DIR", help="The folder to write to; beside DB if left out."),
    ] = None,
    pages: Annotated[
        bool,
        typer.Option("--pages/--no-pages", help="Also draw the pages of each run, to open from the list."),
    ] = True,
) -> None:
    """List all runs of a database on one static page: search, status, failures, and their pages to open."""
    from glassbox_dsl.report.index import write_index

    say(str(write_index(db, out if out is not None else beside(db), pages)))
