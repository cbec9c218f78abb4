"""The wording of what can be wrong with the items of a data set (GB340-GB379)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from glassbox_dsl.diagnostics import Diagnostic
from glassbox_dsl.source import Span

_ROWS_SHOWN = 5


@dataclass(frozen=True)
class Refusal:
    """Why one item cannot be: refusals of one `headline` are told together, each row with its `detail`.

    `always`: no other item can do better.
    """

    code: str
    headline: str
    detail: str
    span: Span
    label: str
    help: str
    always: bool = False


def _pieces(pieces: Sequence[str]) -> str:
    return "[" + ", ".join(_quoted(p) for p in pieces) + "]"


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'


# ---------------------------------------------------------------- why an item is refused


def several_tokens(span: Span, answer: str, model: str, text: str, pieces: Sequence[str]) -> Refusal:
    """An answer of several tokens where one is needed."""
    return Refusal(
        "GB340",
        f"answer `{answer}` is not one token of `{model}`",
        f"{_quoted(text)} is {_pieces(pieces)}",
        span,
        "one token is needed by a metric",
        f"choose other words, `draw` so that they are left out, or score `first_token({answer})`",
    )


def merges(
    span: Span,
    answer: str,
    prompt: str,
    model: str,
    text: str,
    apart: Sequence[str],
    together: Sequence[str],
) -> Refusal:
    """An answer that changes the prompt's last tokens."""
    return Refusal(
        "GB341",
        f"answer `{answer}` merges with the end of prompt `{prompt}` under `{model}`",
        f"{_quoted(text)} turns {_pieces(apart)} at the end of the prompt into {_pieces(together)}",
        span,
        "no token of its own begins here",
        "let the prompt end without a space and the answer start with one",
    )


def lengths_differ(
    span: Span, first: str, second: str, model: str, counts: tuple[int, int], texts: tuple[str, str]
) -> Refusal:
    """Two prompts that are compared position by position have different token counts."""
    return Refusal(
        "GB342",
        f"prompts `{first}` and `{second}` differ in length under `{model}`",
        f"`{first}` has {counts[0]} tokens, `{second}` has {counts[1]}: "
        f"{_quoted(texts[0])} / {_quoted(texts[1])}",
        span,
        "they are compared position by position",
        "use words of as many tokens, `draw` from more, or compare at labelled positions only",
    )


def differs_between_prompts(
    span: Span, answer: str, model: str, text: str, shown: Mapping[str, Sequence[str]]
) -> Refusal:
    """An answer that has other tokens behind one prompt than behind another."""
    where = ", ".join(f"{_pieces(pieces)} behind `{name}`" for name, pieces in shown.items())
    return Refusal(
        "GB343",
        f"answer `{answer}` has not the same tokens behind each prompt of `{model}`",
        f"{_quoted(text)} is {where}",
        span,
        "its score would not mean the same",
        "let all prompts end alike, or declare an answer for each",
    )


def missing_value(span: Span, name: str) -> Refusal:
    """Nothing to insert."""
    return Refusal(
        "GB344",
        f"`{name}` has no value",
        "nothing to insert",
        span,
        "inserted here",
        "fill the cell, or remove the row",
    )


def empty_answer(span: Span, answer: str) -> Refusal:
    """An answer without characters."""
    return Refusal(
        "GB345",
        f"answer `{answer}` is empty",
        "no text",
        span,
        "nothing to score",
        "give every row an answer",
    )


def empty_prompt(span: Span, prompt: str, model: str) -> Refusal:
    """A prompt without tokens."""
    return Refusal(
        "GB346",
        f"prompt `{prompt}` has no tokens for `{model}`",
        "no text",
        span,
        "nothing to run",
        "add text to it",
    )


def too_few_tokens(span: Span, prompt: str, model: str, length: int, count: int) -> Refusal:
    """A vocabulary with fewer ordinary tokens than one repeat needs."""
    return Refusal(
        "GB347",
        f"prompt `{prompt}` needs {length} different tokens, `{model}` has {count}",
        "the vocabulary is too small",
        span,
        "no token stands twice within a repeat",
        f"ask for less: `length: {max(1, count // 2)}`",
        always=True,
    )


def too_long(span: Span, prompt: str, model: str, length: int, behind: int, most: int) -> Refusal:
    """More tokens than a model has vectors of positions for."""
    more = f" and {behind} behind it" if behind else ""
    return Refusal(
        "GB349",
        f"prompt `{prompt}` is too long for `{model}`",
        f"{length} tokens{more}, of {most} at most",
        span,
        "the model has a learned vector for each position and none for later ones",
        "shorten the prompt, generate fewer tokens, or take a model with relative positions",
    )


def unknown_token(span: Span, prompt: str, model: str, token: int, size: int) -> Refusal:
    """A token id that a vocabulary does not have."""
    return Refusal(
        "GB348",
        f"prompt `{prompt}` has tokens that `{model}` does not know",
        f"token {token}, of {size}",
        span,
        "ids are those of one model's vocabulary",
        "use text, or give the prompt's experiment the one model that the ids belong to",
        always=True,
    )


# ---------------------------------------------------------------- what is said to the user


def rows_refused(refusals: Sequence[tuple[int, Refusal]], rows: int) -> Diagnostic:
    """Refusals of one headline, where all rows must pass."""
    first = refusals[0][1]
    notes = tuple(f"row {row}: {refusal.detail}" for row, refusal in refusals[:_ROWS_SHOWN])
    more = len(refusals) - len(notes)
    numbers = ", ".join(str(row) for row, _ in refusals[_ROWS_SHOWN : _ROWS_SHOWN + 40])
    if more > 0:
        notes = (*notes, f"and {more} more rows: {numbers}{', ...' if more > 40 else ''}")
    label = f"{first.label}; {len(refusals)} of {rows} rows (counted from 0)"
    return Diagnostic(first.code, first.headline, first.span, label, first.help, notes)


def all_refused(refusal: Refusal) -> Diagnostic:
    """A refusal that does not depend on the item."""
    label = f"{refusal.detail}; {refusal.label}"
    return Diagnostic(refusal.code, refusal.headline, refusal.span, label, refusal.help)


def draw_failed(
    span: Span, data: str, wanted: int, kept: int, tried: int, reasons: Sequence[tuple[int, Refusal]]
) -> Diagnostic:
    """Too few items pass the checks."""
    notes = tuple(f"{count} times: {r.headline}, as {r.detail}" for count, r in reasons[:_ROWS_SHOWN])
    return Diagnostic(
        "GB350",
        f"only {kept} of the {wanted} items of `{data}` could be drawn",
        span,
        f"{tried} combinations tried, for all models at once",
        "give the slots more values that pass, or draw fewer",
        notes,
    )


def space_too_small(span: Span, data: str, wanted: int, size: int) -> Diagnostic:
    """More items asked for than there are combinations."""
    return Diagnostic(
        "GB351",
        f"`{data}` has {size} different items, not {wanted}",
        span,
        "drawn items are all different",
        f"write `draw {size}` or less, or add values" if size else "add values",
    )


def too_few_left(
    span: Span, data: str, model: str, left: int, reasons: Sequence[tuple[str, int]]
) -> Diagnostic:
    """`keep where` leaves nothing to average."""
    notes = tuple(f"`keep where {text}` dropped {count}" for text, count in reasons)
    return Diagnostic(
        "GB352",
        f"`keep where` leaves {left} items of `{data}` for `{model}`",
        span,
        "at least 2 are needed",
        "draw more items, or loosen the condition",
        notes,
    )


def bad_feature(span: Span, name: str, row: int, why: str) -> Diagnostic:
    """A feature that makes no sense for a row."""
    return Diagnostic(
        "GB353",
        f"{name} has no value in row {row}",
        span,
        why,
        "compare text with text, numbers with numbers",
    )


def ends_in_space(span: Span, prompt: str, rows: Sequence[int]) -> Diagnostic:
    """A prompt whose last character is a space."""
    return Diagnostic(
        "GB354",
        f"prompt `{prompt}` ends in a space",
        span,
        f"in {len(rows)} rows, the first is {rows[0]}; models expect the space in front of the next word",
        "end the prompt without the space and start the answer with it",
        severity="warning",
    )


def no_chat(span: Span, prompt: str, model: str, why: str) -> Diagnostic:
    """A chat template that is missing or fails."""
    return Diagnostic(
        "GB355",
        f"`{model}` cannot take the chat of prompt `{prompt}`",
        span,
        why,
        "use a model tuned for chat, or plain text",
    )


def no_tokenizer(span: Span | None, model: str, why: str) -> Diagnostic:
    """A tokenizer that cannot be read or does not do what the model's declaration asks."""
    return Diagnostic(
        "GB356", f"the tokenizer of `{model}` cannot be used", span, why, "check the model's folder"
    )


def text_too_short(span: Span, prompt: str, tokens: int) -> Diagnostic:
    """A text that holds no whole piece."""
    return Diagnostic(
        "GB357",
        f"the text of prompt `{prompt}` is shorter than one piece",
        span,
        f"{tokens} tokens are needed",
        "ask for fewer tokens",
    )


def unreadable_text(span: Span, prompt: str, why: str) -> Diagnostic:
    """A text file that is gone or broken."""
    return Diagnostic(
        "GB358", f"the text of prompt `{prompt}` cannot be read", span, why, "save it as UTF-8 text"
    )
