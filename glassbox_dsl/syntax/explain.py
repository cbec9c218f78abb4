"""A statement that the parser refuses, to one finding in the user's words: what stands there, what should."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from difflib import get_close_matches
from typing import NamedTuple

from lark.exceptions import UnexpectedInput, UnexpectedToken

from glassbox_dsl.diagnostics import Diagnostic
from glassbox_dsl.source import Source, Span
from glassbox_dsl.syntax import errors
from glassbox_dsl.syntax.blocks import Block, where_it_stands
from glassbox_dsl.syntax.grammar import steps, tree
from glassbox_dsl.syntax.scan import Lexeme

_SIGNS = {
    "EQUAL": "=", "SET": ":=", "ADD": "+=", "SUBTRACT": "-=", "SCALE": "*=", "ARROW": "->", "COLON": ":",
    "COMMA": ",", "RPAR": ")", "RSQB": "]", "RBRACE": "}", "LPAR": "(", "LSQB": "[", "LBRACE": "{",
    "DOT": ".", "DOTDOT": "..", "PLUS": "+", "MINUS": "-", "STAR": "*", "SLASH": "/",
}  # fmt: skip
_PHRASES = {"NAME": "a name", "STRING": "a string", "INT": "a whole number", "COMPARISON": "a comparison"}
_VALUE = {"INT", "FLOAT", "PERCENT", "STRING", "NAME", "LPAR", "LSQB", "LBRACE", "MINUS", "NOT"}
_OPERATORS = {"PLUS", "MINUS", "STAR", "SLASH", "COMPARISON", "DOTDOT", "DOT", "LSQB", "LPAR"}
_COMPARISONS = {"==", "!=", "<", "<=", ">", ">="}
_CHANGES = {":=", "+=", "-=", "*="}


class Stop(NamedTuple):
    """Where the parser stopped: the offset of what it could not take, and what it could have taken."""

    offset: int
    accepts: frozenset[str]


def stop_of(source: Source, lexemes: Sequence[Lexeme], start: int, end: int, rule: str) -> Stop | None:
    """Parse `lexemes[start:end]` as a rule and tell where that fails; None if it does not."""
    first, last = lexemes[start].start, lexemes[end - 1].end
    try:
        tree(source, first, last, rule)
    except UnexpectedInput as refused:
        ended = isinstance(refused, UnexpectedToken) and refused.token.type == "$END"
        offset = last if ended else refused.pos_in_stream or 0
    else:
        return None
    # The parser may have taken a part of a sign, as of `+=`: what counts is what it could take in its place.
    offset = last if ended else lexemes[_place(lexemes, offset)].start
    parser = steps(source, first, offset, rule)
    parser.exhaust_lexer()
    return Stop(offset, frozenset(parser.accepts()))


def _place(lexemes: Sequence[Lexeme], offset: int) -> int:
    return bisect_right(lexemes, offset, key=lambda lexeme: lexeme.start) - 1


def explain(
    source: Source,
    thin: Source,
    lexemes: Sequence[Lexeme],
    start: int,
    end: int,
    block: Block,
    rule: str = "",
) -> Diagnostic | None:
    """The finding about the statement `lexemes[start:end]` of a block; None if it is sound.

    It is looked for in `thin`, which breaks where the source does and is quicker to parse.
    """
    stop = stop_of(thin, lexemes, start, end, rule or block.rule)
    if stop is None:
        return None
    form = block.forms.get(lexemes[start].text, block.forms.get("", ""))
    hint = f"the form is `{form}`" if form else ""
    if stop.offset >= lexemes[end - 1].end:
        what = "the file" if end == len(lexemes) else "the statement"
        return errors.breaks_off(what, _expected(stop.accepts), lexemes[end - 1].span(source), hint)
    at = _place(lexemes, stop.offset)
    found, place = lexemes[at], lexemes[at].span(source)
    if at == start:
        elsewhere = where_it_stands(found.text) if found.kind == "name" else ""
        return errors.no_statement(found.text, _quoted(found), block.called, block.forms, elsewhere, place)
    hint = _mend(found, lexemes[at - 1], stop.accepts) or hint
    return _sign(found, stop.accepts, place) or errors.unexpected(
        _quoted(found), _expected(stop.accepts), _quoted(lexemes[at - 1]), place, hint
    )


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
    words += [f"`{sign}`" for name, sign in _SIGNS.items() if name in rest]
    words += [phrase for name, phrase in _PHRASES.items() if name in rest]
    keywords = _keywords(frozenset(rest))
    words += ["a statement"] if len(keywords) > 4 else [f"`{keyword}`" for keyword in keywords]
    if {"PLUS", "STAR"} <= accepts:
        words.append("an operator")
    if "$END" in accepts:
        words.append("the next statement")
    return words or ["the end of the file"]


def _keywords(accepts: frozenset[str]) -> list[str]:
    return sorted(
        name.lower() for name in accepts - set(_SIGNS) - set(_PHRASES) - {"$END", "FLOAT", "PERCENT"}
    )


def _sign(found: Lexeme, accepts: frozenset[str], place: Span) -> Diagnostic | None:
    """`=`, `:=`, `==` and `:` taken for each other."""
    if found.text in {"=", "=="} and "SET" in accepts:
        return errors.wrong_sign(
            found.text,
            ":=",
            place,
            "an edit sets what is on its left",
            "`=` declares a name, `:=` sets a site in a run",
        )
    if found.text in {*_CHANGES, "==", ":"} and "EQUAL" in accepts:
        return errors.wrong_sign(
            found.text, "=", place, "a name is declared here", "`:=` stands only in the block of a run"
        )
    if found.text == "=" and "COMPARISON" in accepts:
        return errors.wrong_sign(
            found.text, "==", place, "a value ends here", "`==` compares; `=` only declares"
        )
    if found.text in {"=", ":=", "=="} and "COLON" in accepts:
        return errors.wrong_sign(
            found.text, ":", place, "a key ends here", "a key and its value are joined by `:`"
        )
    return None


_NOT_IN_VERSION_1 = {
    "and": "truth values multiply: `a * b`",
    "or": "there is no `or`: `max(a, b) > 0` holds where one of two truth values does",
    "if": "there is no `if`: compare, and multiply by the truth value",
    "for": "there are no loops: a binder sweeps an axis, as in `[layer]`",
    "while": "there are no loops: a binder sweeps an axis, as in `[layer]`",
    "def": "a function of runs is a `metric`",
}


def _mend(found: Lexeme, previous: Lexeme, accepts: frozenset[str]) -> str:
    """The edit that mends a common mistake, empty if it is none of them."""
    if found.text in _NOT_IN_VERSION_1:
        return _NOT_IN_VERSION_1[found.text]
    near = get_close_matches(found.text, _keywords(accepts), n=1, cutoff=0.5)
    if found.kind == "name" and near:
        return f"did you mean `{near[0]}`?"
    if previous.text == "not" and found.kind == "name":
        return f"put it into brackets: `(not {errors.shortened(found.text)})`"
    if found.text in _COMPARISONS and "PLUS" in accepts:
        return "comparisons do not chain: multiply two of them, `(a < b) * (b < c)`"
    if found.text == ".." and "PLUS" in accepts:
        return "put the range into brackets"
    if found.text == "*" and previous.text == "*":
        return "there is no power operator: multiply, or use `exp`"
    if found.text == "/" and previous.text == "/":
        return "a comment starts with `#`"
    if found.text == "." and "INT" in accepts:
        return "a number starts with a digit: `0.5`"
    if found.text == "]" and previous.text == "[":
        return "leave the brackets out where nothing stands in them"
    if "COMMA" in accepts and _starts_value(found):
        return "put a comma between them"
    if "COLON" in accepts and _starts_value(found):
        return "put a colon between a key and its value"
    return ""


def _starts_value(lexeme: Lexeme) -> bool:
    return lexeme.kind != "mark" or lexeme.text in {"(", "[", "{", "-"}
