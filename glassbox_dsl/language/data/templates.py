"""Template strings to pieces, with every mistake located inside the string literal."""

from __future__ import annotations

import re
from collections.abc import Iterator

from glassbox_dsl.diagnostics import Diagnostic
from glassbox_dsl.language.data import errors
from glassbox_dsl.language.data.spec import Insert, Piece, Template, Text
from glassbox_dsl.source import Span
from glassbox_dsl.syntax.nodes import String

_ESCAPE = re.compile(r"\\(?:u\{([0-9a-fA-F]+)\}|(.))", re.DOTALL)
_SIMPLE = {"n": "\n", "t": "\t", '"': '"', "\\": "\\"}
_NAME = r"[a-z_][a-z0-9_]*"
_HOLE = re.compile(
    rf"\s*(?:(?P<label>{_NAME})\s*:\s*)?(?:(?P<path>(?P<name>{_NAME})(?:\s*\.\s*(?P<field>{_NAME}))?)"
    r'|"(?P<text>[^"]*)")\s*'
)


def parse_template(literal: String) -> tuple[Template, tuple[Diagnostic, ...]]:
    """Split a template into pieces; names are not looked up. A broken hole is left out and reported."""
    found: list[Diagnostic] = []
    pieces = tuple(_pieces(_Characters(literal), found))
    return Template(pieces=pieces, span=literal.span), (*found, *_repeated_labels(pieces))


class _Characters:
    """The value of a string literal, each character with its place in the file."""

    def __init__(self, literal: String) -> None:
        self.literal = literal
        self.text = literal.value
        self.places = _places(literal)

    def span(self, start: int, end: int) -> Span:
        """Where characters `[start, end)` of the value stand; the whole literal if that is not known."""
        if self.places is None:
            return self.literal.span
        return Span(self.literal.span.source, self.places[start], self.places[end])


def _places(literal: String) -> list[int] | None:
    """Offset in the file of each character of the value, and of its end."""
    written = literal.span.text
    quote = '"""' if written.startswith('"""') and len(written) >= 6 else '"'
    end = len(written) - len(quote)
    position, value, places = len(quote), "", []
    while position < end:
        places.append(literal.span.start + position)
        escape = _ESCAPE.match(written, position)
        if escape is None:
            # A line break counts as one character however the file writes it, as the parser has it.
            width = 2 if written.startswith("\r\n", position) else 1
            value += "\n" if written[position] == "\r" else written[position]
            position += width
            continue
        value += _escaped(escape)
        position = escape.end()
    # Another reading of the literal than the parser's: better no place than a wrong one.
    return [*places, literal.span.start + end] if value == literal.value else None


def _escaped(escape: re.Match[str]) -> str:
    if escape[1] is None:
        return _SIMPLE.get(escape[2], escape[2])
    code = int(escape[1], 16)
    return chr(code) if code < 0x110000 else ""


def _pieces(characters: _Characters, found: list[Diagnostic]) -> Iterator[Piece]:
    text, position, plain, start = characters.text, 0, "", 0
    while position < len(text):
        char = text[position]
        if text[position : position + 2] in ("{{", "}}"):
            plain += char
            position += 2
        elif char == "}":
            found.append(errors.lone_brace(characters.span(position, position + 1)))
            position += 1
        elif char == "{":
            if plain:
                yield Text(text=plain, span=characters.span(start, position))
            piece, position = _hole(characters, position, found)
            if piece is not None:
                yield piece
            plain, start = "", position
        else:
            plain += char
            position += 1
    if plain:
        yield Text(text=plain, span=characters.span(start, position))


def _hole(characters: _Characters, start: int, found: list[Diagnostic]) -> tuple[Piece | None, int]:
    """The hole whose brace opens at `start`, and the position behind it."""
    text = characters.text
    match = _HOLE.match(text, start + 1)
    if match is not None and text[match.end() : match.end() + 1] == "}":
        return _filled(characters, match), match.end() + 1
    close = text.find("}", start)
    if close < 0:
        found.append(errors.open_brace(characters.span(start, start + 1)))
        return None, len(text)
    found.append(errors.bad_hole(characters.span(start, close + 1), text[start : close + 1]))
    return None, close + 1


def _filled(characters: _Characters, match: re.Match[str]) -> Piece:
    label, name, field = match["label"], match["name"], match["field"]
    if name is None:
        return Text(text=match["text"], label=label, span=characters.span(*match.span("text")))
    inferred = name if field is None else f"{name}_{field}"
    span = characters.span(*match.span("path"))
    return Insert(variable=name, field=field, label=label or inferred, span=span)


def _repeated_labels(pieces: tuple[Piece, ...]) -> Iterator[Diagnostic]:
    seen: set[str] = set()
    for piece in pieces:
        if piece.label is not None and piece.label in seen:
            variable = piece.variable if isinstance(piece, Insert) else None
            field = piece.field if isinstance(piece, Insert) else None
            yield errors.label_twice(piece.span, piece.label, variable, field)
        elif piece.label is not None:
            seen.add(piece.label)
