"""Exit codes of `gbx`: the table that scripts rely on."""

from __future__ import annotations

from collections.abc import Iterable

from glassbox_dsl.diagnostics import Diagnostic

OK = 0
FINDINGS = 1  # diagnostics, a broken `expect`, failed cells
USAGE = 2  # the command line itself
INCOMPLETE = 3  # stopped early; the same command goes on from there
LOCKED = 4  # another process writes the database
INTERNAL = 70  # a bug in Glassbox
INTERRUPTED = 130  # Ctrl-C

LOCKED_CODES = frozenset({"GB600"})


def of(diagnostics: Iterable[Diagnostic]) -> int:
    """The code that a command ends with after these diagnostics; warnings alone are no failure."""
    codes = {d.code for d in diagnostics if d.severity == "error"}
    if codes & LOCKED_CODES:
        return LOCKED
    return FINDINGS if codes else OK
