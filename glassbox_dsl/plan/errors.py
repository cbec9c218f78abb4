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


def empty_sweep(span: Span, text: str, model: str) -> Diagnostic:
    """A sweep over a set that has no member."""
    return Diagnostic(
        "GB541",
        f"the set `{text}` has no member on `{model}`",
        span,
        "there is nothing to sweep",
        "lower the threshold, or take `largest(..., k: 5)`",
    )


def empty_edit(span: Span, text: str, model: str) -> Diagnostic:
    """An edit of a set that has no member in any cell of the run."""
    return Diagnostic(
        "GB542",
        f"the set `{text}` has no member on `{model}`",
        span,
        "the edit would write nothing in any cell",
        "lower the threshold, or take `largest(..., k: 5)`",
    )


def fewer_members(span: Span, found: int, wanted: int, model: str) -> Diagnostic:
    """A set with fewer members than its `k`."""
    return Diagnostic(
        "GB543", f"`{model}` has {found} of the {wanted} cells asked for", span, "all of them are taken",
        "ask for fewer", severity="warning",
    )  # fmt: skip
