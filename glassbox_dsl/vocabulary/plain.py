"""The base of what stages hand each other: frozen, compared by content, and made at no cost when a module loads."""

from __future__ import annotations

from typing import Any, ClassVar, NoReturn, Self, dataclass_transform


@dataclass_transform(frozen_default=True, kw_only_default=True, eq_default=False)
class Plain:
    """A frozen object made by keyword, compared by content without the place.

    Neither a pydantic model nor a dataclass: there are some two hundred kinds of nodes and tables, and building their
    schemas took a quarter of the time that `gbx check` has; a dataclass, which compiles its methods, a millisecond of
    it. Types are checked by mypy; names of fields, here. Defaults are shared: nobody changes what is in a field.
    """

    _fields: ClassVar[tuple[str, ...]] = ()
    _names: ClassVar[frozenset[str]] = frozenset()
    _defaults: ClassVar[dict[str, Any]] = {}

    def __init_subclass__(cls) -> None:
        own = [name for name in cls.__dict__.get("__annotations__", {}) if not name.startswith("_")]
        cls._fields = (*cls._fields, *(name for name in own if name not in cls._fields))
        cls._names = frozenset(cls._fields)
        cls._defaults = {
            **cls._defaults,
            **{name: cls.__dict__[name] for name in own if name in cls.__dict__},
        }

    def __init__(self, **values: Any) -> None:
        own = self.__dict__
        own.update(self._defaults)
        own.update(values)
        if own.keys() != self._names:
            wrong = own.keys() ^ self._names
            raise TypeError(f"{type(self).__name__}: missing or unknown {', '.join(sorted(wrong))}")

    def __setattr__(self, name: str, value: Any) -> NoReturn:
        raise AttributeError(f"{type(self).__name__} is frozen")

    def given(self) -> dict[str, Any]:
        """The fields that have another value than they would have without being written."""
        own, usual = self.__dict__, self._defaults
        return {name: own[name] for name in self._fields if name not in usual or own[name] != usual[name]}

    def changed(self, **fields: Any) -> Self:
        """The same node with some fields exchanged."""
        return type(self)(**{name: fields.get(name, self.__dict__[name]) for name in self._fields} | fields)

    def _content(self) -> tuple[Any, ...]:
        return tuple(self.__dict__[name] for name in self._fields if name != "span")

    def __eq__(self, other: object) -> bool:
        """Equal kind and equal fields, the place apart."""
        return type(self) is type(other) and self._content() == other._content()

    def __hash__(self) -> int:
        known: int | None = self.__dict__.get("_hash")
        if known is None:
            # Values hold all that they depend on, so that a key may be a large tree: it is walked once.
            known = self.__dict__["_hash"] = hash((type(self), self._content()))
        return known

    def __repr__(self) -> str:
        fields = ", ".join(f"{name}={self.__dict__[name]!r}" for name in self._fields if name != "span")
        return f"{type(self).__name__}({fields})"
