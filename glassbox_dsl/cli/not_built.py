"""The verbs that the language describes and this version lacks: they say so, and are not listed in the help.

Building one means adding its file to `verbs/` and deleting its line here.
"""

from __future__ import annotations

import typer

from glassbox_dsl.cli import exits
from glassbox_dsl.cli.output import complain

NOT_BUILT = {
    "init": "start a project from a worked example",
    "fmt": "format .gbx files",
    "lsp": "serve editors",
}


def register(app: typer.Typer) -> None:
    """Add one hidden command per verb of the table; each refuses with one line."""
    for name, purpose in NOT_BUILT.items():
        _refuse(app, name, purpose)


def _refuse(app: typer.Typer, name: str, purpose: str) -> None:
    @app.command(
        name,
        hidden=True,
        help=f"Not built yet: {purpose}.",
        context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
    )
    def refuse(context: typer.Context) -> None:
        complain(f"`gbx {name}` ({purpose}) is not built yet")
        raise typer.Exit(exits.USAGE)
