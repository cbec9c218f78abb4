"""A statement that the parser refuses, to one finding in the user's words: what stands there, what should."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from typing import NamedTuple

from lark.exceptions import UnexpectedInput
from lark.parsers.lalr_interactive_parser import InteractiveParser

from glassbox_dsl.diagnostics import Diagnostic
from glassbox_dsl.source import Source, Span
from glassbox_dsl.syntax import errors
from glassbox_dsl.syntax.blocks import Block, where_it_stands
from glassbox_dsl.syntax.grammar import steps
from glassbox_dsl.syntax.scan import Lexeme

_SIGNS = {
    "EQUAL": "=", "SET": ":=", "ADD": "+=", "SUBTRACT": "-=", "SCALE": "*=", "ARROW": "->", "COLON": ":",
    "COMMA": ",", "RPAR": ")", "RSQB": "]", "RBRACE": "}", "LPAR": "(", "LSQB": "[", "LBRACE": "{", "DOT": ".",
    "DOTDOT": "..", "PLUS": "+", "MINUS": "-", "STAR": "*", "SLASH": "/",
}  # fmt: skip
_PHRASES = {"NAME": "a name", "STRING": "a string", "INT": "a whole number", "COMPARISON": "a comparison"}
_VALUE = {"INT", "FLOAT", "PERCENT", "STRING", "NAME", "LPAR", "LSQB", "LBRACE", "MINUS", "NOT"}
_OPERATORS = {"PLUS", "MINUS", "STAR", "SLASH", "COMPARISON", "DOTDOT", "DOT", "LSQB", "LPAR"}
_COMPARISONS = {"==", "!=", "<", "<=", ">", ">="}
_CHANGES = {":=", "+=", "-=", "*="}


class Stop(NamedTuple):
    """Where the parser stopped: the offset of what it could not take, and the terminals that it could have."""

    offset: int
    accepts: frozenset[str]


def stop_of(source: Source, lexemes: Sequence[Lexeme], start: int, end: int, rule: str) -> Stop | None:
    """Parse `lexemes[start:end]` as a rule and tell where that fails; None if it does not."""
    last = lexemes[end - 1].end
    parser = steps(source, lexemes[start].start, last, rule)
    # What was possible before each of the last tokens: a sign that the parser cut in two is one lexeme.
    before: list[tuple[int, InteractiveParser]] = []
    offset = last
    try:
        for token in parser.lexer_thread.lex(parser.parser_state):
            offset = token.start_pos or 0
            before = [*before[-2:], (offset, parser.copy(deepcopy_values=False))]
            parser.feed_token(token)
        offset = last
        before.append((last, parser.copy(deepcopy_values=False)))
        parser.feed_eof()
    except UnexpectedInput as refused:
        token = getattr(refused, "token", None)
        position = getattr(refused, "pos_in_stream", None)
        if token is None or token.type != "$END":
            offset = token.start_pos if token is not None else position
        if not before or before[-1][0] != offset:
            before.append((offset, parser))
        return _at_lexeme(lexemes, offset, last, before)
    return None


def _at_lexeme(
    lexemes: Sequence[Lexeme], offset: int, last: int, before: list[tuple[int, InteractiveParser]]
) -> Stop:
    """Move back to the start of the lexeme in which the parser stopped."""
    state = before[-1][1]
    if offset < last:
        lexeme = lexemes[bisect_right(lexemes, offset, key=lambda lexeme: lexeme.start) - 1]
        for place, earlier in reversed(before):
            if place >= lexeme.start:
                offset, state = place, earlier
    return Stop(offset, frozenset(state.accepts()))


def explain(
    source: Source, lexemes: Sequence[Lexeme], start: int, end: int, block: Block, rule: str = ""
) -> Diagnostic | None:
    """The finding about the statement `lexemes[start:end]` of a block; None if there is nothing wrong with it."""
    stop = stop_of(source, lexemes, start, end, rule or block.rule)
    if stop is None:
        return None
    at = bisect_right(lexemes, stop.offset, key=lambda lexeme: lexeme.start) - 1
    over = stop.offset >= lexemes[end - 1].end
    if over:
        return _broken_off(source, lexemes, end, stop.accepts)
    found = lexemes[at]
    place = found.span(source)
    if at == start:
        elsewhere = where_it_stands(found.text) if found.kind == "name" else ""
        heads = block.heads or {"NAME"}
        return errors.no_statement(_quoted(found), block.called, heads, elsewhere, place)
    previous = lexemes[at - 1] if at > start else None
    return _sign(found, stop.accepts, place) or errors.unexpected(
        _quoted(found), _expected(stop.accepts), place, _hint(found, previous, stop.accepts)
    )


def _broken_off(source: Source, lexemes: Sequence[Lexeme], end: int, accepts: frozenset[str]) -> Diagnostic:
    what = "the file" if end == len(lexemes) else "the statement"
    last = lexemes[end - 1]
    return errors.breaks_off(what, _expected(accepts), last.span(source))


def _quoted(lexeme: Lexeme) -> str:
    shown = errors.shortened(lexeme.text.split("\n")[0])
    return f"the string {shown}" if lexeme.kind == "string" else f"`{shown}`"


def _expected(accepts: frozenset[str]) -> list[str]:
    """The terminals in the user's words, the likeliest first."""
    rest = set(accepts) - {"$END"}
    words: list[str] = []
    if {"INT", "FLOAT"} <= rest:
        words.append("a value")
        rest -= _VALUE
    if {"PLUS", "STAR"} <= rest:
        rest -= _OPERATORS
        words.append("an operator")
    words += [f"`{sign}`" for name, sign in _SIGNS.items() if name in rest]
    words += [phrase for name, phrase in _PHRASES.items() if name in rest]
    keywords = sorted(rest - set(_SIGNS) - set(_PHRASES))
    if len(keywords) > 4:
        words.append("a statement")
    else:
        words += [f"`{keyword.lower()}`" for keyword in keywords]
    if "$END" in accepts:
        words.append("the next statement")
    return words or ["the end of the file"]


def _sign(found: Lexeme, accepts: frozenset[str], place: Span) -> Diagnostic | None:
    """`=`, `:=`, `==` and `:` taken for each other."""
    if found.text in {"=", "=="} and "SET" in accepts:
        return errors.wrong_sign(
            found.text, ":=", place, "an edit sets what is on its left", "`=` declares a name, `:=` sets a site in a run"
        )
    if found.text in {*_CHANGES, "==", ":"} and "EQUAL" in accepts:
        return errors.wrong_sign(
            found.text, "=", place, "a name is declared here", "`:=` stands only in the block of a run"
        )
    if found.text in {"=", *_CHANGES} and "COMPARISON" in accepts:
        return errors.wrong_sign(found.text, "==", place, "a value ends here", "`==` compares; `=` only declares")
    if found.text in {"=", ":=", "=="} and "COLON" in accepts:
        return errors.wrong_sign(found.text, ":", place, "a key ends here", "a key and its value are joined by `:`")
    return None


_NOT_IN_VERSION_1 = {
    "and": "truth values multiply: `a * b`",
    "or": "there is no `or`: `max(a, b) > 0` holds where one of two truth values does",
    "if": "there is no `if`: compare, and multiply by the truth value",
    "for": "there are no loops: a binder sweeps an axis, as in `[layer]`",
    "while": "there are no loops: a binder sweeps an axis, as in `[layer]`",
    "def": "a function of runs is a `metric`",
}


def _hint(found: Lexeme, previous: Lexeme | None, accepts: frozenset[str]) -> str:
    """The edit that mends a common mistake."""
    if found.text in _NOT_IN_VERSION_1:
        return _NOT_IN_VERSION_1[found.text]
    if found.text == "not" and "INT" in accepts:
        return "put it into brackets: `(not x)`"
    if found.text in _COMPARISONS and "PLUS" in accepts:
        return "comparisons do not chain: multiply two of them, `(a < b) * (b < c)`"
    if found.text == ".." and "PLUS" in accepts:
        return "put the range into brackets"
    if found.text == "*" and previous is not None and previous.text == "*":
        return "there is no power operator: multiply, or use `exp`"
    if found.text == "/" and previous is not None and previous.text == "/":
        return "a comment starts with `#`"
    if found.text == "." and "INT" in accepts:
        return "a number starts with a digit: `0.5`"
    if found.text == "]" and previous is not None and previous.text == "[":
        return "leave the brackets out where nothing stands in them"
    if "COMMA" in accepts and _starts_value(found):
        return "put a comma between them"
    if "COLON" in accepts and _starts_value(found):
        return "put a colon between a key and its value"
    return ""


def _starts_value(lexeme: Lexeme) -> bool:
    return lexeme.kind != "mark" or lexeme.text in {"(", "[", "{", "-"}


