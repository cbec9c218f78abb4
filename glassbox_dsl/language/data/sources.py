"""Where items come from: `slots`, `rows`, `from "file"` to lists of plain values."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from glassbox_dsl.diagnostics import Diagnostic
from glassbox_dsl.language.data import errors, source_errors
from glassbox_dsl.language.data.files import Unreadable, inside, read_rows, read_words, word_lists
from glassbox_dsl.language.data.spec import RowSource, Slot, SlotSource
from glassbox_dsl.source import Span
from glassbox_dsl.syntax import nodes
from glassbox_dsl.vocabulary.axes import AXES, RESERVED_WORDS
from glassbox_dsl.vocabulary.sites import sites

_NAME = re.compile(r"[a-z_][a-z0-9_]*")


@dataclass(frozen=True)
class Place:
    """What a data block may read: files from `folder`, inside `root`; literal `let`s of its file."""

    folder: Path
    root: Path
    lets: Mapping[str, nodes.Expr]


@dataclass
class Variables:
    """The variables of a data block and their values; `broken`: a source failed, so names are open."""

    declared: dict[str, Span] = field(default_factory=dict)
    values: dict[str, list[Any]] = field(default_factory=dict)
    broken: bool = False

    def kinds(self, name: str) -> tuple[str, ...]:
        """The kinds of value that a variable takes."""
        return tuple(sorted({kind_of(v) for v in self.values.get(name, ())}))

    def fields(self, name: str) -> tuple[str, ...] | None:
        """The fields that all values of a variable have; None where it does not hold records."""
        records = self.values.get(name, ())
        if not records or not all(isinstance(v, dict) for v in records):
            return None
        return tuple(key for key in records[0] if all(key in r for r in records))


def kind_of(value: Any) -> str:
    """The word for a value's kind."""
    if value is None:
        return "missing"
    if isinstance(value, bool):
        return "truth"
    names = {str: "text", int: "number", float: "number", tuple: "list", dict: "record"}
    return names[type(value)]


def reserved(name: str) -> bool:
    """Whether a name is one of the language's own."""
    return name in RESERVED_WORDS or name in AXES or name in sites() or name == "template"


class NotLiteral(Exception):
    """An expression that stands where a written-out value is needed."""

    def __init__(self, expr: nodes.Expr) -> None:
        self.expr = expr


def literal(expr: nodes.Expr, lets: Mapping[str, nodes.Expr] | None = None) -> Any:
    """The value that an expression writes out; NotLiteral where it does not."""
    match expr:
        case nodes.String(value=value) | nodes.Number(value=value):
            return value
        case nodes.Unary(op="-", operand=nodes.Number(value=value)):
            return -value
        case nodes.Name(id=("true" | "false") as word):
            return word == "true"
        case nodes.Name(id=name) if lets is not None and name in lets:
            return literal(lets[name], {k: v for k, v in lets.items() if k != name})
        case nodes.List(items=items) | nodes.Set(items=items):
            return tuple(literal(item, lets) for item in items)
        case nodes.Record(pairs=pairs):
            return {pair.key: literal(pair.value, lets) for pair in pairs}
    raise NotLiteral(expr)


def read_slots(node: nodes.Slots, place: Place, variables: Variables, found: list[Diagnostic]) -> SlotSource:
    """The lines of a `slots` block; a line that cannot be read still declares its names."""
    slots = []
    for line in node.lines:
        values = _line_values(line.source, place, found)
        for name in line.names:
            _declare(name, line.span, values or [], variables, found)
        if values is None:
            continue
        distinct = _distinct(values)
        if len(distinct) < len(line.names):
            found.append(source_errors.too_few_values(line.span, line.names, len(distinct)))
        slots.append(Slot(names=line.names, values=distinct, span=line.span))
    return SlotSource(slots=tuple(slots), span=node.span)


def read_row_list(node: nodes.Rows, place: Place, variables: Variables, found: list[Diagnostic]) -> RowSource:
    """`rows [{...}, ...]`: every row a record with the same keys."""
    rows: list[dict[str, Any]] = []
    for expr in node.rows.items:
        try:
            value = literal(expr, place.lets)
        except NotLiteral as error:
            found.append(source_errors.not_literal(error.expr.span, "a row"))
            variables.broken = True
            continue
        if not isinstance(value, dict):
            found.append(source_errors.not_a_row(expr.span))
        elif isinstance(expr, nodes.Record) and (twice := _key_twice(expr)):
            found.append(source_errors.key_twice(twice.span, twice.key))
        elif rows and set(value) != set(rows[0]):
            found.append(source_errors.other_keys(expr.span, tuple(rows[0]), tuple(value)))
        else:
            rows.append(value)
    if not node.rows.items:
        found.append(source_errors.no_rows(node.span))
    _declare_columns(rows, node, variables, found)
    return RowSource(rows=tuple(rows), described="rows", span=node.span)


def read_file(node: nodes.From, place: Place, variables: Variables, found: list[Diagnostic]) -> RowSource:
    """`from "file"`: the rows of a file, which are records."""
    try:
        rows = read_rows(inside(node.path, place.folder, place.root))
        if any(not isinstance(row, dict) for row in rows):
            raise Unreadable("its lines are not all records, as the rows of a data set must be")
    except Unreadable as error:
        found.append(source_errors.unreadable(node.span, node.path, str(error)))
        variables.broken = True
        rows = []
    columns = tuple(dict.fromkeys(key for row in rows for key in row))
    filled = [{key: row.get(key) for key in columns} for row in rows]
    for name in columns:
        # A column that the language cannot name is no mistake as long as nothing names it.
        if _NAME.fullmatch(name) and not reserved(name):
            _declare(name, node.span, [row[name] for row in filled], variables, found)
    return RowSource(rows=tuple(filled), described=node.path, span=node.span)


def _line_values(
    source: nodes.List | nodes.Name | nodes.String, place: Place, found: list[Diagnostic]
) -> list[Any] | None:
    try:
        values = _values_of(source, place, found)
    except NotLiteral as error:
        found.append(source_errors.not_literal(error.expr.span, "a value of a slot"))
        return None
    except Unreadable as error:
        path = source.value if isinstance(source, nodes.String) else source.span.text
        found.append(source_errors.unreadable(source.span, path, str(error)))
        return None
    if values is not None and not values:
        found.append(source_errors.empty_list(source.span))
        return None
    return values


def _values_of(
    source: nodes.List | nodes.Name | nodes.String, place: Place, found: list[Diagnostic]
) -> list[Any] | None:
    if isinstance(source, nodes.List):
        return [literal(item, place.lets) for item in source.items]
    if isinstance(source, nodes.String):
        return read_rows(inside(source.value, place.folder, place.root))
    if source.id in place.lets:
        value = literal(source, place.lets)
        if isinstance(value, tuple):
            return list(value)
        raise NotLiteral(source)
    lists = word_lists()
    if source.id not in lists:
        found.append(source_errors.unknown_word_list(source.span, source.id, (*lists, *place.lets)))
        return None
    return read_words(lists[source.id])


def _declare_columns(
    rows: list[dict[str, Any]], node: nodes.Rows, variables: Variables, found: list[Diagnostic]
) -> None:
    first = next((e for e in node.rows.items if isinstance(e, nodes.Record)), None)
    spans = {pair.key: pair.span for pair in first.pairs} if first is not None else {}
    for name in rows[0] if rows else ():
        _declare(name, spans.get(name, node.span), [row[name] for row in rows], variables, found)


def _declare(name: str, span: Span, values: list[Any], variables: Variables, found: list[Diagnostic]) -> None:
    where = word_span(span, name)
    if reserved(name):
        found.append(errors.reserved(where, name))
    if name in variables.declared:
        found.append(errors.declared_twice(where, name, variables.declared[name]))
        return
    variables.declared[name] = where
    variables.values[name] = values


def word_span(span: Span, word: str) -> Span:
    """The first place of a word in a span, else the span."""
    match = re.search(rf"(?<![\w]){re.escape(word)}(?![\w])", span.text)
    return span if match is None else Span(span.source, span.start + match.start(), span.start + match.end())


def _distinct(values: Iterable[Any]) -> tuple[Any, ...]:
    kept: dict[str, Any] = {}
    for value in values:
        kept.setdefault(repr(value), value)
    return tuple(kept.values())


def _key_twice(record: nodes.Record) -> nodes.Pair | None:
    seen: set[str] = set()
    for pair in record.pairs:
        if pair.key in seen:
            return pair
        seen.add(pair.key)
    return None
