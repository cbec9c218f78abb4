"""The option `--memory`."""

from __future__ import annotations

import typer

MEMORY = "The memory to stay within, such as 8GiB (default: most of what is free)."


def memory_budget(text: str | None) -> int | None:
    """The bytes that `--memory` asks for; None without it. A usage error for what is no amount."""
    if text is None:
        return None
    from glassbox_dsl.plan.room import parse_bytes

    try:
        return parse_bytes(text)
    except ValueError as problem:
        raise typer.BadParameter(str(problem), param_hint="--memory") from None
