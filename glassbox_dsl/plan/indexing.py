"""Indices on real items: which cell of an axis an index names, for every item and cell of a sweep at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from glassbox_dsl.diagnostics import InternalError
from glassbox_dsl.language.program import (
    AllCells,
    AnyOf,
    Arithmetic,
    At,
    Between,
    ByValue,
    Covered,
    Depth,
    Expr,
    Index,
    Not,
    Position,
    Swept,
    Tuples,
)
from glassbox_dsl.language.set_nodes import SetExpr, SetIndex
from glassbox_dsl.plan.data_arrays import DataArrays, PromptArrays
from glassbox_dsl.plan.named import Integers, Named, along, combine, scalar, take
from glassbox_dsl.resolve.cells import Cell, Sizes
from glassbox_dsl.vocabulary.axes import ITEM, POSITION_AXES

CELL = "#cell"
ARITHMETIC: dict[str, Callable[..., NDArray[Any]]] = {"+": np.add, "-": np.subtract, "*": np.multiply}
TRUE, FALSE = Named(np.array(True)), Named(np.array(False))


@dataclass(frozen=True)
class Binding:
    """A variable in an environment: `ids` numbers its cells; `cells` None means that a number is its own index."""

    ids: Named
    dimension: str
    cells: tuple[Cell, ...] | None = None

    @property
    def has_sets(self) -> bool:
        """Whether some member is a span, range or set that is used whole."""
        return any(c.whole for c in self.cells or ())

    def codes(self, n: int) -> tuple[str, ...]:
        """What identifies each cell where two families meet; `n` of them where a number is its own index."""
        return tuple(map(str, range(n))) if self.cells is None else tuple(c.key for c in self.cells)


@dataclass(frozen=True)
class Env:
    """What the names of an expression stand for while it is evaluated.

    `variables` has every variable in reach, axes swept whole included. `item` numbers the kept items. In an edit,
    `coordinates` are the written site's own axes and `own` its value (a tensor, where it is run).
    `extension`: an answer and which of its alternatives stands behind the prompt. `writer`: where another model's
    run is read in an edit, the written model's indices and the items as it numbers them. `around`: the whole value that
    an expression is part of.
    """

    item: Named
    variables: Mapping[str, Binding] = field(default_factory=dict)
    coordinates: Mapping[str, Named] = field(default_factory=dict)
    own: Any = None
    site: tuple[str, int | None] | None = None
    prompt: str | None = None
    extension: tuple[str, int] | None = None
    writer: tuple[Indexer, Named] | None = None
    around: Expr | None = None

    def with_variables(self, more: Mapping[str, Binding]) -> Env:
        """The same environment with more or other variables."""
        return replace(self, variables={**self.variables, **more})


def narrowed(env: Env, dim: str, piece: Integers) -> Env:
    """An environment with only a piece of one dimension."""

    def cut(ids: Named) -> Named:
        return Named(ids.data[piece], ids.dims, None if ids.present is None else ids.present[piece])

    if dim == ITEM:
        return replace(env, item=cut(env.item))
    return env.with_variables(
        {n: replace(b, ids=cut(b.ids)) for n, b in env.variables.items() if b.dimension == dim}
    )


@dataclass(frozen=True)
class Indexer:
    """Evaluates indices against a model's sizes and a data set's prompts."""

    sizes: Sizes
    data: DataArrays
    contains: Callable[[SetExpr, Sequence[Named], Env, str], Named]
    """Whether joint coordinates belong to a set from results."""
    tables: dict[tuple[int, str, str], tuple[tuple[Cell, ...], Named]] = field(
        default_factory=dict, compare=False, repr=False
    )
    """What the cells of variables stand for, by the identity of the cells, which are kept so that it lasts."""

    # ------------------------------------------------------------ points

    def point(self, index: Index, axis: str, env: Env, prompt: str) -> Named:
        """The cell that a point index names: integers with dimensions of items and variables; no cell is absent."""
        found = self._point(index, axis, env, prompt)
        if axis in POSITION_AXES:
            return found.where(found.data >= 0)
        return found.where((found.data >= 0) & (found.data < self.sizes.of(axis)))

    def _point(self, index: Index, axis: str, env: Env, prompt: str) -> Named:
        match index:
            case At(value=value) if value >= 0:
                return scalar(value)
            case At(value=value):
                return combine(lambda n: n + value, self.length(axis, env, prompt))
            case Depth(value=percent):
                return scalar(int(percent / 100 * (self.sizes.of(axis) - 1) + 0.5))
            case Position():
                return self._named_position(index, env, prompt)
            case Swept(variable=name):
                return self.variable(name, axis, env, prompt)
            case Arithmetic(op=op):
                left, right = (
                    self._point(index.left, axis, env, prompt),
                    self._point(index.right, axis, env, prompt),
                )
                return combine(ARITHMETIC[op], left, right)
            case ByValue(number=float() as number):
                return scalar(int(number))
        raise InternalError(f"{type(index).__name__} is not a point")

    def length(self, axis: str, env: Env, prompt: str) -> Named:
        """How many cells the axis has: for positions, the tokens of each item's prompt."""
        if axis not in POSITION_AXES:
            return scalar(self.sizes.of(axis))
        return take(Named(self.data.prompt(prompt).length, (ITEM,)), {ITEM: env.item})

    def _named_position(self, index: Position, env: Env, prompt: str) -> Named:
        arrays = self.data.prompt(prompt)
        if index.label is None:
            ends = {"first": np.zeros_like(arrays.length), "last": arrays.length - 1}
            return take(Named(ends[index.part], (ITEM,)), {ITEM: env.item})
        start, end = span_of(arrays, index.label)
        table = start if index.part == "first" else np.where(end > 0, end - 1, end)
        return take(Named(table, (ITEM,)), {ITEM: env.item})

    def variable(self, name: str, axis: str, env: Env, prompt: str) -> Named:
        """The index that a variable stands for, on an axis."""
        binding = env.variables[name]
        if binding.cells is None:
            return binding.ids
        key = (id(binding.cells), axis, prompt)
        if key not in self.tables:
            self.tables[key] = binding.cells, self._table(binding.cells, axis, prompt)
        return take(self.tables[key][1], {CELL: binding.ids, ITEM: env.item})

    def _table(self, cells: tuple[Cell, ...], axis: str, prompt: str) -> Named:
        """The index of every cell, along #cell and for named positions also along the items."""
        if all(c.at is not None for c in cells):
            return Named(np.array([c.at for c in cells], dtype=np.int64), (CELL,))
        if all(c.number is not None for c in cells):
            return Named(np.array([int(c.number or 0) for c in cells], dtype=np.int64), (CELL,))
        orders: dict[Index, Integers] = {}
        return Named(np.stack([self._cell_positions(c, axis, prompt, orders) for c in cells]), (CELL, ITEM))

    def _cell_positions(self, cell: Cell, axis: str, prompt: str, orders: dict[Index, Integers]) -> Integers:
        """Where one cell lies in every item's prompt, [item]; -1: nowhere, as what is several positions or a name."""
        n = self.data.n_items
        at = cell.number if cell.at is None else cell.at
        if at is not None or cell.index is None or cell.whole:
            return np.full(n, -1 if at is None else int(at), dtype=np.int64)
        if cell.nth is None:
            found = self.point(cell.index, axis, Env(item=along(ITEM, n)), prompt)
            return np.broadcast_to(np.where(found.full_presence(), found.data, -1), n)
        if cell.index not in orders:
            orders[cell.index] = self._order(cell.index, axis, prompt)
        order = orders[cell.index]
        return order[:, cell.nth] if cell.nth < order.shape[1] else np.full(n, -1)

    def positions(self, cell: Cell, axis: str, prompt: str) -> Integers:
        """Where a cell lies in every item's prompt, [item]; -1: nowhere."""
        return self._cell_positions(cell, axis, prompt, {})

    def _order(self, index: Index, axis: str, prompt: str) -> Integers:
        """The positions that an index selects in every item's prompt, in order, [item, nth]; -1 behind them."""
        n, size = self.data.n_items, self.sizes.of(axis)
        selected = self.member(index, along(axis, size), axis, Env(item=along(ITEM, n)), prompt)
        inside = np.broadcast_to(selected.spread((ITEM, axis))[0], (n, size))
        first = np.argsort(~inside, axis=1, kind="stable")
        return np.where(np.take_along_axis(inside, first, 1), first, -1)

    # ------------------------------------------------------------ selections

    def member(self, index: Index, coordinate: Named, axis: str, env: Env, prompt: str) -> Named:
        """Whether each coordinate of an axis is selected by an index."""
        match index:
            case AllCells() | Covered():
                return TRUE
            case Not():
                return combine(np.logical_not, self.member(index.inner, coordinate, axis, env, prompt))
            case AnyOf():
                return self._any([self.member(i, coordinate, axis, env, prompt) for i in index.items])
            case Between():
                low, high = (self._bound(i, axis, env, prompt) for i in (index.low, index.high))
                return combine(lambda c, a, b: (c >= a) & (c <= b), coordinate, low, high)
            case Position(part="span", label=label):
                start, end = span_of(self.data.prompt(prompt), str(label))
                low, high = (take(Named(t, (ITEM,)), {ITEM: env.item}) for t in (start, end))
                return combine(lambda c, a, b: (c >= a) & (c < b), coordinate, low, high)
            case SetIndex():
                return self.contains(index.members, [coordinate], env, prompt)
            case Swept(variable=name) if env.variables[name].has_sets:
                return self._set_member(env.variables[name], coordinate, axis, env, prompt)
        return self._equal(coordinate, self.point(index, axis, env, prompt))

    def _bound(self, index: Index, axis: str, env: Env, prompt: str) -> Named:
        """An end of a range: it may lie outside the axis, and is cut to it by the coordinates themselves."""
        found = self._point(index, axis, env, prompt)
        return Named(found.data, found.dims)

    @staticmethod
    def _equal(coordinate: Named, point: Named) -> Named:
        same = combine(np.equal, coordinate, Named(point.data, point.dims))
        if point.present is None:
            return same
        return combine(np.logical_and, same, Named(point.full_presence(), point.dims))

    @staticmethod
    def _any(parts: Sequence[Named]) -> Named:
        result = FALSE
        for part in parts:
            result = combine(np.logical_or, result, part)
        return result

    def _set_member(self, binding: Binding, coordinate: Named, axis: str, env: Env, prompt: str) -> Named:
        assert binding.cells is not None
        parts = []
        for number, cell in enumerate(binding.cells):
            chosen = combine(lambda ids, n=number: ids == n, binding.ids)
            index = cell.index
            inside = (
                self.member(index, coordinate, axis, env, prompt)
                if index is not None
                else self._equal(coordinate, scalar(cell.at or 0))
            )
            parts.append(combine(np.logical_and, chosen, inside))
        return self._any(parts)

    def tuples(self, index: Tuples, coordinates: Sequence[tuple[str, Named]], env: Env, prompt: str) -> Named:
        """Whether joint coordinates on several axes stand in a set of tuples."""
        rows = []
        for row in index.items:
            joined = TRUE
            for part, (axis, coordinate) in zip(row, coordinates, strict=False):
                joined = combine(np.logical_and, joined, self.member(part, coordinate, axis, env, prompt))
            rows.append(joined)
        found = self._any(rows)
        return combine(np.logical_not, found) if index.complement else found

    def selection(
        self,
        indices: Sequence[Index],
        axes: Sequence[str],
        coordinates: Mapping[str, Named],
        env: Env,
        prompt: str,
    ) -> Named:
        """Whether each joint coordinate of a site is selected by its indices."""
        chosen = TRUE
        for place, (index, axis) in enumerate(zip(indices, axes, strict=True)):
            if isinstance(index, Tuples):
                spans = [(a, coordinates[a]) for a in axes[place : place + index.width]]
                part = self.tuples(index, spans, env, prompt)
            elif isinstance(index, SetIndex):
                joint = [coordinates[a] for a in axes[place : place + index.width]]
                part = self.contains(index.members, joint, env, prompt)
            else:
                part = self.member(index, coordinates[axis], axis, env, prompt)
            chosen = combine(np.logical_and, chosen, part)
        return chosen


def span_of(arrays: PromptArrays, label: str) -> tuple[Integers, Integers]:
    """Start and end of a label in every item's prompt; -1 where a prompt lacks it."""
    missing = np.full_like(arrays.length, -1)
    return arrays.starts.get(label, missing), arrays.ends.get(label, missing)
