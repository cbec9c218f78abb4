"""Tables of TOML -> frozen objects.

What ships is right already: its tests have pydantic validate every table, type by type. So a run only puts them
together, which takes a hundredth of the time. What a user adds is validated where it is read.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Any, TypeVar, Union, get_args, get_origin, get_type_hints

from glassbox_dsl.vocabulary.plain import Plain

if TYPE_CHECKING:
    from pydantic import GetCoreSchemaHandler
    from pydantic_core import CoreSchema

T = TypeVar("T", bound="Table")


class Table(Plain):
    """Base of everything that is read from tables: keys that it does not have are mistakes."""

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """How pydantic validates it: as a table whose values have the types of the fields."""
        from pydantic_core import core_schema

        kinds = {name: handler.generate_schema(kind) for name, kind in _hints(cls).items()}
        fields = {
            name: core_schema.typed_dict_field(kind, required=name not in cls._defaults)
            for name, kind in kinds.items()
        }
        table = core_schema.typed_dict_schema(fields, extra_behavior="forbid")
        return core_schema.no_info_after_validator_function(lambda values: cls(**values), table)


class BadTable(Exception):
    """A table has keys that its kind has not, or lacks some that it needs."""


def built(kind: type[T], table: Mapping[str, Any]) -> T:
    """The object of a kind from a table: tables inside become what its fields say, lists become tuples.

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
    if isinstance(kind, type) and issubclass(kind, Table):
        return built(kind, value)
    inner = get_args(kind)[1]
    return {key: _value(inner, item) for key, item in value.items()}


@cache
def fields_of(kind: type[Table]) -> tuple[dict[str, Any], frozenset[str]]:
    """The types of a kind's fields by name, those of optional ones without None; and which have to be given."""
    told = {name: _there(one) for name, one in _hints(kind).items()}
    return told, frozenset(name for name in told if name not in kind._defaults)


def _hints(kind: type[Table]) -> dict[str, Any]:
    told = get_type_hints(kind)
    return {name: told[name] for name in kind._fields}


def _there(kind: Any) -> Any:
    """A type without the None that it may be instead."""
    if get_origin(kind) not in (Union, UnionType):
        return kind
    others = [one for one in get_args(kind) if one is not NoneType]
    return others[0] if len(others) == 1 else Any
