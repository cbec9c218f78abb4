"""`gbx version`: the versions that results depend on."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version
from typing import Annotated

import typer

from glassbox_dsl import __version__
from glassbox_dsl.cli.output import say, write_json

LIBRARIES = ("torch", "transformers", "tokenizers", "duckdb", "numpy")


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("version")(show)


def show(json: Annotated[bool, typer.Option("--json", help="Write one JSON object.")] = False) -> None:
    """Show the versions of Glassbox, Python and the libraries that results depend on."""
    versions: dict[str, str | None] = {"glassbox": __version__, "python": platform.python_version()}
    versions |= {name: _installed(name) for name in LIBRARIES}
    if json:
        write_json(versions)
        return
    for name, number in versions.items():
        say(f"{name:<13}{number or 'not installed'}")


def _installed(name: str) -> str | None:
    """The version of a distribution from its metadata; the library itself is not imported."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None
