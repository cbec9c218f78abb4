"""The wording of what can be wrong in a `data` block (GB230-GB259; its sources: source_errors.py)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from glassbox_dsl.diagnostics import Diagnostic, did_you_mean
from glassbox_dsl.source import Span


def _line(span: Span) -> int:
    return span.source.place(span.start)[0]


def unknown_variable(span: Span, name: str, known: Iterable[str]) -> Diagnostic:
    """A template or answer names something that is no variable."""
    help_ = did_you_mean(name, known, "variables") or f"declare it: `slots {{ {name} from names }}`"
    return Diagnostic("GB230", f"unknown variable `{name}`", span, "no slot or column of this name", help_)


def unknown_field(span: Span, variable: str, field: str, known: Sequence[str]) -> Diagnostic:
    """A field that the records of a variable do not all have."""
    help_ = did_you_mean(field, known, "fields")
    return Diagnostic(
        "GB231", f"`{variable}` has no field `{field}`", span, "not in every one of its records", help_
    )


def no_fields(span: Span, variable: str) -> Diagnostic:
    """A field of something that is not a record."""
    return Diagnostic(
        "GB231",
        f"`{variable}` has no fields",
        span,
        "its values are not records",
        f"write `{variable}` alone",
    )


def whole_record(span: Span, variable: str, fields: Sequence[str]) -> Diagnostic:
    """A record where one text is needed."""
    example = fields[0] if fields else "field"
    return Diagnostic(
        "GB231",
        f"`{variable}` is a record",
        span,
        "one of its fields is needed here",
        f"write `{variable}.{example}`",
    )


def whole_list(span: Span, variable: str) -> Diagnostic:
    """A list inserted into a template."""
    return Diagnostic(
        "GB231",
        f"`{variable}` is a list",
        span,
        "a template inserts one text",
        "lists serve as answers, by name alone",
    )


def label_twice(span: Span, label: str, variable: str | None, field: str | None) -> Diagnostic:
    """A label stands twice in one template."""
    inserted = "" if variable is None else variable if field is None else f"{variable}.{field}"
    shown = inserted or '"..."'
    help_ = f"give this one a name of its own: `{{{label}_2: {shown}}}`"
    return Diagnostic(
        "GB232", f"label `{label}` stands twice in this template", span, "which span is meant?", help_
    )


def lone_brace(span: Span) -> Diagnostic:
    """A closing brace that nothing opened."""
    return Diagnostic(
        "GB233", "a `}` that no `{` opens", span, "nothing to close here", "write `}}` for a brace"
    )


def open_brace(span: Span) -> Diagnostic:
    """An opening brace that is never closed."""
    return Diagnostic(
        "GB233",
        "a `{` that is never closed",
        span,
        "opens here",
        "close it with `}`, or write `{{` for a brace",
    )


def bad_hole(span: Span, text: str) -> Diagnostic:
    """Braces around something that is not a name."""
    return Diagnostic(
        "GB233",
        "nothing that can be inserted stands in these braces",
        span,
        "not a variable",
        'write `{name}`, `{name.field}`, `{label: name}`, `{label: "text"}`, or `{{` for a brace',
    )


def declared_twice(span: Span, name: str, first: Span) -> Diagnostic:
    """Two declarations of a block share a name."""
    return Diagnostic(
        "GB235",
        f"`{name}` is declared twice in this data set",
        span,
        f"first declared in line {_line(first)}",
        "give one of them another name: variables, prompts, answers and features share one list",
    )


def reserved(span: Span, name: str) -> Diagnostic:
    """A word of the language declared as a name."""
    return Diagnostic(
        "GB236",
        f"`{name}` cannot be declared",
        span,
        "a word of the language",
        f"choose another name, as `{name}_1`",
    )


def not_a_prompt(span: Span, found: str) -> Diagnostic:
    """Something that no prompt can be made of."""
    return Diagnostic(
        "GB245",
        f"{found} is not a prompt",
        span,
        "a template, a list of templates, or a call is needed",
        'write `"... {name} ..."`, `repeated_tokens(...)`, `chunks(...)`, `chat(...)` or `tokens([...])`',
    )


def unknown_prompt_function(span: Span, name: str, known: Iterable[str]) -> Diagnostic:
    """A call that does not make a prompt."""
    return Diagnostic(
        "GB245", f"`{name}` does not make a prompt", span, "unknown here", did_you_mean(name, known)
    )


def bad_arguments(span: Span, function: str, why: str, usage: str) -> Diagnostic:
    """Wrong arguments of a prompt function."""
    return Diagnostic("GB246", f"wrong arguments for `{function}`", span, why, f"write `{usage}`")


def template_counts(span: Span, name: str, count: int, other: str, wanted: int) -> Diagnostic:
    """Template lists of different length."""
    return Diagnostic(
        "GB247",
        f"`{name}` has {count} templates, `{other}` has {wanted}",
        span,
        "an item draws one number for all its prompts",
        "give all lists the same length",
    )


def not_an_answer(span: Span) -> Diagnostic:
    """Something that no answer can be made of."""
    return Diagnostic(
        "GB248",
        "not an answer",
        span,
        "a template, a list, a variable or `first_token(...)` is needed",
        'write `" {name}"`, `[" yes", " Yes"]` or `first_token(" {name}")`',
    )


def unknown_value(span: Span, name: str, known: Iterable[str]) -> Diagnostic:
    """A feature or condition names something that an item does not have."""
    return Diagnostic(
        "GB249", f"unknown name `{name}`", span, "no variable, answer or feature", did_you_mean(name, known)
    )


def prompt_as_value(span: Span, name: str) -> Diagnostic:
    """A prompt where a value of the item is needed."""
    return Diagnostic(
        "GB249",
        f"`{name}` is a prompt, not a value",
        span,
        "a value of the item is needed",
        f'read one token, `token({name}, at: 0)`, or search it, `contains({name}, ["..."])`',
    )


def unknown_prompt(span: Span, name: str, known: Iterable[str]) -> Diagnostic:
    """`token` of something that is no prompt."""
    return Diagnostic(
        "GB249",
        f"unknown prompt `{name}`",
        span,
        "`token` reads a prompt",
        did_you_mean(name, known, "prompts"),
    )


def unknown_function(span: Span, name: str, known: Iterable[str]) -> Diagnostic:
    """A call that features do not have."""
    return Diagnostic(
        "GB250",
        f"features have no function `{name}`",
        span,
        "unknown here",
        did_you_mean(name, known, "functions"),
    )


def wrong_arguments(span: Span, name: str, usage: str) -> Diagnostic:
    """Wrong arguments of a function in a feature."""
    return Diagnostic("GB250", f"wrong arguments for `{name}`", span, "these do not fit", f"write `{usage}`")


def not_a_feature(span: Span) -> Diagnostic:
    """A form that gives no value of the item."""
    return Diagnostic(
        "GB251",
        "not a value of the item",
        span,
        "features are made of variables, tokens, comparisons and arithmetic",
        'write for example `q.country == "France"` or `token(prompt, at: 0)`',
    )


def bad_binder(span: Span) -> Diagnostic:
    """A binder of a feature that is not a position."""
    return Diagnostic(
        "GB252",
        "a feature is bound by `pos` only",
        span,
        "not a whole position axis",
        "write `[pos]`, or no binder",
    )


def no_prompt_of_positions(span: Span, name: str) -> Diagnostic:
    """A feature over positions that does not say of which prompt."""
    return Diagnostic(
        "GB252",
        f"`{name}` is over positions, but of which prompt?",
        span,
        "there are several prompts",
        "read a token of one: `token(prompt, at: pos)`",
    )


def unknown_position(span: Span, name: str, prompt: str, known: Iterable[str]) -> Diagnostic:
    """A position name that the prompt does not define."""
    help_ = did_you_mean(name, known, "positions")
    return Diagnostic(
        "GB253", f"prompt `{prompt}` has no position `{name}`", span, "no label of this name", help_
    )


def not_a_position(span: Span) -> Diagnostic:
    """Something that cannot be a position of a feature."""
    return Diagnostic(
        "GB253",
        "not one position",
        span,
        "a number, `first`, `last`, a label or arithmetic is needed",
        "write `at: last`",
    )


def cycle(span: Span, chain: Sequence[str]) -> Diagnostic:
    """Answers or features that need each other."""
    return Diagnostic(
        "GB254",
        "a cycle of answers or features",
        span,
        " -> ".join(f"`{n}`" for n in chain),
        "break the chain at one of them",
    )


def no_prompt(span: Span, name: str) -> Diagnostic:
    """A data block without prompts."""
    return Diagnostic(
        "GB255",
        f"data `{name}` has no prompt",
        span,
        "nothing to run a model on",
        'add `prompt clean = "..."`',
    )
