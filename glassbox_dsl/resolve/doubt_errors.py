"""The wording of what is likely a mistake although it can be run (GBW701-GBW708)."""

from __future__ import annotations

from glassbox_dsl.diagnostics import Diagnostic
from glassbox_dsl.source import Span


def first_position(span: Span, site: str) -> Diagnostic:
    """A mean over positions of a value of the stream, the first position among them."""
    return Diagnostic(
        "GBW701", "the first position counts in this mean", span,
        f"it is the attention sink: its `{site}` can be a hundred times as large as elsewhere",
        "leave it out: index the position by `1..-1`, or by a span", severity="warning",
    )  # fmt: skip


def turned(span: Span, site: str) -> Diagnostic:
    """A query or key that is moved to another position after it was turned."""
    return Diagnostic(
        "GBW702", f"`{site}` is taken from another position", span,
        "it is turned by the angle of the position it comes from (rotary positions)",
        f"take it from the same position, exchange what it is made from (`{site}_in`), or set that row or column of"
        " `attn.scores`", severity="warning",
    )  # fmt: skip


def shared(span: Span, site: str, number: int, first: int, last: int, model: str) -> Diagnostic:
    """A key or value head that is named by a bare number although several query heads read it."""
    return Diagnostic(
        "GBW703", f"`{site}` is indexed by key-value heads, not by query heads", span,
        f"on `{model}` number {number} is read by the query heads {first} to {last}",
        f"write `kv_head: {number}` if that is meant; `attn.z` has one for each query head", severity="warning",
    )  # fmt: skip


def flat(span: Span) -> Diagnostic:
    """The gradient of a divergence where it is smallest."""
    return Diagnostic(
        "GBW704", "the gradient of `kl` is 0 here", span,
        "both sides are the same pass, where the divergence is smallest",
        "take the gradient of a `logit` difference or of `loss`, or compare two passes that differ",
        severity="warning",
    )  # fmt: skip


def small_denominator(span: Span) -> Diagnostic:
    """A mean over items of quotients whose denominators may come near 0."""
    return Diagnostic(
        "GBW705", "a mean of quotients whose denominators may come near 0", span,
        "one item with a small one can rule the mean",
        "make the quotient a measure of its own: its mean is the ratio of means", severity="warning",
    )  # fmt: skip


def no_control(span: Span, name: str) -> Diagnostic:
    """A probe that is scored without a control task."""
    return Diagnostic(
        "GBW706", f"`{name}` is scored without a control", span,
        "how well does the same probe learn labels that mean nothing?",
        f"fit it once more with `control: item`, or by the feature that groups items, and score it beside `{name}`",
        severity="warning",
    )  # fmt: skip


def coarse(span: Span | None, name: str, dtype: str) -> Diagnostic:
    """Effects of edits on a model of few digits."""
    return Diagnostic(
        "GBW707", f"effects on `{name}` are differences of numbers in {dtype}", span,
        "its logits differ from those in float32 by 0.2 to 0.4: smaller effects cannot be told from rounding",
        "use `dtype: float32` where it fits, or measure an edit that writes back what is there beside the effects",
        severity="warning",
    )  # fmt: skip


def many_edges(span: Span, model: str, edges: int) -> Diagnostic:
    """A search that tries the edges of a large model one by one."""
    return Diagnostic(
        "GBW708", f"`{model}` has {edges:,} edges", span, "each is tried in turn, by a pass for every item",
        "score them all at once with `eap_ig`, or search on few items; `gbx explain` says what it may take",
        severity="warning",
    )  # fmt: skip
