"""Names near a misspelt one."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


def did_you_mean(name: str, known: Iterable[str], label: str = "") -> str:
    """A help line: all known names when there are at most 8, else at most two near ones, else nothing."""
    names = sorted(set(known))
    near = get_close_matches(name, names, n=2, cutoff=0.6)
    if near:
        return "did you mean " + " or ".join(f"`{n}`" for n in near) + "?"
    if 0 < len(names) <= 8:
        return f"{label or 'known'}: " + ", ".join(f"`{n}`" for n in names)
    return ""
