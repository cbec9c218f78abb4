"""The wording of what goes wrong while values are made (GB530-GB559)."""

from __future__ import annotations

from glassbox_dsl.diagnostics import Diagnostic
from glassbox_dsl.source import Span


def group_of_one(span: Span, within: str | None) -> Diagnostic:
    """Resampling inside a group with one item."""
    where = f"a group of `{within}`" if within else "the data set"
    return Diagnostic(
        "GB530",
        f"{where} has one item only",
        span,
        "no other item to take the value from",
        "draw more items, or resample within a coarser feature",
    )


def not_aligned(span: Span, prompt: str) -> Diagnostic:
    """A mean over items at positions that do not mean the same."""
    return Diagnostic(
        "GB531", f"positions of `{prompt}` differ between items", span,
        "token counts or labels are not at the same places in all items, so a mean by position mixes meanings",
        "index positions by name (`last`, a span label), or average over `{item, pos}`",
    )  # fmt: skip


def no_such_item(span: Span, item: int, n: int) -> Diagnostic:
    """An item that was not drawn or kept."""
    return Diagnostic(
        "GB532", f"there is no item {item}", span, f"{n} items are kept", "name the number of a kept item"
    )


def items_never_meet(span: Span, one: str, other: str) -> Diagnostic:
    """Items of two data sets in one value."""
    return Diagnostic(
        "GB533",
        f"items of `{one}` and `{other}` never meet",
        span,
        "they are different rows",
        "reduce `item` first: `mean(...)[data: ...]`",
    )


def no_such_feature(span: Span, width: int) -> Diagnostic:
    """A feature index outside the feature axis."""
    return Diagnostic(
        "GB534", "no such cell on the feature axis", span, f"it has the cells 0 to {width - 1}", ""
    )


def never_moved(span: Span, text: str) -> Diagnostic:
    """An edit that changed nothing anywhere."""
    return Diagnostic(
        "GB535",
        "the edit never moved anything",
        span,
        "in no cell and no item did it change the value at its site",
        "check that its source differs from what it replaces, and that what is read lies behind it",
    )


def no_gradient(span: Span, why: str) -> Diagnostic:
    """A number without a gradient that would say anything."""
    help_ = "take the exact measure, or another metric (`logit`, `logprob` of one token)"
    return Diagnostic("GB549", "no gradient to go by", span, why, help_)


def pruned_edges(span: Span, wanted: int, left: int, model: str) -> Diagnostic:
    """Edges of a circuit that are no part of any way through the model."""
    return Diagnostic(
        "GB551", f"{left} of the {wanted} edges asked for are left on `{model}`", span,
        "the others lie on no way from the embedding to the end, and were taken out",
        "ask for more edges, if that is too few", severity="warning",
    )  # fmt: skip


def unfit(span: Span, name: str, model: str, why: str) -> Diagnostic:
    """Examples that do not allow a fit."""
    where = f" on `{model}`" if model else ""
    help_ = "draw more items, choose another `label:`, or hold out fewer (`test:`)"
    return Diagnostic("GB550", f"`{name}` cannot be fitted{where}", span, why, help_)


def out_of_memory(span: Span | None, name: str, wanted_gib: float, free_gib: float) -> Diagnostic:
    """More to keep than fits."""
    return Diagnostic(
        "GB537",
        f"keeping `{name}` needs {wanted_gib:.1f} GiB, {free_gib:.1f} GiB are free",
        span,
        "the whole tensor of every cell and item is asked for",
        "fix a layer or position, or reduce to a metric of the run",
    )


def one_cell_too_large(span: Span | None, run: str, n_rows: int, reason: str) -> Diagnostic:
    """Memory that does not even suffice for one cell."""
    return Diagnostic(
        "GB538",
        f"one cell of `{run}` does not fit into memory",
        span,
        f"its prompts and edits are {n_rows} rows; {reason.splitlines()[0] if reason else 'out of memory'}",
        "shorten the prompts, use `dtype: bfloat16`, or read fewer sites of the run",
    )


def not_trusted(model: str, check: str, value: float, tolerance: float, detail: str) -> Diagnostic:
    """A model or site that failed its verification."""
    return Diagnostic(
        "GB539",
        f"`{model}` failed the check {check}",
        None,
        f"{value:.3g} where at most {tolerance:.3g} is allowed: {detail}",
        "its numbers could not be trusted; leave out the site or the model",
    )


def too_few_items(span: Span, data: str, model: str, n: int) -> Diagnostic:
    """`keep where` left nothing to work on."""
    return Diagnostic(
        "GB540",
        f"`{model}` keeps {n} items of `{data}`",
        span,
        "at least 2 are needed",
        "relax `keep where`, draw more items, or leave the model out",
    )
