"""A Source to a tree: at once where the file is sound, else statement by statement."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from glassbox_dsl.diagnostics import Diagnostic
from glassbox_dsl.source import Source
from glassbox_dsl.syntax import errors, nodes
from glassbox_dsl.syntax.brackets import too_deep
from glassbox_dsl.syntax.lean import load_lark
from glassbox_dsl.syntax.scan import Lexeme, scan
from glassbox_dsl.syntax.thin import thinned

VERSION = "1"


@dataclass(frozen=True)
class Parsed:
    """The tree, holding everything that could be read, and what is wrong with the rest.

    `file` is None where nothing can be read: the file is of another version, or nests too deep. A block keeps
    its sound statements when others in it are broken.
    """

    file: nodes.File | None
    diagnostics: tuple[Diagnostic, ...]


def parse(source: Source) -> Parsed:
    """Read a text as a program; whatever the text is, problems are returned and nothing is raised."""
    lexemes, faults = scan(source)
    version = _version(lexemes)
    if version is not None and version.text != VERSION:
        return Parsed(None, (errors.other_version(version.span(source), version.text),))
    deep = too_deep(source, lexemes)
    if deep is not None:
        return Parsed(None, (deep,))

    load_lark()
    from glassbox_dsl.syntax import grammar  # only here are the parser and its tables needed

    thin = thinned(source, lexemes)
    with grammar.reading(source):
        whole = _whole(source, thin, lexemes) if version is not None and not faults else None
        if whole is not None:
            return Parsed(whole, ())
        from glassbox_dsl.syntax import recover

        return Parsed(*recover.by_statements(source, thin, lexemes, faults, headed=version is not None))


def _whole(source: Source, thin: Source, lexemes: Sequence[Lexeme]) -> nodes.File | None:
    """The tree of a sound text; whether it is sound is asked of the thinned one first, which is quick."""
    from glassbox_dsl.syntax import grammar

    if thin is not source and grammar.whole_file(thin, lexemes) is None:
        return None
    return grammar.whole_file(source, lexemes)


def _version(lexemes: Sequence[Lexeme]) -> Lexeme | None:
    """The number behind the `gbx` that a file starts with, None if it does not."""
    if len(lexemes) > 1 and lexemes[0].text == "gbx" and lexemes[1].kind == "number":
        return lexemes[1]
    return None
