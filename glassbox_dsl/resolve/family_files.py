"""Family files that a user adds, validated before any model is read: keys, kinds of values, known words.

Shipped files need none of this when the program runs: tests validate them. So pydantic is imported here alone.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, TypeVar, get_args, get_type_hints

from pydantic import TypeAdapter, ValidationError

from glassbox_dsl.diagnostics import Diagnostic
from glassbox_dsl.resolve import family_errors as errors
from glassbox_dsl.resolve.facts import ModelFacts
from glassbox_dsl.resolve.families import Family, family_files, family_table, laid_over
from glassbox_dsl.resolve.traits import TraitKey, Value, trait_words
from glassbox_dsl.source import Source, Span
from glassbox_dsl.vocabulary.sites import sites
from glassbox_dsl.vocabulary.tables import Table, fields_of

T = TypeVar("T")
Keys = tuple[str | int, ...]
"""The way to an entry of a file: keys of tables and numbers in lists, from the outermost."""

Place = Callable[[Keys], Span]
"""Finds the entry at the end of a way."""

LINKS = ("extends", "traits_from")
LAYERS = (*LINKS, "remove", "variants")
"""What a file has beside the fields of `Family`: how tables are laid over each other."""
SIZES = {
    name: name not in ModelFacts._defaults
    for name, kind in get_type_hints(ModelFacts).items()
    if kind in (int, bool)
}
"""The facts that a family reads from a config, and whether it must."""


@dataclass(frozen=True, kw_only=True)
class _Over:
    """A table as far as it decides how it is laid over another one."""

    remove: dict[str, list[str]] | None = None
    traits: dict[str, Any] | None = None
    tiny: dict[str, Any] | None = None


@dataclass(frozen=True, kw_only=True)
class _Variant(_Over):
    when: dict[str, list[Any]]


@dataclass(frozen=True, kw_only=True)
class _File(_Over):
    extends: str | None = None
    traits_from: str | None = None
    variants: list[_Variant] | None = None


def validated(kind: type[T], table: Mapping[str, Any]) -> T:
    """The object of a kind from a table of TOML, whose values must be of the right types already.

    Raises pydantic's ValidationError, with the place of every mistake.
    """
    adapter: TypeAdapter[T] = _adapter(kind)  # type: ignore[arg-type]
    return adapter.validate_json(json.dumps(table, default=str), strict=True)


_adapter = cache(TypeAdapter)


def problems_of_files(paths: Sequence[Path]) -> list[Diagnostic]:
    """What is wrong with family files, each in its place. What rests on a wrong file is not looked at."""
    files = {path.stem: _Written(path) for path in paths}
    wrong = {name: list(file.alone()) for name, file in files.items()}
    found = [problem for problems in wrong.values() for problem in problems]
    for name, file in files.items():
        if not any(wrong.get(other) for other in (name, *file.rests_on())):
            found += dict.fromkeys(file.together())
    return found


class _Written:
    """A family file with the places of its entries."""

    def __init__(self, path: Path) -> None:
        self.name = path.stem
        self.table: dict[str, Any] = {}
        self.source = Source(str(path), "")
        self.broken: Diagnostic | None = None
        try:
            self.source = Source(str(path), path.read_text("utf-8"))
            self.table = tomllib.loads(self.source.text)
        except tomllib.TOMLDecodeError as error:
            self.broken = errors.unreadable(self._line(_line_of(error, self.source)), str(error))
        except (OSError, UnicodeDecodeError) as error:
            self.broken = errors.unreadable(self._line(1), str(error))

    # ------------------------------------------------------------ places

    def _line(self, number: int) -> Span:
        start = self.source.line_starts[number - 1]
        return Span(self.source, start, start + len(self.source.line(number)))

    def span(self, keys: Keys) -> Span:
        """The first line of an entry, or of the table that it is missing from."""
        while keys and not _has(self.table, keys):
            keys = keys[:-1]
        after = 0  # the last line before, behind which the file was whole
        for number in range(1, len(self.source.line_starts) + 1) if keys else ():
            table = _parsed(self.source, number)
            if table is not None:
                if _has(table, keys):
                    return self._line(after + 1)
                after = number
        return self._line(1)

    # ------------------------------------------------------------ by itself

    def alone(self) -> Iterator[Diagnostic]:
        """What is wrong before other files count: no TOML, tables that cannot be laid over others, wrong links."""
        if self.broken is not None:
            yield self.broken
            return
        shape = list(_said(_File, self.table, self.span))
        yield from shape
        for key in () if shape else LINKS:
            if key in self.table:
                yield from self._link(key, self.table[key])

    def _link(self, key: str, name: str) -> Iterator[Diagnostic]:
        span = self.span((key,))
        if name not in family_files():
            yield errors.no_such_family(span, key, name, family_files())
        elif name == self.name or self.name in (below := _rests_on(name)):
            between = () if name == self.name else (name, *below[: below.index(self.name)])
            yield errors.in_a_circle(span, key, (self.name, *between, self.name))
        elif key == "traits_from" and not {"traits", "traits_from"} & _table_of(name).keys():
            yield errors.no_traits(span, name)

    def rests_on(self) -> tuple[str, ...]:
        """The families that the file names, and those that they name."""
        return _rests_on(self.name)

    # ------------------------------------------------------------ with what it extends

    def together(self) -> Iterator[Diagnostic]:
        """What is wrong with the family that the file makes, and with each of its variants."""
        for number in (None, *range(len(family_table(self.name).get("variants", ())))):
            table = laid_over(self.name, () if number is None else (number,))

            def span(keys: Keys, number: int | None = number) -> Span:
                inside = ("variants", number, *keys) if number is not None else keys
                return self.span(inside if _has(self.table, inside) else keys)

            wrong = list(_said(Family, table, span, LAYERS))
            yield from wrong
            if not wrong:
                yield from _meaningless(table, span)


def _said(
    kind: Any, table: Mapping[str, Any], span: Place, beside: Iterable[str] = ()
) -> Iterator[Diagnostic]:
    """What pydantic says of a table; `span` finds entries, `beside` may stand in the outermost table too."""
    try:
        validated(kind, table)
        return
    except ValidationError as error:
        mistakes = error.errors(include_url=False, include_context=False, include_input=False)
    reasons: dict[Keys, list[str]] = {}
    for mistake in mistakes:
        loc, message = mistake["loc"], mistake["msg"]
        if mistake["type"] == "missing":
            yield errors.missing_key(span(loc), shown(loc))
        elif mistake["type"] in ("unexpected_keyword_argument", "extra_forbidden"):
            known = fields_of(_kind_at(kind, loc[:-1]))[0].keys() | set(beside if len(loc) == 1 else ())
            yield errors.unknown_key(span(loc), shown(loc), str(loc[-1]), known)
        else:  # of a union there is one for each of its kinds, and the way ends with the kind
            keys = loc
            while not _has(table, keys) or (keys and isinstance(keys[-1], int)):
                keys = keys[:-1]  # and lists are joined: numbers in them are not those in the file
            inside = "in it: " if _has(table, loc) and keys != loc else ""
            reasons.setdefault(keys, []).append(inside + _plainly(message))
    for keys, why in reasons.items():
        yield errors.wrong_value(span(keys), shown(keys), ", or ".join(dict.fromkeys(why)))


def _plainly(message: str) -> str:
    """What pydantic says, in the words of TOML."""
    said = {
        "Input should be": "it has to be",
        "an object": "a table",
        "a valid array": "a list",
        "a valid ": "a ",
    }
    for theirs, ours in said.items():
        message = message.replace(theirs, ours)
    return message


def _meaningless(table: Mapping[str, Any], span: Place) -> Iterator[Diagnostic]:
    """Words of a table of the right shape that name nothing: facts, sites, traits."""
    facts = table["facts"]
    for name in facts.keys() - SIZES.keys():
        yield _unknown(("facts", name), SIZES, span)
    for name in (name for name, needed in SIZES.items() if needed and name not in facts):
        yield errors.missing_key(span(("facts", name)), f"facts.{name}", "no model is read without it")
    for name, fact in facts.items():
        yield from _sources(name, fact, facts, span)
    for part in ("sites", "norms", "absent", "read_only"):
        for name in table.get(part, {}).keys() - sites().keys():
            yield _unknown((part, name), sites(), span)
    if not table["model_types"]:
        yield errors.wrong_value(span(("model_types",)), "model_types", "at least one is needed")
    yield from _traits(table.get("traits", {}), span)


def _unknown(keys: tuple[str, ...], known: Iterable[str], span: Place) -> Diagnostic:
    return errors.unknown_key(span(keys), shown(keys), keys[-1], known)


def _sources(
    name: str, fact: Mapping[str, Any], facts: Mapping[str, Any], span: Place
) -> Iterator[Diagnostic]:
    """What is wrong with the facts that a fact is made from."""
    for key in ("same_as", "product", "quotient"):
        parts = [fact[key]] if key == "same_as" and key in fact else fact.get(key, [])
        lost = [part for part in parts if isinstance(part, str) and part not in facts]
        keys = ("facts", name, key)
        if lost:
            yield errors.wrong_value(span(keys), shown(keys), f"there is no fact `{lost[0]}`")
        elif key != "same_as" and key in fact and len(parts) != 2:
            yield errors.wrong_value(span(keys), shown(keys), "it has two parts")


def _traits(traits: Mapping[str, Any], span: Place) -> Iterator[Diagnostic]:
    wrong = []
    for kind in (Value, TraitKey):
        part = {
            name: value for name, value in traits.items() if isinstance(value, dict) == (kind is TraitKey)
        }
        kinds: Any = dict[str, dict[str, kind]]  # type: ignore[valid-type]
        wrong += list(_said(kinds, {"traits": part}, span))
    yield from wrong
    if not traits or wrong:
        return
    words = trait_words()
    for name, value in traits.items():
        keys = ("traits", name)
        if name not in words:
            yield _unknown(keys, words, span)
        elif isinstance(value, str) and words[name].values and value not in words[name].values:
            yield errors.wrong_value(span(keys), shown(keys), f"it is one of {', '.join(words[name].values)}")
    for name, word in words.items():
        if word.default is None and name not in traits:
            yield errors.missing_key(span(("traits", name)), f"traits.{name}", "a family must state it")


# ---------------------------------------------------------------- tables


def shown(keys: Keys) -> str:
    """The way to an entry as TOML writes it."""
    parts = (str(key) if isinstance(key, int) or "." not in key else f'"{key}"' for key in keys)
    return ".".join(parts)


def _kind_at(kind: Any, keys: Keys) -> Any:
    """The kind of the table at a place of a larger one."""
    for key in keys:
        kind = fields_of(kind)[0][str(key)] if _is_table(kind) else get_args(kind)[-1]
    return kind


def _is_table(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, Table)


def _has(table: Any, keys: Keys) -> bool:
    """Whether there is an entry at the end of a way."""
    for key in keys:
        there = range(len(table)) if isinstance(table, list) else table if isinstance(table, dict) else ()
        if key not in there:
            return False
        table = table[key]
    return True


@cache
def _parsed(source: Source, lines: int) -> dict[str, Any] | None:
    """The first lines of a file, None where they end inside an entry."""
    end = source.line_starts[lines] if lines < len(source.line_starts) else len(source.text)
    try:
        return tomllib.loads(source.text[:end])
    except tomllib.TOMLDecodeError:
        return None


def _line_of(error: tomllib.TOMLDecodeError, source: Source) -> int:
    """The line that the parser stopped at, as its message says."""
    told = str(error).partition("(at line ")[2].partition(",")[0]
    return int(told) if told.isdecimal() else len(source.line_starts)


def _table_of(name: str) -> dict[str, Any]:
    """What stands in the file of a family; nothing where it is none, or no TOML."""
    path = family_files().get(name)
    try:
        return {} if path is None else tomllib.loads(path.read_text("utf-8"))
    except (tomllib.TOMLDecodeError, OSError, UnicodeDecodeError):
        return {}


def _rests_on(name: str) -> tuple[str, ...]:
    """The families that a file names, those that they name, and so on; each once."""
    found: dict[str, None] = {}
    waiting = [name]
    while waiting:
        table = _table_of(waiting.pop())
        named = [table[key] for key in LINKS if isinstance(table.get(key), str)]
        waiting += [one for one in named if one not in found]
        found |= dict.fromkeys(named)
    return tuple(found)
