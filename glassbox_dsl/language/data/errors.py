"""The wording of what can be wrong in a `data` block (GB230-GB259)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from glassbox_dsl.diagnostics import Diagnostic, did_you_mean
from glassbox_dsl.source import Span


def _names(names: Iterable[str]) -> str:
    return ", ".join(f"`{n}`" for n in names)


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


def unknown_word_list(span: Span, name: str, known: Iterable[str]) -> Diagnostic:
    """A bare name after `from` that is neither a shipped list nor a `let`."""
    known = tuple(known)
    help_ = did_you_mean(name, known) or f"lists: {_names(sorted(known))}; a file's path is written in quotes"
    return Diagnostic(
        "GB234", f"unknown word list `{name}`", span, "not shipped, and no `let` of this file", help_
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
