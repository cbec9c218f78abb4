"""The wording of what can be wrong with where items come from (GB234, GB237-GB244)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from glassbox_dsl.diagnostics import Diagnostic, did_you_mean
from glassbox_dsl.source import Span


def _names(names: Iterable[str]) -> str:
    return ", ".join(f"`{n}`" for n in names)


def _line(span: Span) -> int:
    return span.source.place(span.start)[0]


def unknown_word_list(span: Span, name: str, known: Iterable[str]) -> Diagnostic:
    """A bare name after `from` that is neither a shipped list nor a `let`."""
    known = tuple(known)
    help_ = did_you_mean(name, known) or f"lists: {_names(sorted(known))}; a file's path is written in quotes"
    return Diagnostic(
        "GB234", f"unknown word list `{name}`", span, "not shipped, and no `let` of this file", help_
    )


def second_source(span: Span, first: Span) -> Diagnostic:
    """Two sources of items in one block."""
    head = Span(span.source, span.start, span.start + len(span.text.split("\n", 1)[0]))
    return Diagnostic(
        "GB237",
        "a second source of items",
        head,
        f"items already come from line {_line(first)}",
        'keep one of `slots`, `rows` and `from`; a slot line can read a file: `slots { q from "file.csv" }`',
    )


def second_draw(span: Span) -> Diagnostic:
    """Two `draw` lines."""
    return Diagnostic("GB237", "a second `draw`", span, "items are drawn once", "keep one of them")


def chunks_and_source(span: Span) -> Diagnostic:
    """Running text together with slots or rows."""
    return Diagnostic(
        "GB237",
        "`chunks` beside another source of items",
        span,
        "each piece of the text is an item already",
        "put the running text into a data block of its own",
    )


def nothing_to_draw(span: Span) -> Diagnostic:
    """`draw` without anything that differs between items."""
    return Diagnostic(
        "GB238",
        "nothing to draw from",
        span,
        "all items would be the same",
        "add `slots`, `rows` or `from`, or leave `draw` out: the data set is then one item",
    )


def how_many(span: Span, what: str) -> Diagnostic:
    """A source without an end, and no `draw`."""
    return Diagnostic(
        "GB239", f"{what} without `draw`", span, "how many items?", "say how many: `draw 32, seed: 0`"
    )


def draw_nothing(span: Span) -> Diagnostic:
    """`draw 0`."""
    return Diagnostic(
        "GB239", "`draw 0` gives no items", span, "at least one is needed", "say how many: `draw 32`"
    )


def unreadable(span: Span, path: str, why: str) -> Diagnostic:
    """A file that cannot serve as a source."""
    return Diagnostic(
        "GB240",
        f"cannot read `{path}`",
        span,
        why,
        "paths start from the folder of the file that names them and stay inside the project",
    )


def not_literal(span: Span, what: str) -> Diagnostic:
    """An expression where a written-out value is needed."""
    return Diagnostic(
        "GB241",
        f"{what} must be written out",
        span,
        "not a text, number, truth value, list or record",
        "write the value itself",
    )


def empty_list(span: Span) -> Diagnostic:
    """A list of values without values."""
    return Diagnostic(
        "GB242", "a slot without values", span, "nothing to choose from", "give it a list, as `names`"
    )


def no_rows(span: Span) -> Diagnostic:
    """`rows []`."""
    return Diagnostic(
        "GB242", "`rows` without rows", span, "no items", 'write one: `rows [{country: "France"}]`'
    )


def too_few_values(span: Span, names: Sequence[str], count: int) -> Diagnostic:
    """More names in a line than its list has different values."""
    return Diagnostic(
        "GB243",
        f"{len(names)} names, {count} different values",
        span,
        "names in one line are drawn distinct",
        "add values, or give each name a line of its own",
    )


def not_a_row(span: Span) -> Diagnostic:
    """A row that is not a record."""
    return Diagnostic(
        "GB244", "a row that is not a record", span, "rows name their values", "write `{name: value}`"
    )


def other_keys(span: Span, wanted: Sequence[str], given: Sequence[str]) -> Diagnostic:
    """Rows with different keys."""
    missing, extra = [k for k in wanted if k not in given], [k for k in given if k not in wanted]
    parts = [f"without {_names(missing)}"] if missing else []
    parts += [f"with {_names(extra)} more"] if extra else []
    what = " and ".join(parts)
    return Diagnostic(
        "GB244", f"a row {what}", span, f"the first row has {_names(wanted)}", "give all rows the same keys"
    )


def key_twice(span: Span, key: str) -> Diagnostic:
    """A record that gives a key twice."""
    return Diagnostic("GB244", f"a row gives `{key}` twice", span, "the second", "keep one of them")
