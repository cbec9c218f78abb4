"""The wording of what goes wrong while indices are evaluated on real items (GB530-GB559, with the run stage)."""

from __future__ import annotations

from glassbox_dsl.diagnostics import Diagnostic
from glassbox_dsl.source import Span


def spans_differ(span: Span, rows: str) -> Diagnostic:
    """Spans of different length set from one another."""
    return Diagnostic(
        "GB536",
        "the spans have different lengths",
        span,
        rows,
        "set one token from one token: `label.first` or `label.last`",
    )
