"""The option `--show-completion SHELL`: the script that lets a shell complete verbs, options and files."""

from __future__ import annotations

import click

SHELLS = ("bash", "zsh", "fish", "powershell")


def _show(context: click.Context, _: click.Parameter, shell: str | None) -> None:
    if shell is None or context.resilient_parsing:
        return
    from click.shell_completion import get_completion_class

    found = get_completion_class(shell)
    assert found is not None
    click.echo(found(context.command, {}, "gbx", "_GBX_COMPLETE").source())
    context.exit()


show_completion = click.option(
    "--show-completion",
    metavar="SHELL",
    type=click.Choice(SHELLS),
    is_eager=True,
    expose_value=False,
    callback=_show,
    help=f"Write what makes a shell complete `gbx`, for its startup file: {', '.join(SHELLS)}.",
)
