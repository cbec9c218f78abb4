"""The parser of grammars/gbx.lark: built when it is first needed, kept in the user's cache between runs."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from hashlib import sha256
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
from glassbox_dsl.syntax.words import ExactContextualLexer

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


def tree(source: Source, start: int, end: int, rule: str) -> Any:
    """Parse a stretch of the source as one rule; raises lark's UnexpectedInput."""
    return _parser().parse(lark.TextSlice(source.text, start, end), start=rule)


def steps(source: Source, start: int, end: int, rule: str) -> Any:
    """Begin to parse a stretch of the source token by token: lark's InteractiveParser, which has no types."""
    return _parser().parse_interactive(lark.TextSlice(source.text, start, end), start=rule)


@cache
def _parser() -> lark.Lark:
    grammar = (shipped("grammars") / "gbx.lark").read_text(encoding="utf-8")
    kept = _kept_at(grammar)
    if kept is None:
        return _build(grammar)
    if kept.exists():
        return _build(grammar, cache=str(kept))
    # Another process may look for the file meanwhile: it appears whole or not at all.
    fresh = kept.with_suffix(f".{os.getpid()}")
    parser = _build(grammar, cache=str(fresh))
    with suppress(OSError):
        fresh.replace(kept)
    return parser


def _build(grammar: str, **options: Any) -> lark.Lark:
    return lark.Lark(
        grammar,
        parser="lalr",
        lexer="contextual",
        start=list(STARTS),
        keep_all_tokens=True,
        maybe_placeholders=True,
        transformer=_builder,
        _plugins={"ContextualLexer": ExactContextualLexer},
        **options,
    )


def _kept_at(grammar: str) -> Path | None:
    """Where the finished tables of this very grammar are kept, None where nothing can be written."""
    from platformdirs import user_cache_path

    facts = (grammar, *STARTS, lark.__version__, sys.version)
    name = sha256("\0".join(facts).encode()).hexdigest()[:16]
    try:
        folder = user_cache_path("glassbox-dsl", appauthor=False)
        folder.mkdir(parents=True, exist_ok=True)
    except (OSError, RuntimeError):
        return None
    return folder / f"grammar-{name}.tables" if os.access(folder, os.W_OK) else None
