"""The wording of what can be wrong with circuits (GB277-GB279)."""

from __future__ import annotations

from collections.abc import Sequence

from glassbox_dsl.diagnostics import Diagnostic
from glassbox_dsl.source import Span

METRIC = "declare `metric NAME(r) = ...` with one run, and name it"


def no_metric(span: Span, why: str) -> Diagnostic:
    """What a circuit is to explain is no metric of one run."""
    return Diagnostic("GB277", "a circuit explains a metric of one run", span, why, METRIC)


def no_run(span: Span, text: str, why: str) -> Diagnostic:
    """What edges carry comes from one pass over each item."""
    return Diagnostic(
        "GB278", f"`{text}` cannot be a run of a circuit", span, why,
        "name a `forward` run with one cell, such as `clean` or `patched[3, last]`",
    )  # fmt: skip


def no_else(span: Span, why: str) -> Diagnostic:
    """Edges outside of a circuit that carry something that is no run's."""
    return Diagnostic(
        "GB279",
        "edges carry what a run sends",
        span,
        why,
        "write `keep CIRCUIT, else RUN`, or leave `else` out for zeros",
    )


def generated(span: Span) -> Diagnostic:
    """A circuit kept while tokens are generated."""
    return Diagnostic(
        "GB279", "a circuit is kept in a `forward` run", span,
        "edges carry what another run sends at the same positions, which generated tokens do not share",
        "keep it in a `forward` run",
    )  # fmt: skip


def unknown_search(span: Span, name: str, known: Sequence[str]) -> Diagnostic:
    """A circuit that no search of this name finds."""
    from glassbox_dsl.language.errors import unknown_name

    return unknown_name(span, name, known, "search for circuits")
