"""Cells that are written but do not exist: `x[7]` where alpha is 0 or 1, `patched[12]` on a model of 12 layers.

Where values meet, a cell that only one of them has is no mistake. A cell that is named and is in no sweep is one:
nothing would be stored for it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from glassbox_dsl.diagnostics import Diagnostic
from glassbox_dsl.language.program import (
    AnyOf,
    At,
    Between,
    ByValue,
    Dimension,
    Experiment,
    InContext,
    Index,
    Position,
    Reference,
    RunUse,
    Swept,
)
from glassbox_dsl.resolve import errors
from glassbox_dsl.resolve.cells import Cell, Row, Sizes, fixed, resolve_dimension
from glassbox_dsl.syntax import nodes
from glassbox_dsl.vocabulary.axes import POSITION_AXES

Where = Sequence[tuple[str, Index]]


@dataclass(frozen=True)
class _Reading:
    """One reading of a declaration: what its variables take, and what the name-valued ones stand for."""

    swept: Mapping[str, frozenset[str]]
    when: frozenset[tuple[str, str]]


@dataclass(frozen=True)
class WrittenCells:
    """Looks for them in one experiment on one model; `experiments` are those that it may refer to."""

    experiment: Experiment
    experiments: Mapping[str, Experiment]
    sizes: Sizes
    items: Mapping[str, int] = field(
        default_factory=dict
    )  # how many items each data set has, where that is told

    def check(self) -> Iterator[Diagnostic]:
        """One finding for each place where a cell is named that is not there."""
        for value in self.experiment.values:
            for variant in value.variants:
                yield from self._below(variant.value, self._reading(value.dimensions, variant.when))
        for run in self.experiment.runs:
            for passed in run.variants:
                reading = self._reading(run.dimensions, passed.when)
                for edit in passed.edits:
                    yield from self._below(edit.value, reading)

    def _reading(self, dimensions: Sequence[Dimension], when: Sequence[tuple[str, str]]) -> _Reading:
        swept = {
            variable.name: frozenset(row[place].key for row in resolve_dimension(dimension, self.sizes)[0])
            for dimension in dimensions
            if dimension.members is not None and dimension.members_from is None
            for place, variable in enumerate(dimension.variables)
        }
        return _Reading(swept, frozenset(when))

    def _below(self, root: nodes.Node, reading: _Reading) -> Iterator[Diagnostic]:
        for node in nodes.every(root, RunUse, Reference, InContext):
            family = self._family(node)
            if family is not None:
                name, dimensions, where = family
                for dimension in dimensions:
                    yield from self._named(name, dimension, dict(where), reading)
            if isinstance(node, InContext):
                yield from self._behind(node, reading)
                yield from self._item(node)

    def _family(self, node: nodes.Node) -> tuple[str, tuple[Dimension, ...], Where] | None:
        """The name and dimensions of the family that a node takes cells of."""
        if isinstance(node, RunUse):
            run = next((r for r in self.experiment.runs if r.name == node.run), None)
            here = run is not None and run.model in (None, self.sizes.model)
            return (run.name, run.dimensions, node.where) if run is not None and here else None
        if isinstance(node, Reference):
            owner = self.experiments.get(node.experiment)
            values = owner.values if owner is not None else ()
            value = next((v for v in values if v.kind == node.kind and v.name == node.name), None)
            return (node.name, value.dimensions, node.where) if value is not None else None
        return None

    def _behind(self, node: InContext, reading: _Reading) -> Iterator[Diagnostic]:
        """`mean(x)[alpha: 7]`: the families below that leave alpha free must have that cell."""
        wanted = dict(node.where)
        for inner in nodes.everything(node.body):
            family = self._family(inner)
            if family is None:
                continue
            name, dimensions, where = family
            free = {v for v, index in where if isinstance(index, Swept) and index.variable == v}
            picked = {v: index for v, index in wanted.items() if v in free}
            for dimension in dimensions:
                yield from self._named(name, dimension, picked, reading)

    def _item(self, node: InContext) -> Iterator[Diagnostic]:
        """`x[item: 99]`: some data set must have it."""
        data = (node.data,) if node.data is not None else self.experiment.data
        counts = {name: self.items.get(name, node.item or 0) for name in data}
        if node.item is not None and counts and node.item >= max(counts.values()):
            largest = max(counts, key=lambda name: counts[name])
            if largest in self.items:
                yield errors.no_such_item(node.span, node.item, largest, counts[largest])

    def _named(
        self, name: str, dimension: Dimension, where: Mapping[str, Index], reading: _Reading
    ) -> Iterator[Diagnostic]:
        """The finding that the indices of a dimension's variables name no cell of it."""
        picked = [(i, v) for i, v in enumerate(dimension.variables) if v.name in where]
        if not picked:
            return
        rows = resolve_dimension(dimension, self.sizes)[0]
        left = [True] * len(rows)
        for place, variable in picked:
            index = where[variable.name]
            if (variable.name, getattr(index, "text", "")) in reading.when:
                continue
            matches = self._matches(index, [row[place] for row in rows], variable.axis, dimension, reading)
            left = [a and b for a, b in zip(left, matches, strict=True)] if matches is not None else left
            if rows and not any(left):
                yield self._say(name, dimension, where, index, rows)
                return

    def _say(
        self, name: str, dimension: Dimension, where: Mapping[str, Index], index: Index, rows: Sequence[Row]
    ) -> Diagnostic:
        variables = [v.name for v in dimension.variables]
        known = self._known(dimension, rows)
        if isinstance(index, Swept):
            return errors.no_shared_cell(index.span, name, index.variable, known)
        shown = [" ".join(where[v].span.text.split()) if v in where else ":" for v in variables]
        return errors.no_such_cell(index.span, name, _tuple(variables), _tuple(shown), known)

    def _known(self, dimension: Dimension, rows: Sequence[Row]) -> list[str]:
        """The cells there are, in the words of the file."""
        axis = dimension.variables[0].axis
        if dimension.members is None:
            return [f"0 to {len(rows) - 1} on `{self.sizes.model}`"]
        texts = [_tuple([c.text for c in row]) for row in rows]
        if (
            axis is not None
            and len(rows) > 8
            and all(len(row) == 1 and row[0].at is not None for row in rows)
        ):
            return [f"{texts[0]} to {texts[-1]}"]
        return texts

    def _matches(
        self, index: Index, cells: Sequence[Cell], axis: str | None, dimension: Dimension, reading: _Reading
    ) -> list[bool] | None:
        """Which cells of a dimension an index names; None where only the run can tell."""
        if isinstance(index, ByValue):
            return [_same_value(cell, index) for cell in cells]
        if any(c.whole or c.nth is not None for c in cells):
            return None
        if isinstance(index, Swept):
            known = reading.swept.get(index.variable)
            if known is None or (dimension.members is None and axis in POSITION_AXES):
                return None
            return [cell.key in known for cell in cells]
        if axis in POSITION_AXES:
            return _positions(index, cells) if dimension.members is not None else None
        return _numbers(index, cells, self.sizes.of(axis or ""))


def _positions(index: Index, cells: Sequence[Cell]) -> list[bool] | None:
    """Named positions against named ones, numbers against numbers: a name may be any number, as the item has it."""
    names = all(c.at is None and isinstance(c.index, Position) for c in cells)
    numbers = all(c.at is not None for c in cells)
    if isinstance(index, Position) and names:
        return [c.index == index for c in cells]
    if isinstance(index, At) and index.value >= 0 and (names or numbers):
        return [c.at == index.value for c in cells]
    return None


def _numbers(index: Index, cells: Sequence[Cell], size: int) -> list[bool] | None:
    if isinstance(index, AnyOf):
        each = [_numbers(item, cells, size) for item in index.items]
        known = [found for found in each if found is not None]
        return [any(fits) for fits in zip(*known, strict=True)] if known and len(known) == len(each) else None
    if isinstance(index, Between):
        low, high = (fixed(end, size, cut=True) for end in (index.low, index.high))
        if low is None or high is None:
            return None
        return [c.at is not None and low <= c.at <= high for c in cells]
    at = fixed(index, size, cut=True)
    return None if at is None else [c.at == at for c in cells]


def _same_value(cell: Cell, index: ByValue) -> bool:
    if index.number is not None and cell.number is not None:
        return cell.number == index.number
    return cell.text == index.text


def _tuple(parts: Sequence[str]) -> str:
    return parts[0] if len(parts) == 1 else f"({', '.join(parts)})"
