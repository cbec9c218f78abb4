"""`gbx gap`: models side by side, and what their differences break in methods made for GPT-2."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from glassbox_dsl.cli.anatomies import MODEL, described, shown_value
from glassbox_dsl.cli.output import Format, say, write_json, write_table
from glassbox_dsl.cli.values import PATH, PATH_OR_NAME


@click.command()
@click.argument("models", nargs=-1, required=True, metavar="MODEL...", type=PATH_OR_NAME, help=MODEL)
@click.option("--json", is_flag=True, help="Write one JSON object.")
@click.option("--report", metavar="FILE.html", type=PATH, help="Write a page, too.")
def gap(models: tuple[str, ...], json: bool, report: Path | None) -> None:
    """Compare models, and show what each difference breaks in methods made for GPT-2. Reads no weights."""
    from glassbox_dsl.resolve.gap import compare

    found = compare(described(models))
    if json:
        write_json(_document(found))
    else:
        _write(found)
    if report is not None:
        from glassbox_dsl.report.gap import write_gap_page

        command = " ".join(["gbx gap", *models, "--report", report.name])
        say(str(write_gap_page(found, report, command))) if not json else write_gap_page(
            found, report, command
        )


def _document(found: Any) -> dict[str, Any]:
    return {
        "models": [model.shown for model in found.models],
        "features": [line.model_dump() for line in found.lines],
        "sites": [line.model_dump() for line in found.sites],
        "breaks": [{**entry.gap.model_dump(), "models": entry.models} for entry in found.breaks],
    }


def _write(found: Any) -> None:
    names = [model.shown for model in found.models]
    lines = [line for line in found.lines if line.worth_showing]
    rows = [
        ("≠" if line.differs else "", line.group, line.title, *map(shown_value, line.values))
        for line in lines
    ]
    write_table(("", "of", "what", *names), rows, Format.table)
    sites = [line for line in found.sites if line.differs]
    if sites:
        say("\nsites that not all have:")
        write_table(("site", *names), [(line.name, *line.values) for line in sites], Format.table)
    say("\nwhat breaks in methods made for GPT-2:")
    for entry in found.breaks:
        say("\n" + "\n".join(_break(entry, names)))


def _break(entry: Any, names: list[str]) -> Iterator[str]:
    whose = "" if list(entry.models) == names else f" ({', '.join(entry.models)})"
    yield f"{entry.gap.says}{whose}"
    yield f"  breaks   {entry.gap.technique}"
    yield f"  why      {entry.gap.breaks}"
    yield f"  instead  {entry.gap.instead}"
    yield from (f"           {line}" for line in entry.gap.gbx.splitlines())
    yield f"  source   {entry.gap.source}"
