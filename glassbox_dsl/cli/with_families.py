"""The option `--families DIR`, which every verb that reads models takes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def _added(folder: Path | None) -> Path | None:
    if folder is not None:
        from glassbox_dsl.resolve.families import add_families

        add_families(folder)
    return folder


Families = Annotated[
    Path | None,
    typer.Option(
        "--families", metavar="DIR", exists=True, file_okay=False, callback=_added,
        help="Take the family files of a folder too.",
    ),
]  # fmt: skip
