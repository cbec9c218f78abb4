"""The verbs that the language describes and this version lacks: they say so, and are not listed in the help.

Building one means adding its file to `verbs/` and deleting its line here.
"""

from __future__ import annotations

import click

from glassbox_dsl.cli import exits
from glassbox_dsl.cli.output import complain

NOT_BUILT = {
    "init": "start a project from a worked example",
    "fmt": "format .gbx files",
    "lsp": "serve editors",
}


def command(name: str) -> click.Command | None:
    """A verb of the table: it takes any arguments and refuses with one line. None for any other name."""
    if name not in NOT_BUILT:
        return None
    purpose = NOT_BUILT[name]

    def refuse() -> int:
        complain(f"`gbx {name}` ({purpose}) is not built yet")
        return exits.USAGE

    return click.Command(
        name,
        callback=refuse,
        help=f"Not built yet: {purpose}.",
        context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
    )
