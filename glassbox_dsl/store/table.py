"""The answer to a query, as rows of Python values."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Table:
    """The answer to a query. `types` are DuckDB's names. `truncated`: there were more rows than the limit."""

    columns: tuple[str, ...]
    types: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]
    truncated: bool = False

    def column(self, name: str) -> tuple[Any, ...]:
        """The values of one column, top to bottom."""
        at = self.columns.index(name)
        return tuple(row[at] for row in self.rows)

    def dicts(self) -> Iterator[dict[str, Any]]:
        """The rows, each as a mapping by column."""
        return (dict(zip(self.columns, row, strict=True)) for row in self.rows)
