"""What a results file knows by content: single readings, and whole contexts of earlier runs."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeVar

import numpy as np

from glassbox_dsl.plan.shelf import Readings
from glassbox_dsl.store.file import reading
from glassbox_dsl.store.rows import Batch, MeasureRow
from glassbox_dsl.store.writer import FLUSH_SECONDS, Store

Named = TypeVar("Named")
EVERY_SECONDS: Final = 1.0
"""How much work is at stake at most: what is younger may be lost when a run is killed."""


@dataclass(frozen=True)
class Past:
    """A context that an earlier run has finished."""

    run_id: str
    key: str
    failed: bool
    headlines: tuple[str, ...]


@dataclass
class Archive:
    """The `Shelf` of a store: reads what is known before its run began, and writes at most once a second.

    `fresh`: find nothing, so that everything is computed again.
    """

    store: Store
    fresh: bool = False
    waiting: list[Readings] = field(default_factory=list)
    written: float = field(default_factory=time.monotonic)

    # ------------------------------------------------------------ readings

    def find(self, names: Sequence[str]) -> Iterator[Readings]:
        """Everything that is known of some readings, older ones first."""
        sql = "SELECT reading, n, width, keys, numbers FROM main.readings WHERE list_contains(?, reading)"
        for name, n, width, keys, values in self._rows(sql + " ORDER BY rowid", [list(names)]):
            numbers = np.frombuffer(values, dtype="<f4").reshape(n, width)
            yield Readings(name, np.frombuffer(keys, dtype="<u8").reshape(n, 2), numbers)

    def put(self, readings: Sequence[Readings]) -> None:
        """Keep some readings: with others of the same second in one transaction."""
        self.waiting += readings
        if time.monotonic() - self.written > EVERY_SECONDS:
            self.flush()

    def flush(self) -> None:
        """Write what waits."""
        if self.waiting:
            self.store.flush(Batch(readings=tuple(self.waiting)))
        self.waiting, self.written = [], time.monotonic()

    # ------------------------------------------------------------ contexts

    def contexts(self, keys: Mapping[Named, str]) -> dict[Named, Past]:
        """Those of some contexts, given with their content keys, that an earlier run has finished; the newest."""
        sql = "SELECT run_id, key, failed, headlines FROM main.contexts WHERE list_contains(?, key) ORDER BY rowid"
        found = {
            key: Past(run, key, failed, tuple(json.loads(headlines)))
            for run, key, failed, headlines in self._rows(sql, [list(keys.values())])
        }
        return {context: found[key] for context, key in keys.items() if key in found}

    def measures(self, past: Past, experiment: str) -> tuple[MeasureRow, ...]:
        """The measures of an experiment as an earlier run defined them."""
        sql = "SELECT * EXCLUDE (run_id, is_ratio) FROM main.measures WHERE run_id = ? AND experiment = ?"
        sql += " ORDER BY rowid"
        with reading(self.store.path, FLUSH_SECONDS, with_losses=True) as connection:
            found = connection.execute(sql, [past.run_id, experiment])
            names = [column[0] for column in found.description or ()]
            rows = [dict(zip(names, row, strict=True)) for row in found.fetchall()]
        return tuple(MeasureRow(**{**row, "variables": json.loads(row["variables"])}) for row in rows)

    def dropped(self, past: Past, data: str, model: str) -> dict[int, str]:
        """The items, by number, that an earlier run dropped, with the condition that each does not meet."""
        sql = (
            "SELECT item, coalesce(dropped_by, '') FROM main.items"
            " WHERE run_id = ? AND data = ? AND model = ? AND NOT kept"
        )
        return dict(self._rows(sql, [past.run_id, data, model]))

    def _rows(self, sql: str, values: Sequence[object]) -> list[tuple]:  # type: ignore[type-arg]
        if self.fresh or not self.store.path.exists():
            return []
        with reading(self.store.path, FLUSH_SECONDS, with_losses=True) as connection:
            return connection.execute(sql, list(values)).fetchall()
