"""Templates to text, and labelled stretches of text to token spans."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from glassbox_dsl.language.data.spec import Insert, Template, Text, TextVariant
from glassbox_dsl.resolve.chat import ChatRefused
from glassbox_dsl.resolve.tokenizer import Encoding, TextTokenizer

_STAND_IN = ("\ue0c0glassbox\ue0c1", "\ue0c2glassbox\ue0c3")


class MissingValue(Exception):
    """An item has nothing that a template could insert."""

    def __init__(self, piece: Insert) -> None:
        self.piece = piece
        self.name = piece.variable if piece.field is None else f"{piece.variable}.{piece.field}"


@dataclass(frozen=True)
class Marked:
    """A text and the stretches `[start, end)` of characters that its labels name."""

    text: str
    marks: tuple[tuple[str, int, int], ...]


def as_text(value: Any) -> str | None:
    """What a template inserts for a value; None where it has no text."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, (int, float)) else None


def lookup(values: Mapping[str, Any], variable: str, field: str | None) -> Any:
    """The value of a variable or of its field; None where the item has none."""
    value = values.get(variable)
    return value if field is None else value.get(field) if isinstance(value, dict) else None


def fill(template: Template, values: Mapping[str, Any]) -> Marked:
    """The text of a template; MissingValue where an item lacks a value."""
    text, marks = "", []
    for piece in template.pieces:
        if isinstance(piece, Text):
            added: str | None = piece.text
        else:
            assert isinstance(piece, Insert)
            added = as_text(lookup(values, piece.variable, piece.field))
            if added is None:
                raise MissingValue(piece)
        if piece.label is not None:
            marks.append((piece.label, len(text), len(text) + len(added or "")))
        text += added or ""
    return Marked(text, tuple(marks))


def fill_chat(variant: TextVariant, values: Mapping[str, Any], tokenizer: TextTokenizer) -> Marked:
    """The text of a chat turn inside the model's chat template, its marks moved along.

    Where the turns went is found by rendering stand-ins in their place; a template that does more to a turn
    than strip white space around it leaves no way to tell, and is refused.
    """
    turns = [] if variant.system is None else [("system", fill(variant.system, values))]
    turns.append(("user", fill(variant.template, values)))
    rendered = tokenizer.render_chat([{"role": role, "content": turn.text} for role, turn in turns])
    stand_ins = _STAND_IN[: len(turns)]
    frame = tokenizer.render_chat(
        [{"role": role, "content": stand_in} for (role, _), stand_in in zip(turns, stand_ins, strict=True)]
    )
    marks: list[tuple[str, int, int]] = []
    rebuilt, rest = "", frame
    for (_, turn), stand_in in zip(turns, stand_ins, strict=True):
        if frame.count(stand_in) != 1:
            raise ChatRefused("its chat template does not hold each turn once")
        before, rest = rest.split(stand_in)
        rebuilt += before
        shown, cut = _as_rendered(turn.text, rendered, len(rebuilt))
        for label, start, end in turn.marks:
            a, b = (len(rebuilt) + min(max(p - cut, 0), len(shown)) for p in (start, end))
            marks.append((label, a, b))
        rebuilt += shown
    if rebuilt + rest != rendered:
        raise ChatRefused("its chat template changes the text of a turn")
    return Marked(rendered, tuple(marks))


def _as_rendered(text: str, rendered: str, at: int) -> tuple[str, int]:
    """The turn as it stands at a place of the rendered text, whole or stripped, and what was cut off."""
    if rendered.startswith(text, at):
        return text, 0
    return text.strip(), len(text) - len(text.lstrip())


def token_span(encoding: Encoding, start: int, end: int) -> tuple[int, int]:
    """The tokens that share a character with `[start, end)`, as a range; empty if no text."""
    shared = [i for i, (a, b) in enumerate(encoding.offsets) if a < end and b > start and a < b]
    if start < end and shared:
        return shared[0], shared[-1] + 1
    before = sum(1 for a, b in encoding.offsets if b <= start)
    return before, before
