"""The meeting point of grammar and tree: which function the parser calls for which rule of grammars/gbx.lark.

The parser calls as it reduces, bottom-up, so that no chain of operators is ever walked recursively. What is
not a node by itself (a list of names, an expression in brackets) travels as a `Part`, whose ends count but
which its parent sees as the bare value.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

from lark import Token

from glassbox_dsl.source import Source, Span
from glassbox_dsl.syntax.literals import string_value

Make = TypeVar("Make", bound=Callable[..., Any])

_RULES: dict[str, Callable[[Source, list[Any]], Any]] = {}


class Part(NamedTuple):
    """A value with the ends of its text."""

    value: Any
    start: int
    end: int


class Builder:
    """The object that the parser calls by the name of a rule; `source` is set before each parse."""

    source: Source

    def __getattr__(self, rule: str) -> Callable[[list[Any]], Any]:
        make = _RULES.get(rule)
        if make is None:
            raise AttributeError(rule)  # the parser asks for names of its own, too
        return lambda children: make(self.source, children)


def node(make: Make) -> Make:
    """Register `make(span, *children)` for the rule of its name; an absent optional child is None."""

    def callback(source: Source, children: list[Any]) -> Any:
        return make(Span(source, *_ends(children)), *_values(children))

    _RULES[make.__name__.strip("_")] = callback
    return make


def part(make: Make) -> Make:
    """Register `make(*children)` for the rule of its name; the ends of its text stay beside the result."""

    def callback(_: Source, children: list[Any]) -> Part:
        return Part(make(*_values(children)), *_ends(children))

    _RULES[make.__name__.strip("_")] = callback
    return make


def _values(children: list[Any]) -> list[Any]:
    return [child.value if type(child) is Part else child for child in children]


def _ends(children: list[Any]) -> tuple[int, int]:
    last = children[-1]
    if last is None:  # optional things that are absent at the end
        last = next(child for child in reversed(children) if child is not None)
    return _place(children[0])[0], _place(last)[1]


def _place(child: Any) -> tuple[int, int]:
    if isinstance(child, Token):
        return child.start_pos or 0, child.end_pos or 0
    if type(child) is Part:
        return child.start, child.end
    return child.span.start, child.span.end


def without_tokens(children: tuple[Any, ...]) -> tuple[Any, ...]:
    """The children apart from punctuation and from what is absent."""
    return tuple([child for child in children if child is not None and not isinstance(child, Token)])


def text_of(token: Token | None) -> str | None:
    """The value of a string token, None if it is absent."""
    return None if token is None else string_value(token.value)


def word_of(token: Token | None) -> str | None:
    """The letters of a token, None if it is absent."""
    return None if token is None else str(token.value)
