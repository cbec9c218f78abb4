"""The option `--memory`."""

from __future__ import annotations

import click


def _bytes(_: click.Context, __: click.Parameter, text: str | None) -> int | None:
    """The bytes that the option asks for; None without it. A usage error for what is no amount."""
    if text is None:
        return None
    from glassbox_dsl.plan.room import parse_bytes

    try:
        return parse_bytes(text)
    except ValueError as problem:
        raise click.BadParameter(str(problem)) from None


memory_budget = click.option(
    "--memory",
    metavar="SIZE",
    callback=_bytes,
    help="The memory to stay within, such as 8GiB (default: most of what is free).",
)
