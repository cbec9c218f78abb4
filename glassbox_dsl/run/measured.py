"""Values as columns: what the store keeps of a measure, record or claim, as plain numpy."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import zip_longest
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from glassbox_dsl.language.circuit_nodes import Found
from glassbox_dsl.language.program import Dimension, Operation, Value
from glassbox_dsl.language.technique_nodes import GeneratedText
from glassbox_dsl.plan.edges import Edges
from glassbox_dsl.plan.indexing import Binding
from glassbox_dsl.plan.named import Integers, Mask
from glassbox_dsl.run.context import Context
from glassbox_dsl.run.elementwise import quotient
from glassbox_dsl.run.evaluate import Evaluator
from glassbox_dsl.run.named import Named, combine, valued
from glassbox_dsl.run.position_columns import PositionColumns
from glassbox_dsl.vocabulary.axes import EDGE, ITEM, POSITION_AXES

TOP = ("token_id", "logit", "prob")
"""What `top` gives for each rank, in this order."""
SPLIT = "split"
"""The column of measures that use fits: `test`, the items that were held out, or `other`, where all are new."""


@dataclass(frozen=True)
class Column:
    """One variable of a measure: `kind` is int, float, text or position; `labels` only for positions."""

    name: str
    axis: str | None
    kind: str
    named: bool
    values: NDArray[Any]
    labels: NDArray[Any] | None = None


@dataclass(frozen=True)
class Measured:
    """One measure in one context: a row for each cell that exists. `top` holds columns of `top`'s rows."""

    value: Value
    model: str
    data: str
    item: NDArray[Any] | None
    columns: tuple[Column, ...]
    numbers: NDArray[Any]
    num: NDArray[Any] | None = None
    den: NDArray[Any] | None = None
    top: dict[str, NDArray[Any]] | None = None
    generated: tuple[tuple[int, ...], ...] | None = None


@dataclass(frozen=True)
class Recorded:
    """One item's tensor of a record, trimmed to its tokens."""

    value: Value
    model: str
    data: str
    item: int | None
    axes: tuple[str, ...]
    array: NDArray[Any] = field(repr=False)
    labels: dict[str, tuple[str | None, ...]]


@dataclass(frozen=True)
class Claimed:
    """A claim in one context: how many cells it has and how many of them break it, with an example."""

    value: Value
    model: str
    data: str
    cells: int
    broken: int
    left: float | None
    right: float | None
    example: dict[str, str]

    @property
    def holds(self) -> bool:
        """It holds in every cell, and there is one."""
        return self.cells > 0 and self.broken == 0


class Columns:
    """Lays out the values of one context."""

    def __init__(self, context: Context) -> None:
        self.context = context
        self.evaluator = Evaluator(context)
        self.positions = PositionColumns(context)

    # ------------------------------------------------------------ measures

    def measure(self, value: Value) -> Measured:
        """A measure as columns."""
        if value.table == "top":
            return self._top(value)
        num = den = None
        if value.table == "text":
            return self._text(value)
        if value.ratio:
            parts = [self.evaluator.complete(p, value) for p in self.evaluator.parts(value)]
            found = combine(quotient, *parts)
            num, den = (combine(lambda a, b: a + 0 * b, p, found_zero(found)) for p in parts)
        else:
            found = self.evaluator.complete(self.evaluator.family(value), value)
        order = self._order(value, found)
        there, index = self._cells(found, order)
        numbers = found.spread(order)[0][there].double().numpy()
        extra = [
            None if p is None else p.spread(order)[0].expand(there.shape)[there].double().numpy()
            for p in (num, den)
        ]
        return Measured(
            value,
            self.context.model,
            self.context.data_name,
            self._items(order, index),
            self._columns(value, order, index),
            numbers,
            num=extra[0],
            den=extra[1],
        )

    @staticmethod
    def _order(value: Value, found: Named) -> tuple[str, ...]:
        names = [d.name for d in value.dimensions]
        return (*names, *((ITEM,) if ITEM in found.dims else ()))

    @staticmethod
    def _cells(found: Named, order: Sequence[str]) -> tuple[Tensor, tuple[Integers, ...]]:
        """Which cells exist, and the place of each along every dimension."""
        data, present = found.spread(order)
        shape = data.shape[: len(order)]
        there = torch.ones(shape, dtype=torch.bool) if present is None else present.expand(shape)
        return there, there.numpy().nonzero() if order else ()

    def _items(self, order: Sequence[str], index: Sequence[Integers]) -> NDArray[Any] | None:
        if ITEM not in order:
            return None
        return self.context.data.numbers[index[order.index(ITEM)]]

    def _top(self, value: Value) -> Measured:
        found = self.evaluator.complete(self.evaluator.family(value), value)
        first = Named(found.data[..., 0], found.dims, False, found.present)
        order = self._order(value, first)
        there, index = self._cells(first, order)
        k = found.data.shape[-1] // len(TOP)
        rows = found.spread(order)[0].expand(*there.shape, -1)[there].split(k, dim=-1)
        columns = {name: part.reshape(-1).numpy() for name, part in zip(TOP, rows, strict=True)}
        columns["rank"] = np.tile(np.arange(1, k + 1), len(columns["logit"]) // k)
        index = tuple(np.repeat(i, k) for i in index)
        items = self._items(order, index)
        return Measured(
            value,
            self.context.model,
            self.context.data_name,
            items,
            self._columns(value, order, index),
            columns["prob"].astype(np.float64),
            top=columns,
        )

    def _text(self, value: Value) -> Measured:
        """Generated tokens: one row for each cell and item."""
        from glassbox_dsl.run.generation import Generations

        call = value.variants[0].value
        assert isinstance(call, GeneratedText)
        run = self.context.run(call.run.run)
        env = self.context.env(value.dimensions)
        cell = self.evaluator.places.run_cell(run, call.run.where, env)
        found = self.evaluator.complete(valued(cell), value.changed(has_item=True))
        tokens = Generations(self.evaluator).tokens(run)
        order = (*(d.name for d in value.dimensions), ITEM)
        data = found.spread(order)[0].long().numpy()
        cells = {i: (int(data[i]), i[-1]) for i in np.ndindex(data.shape)}
        kept = [i for i, key in cells.items() if key in tokens]
        index = tuple(np.array([i[k] for i in kept], dtype=np.int64) for k in range(len(order)))
        return Measured(
            value, self.context.model, self.context.data_name, self._items(order, index),
            self._columns(value, order, index), np.full(len(kept), np.nan),
            generated=tuple(tokens[cells[i]] for i in kept),
        )  # fmt: skip

    def circuit(self, value: Value) -> Measured:
        """A circuit: one row for each edge of the model in each cell, its score, and whether the circuit keeps it."""
        context = self.context
        edges = Edges.of(context.sizes.facts)
        shape = context.shape(value)
        kept = np.zeros((*shape, edges.n_edges), dtype=np.int64)
        scores = np.full((*shape, edges.n_edges), np.nan)
        variants, env = context.cell_variants(value), context.env(value.dimensions)
        dims = tuple(d.name for d in value.dimensions)
        for number, variant in enumerate(value.variants):
            mine = variants == number
            assert isinstance(variant.value, Found)
            found = context.sets.found(variant.value, env)
            for part, table in ((found.kept, kept), (found.scores, scores)):
                table[mine] = np.broadcast_to(part.spread((*dims, EDGE))[0], table.shape)[mine]
        order = (*dims, EDGE)
        places = np.indices(kept.shape).reshape(len(order), -1)
        receivers, senders = (ends[places[-1]] for ends in edges.ends)
        names = [np.array(n, dtype=object) for n in (edges.sender_names(), edges.receiver_names())]
        columns = (
            *self._columns(value, order, tuple(places)),
            Column("sender", None, "text", False, names[0][senders]),
            Column("receiver", None, "text", False, names[1][receivers]),
            Column("kept", None, "int", False, kept.reshape(-1)),
        )
        return Measured(value, context.model, context.data_name, None, columns, scores.reshape(-1))

    # ------------------------------------------------------------ variables

    def _columns(self, value: Value, order: Sequence[str], index: Sequence[Integers]) -> tuple[Column, ...]:
        swept = any(v.axis in POSITION_AXES for d in value.dimensions for v in d.variables)
        read = self.positions.read_by(value, order, index) if swept else {}
        items = index[order.index(ITEM)] if ITEM in order else None
        found = []
        for dimension in value.dimensions:
            place = index[order.index(dimension.name)]
            bindings = self.context.bindings([dimension])
            found += [
                self._column(v.name, v.axis, bindings[v.name], place, items, read)
                for v in dimension.variables
            ]
        split = self.evaluator.fits.split_shown(value)
        if split is not None and all(c.name != SPLIT for c in found):
            n = len(index[0]) if index else 1
            found.append(Column(SPLIT, None, "text", False, np.full(n, split, dtype=object)))
        return tuple(found)

    def _column(
        self,
        name: str,
        axis: str | None,
        binding: Binding,
        place: Integers,
        items: Integers | None,
        read: dict[str, Mask],
    ) -> Column:
        cells = binding.cells
        if cells is None and axis not in POSITION_AXES:
            return Column(name, axis, "int", False, place)
        if cells is not None and all(c.number is not None for c in cells):
            return Column(name, axis, "float", False, np.array([c.number for c in cells])[place])
        if cells is not None and (
            any(c.whole for c in cells) or all(c.at is None and c.index is None for c in cells)
        ):
            return Column(name, axis, "text", False, np.array([c.text for c in cells], dtype=object)[place])
        if axis in POSITION_AXES:
            named = cells is not None and any(c.at is None for c in cells)
            values, labels = self.positions.column(name, str(axis), binding, place, items, read)
            return Column(name, axis, "position", named, values, labels)
        return Column(name, axis, "int", False, np.array([c.at for c in cells or ()])[place])

    # ------------------------------------------------------------ records and claims

    def record(self, value: Value) -> Iterator[Recorded]:
        """A record: one tensor for each item."""
        found = self.evaluator.complete(self.evaluator.family(value), value)
        names = tuple(d.name for d in value.dimensions)
        items = range(self.context.data.n_items) if ITEM in found.dims else [None]
        prompts = self.context.prompts_read(value)
        for place in items:
            order = (ITEM, *names) if place is not None else names
            data, present = found.spread(order)
            one = data[place] if place is not None else data
            if present is not None:
                mask = present.expand(data.shape[: len(order)])
                mask = mask[place] if place is not None else mask
                one = torch.where(mask[..., None] if found.feature else mask, one, torch.nan)
            yield self._recorded(value, one, place, names, prompts, found.feature)

    def _recorded(
        self,
        value: Value,
        data: Tensor,
        place: int | None,
        names: tuple[str, ...],
        prompts: list[str],
        feature: bool,
    ) -> Recorded:
        labels: dict[str, tuple[str | None, ...]] = {}
        cut: list[slice] = []
        for dimension in value.dimensions:
            axis = dimension.variables[0].axis
            rows = self.context.rows(dimension)
            cut.append(slice(0, len(rows)))
            if axis in POSITION_AXES and place is not None and prompts and dimension.members is None:
                labels[dimension.name] = self._tokens(place, prompts)
                cut[-1] = slice(0, len(labels[dimension.name]))
            elif dimension.members is not None:
                labels[dimension.name] = tuple(",".join(c.text for c in row) for row in rows)
        array = np.ascontiguousarray(data[tuple(cut)].float().numpy(), dtype="<f4")
        number = None if place is None else int(self.context.data.numbers[place])
        axes = (*names, *((str(value.feature),) if feature else ()))
        return Recorded(value, self.context.model, self.context.data_name, number, axes, array, labels)

    def _tokens(self, place: int, prompts: Sequence[str]) -> tuple[str, ...]:
        """An item's tokens in the prompts that a record reads: ` Anna`, or ` Anna / Bob` where they differ."""
        texts = zip_longest(
            *(self.context.data.items[place].prompts[p].tokens for p in prompts), fillvalue=""
        )
        return tuple(" /".join(dict.fromkeys(one)) for one in texts)

    def claim(self, value: Value) -> Claimed:
        """Whether a claim holds in every cell and item."""
        found = self.evaluator.complete(self.evaluator.family(value), value)
        order = self._order(value, found)
        there, index = self._cells(found, order)
        truth = found.spread(order)[0].expand(there.shape)[there]
        wrong = ~(truth == 1)
        shown = int(wrong.nonzero()[0]) if bool(wrong.any()) else 0
        left, right = self._sides(value, order, there, shown) if len(truth) else (None, None)
        example: dict[str, str] = {}
        if len(truth):
            one = tuple(i[shown : shown + 1] for i in index)
            for column in self._columns(value, order, one):
                label = column.labels[0] if column.labels is not None else None
                example[column.name] = str(label or column.values[0])
            if ITEM in order:
                example[ITEM] = str(self.context.data.numbers[one[order.index(ITEM)]].item())
        return Claimed(
            value,
            self.context.model,
            self.context.data_name,
            len(truth),
            int(wrong.sum()),
            left,
            right,
            example,
        )

    def _sides(
        self, value: Value, order: Sequence[str], there: Tensor, shown: int
    ) -> tuple[float | None, float | None]:
        """Both sides of the comparison that a claim is, at one cell."""
        claim = value.variants[0].value
        if (
            not isinstance(claim, Operation)
            or claim.op not in ("==", "!=", "<", "<=", ">", ">=")
            or len(value.variants) > 1
        ):
            return None, None
        env = replace(self.context.env(value.dimensions), around=claim)
        sides = [self.evaluator.complete(self.evaluator.value(o, env), value) for o in claim.operands]
        left, right = (float(s.spread(order)[0].expand(there.shape)[there][shown]) for s in sides)
        return left, right

    def truth(self, value: Value) -> list[bool]:
        """For a condition of a data set: whether it holds for each item."""
        found = self.evaluator.complete(self.evaluator.family(value), value)
        data, _ = found.spread(tuple(d for d in found.dims if d != ITEM) + (ITEM,))
        flat = (data == 1).reshape(-1, data.shape[-1]).all(0)
        return flat.expand(self.context.data.n_items).tolist()


def found_zero(found: Named) -> Named:
    """Zeros in the shape of a value, to give another its dimensions."""
    return Named(torch.zeros(found.data.shape), found.dims)


__all__ = ["Claimed", "Columns", "Dimension", "Measured", "Recorded"]
