"""Stored results in Python: `glassbox_dsl.open("results.duckdb").sql("FROM patch_resid.recovered").df()`.

No model library is imported, and the file is only read, shut off from everything else, one statement at a time.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from glassbox_dsl.store.reader import RunInfo
    from glassbox_dsl.store.table import Table


class Results:
    """A results file. Nothing stays open between calls, so that a run may go on writing to it."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path).resolve()
        self.runs()  # a file that is no results file is refused here

    def __repr__(self) -> str:
        return f"Results({str(self.path)!r})"

    def sql(self, sql: str, seconds: float = 30.0) -> Answer:
        """The answer to one SELECT; `seconds` is its time limit.

        Raises Findings: GB620 (not valid), GB621 (more than reading), GB622, GB623 (too slow, too big).
        """
        return Answer(self.path, sql, seconds)

    def runs(self) -> tuple[RunInfo, ...]:
        """All runs, oldest first."""
        from glassbox_dsl.store.reader import open_reader

        with open_reader(self.path) as reader:
            return reader.runs()


class Answer:
    """The answer to a statement: iterate over `rows`, or take it as a table of pandas, Polars or pyarrow."""

    def __init__(self, path: Path, sql: str, seconds: float) -> None:
        from glassbox_dsl.store.query import query

        self._path, self._sql, self._seconds = path, sql, seconds
        shape = query(
            path, sql, limit=0, seconds=seconds
        )  # a mistake is found here, not when rows are wanted
        self.columns = shape.columns
        self.types = shape.types

    def __repr__(self) -> str:
        return f"Answer({', '.join(f'{n} {t}' for n, t in zip(self.columns, self.types, strict=True))})"

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        return iter(self.rows)

    def __len__(self) -> int:
        return len(self.rows)

    @cached_property
    def _table(self) -> Table:
        from glassbox_dsl.store.query import query

        return query(self._path, self._sql, seconds=self._seconds)

    @property
    def rows(self) -> tuple[tuple[Any, ...], ...]:
        """The rows, as tuples in the order of `columns`."""
        return self._table.rows

    def dicts(self) -> list[dict[str, Any]]:
        """The rows, each as a mapping by column."""
        return list(self._table.dicts())

    def df(self) -> Any:
        """A pandas DataFrame."""
        return self._frame("df", "pandas")

    def pl(self) -> Any:
        """A Polars DataFrame."""
        return self._frame("pl", "polars", "pyarrow")

    def arrow(self) -> Any:
        """A pyarrow Table."""
        return self._frame("to_arrow_table", "pyarrow")

    def _frame(self, kind: str, *packages: str) -> Any:
        from glassbox_dsl.store.query import frame

        missing = [package for package in packages if find_spec(package) is None]
        if missing:
            raise ImportError(f"this needs {' and '.join(missing)}: pip install {' '.join(missing)}")
        return frame(self._path, self._sql, kind, self._seconds)
