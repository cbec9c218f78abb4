"""`gbx version`: the versions that results depend on."""

from __future__ import annotations

import platform
from importlib import metadata

import click

from glassbox_dsl import __version__
from glassbox_dsl.cli.output import say, write_json

LIBRARIES = ("torch", "transformers", "tokenizers", "duckdb", "numpy")


@click.command()
@click.option("--json", is_flag=True, help="Write one JSON object.")
def version(json: bool) -> None:
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
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
