"""Where the data that ships with the program lies: grammars/ and specs/, in a checkout or inside the wheel."""

from __future__ import annotations

from functools import cache
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent


@cache
def shipped(folder: str) -> Path:
    """The folder `grammars` or `specs`: beside the package in a checkout, inside it when installed."""
    for base in (PACKAGE / "_shipped", PACKAGE.parent):
        if (base / folder).is_dir():
            return base / folder
    raise FileNotFoundError(f"{folder}/ is missing from the installation of glassbox_dsl")
