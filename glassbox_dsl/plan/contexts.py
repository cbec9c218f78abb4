"""The contexts of a file: which experiments meet which models and data sets, in which order, on which items."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from glassbox_dsl.language.program import Program
from glassbox_dsl.plan.asked import experiment_groups
from glassbox_dsl.resolve.data import DataTable

Key = tuple[str, str, str]
"""An experiment, a model and a data set."""


def contexts(program: Program) -> Iterator[Key]:
    """All contexts that a file asks for, in the order in which they are made."""
    for model in [m.name for m in program.models]:
        for group in experiment_groups(program, model):
            yield from ((e.name, model, data) for e in group for data in e.data)


def without(table: DataTable, dropped: Mapping[int, str]) -> DataTable:
    """A data set without the items that conditions drop: their numbers, and the condition of each."""
    items = tuple(
        i.changed(kept=False, dropped_by=dropped[i.number]) if i.kept and i.number in dropped else i
        for i in table.items
    )
    return table.changed(items=items, n_kept=sum(i.kept for i in items))
