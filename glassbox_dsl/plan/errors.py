"""The wording of what goes wrong while indices are evaluated on real items (GB530-GB559, with the run stage)."""

from __future__ import annotations

from collections.abc import Sequence

from glassbox_dsl.diagnostics import Diagnostic
from glassbox_dsl.source import Span

BUDGET = "GB546"
"""The code of a memory budget that one cell exceeds."""


def spans_differ(span: Span, rows: str) -> Diagnostic:
    """Spans of different length set from one another."""
    return Diagnostic(
        "GB536",
        "the spans have different lengths",
        span,
        rows,
        "set one token from one token: `label.first` or `label.last`",
    )


def places_differ(span: Span, prompts: Sequence[str]) -> Diagnostic:
    """A named position of a value that reads several prompts, in which it lies at different tokens."""
    return Diagnostic(
        "GB548",
        f"`{span.text}` is another token in one prompt than in another",
        span,
        f"the value reads {', '.join(f'`{p}`' for p in prompts)} position by position",
        "name the position where each run is read: `norm(a.resid_post[0, c]) - norm(b.resid_post[0, c])`",
    )


def set_differs(span: Span) -> Diagnostic:
    """A named position that picks one set of a family for some items and another for others."""
    return Diagnostic(
        "GB559",
        f"`{span.text}` picks one set for some items and another for others",
        span,
        "its token number differs between items, and a set is the same for all items of a data set",
        f"sweep the names themselves where the sets are made: `let NAME[pos in {{{span.text}}}] = ...`",
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


def too_many_cells(
    span: Span, name: str, counts: tuple[int, int, int], factors: Sequence[str], model: str, exact: bool
) -> Diagnostic:
    """A sweep that nobody can wait for. `counts`: its own cells, those of the file, and how many are allowed."""
    cells, total, largest = counts
    others = f"; the file comes to {total:,}" if total > cells else ""
    return Diagnostic(
        "GB545",
        f"`{name}` comes to {'' if exact else 'at least '}{cells:,} cells",
        span,
        f"{' x '.join(factors)} on `{model}`{others}; at most {largest:,} are made",
        "name the members of an axis (`layer in {0, 50%, 100%}`), or draw fewer items",
    )


def budget_too_small(span: Span, cell: str, needed: str, parts: str, budget: str) -> Diagnostic:
    """Less memory than one cell needs."""
    return Diagnostic(
        BUDGET,
        f"one cell of a run needs {needed}, the budget is {budget}",
        span,
        f"{cell}: {parts}",
        "give more with `--memory 8GiB`, shorten the prompts, or keep less of the run",
    )


def not_fetched(span: Span | None, model: str, id: str) -> Diagnostic:
    """A plan needs tokens, and so the tokenizer."""
    return Diagnostic(
        "GB547",
        f"the tokenizer of `{model}` is not on this machine yet",
        span,
        "how many tokens its prompts have is not known without it",
        f"fetch it: `gbx models fetch {id}`" if id else "run the file once, which fetches it",
    )
