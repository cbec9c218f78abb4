"""`gbx report`: the pages of stored results, made again from the database alone."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from glassbox_dsl.cli.output import complain, say


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("report")(render_pages)


def render_pages(
    db: Annotated[Path, typer.Argument(metavar="DB", help="A DuckDB file written by `gbx run`.")],
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", metavar="DIR", help="The folder to write to; beside DB if left out."),
    ] = None,
    run: Annotated[
        str | None, typer.Option(metavar="RUN", help="An older run than the newest complete one.")
    ] = None,
    watch: Annotated[
        bool, typer.Option("--watch", "-w", help="Draw the newest run again while it goes on, until it ends.")
    ] = False,
    every: Annotated[float, typer.Option(help="Seconds between two looks of --watch.", min=0.1)] = 5.0,
) -> None:
    """Render the HTML pages of the newest run in a database."""
    folder = out if out is not None else beside(db)
    if watch:
        _watch(db, folder, every, run)
        return
    from glassbox_dsl.report import render_report

    for page in render_report(db, folder, run_id=run):
        say(str(page))


def _watch(db: Path, out: Path, every: float, run: str | None) -> None:
    from glassbox_dsl.report.watch import watch

    told: set[Path] = set()
    for state, pages in watch(db, out, every, run):
        for page in pages:
            if page not in told:
                say(str(page))
        told.update(pages)
        complain(f"drawn; the run is {'under way' if state.status == 'started' else state.status}")


def beside(db: Path) -> Path:
    """The folder of a database's pages: its own name without the suffix."""
    return db.with_suffix("") if db.suffix else db.with_name(f"{db.name}_report")
