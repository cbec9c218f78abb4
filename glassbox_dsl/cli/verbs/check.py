"""`gbx check`: everything that can be known about a file before any weight is loaded."""

from __future__ import annotations

from pathlib import Path

import click

from glassbox_dsl.cli import exits
from glassbox_dsl.cli.output import complain, write_json
from glassbox_dsl.cli.values import PATH
from glassbox_dsl.cli.with_families import with_families
from glassbox_dsl.diagnostics import Diagnostic, as_json, render


@click.command()
@click.argument(
    "files", nargs=-1, required=True, metavar="FILE...", type=PATH, help="The .gbx files to check."
)
@click.option("--json", is_flag=True, help="Write the findings as JSON to stdout.")
@with_families
def check(files: tuple[Path, ...], json: bool) -> int:
    """Check files: syntax, names, axes, token counts and sites. Loads no weights."""
    from glassbox_dsl.pipeline import check_file

    found = {path: check_file(path) for path in dict.fromkeys(files)}
    every = [diagnostic for diagnostics in found.values() for diagnostic in diagnostics]
    if json:
        write_json({"files": [str(path) for path in found], "diagnostics": [as_json(d) for d in every]})
    else:
        for diagnostic in every:
            complain(render(diagnostic) + "\n")
        complain(_summary(len(found), every))
    return exits.of(every)


def _summary(files: int, diagnostics: list[Diagnostic]) -> str:
    """The closing line: how many files, errors and warnings."""
    errors = sum(d.severity == "error" for d in diagnostics)
    warnings = len(diagnostics) - errors
    counted = [
        _count(files, "file"),
        _count(errors, "error"),
        *([_count(warnings, "warning")] * (warnings > 0)),
    ]
    return ", ".join(counted)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
