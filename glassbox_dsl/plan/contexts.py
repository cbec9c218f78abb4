"""The contexts of a file: which experiments meet which models and data sets, in which order, on which items."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from glassbox_dsl.language.program import Experiment, Program, Reference
from glassbox_dsl.language.set_nodes import SetReference
from glassbox_dsl.resolve.data import DataTable
from glassbox_dsl.syntax import nodes

Key = tuple[str, str, str]
"""An experiment, a model and a data set."""

FEWEST_ITEMS = 2
"""With fewer kept items an experiment says nothing."""


def contexts(program: Program) -> Iterator[Key]:
    """All contexts that a file asks for, in the order in which they are made."""
    for model in [m.name for m in program.models]:
        for group in groups(program, model):
            yield from ((e.name, model, data) for e in group for data in e.data)


def groups(program: Program, model: str) -> list[list[Experiment]]:
    """The wanted experiments of a model: those that read none of the others are made together, then the rest."""
    wanted = [e for e in program.experiments if e.wanted and model in e.models]
    names = {e.name for e in wanted}
    reads = {e.name: {r.experiment for r in references(e)} & names - {e.name} for e in wanted}
    found: list[list[Experiment]] = []
    done: set[str] = set()
    while len(done) < len(wanted):
        ready = [e for e in wanted if e.name not in done and reads[e.name] <= done]
        found.append(ready or [e for e in wanted if e.name not in done])
        done |= {e.name for e in found[-1]}
    return found


def everything(node: nodes.Node) -> Iterator[nodes.Node]:
    """A node and all nodes below it."""
    yield node
    for child in nodes.children(node):
        yield from everything(child)


def references(experiment: Experiment) -> Iterator[Reference | SetReference]:
    """The lets and measures that an experiment reads."""
    return (n for n in everything(experiment) if isinstance(n, Reference | SetReference))


def without(table: DataTable, dropped: Mapping[int, str]) -> DataTable:
    """A data set without the items that conditions drop: their numbers, and the condition of each."""
    items = tuple(
        i.model_copy(update={"kept": False, "dropped_by": dropped[i.number]})
        if i.kept and i.number in dropped
        else i
        for i in table.items
    )
    return table.model_copy(update={"items": items, "n_kept": sum(i.kept for i in items)})
