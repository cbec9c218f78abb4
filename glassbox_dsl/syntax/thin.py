"""A long list to a short one that breaks at the same place, so that finding a mistake costs no second parse of it.

Elements of a bracket that look alike (the same kinds of lexemes in the same order) are all sound or all broken,
and the parser stops in the first of them. The others can be blanked out: what is left has the same offsets.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from glassbox_dsl.source import Source
from glassbox_dsl.syntax.brackets import CLOSER
from glassbox_dsl.syntax.scan import Lexeme

FEWEST_LEXEMES = 2000  # shorter texts are parsed as they are
_WORDS = {"not", "in"}  # the only names that are keywords inside of brackets


class _Unbalanced(Exception):
    """Which bracket a comma stands in is not known."""


@dataclass
class _Open:
    """An open bracket: where its present element starts, how that and the whole look, and what came before."""

    mark: str
    start: int
    looks: int = 0
    whole: int = 0
    elements: int = 0
    seen: set[int] = field(default_factory=set)

    def add(self, shape: object) -> None:
        self.looks, self.whole = hash((self.looks, shape)), hash((self.whole, shape))

    def comma(self, end: int) -> tuple[int, int] | None:
        """Close an element; its stretch if one like it stands before it."""
        # The element behind the bracket is another matter than those behind a comma; braces hold statements, too.
        repeated = (self.start, end) if self.mark != "{" and self.looks in self.seen else None
        if self.elements:
            self.seen.add(self.looks)
        self.start, self.looks, self.elements = end, 0, self.elements + 1
        self.whole = hash((self.whole, ","))
        return repeated


def thinned(source: Source, lexemes: Sequence[Lexeme]) -> Source:
    """The text with spaces in the place of elements that look like an earlier one; the source itself if short."""
    if len(lexemes) < FEWEST_LEXEMES:
        return source
    try:
        stretches = list(_repeated(lexemes))
    except _Unbalanced:
        return source
    pieces, position = [], 0
    for start, end in _outermost(stretches):
        pieces += [source.text[position:start], " " * (end - start)]
        position = end
    return Source(source.path, "".join([*pieces, source.text[position:]])) if pieces else source


def _repeated(lexemes: Sequence[Lexeme]) -> Iterator[tuple[int, int]]:
    """The stretches of text that can go, by their ends."""
    stack = [_Open("{", 0)]
    for lexeme in lexemes:
        mark = lexeme.text if lexeme.kind == "mark" else ""
        if mark in CLOSER:
            stack.append(_Open(mark, lexeme.end))
        elif mark in {")", "]", "}"}:
            inner = stack.pop()
            if not stack or CLOSER[inner.mark] != mark:
                raise _Unbalanced
            stack[-1].add((mark, inner.whole))
        elif mark == ",":
            found = stack[-1].comma(lexeme.end)
            if found is not None:
                yield found
        else:
            stack[-1].add(_look(lexeme))
    if len(stack) > 1:
        raise _Unbalanced


def _look(lexeme: Lexeme) -> str:
    if lexeme.kind == "mark" or lexeme.text in _WORDS:
        return lexeme.text
    if lexeme.kind == "number":  # whole numbers, decimals and shares are different things
        return "%" if lexeme.text.endswith("%") else "1" if lexeme.text.isdigit() else "1.5"
    return lexeme.kind


def _outermost(stretches: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """The stretches that lie in no other, from left to right."""
    kept: list[tuple[int, int]] = []
    for start, end in stretches:
        while kept and kept[-1][0] >= start:
            kept.pop()
        kept.append((start, end))
    return kept
