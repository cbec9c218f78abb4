"""The series that hold the numbers of a measure in a run, and how SQL chooses and names them.

A view names its series outright instead of joining the table `series`: so its rows keep the order in which they
were measured, and DuckDB skips the parts of the table that hold other series.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from duckdb import DuckDBPyConnection

from glassbox_dsl.store.layout import literal
from glassbox_dsl.store.rows import MeasureRow

Parts = Sequence["Part"]


@dataclass(frozen=True)
class Part:
    """One series: the rows of a measure for one model and data set."""

    series: int
    model: str
    data: str


def found_parts(connection: DuckDBPyConnection, run_id: str, measure: MeasureRow) -> tuple[Part, ...]:
    """The series of a measure in a run."""
    return parts_of_run(connection, run_id).get((measure.experiment, measure.measure), ())


def parts_of_run(connection: DuckDBPyConnection, run_id: str) -> dict[tuple[str, str], tuple[Part, ...]]:
    """All series of a run by experiment and measure, in the order they were written."""
    found: dict[tuple[str, str], tuple[Part, ...]] = {}
    sql = "SELECT experiment, measure, series, model, data FROM main.series WHERE run_id = ? ORDER BY series"
    for experiment, measure, *part in connection.execute(sql, [run_id]).fetchall():
        key = (experiment, measure)
        found[key] = (*found.get(key, ()), Part(*part))
    return found


def within(parts: Parts) -> str:
    """The condition that chooses the rows."""
    return f"series IN ({', '.join(str(part.series) for part in parts)})" if parts else "false"


def names_of(parts: Parts) -> str:
    """The columns `model` and `data`, made from the number of the series."""
    models, sets = ({p.series: name for p, name in zip(parts, names, strict=True)} for names in (
        [p.model for p in parts], [p.data for p in parts]))  # fmt: skip
    return f"{_name(models)} AS model, {_name(sets)} AS data"


def _name(names: dict[int, str]) -> str:
    """The one name there is, or the name that belongs to the series of a row."""
    if len(set(names.values())) <= 1:
        return f"CAST({literal(next(iter(names.values())))} AS VARCHAR)" if names else "CAST(NULL AS VARCHAR)"
    cases = (f"WHEN {number} THEN {literal(name)}" for number, name in names.items())
    return f"CASE series {' '.join(cases)} END"
