"""`gbx figure`: one measure as a figure for a paper."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Any

import click

from glassbox_dsl.cli.output import say
from glassbox_dsl.cli.values import PATH


class Picture(StrEnum):
    """What a figure can be written as."""

    svg = "svg"
    pdf = "pdf"
    png = "png"


@click.command()
@click.argument("db", metavar="DB", type=PATH, help="A DuckDB file written by `gbx run`.")
@click.argument(
    "measure", metavar="EXPERIMENT.MEASURE", help="What to draw; a record of patterns or a circuit, too."
)
@click.argument(
    "options",
    nargs=-1,
    metavar="[OPTION=VALUE]...",
    help="As in a report: kind=line x=layer model=smol item=2 title=...",
)
@click.option(
    "--format", "-f", "form", type=click.Choice(Picture), help="svg, or what the ending of -o says."
)
@click.option("--out", "-o", metavar="FILE", type=PATH, help="The file to write.")
@click.option("--run", metavar="RUN", help="An older run than the newest complete one.")
def figure(
    db: Path, measure: str, options: tuple[str, ...], form: Picture | None, out: Path | None, run: str | None
) -> None:
    """Draw a measure as SVG, PDF or PNG, as the reports of the file show it.

    Of token grids and patterns the first is drawn; model= and item= choose another, layer= and head= one head.
    """
    from glassbox_dsl.report.paper import write_figure

    experiment, dot, name = measure.partition(".")
    if not dot:
        raise click.BadParameter("write EXPERIMENT.MEASURE", param_hint="EXPERIMENT.MEASURE")
    ending = out.suffix.removeprefix(".") if out is not None else ""
    picture = form or (Picture(ending) if ending in set(Picture) else Picture.svg)
    target = out if out is not None else Path(f"{experiment}.{name}.{picture}")
    given = dict(_option(text) for text in options)
    say(str(write_figure(db, (experiment, name), str(picture), target, given, run)))


def _option(text: str) -> tuple[str, Any]:
    """`layer=3` as a name and a number or text."""
    name, equals, value = text.partition("=")
    if not (name and equals):
        raise click.BadParameter(f"`{text}` is not of the form OPTION=VALUE", param_hint="OPTION=VALUE")
    for kind in (int, float):
        try:
            return name, kind(value)
        except ValueError:
            continue
    return name, value
