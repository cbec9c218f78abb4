"""The wording of what can be wrong with the figures of a report and their options (GB220, GB228)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from glassbox_dsl.diagnostics import Diagnostic, did_you_mean
from glassbox_dsl.source import Span


def unknown_figure(span: Span, kind: str, known: Iterable[str]) -> Diagnostic:
    """A figure that the language does not have."""
    return Diagnostic(
        "GB220",
        f"unknown figure `{kind}`",
        span,
        "no figure of this name",
        did_you_mean(kind, known) or "figures: " + ", ".join(f"`{name}`" for name in known),
    )


def wrong_source(span: Span, kind: str, wanted: str, example: str) -> Diagnostic:
    """A figure of something that it cannot show."""
    return Diagnostic("GB220", f"`{kind}` shows {wanted}", span, "wrong source", f"write `{example}`")


def not_a_source(span: Span, path: str) -> Diagnostic:
    """A source that is not `experiment.measure`."""
    return Diagnostic(
        "GB220", "a figure shows `experiment.measure`", span, f"`{path}` is not of that form",
        "name the experiment and its measure, with a dot between them",
    )  # fmt: skip


def too_few_axes(span: Span, kind: str, source: str) -> Diagnostic:
    """A matrix of a single number."""
    return Diagnostic(
        "GB220", f"`{kind}` needs an axis, and `{source}` has none left", span, "one number a model is left",
        "show it as a `table`, or take out the option that fixes or averages its axis",
    )  # fmt: skip


def unknown_option(span: Span, key: str, kind: str, known: Sequence[str]) -> Diagnostic:
    """An option that no figure has, and no axis or column either."""
    near = did_you_mean(key, known) or "options: `x`, `y`, `color`, `facet`, `row`, `value`, `over`, `title`"
    return Diagnostic(
        "GB228", f"unknown option `{key}`", span, f"no option of `{kind}`, and no axis of it", near
    )


def option_twice(span: Span, key: str) -> Diagnostic:
    """One option, two values."""
    return Diagnostic(
        "GB228", f"`{key}:` stands twice", span, "which of them is meant?", "take one of them out"
    )


def no_use(span: Span, key: str, kind: str) -> Diagnostic:
    """An option of other figures, which this one has no use for."""
    label, help_ = NO_USE[kind]
    return Diagnostic("GB228", f"`{kind}` has no `{key}:`", span, label, help_)


def record_axes(span: Span, record: str, key: str, axes: Sequence[str], needed: str) -> Diagnostic:
    """A record that an `attention` names beside its patterns, and that does not lie along them."""
    has = ", ".join(f"`{axis}`" for axis in axes) or "none"
    return Diagnostic(
        "GB228", f"`{record}` is nothing for `{key}:`", span, f"its axes: {has}; needed: {needed}", RECORDS[key]
    )  # fmt: skip


RECORDS = {
    "minus": "name another record of patterns, `record NAME = RUN.attn.pattern`",
    "value": "name a size for each head and position, `record NAME = norm(RUN.attn.v)`",
}
NO_USE = {
    "attention": (
        "it shows whole patterns, head by head",
        "take it out; `model: NAME`, `item: 0` or `layer: 0` chooses patterns, `minus:` subtracts others",
    ),
    "scatter": (
        "what goes up is the source",
        "take it out; `x:` names the measure that goes across, `facet:` an axis for panels",
    ),
    "histogram": (
        "its numbers are counted, wherever they stand",
        "take it out; `color:`, `facet:` and `row:` count them apart",
    ),
    "text": (
        "it shows texts as they are",
        "take it out; `model: NAME` or an axis with a value chooses texts",
    ),
}


def wrong_value(span: Span, key: str, wanted: str, help_: str) -> Diagnostic:
    """An option whose value is of the wrong kind."""
    return Diagnostic("GB228", f"`{key}:` does not take this", span, f"it takes {wanted}", help_)


def no_such_axis(span: Span, name: str, key: str, source: str, known: Sequence[str]) -> Diagnostic:
    """An option that names something that is not there."""
    shown = " ".join(name.split())
    help_ = did_you_mean(shown, known) or "there are: " + ", ".join(f"`{n}`" for n in list(known)[:12])
    return Diagnostic(
        "GB228", f"`{source}` has no `{shown}` for `{key}:`", span, "nothing of this name there", help_
    )


def measure_as_axis(span: Span, key: str) -> Diagnostic:
    """A measure in the place of an axis, which only `scatter` has."""
    return Diagnostic(
        "GB228", f"`{key}:` of this figure is an axis, not a measure", span,
        "only `scatter` sets measures against each other", "name an axis; `value:` names another measure to show",
    )  # fmt: skip


def other_axes(span: Span, measure: str, axes: Sequence[str]) -> Diagnostic:
    """Another measure to show, which does not have the axes of the source."""
    has = ", ".join(f"`{axis}`" for axis in axes) or "none"
    return Diagnostic(
        "GB228", f"`{measure}` has other axes than the source", span, f"its axes: {has}",
        "show it in a figure of its own, as its source",
    )  # fmt: skip


def shown_and_fixed(span: Span, axis: str, role: str) -> Diagnostic:
    """An axis that is fixed and laid out at once."""
    return Diagnostic(
        "GB228",
        f"`{axis}` is fixed here and laid out by `{role}:`",
        span,
        "one cell of it is left",
        f"take out `{role}:`, or do not fix it",
    )


def same_axis(span: Span, axis: str) -> Diagnostic:
    """One axis across and up."""
    return Diagnostic(
        "GB228",
        f"`x:` and `y:` are both `{axis}`",
        span,
        "the same axis twice",
        "name another axis for one of them",
    )


def depth_of_several(span: Span) -> Diagnostic:
    """Depths of several models in one matrix, where each model has depths of its own."""
    return Diagnostic(
        "GB228", "a matrix has the depths of one model", span, "every model has layers at other depths",
        "write `facet: model` for matrices side by side, or show a `line { x: depth, color: model }`",
    )  # fmt: skip


def no_options(span: Span, kind: str, known: Sequence[str]) -> Diagnostic:
    """An option of a figure that shows a text."""
    says = ", ".join(f"`{name}:`" for name in known)
    return Diagnostic(
        "GB228", f"`{kind}` has no such option", span, "it shows a text, which has no axes",
        f"it takes {says} only" if says else "take the option out",
    )  # fmt: skip
