"""`gbx report`: the pages of stored results, made again from the database alone."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from glassbox_dsl.cli.output import say


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("report")(render_pages)


def render_pages(
    db: Annotated[Path, typer.Argument(metavar="DB", help="A DuckDB file written by `gbx run`.")],
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", metavar="DIR", help="The folder to write to; beside DB if left out."),
    ] = None,
) -> None:
    """Render the HTML pages of the newest run in a database."""
    from glassbox_dsl.report import render_report

    for page in render_report(db, out if out is not None else _beside(db)):
        say(str(page))


def _beside(db: Path) -> Path:
    """The folder of a database's pages: its own name without the suffix."""
    return db.with_suffix("") if db.suffix else db.with_name(f"{db.name}_report")
