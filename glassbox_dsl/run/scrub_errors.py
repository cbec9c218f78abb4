"""The wording of what can go wrong while a hypothesis is evaluated (GB560-GB564)."""

from __future__ import annotations

from glassbox_dsl.diagnostics import Diagnostic
from glassbox_dsl.source import Span


def lengths_differ(span: Span, prompt: str, low: int, high: int) -> Diagnostic:
    """Items whose positions cannot be exchanged."""
    return Diagnostic(
        "GB560", f"prompts `{prompt}` of {low} to {high} tokens cannot be scrubbed", span,
        "positions of one item are exchanged for those of another, so all need as many tokens",
        "choose words of one token each, or `keep where` one length",
    )  # fmt: skip


def no_such_part(span: Span, name: str, model: str) -> Diagnostic:
    """A node that stands for nothing on a model."""
    return Diagnostic(
        "GB561", f"node `{name}` stands for nothing on `{model}`", span, "no such cell, or an empty set",
        "name layers and heads that the model has",
    )  # fmt: skip


def not_upstream(span: Span, name: str, reader: str, model: str) -> Diagnostic:
    """A node that adds to the stream behind its reader."""
    return Diagnostic(
        "GB562", f"`{name}` does not reach `{reader}` on `{model}`", span,
        "the reader reads the stream before this is added to it", "name a later reader, or an earlier part",
    )  # fmt: skip


def small_classes(span: Span, name: str, alone: float, median: float, model: str) -> Diagnostic:
    """Draws that can only give the datum itself."""
    return Diagnostic(
        "GB563", f"{alone:.0%} of what `{name}` is drawn for on `{model}` has a class of one item", span,
        f"there nothing is resampled (median class: {median:g} items), which speaks for any hypothesis",
        "draw more items, or claim a coarser feature", severity="warning",
    )  # fmt: skip


def long_answer(span: Span) -> Diagnostic:
    """An answer behind the prompt of a scrubbed run."""
    return Diagnostic(
        "GB564", "a scrubbed run cannot score an answer of several tokens", span,
        "the items that are resampled end with their prompts", "choose answers of one token",
    )  # fmt: skip
