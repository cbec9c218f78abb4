"""The parser of grammars/gbx.lark: built when it is first needed, kept in the user's cache between runs."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cache, lru_cache
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from threading import Lock
from typing import Any

import lark
from lark.exceptions import UnexpectedInput

from glassbox_dsl.resources import shipped
from glassbox_dsl.source import Source
from glassbox_dsl.syntax import expressions, nodes, statements  # noqa: F401  (they register the rules)
from glassbox_dsl.syntax.rules import Builder
from glassbox_dsl.syntax.scan import Lexeme
from glassbox_dsl.syntax.words import OnePatternLexer

# The rules that a parse may start with: the whole file, and each kind of statement for files that are broken.
STARTS = ("start", "declaration", "data_item", "slot_line", "exp_item", "edit", "node", "item")

_builder = Builder()
_one_parse_at_a_time = Lock()  # the builder knows one source


@contextmanager
def reading(source: Source) -> Iterator[None]:
    """While a source is read with `tree` and `steps`, its nodes point into it."""
    with _one_parse_at_a_time:
        _builder.source = source
        yield


def whole_file(source: Source, lexemes: Sequence[Lexeme]) -> nodes.File | None:
    """Parse a text at once; None if anything is wrong with it."""
    with suppress(UnexpectedInput):
        parsed: nodes.File = tree(source, lexemes[0].start, lexemes[-1].end, "start")
        return parsed
    return None


class _Unlined(str):
    """Text that lark counts no lines of: it would count from the start of the file for each statement."""

    def count(self, *_: object) -> int:
        """As if there were no line breaks; places are told from offsets."""
        return 0


@lru_cache(maxsize=2)
def _unlined(text: str) -> _Unlined:
    return _Unlined(text)


def tree(source: Source, start: int, end: int, rule: str) -> Any:
    """Parse a stretch of the source as one rule; raises lark's UnexpectedInput."""
    return _parser().parse(lark.TextSlice(_unlined(source.text), start, end), start=rule)


def steps(source: Source, start: int, end: int, rule: str) -> Any:
    """Begin to parse a stretch of the source token by token: lark's InteractiveParser, which has no types."""
    return _parser().parse_interactive(lark.TextSlice(_unlined(source.text), start, end), start=rule)


@cache
def _parser() -> lark.Lark:
    grammar = (shipped("grammars") / "gbx.lark").read_text(encoding="utf-8")
    kept = _kept_at(grammar)
    tables = _intact(kept)
    if tables is not None:
        loaded: lark.Lark = lark.Lark.__new__(lark.Lark)._load(BytesIO(tables), **_OURS)
        return loaded
    parser = lark.Lark(
        grammar,
        parser="lalr",
        lexer="contextual",
        start=list(STARTS),
        keep_all_tokens=True,
        maybe_placeholders=True,
        **_OURS,
    )
    _keep(parser, kept)
    return parser


_OURS: dict[str, Any] = {"transformer": _builder, "_plugins": {"ContextualLexer": OnePatternLexer}}


def _kept_at(grammar: str) -> Path:
    """The file in the user's cache for the finished tables of this very grammar, lark and Python."""
    from platformdirs import user_cache_path

    facts = (grammar, *STARTS, lark.__version__, sys.version)
    name = sha256("\0".join(facts).encode()).hexdigest()[:16]
    return user_cache_path("glassbox") / f"grammar-{name}.tables"


def _intact(kept: Path) -> bytes | None:
    """The tables in a file, None if there are none or the file is damaged."""
    try:
        raw = kept.read_bytes()
    except OSError:
        return None
    digest, tables = raw[:32], raw[32:]
    return tables if sha256(tables).digest() == digest else None


def _keep(parser: lark.Lark, kept: Path) -> None:
    """Write the tables beside their place and move them there, whole; without a place they are made each time."""
    buffer = BytesIO()
    parser.save(buffer, exclude_options=tuple(_OURS))
    tables = buffer.getvalue()
    fresh = kept.with_suffix(f".{os.getpid()}")
    try:
        kept.parent.mkdir(parents=True, exist_ok=True)
        fresh.write_bytes(sha256(tables).digest() + tables)
        fresh.replace(kept)
    except OSError:
        with suppress(OSError):
            fresh.unlink(missing_ok=True)
