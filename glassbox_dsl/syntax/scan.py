"""Text to lexemes, whatever the text is, and what is wrong with single ones.

This is not the parser's lexer: it knows no keywords and refuses nothing. It is what depth, brackets and the
heads of statements are read from when the parser cannot read a file, and what messages quote.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import islice
from math import isinf
from typing import NamedTuple

from glassbox_dsl.diagnostics import Diagnostic
from glassbox_dsl.source import Source, Span
from glassbox_dsl.syntax import errors
from glassbox_dsl.syntax.literals import ESCAPE, is_character

LARGEST_INTEGER = 2**63 - 1
DEEPEST_NESTING = 64

_LEXEME = re.compile(
    r'''
      (?P<blank>   [ \t\r\n]+ | \#[^\n]* )
    | (?P<string>  """ [^"\\]*+ (?: (?: \\[\s\S] | "{1,2}(?!") ) [^"\\]*+ )*+ """
                 | " (?!"") [^"\\\n\r]*+ (?: \\[^\n\r] [^"\\\n\r]*+ )*+ " )
    | (?P<open>    """ [\s\S]* | " [^\n\r]* )
    | (?P<name>    [a-z_] [a-z0-9_]*+ (?!\w) )
    | (?P<number>  (?> [0-9]+ (?: \.[0-9]+ )? (?: [eE][+-]?[0-9]+ )? ) (?: % | (?!\w) ) )
    | (?P<mark>    \.\. | := | \+= | -= | \*= | -> | [=!<>]= | [{}\[\](),:=.<>+\-*/] )
    | (?P<word>    [0-9]+\.[0-9]\w+ | \w+ )
    | (?P<stray>   [^\w\s"\#{}\[\](),:=.<>+\-*/]+ | . )
    ''',
    re.VERBOSE | re.DOTALL,
)


class Lexeme(NamedTuple):
    """A stretch of text that is no blank: `kind` is name, number, string, mark, or `bad` for what is none."""

    kind: str
    text: str
    start: int
    end: int

    def span(self, source: Source) -> Span:
        """Where it stands."""
        return Span(source, self.start, self.end)


class Scan(NamedTuple):
    """All lexemes of a text in order, and the problems of single ones."""

    lexemes: tuple[Lexeme, ...]
    faults: tuple[Diagnostic, ...]


def scan(source: Source) -> Scan:
    """Cut a text into lexemes; never fails."""
    lexemes: list[Lexeme] = []
    faults: list[Diagnostic] = []
    # A byte order mark that an editor left at the start is no part of the text.
    position = 1 if source.text.startswith("\ufeff") else 0
    while match := _LEXEME.match(source.text, position):
        kind, position = match.lastgroup or "", match.end()
        if kind == "blank":
            continue
        text = match[0]
        if kind == "open" and not text.startswith('"""'):
            text = _probable_string(text)
            position = match.start() + len(text)
        lexeme = Lexeme(kind if kind in _SOUND else "bad", text, match.start(), position)
        faults += islice(_faults(source, kind, lexeme), 1)
        lexemes.append(lexeme)
    return Scan(tuple(lexemes), tuple(faults))


_SOUND = {"name", "number", "string", "mark"}
_FORBIDDEN = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")


def _probable_string(line: str) -> str:
    """The rest of a line behind a quote without the brackets at its end that close others before it."""
    kept = line
    for _ in range(DEEPEST_NESTING):
        kept = kept.rstrip(" \t,")
        opener = {")": "(", "]": "[", "}": "{"}.get(kept[-1])
        if opener is None or kept.count(kept[-1]) <= kept.count(opener):
            break
        kept = kept[:-1]
    return kept


def _faults(source: Source, kind: str, lexeme: Lexeme) -> Iterator[Diagnostic]:
    if kind == "string":
        yield from _in_string(source, lexeme)
    elif kind == "number":
        yield from _in_number(lexeme.span(source))
    elif kind == "open":
        width = 3 if lexeme.text.startswith('"""') else 1
        yield errors.string_not_closed(Span(source, lexeme.start, lexeme.start + width))
    elif kind == "word":
        yield errors.not_a_word(lexeme.span(source))
    elif kind == "stray":
        yield errors.stray_character(lexeme.span(source))


def _in_string(source: Source, lexeme: Lexeme) -> Iterator[Diagnostic]:
    forbidden = _FORBIDDEN.search(lexeme.text)
    if forbidden:
        start = lexeme.start + forbidden.start()
        yield errors.stray_character(Span(source, start, start + 1))
    position = lexeme.text.find("\\")
    while position != -1:
        escape = ESCAPE.match(lexeme.text, position)
        if escape is None or (escape["hex"] and not is_character(int(escape["hex"], 16))):
            end = escape.end() if escape else position + 2
            yield errors.unknown_escape(Span(source, lexeme.start + position, lexeme.start + end))
            return
        position = lexeme.text.find("\\", escape.end())


def _in_number(span: Span) -> Iterator[Diagnostic]:
    text = span.text
    if text.isdigit():
        too_large = len(text.lstrip("0")) > 19 or int(text) > LARGEST_INTEGER
    else:
        too_large = isinf(float(text.rstrip("%")))
    if too_large:
        yield errors.number_too_large(span)
