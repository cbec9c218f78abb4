"""`gbx report`: the pages of stored results, made again from the database alone."""

from __future__ import annotations

from pathlib import Path

import click

from glassbox_dsl.cli.output import complain, say
from glassbox_dsl.cli.values import PATH, Number


@click.command()
@click.argument("db", metavar="DB", type=PATH, help="A DuckDB file written by `gbx run`.")
@click.option("--out", "-o", metavar="DIR", type=PATH, help="The folder to write to; beside DB if left out.")
@click.option("--run", metavar="RUN", help="An older run than the newest complete one.")
@click.option(
    "--watch", "-w", is_flag=True, help="Draw the newest run again while it goes on, until it ends."
)
@click.option(
    "--every",
    type=Number(min=0.1),
    default=5.0,
    help="Seconds between two looks of --watch.",
)
def report(db: Path, out: Path | None, run: str | None, watch: bool, every: float) -> None:
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
