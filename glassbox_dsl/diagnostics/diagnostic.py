"""The one shape of every message: headline (one fact), label (why here), help (an edit)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from glassbox_dsl.source import Span

Severity = Literal["error", "warning"]


@dataclass(frozen=True)
class Diagnostic:
    """One finding. `code` is `GBnnn`: 1xx syntax, 2xx language, 3xx resolve, 4xx plan, 5xx run,
    6xx store and report; `GBW7nn`: what can be run and is likely a mistake."""

    code: str
    headline: str
    span: Span | None = None
    label: str = ""
    help: str = ""
    notes: tuple[str, ...] = ()
    severity: Severity = "error"


class Findings(Exception):
    """All problems of one stage at once; at least one is an error."""

    def __init__(self, diagnostics: Iterable[Diagnostic]) -> None:
        self.diagnostics = tuple(diagnostics)
        super().__init__("; ".join(f"{d.code} {d.headline}" for d in self.diagnostics))


class InternalError(Exception):
    """A bug in Glassbox: never the user's fault, asks for a report."""
