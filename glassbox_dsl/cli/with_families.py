"""The option `--families DIR`, which every verb that reads models takes."""

from __future__ import annotations

from pathlib import Path

import click


def _add(context: click.Context, _: click.Parameter, folder: Path | None) -> None:
    if folder is not None and not context.resilient_parsing:
        from glassbox_dsl.resolve.families import add_families

        add_families(folder)


with_families = click.option(
    "--families",
    metavar="DIR",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    expose_value=False,
    callback=_add,
    help="Take the family files of a folder too.",
)
