"""Which bracket belongs to which, how deep they nest, and how tall the tree of an expression will be.

All of it is read from the lexemes before anything is parsed: a text that would make a tree too deep to walk
is refused here, and a text with a bracket too few or too many is still cut at the right places.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from glassbox_dsl.diagnostics import Diagnostic
from glassbox_dsl.source import Source
from glassbox_dsl.syntax import errors
from glassbox_dsl.syntax.scan import DEEPEST_NESTING, Lexeme

TALLEST_EXPRESSION = 150  # in nodes; comparing or printing one node takes up to 5 of Python's 1000 calls

CLOSER = {"(": ")", "[": "]", "{": "}"}
_OPERATORS = {"+", "-", "*", "/", ".", "..", "not", "==", "!=", "<", "<=", ">", ">="}
_SEPARATORS = {",", ":", "=", ":=", "+=", "-=", "*=", "->"}


def ends_value(lexeme: Lexeme) -> bool:
    """Whether a value or a statement can end with this lexeme."""
    return lexeme.text in {")", "]", "}"} or (lexeme.kind != "mark" and lexeme.text != "not")


def too_deep(source: Source, lexemes: Sequence[Lexeme]) -> Diagnostic | None:
    """The bracket that is nested too deep, or the operator that makes an expression too tall."""
    # Per open bracket: steps of the present element, and the tallest thing in brackets inside it.
    steps, inner = [0], [0]
    previous: Lexeme | None = None
    for lexeme in lexemes:
        if lexeme.text in CLOSER and lexeme.kind == "mark":
            if len(steps) > DEEPEST_NESTING:
                return errors.nested_too_deep(lexeme.span(source), DEEPEST_NESTING)
            steps[-1] += 2  # the call, index or record, and the item in it
            steps.append(0)
            inner.append(0)
        elif lexeme.text in {")", "]", "}"} and lexeme.kind == "mark":
            if len(steps) > 1:
                height = steps.pop() + inner.pop()
                inner[-1] = max(inner[-1], height)
        elif (lexeme.kind == "mark" and lexeme.text in _OPERATORS) or lexeme.text == "not":
            steps[-1] += 1
        elif lexeme.kind == "mark" or (previous is not None and ends_value(previous)):
            steps[-1] = inner[-1] = 0  # a separator, or two values side by side: the next statement
        if steps[-1] + inner[-1] > TALLEST_EXPRESSION:
            return errors.expression_too_tall(lexeme.span(source), TALLEST_EXPRESSION)
        previous = lexeme
    return None


@dataclass(frozen=True)
class Brackets:
    """The partner of each bracket by place in the list of lexemes, and what is wrong with the rest."""

    partner: dict[int, int] = field(default_factory=dict)
    faults: tuple[Diagnostic, ...] = ()


def match_brackets(source: Source, lexemes: Sequence[Lexeme], heads: Sequence[int]) -> Brackets:
    """Pair the brackets; `heads` are the lexemes that can only start a declaration, with nothing open.

    Only where plain pairing fails the layout is asked which bracket is the one too few.
    """
    plain = _pair_plainly(lexemes)
    if plain is not None:
        return Brackets(plain)
    pairing = _ByLayout(source, lexemes)
    pairing.run(frozenset(heads))
    return Brackets(pairing.partner, tuple(pairing.faults))


def _pair_plainly(lexemes: Sequence[Lexeme]) -> dict[int, int] | None:
    partner: dict[int, int] = {}
    stack: list[int] = []
    for i, lexeme in enumerate(lexemes):
        if lexeme.kind != "mark":
            continue
        if lexeme.text in CLOSER:
            stack.append(i)
        elif lexeme.text in {")", "]", "}"}:
            if not stack or CLOSER[lexemes[stack[-1]].text] != lexeme.text:
                return None
            opened = stack.pop()
            partner[opened], partner[i] = i, opened
    return None if stack else partner


class _ByLayout:
    """Pairs brackets of a text that has one too few or too many."""

    def __init__(self, source: Source, lexemes: Sequence[Lexeme]) -> None:
        self.source, self.lexemes = source, lexemes
        self.partner: dict[int, int] = {}
        self.faults: list[Diagnostic] = []
        self.stack: list[int] = []

    def run(self, heads: frozenset[int]) -> None:
        for i, lexeme in enumerate(self.lexemes):
            if i in heads:
                self._give_up(0)
            if lexeme.kind == "mark" and lexeme.text in CLOSER:
                self.stack.append(i)
            elif lexeme.kind == "mark" and lexeme.text in {")", "]", "}"}:
                self._close(i)
        self._give_up(0)

    def _close(self, i: int) -> None:
        near = range(max(0, len(self.stack) - DEEPEST_NESTING), len(self.stack))
        candidates = [n for n in near if self._fits(self.stack[n], i)]
        aligned = [n for n in candidates if self._indent(self.stack[n]) == self._indent(i)]
        chosen = (aligned if aligned and self._starts_line(i) else candidates or [-1])[-1]
        if self._is_mistaken(i, chosen):
            self._mistaken(i)
        elif chosen < 0:
            self.faults.append(errors.nothing_to_close(self.lexemes[i].span(self.source)))
        else:
            self._give_up(chosen + 1)
            self._pair(i)

    def _is_mistaken(self, i: int, chosen: int) -> bool:
        """Whether `i` is meant for the bracket open on its line but is of another kind, as in `(a}`."""
        if not self.stack or self._fits(self.stack[-1], i) or self._line(self.stack[-1]) != self._line(i):
            return False
        return chosen < 0 or self._line(self.stack[chosen]) != self._line(i)

    def _mistaken(self, i: int) -> None:
        bracket = self.lexemes[self.stack[-1]].text
        place = self.lexemes[i].span(self.source)
        self.faults.append(errors.closed_by_another(place, bracket, CLOSER[bracket]))
        self._pair(i)

    def _pair(self, i: int) -> None:
        opened = self.stack.pop()
        self.partner[opened], self.partner[i] = i, opened

    def _give_up(self, keep: int) -> None:
        """Report the brackets above the first `keep` as never closed."""
        for opened in self.stack[keep:]:
            place = self.lexemes[opened].span(self.source)
            self.faults.append(errors.never_closed(place, place.text, CLOSER[place.text]))
        del self.stack[keep:]

    def _fits(self, opened: int, closing: int) -> bool:
        return CLOSER[self.lexemes[opened].text] == self.lexemes[closing].text

    def _line(self, i: int) -> int:
        return self.source.place(self.lexemes[i].start)[0]

    def _starts_line(self, i: int) -> bool:
        return i == 0 or self._line(i - 1) != self._line(i)

    def _indent(self, i: int) -> int:
        text = self.source.line(self._line(i))
        return len(text) - len(text.lstrip())


def opening(lexemes: Sequence[Lexeme], partner: dict[int, int], start: int, end: int) -> int | None:
    """The first `{` of a stretch that stands in no other bracket."""
    for i in outermost(lexemes, partner, start, end):
        if lexemes[i].kind == "mark" and lexemes[i].text == "{":
            return i
    return None


def outermost(lexemes: Sequence[Lexeme], partner: dict[int, int], start: int, end: int) -> Iterator[int]:
    """The places of a stretch that stand in no bracket of it; of a pair, both ends."""
    i = start
    while i < end:
        yield i
        closing = partner.get(i, -1)
        if i < closing < end:
            yield closing
            i = closing
        i += 1
