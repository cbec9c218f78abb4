"""Tables of TOML -> frozen dataclasses.

What ships is right already: its tests have pydantic validate every table, type by type. So a run only puts them
together, which takes a hundredth of the time. What a user adds is validated where it is read.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from functools import cache
from types import NoneType, UnionType
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

T = TypeVar("T")


class Table:
    """Base of everything that is read from tables: keys that it does not have are mistakes, to pydantic too."""

    __pydantic_config__ = {"extra": "forbid"}


class BadTable(Exception):
    """A table has keys that its kind has not, or lacks some that it needs."""


def built(kind: type[T], table: Mapping[str, Any]) -> T:
    """The object of a frozen dataclass from a table: tables inside become what its fields say, lists become tuples.

    Raises BadTable for unknown and for missing keys. Single values are taken as they are.
    """
    types, needed = fields_of(kind)  # type: ignore[arg-type]
    if wrong := (table.keys() - types.keys()) | (needed - table.keys()):
        raise BadTable(f"{kind.__name__}: missing or unknown {', '.join(sorted(wrong))}")
    return kind(**{name: _value(types[name], value) for name, value in table.items()})


def _value(kind: Any, value: Any) -> Any:
    """A value as its type asks for it."""
    if kind is Any:
        return value
    if isinstance(value, list):
        inner = get_args(kind)[0]
        items = [_value(inner, item) for item in value]
        return frozenset(items) if get_origin(kind) is frozenset else tuple(items)
    if not isinstance(value, dict):
        return value
    if is_dataclass(kind):
        return built(kind, value)  # type: ignore[arg-type]
    inner = get_args(kind)[1]
    return {key: _value(inner, item) for key, item in value.items()}


@cache
def fields_of(kind: Any) -> tuple[dict[str, Any], frozenset[str]]:
    """The types of a dataclass's fields by name, those of optional ones without None; and which have to be given."""
    known = fields(kind)
    told = get_type_hints(kind)
    needed = (f.name for f in known if f.default is MISSING and f.default_factory is MISSING)
    return {f.name: _there(told[f.name]) for f in known}, frozenset(needed)


def _there(kind: Any) -> Any:
    """A type without the None that it may be instead."""
    if get_origin(kind) not in (Union, UnionType):
        return kind
    others = [one for one in get_args(kind) if one is not NoneType]
    return others[0] if len(others) == 1 else Any
