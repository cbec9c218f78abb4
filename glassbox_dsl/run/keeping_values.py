"""Values of whole tensors that a results file keeps: what is known is filled in, the rest is evaluated and kept."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from glassbox_dsl.plan.content import Keys
from glassbox_dsl.plan.indexing import Env, narrowed
from glassbox_dsl.plan.kept_values import ValueLayout
from glassbox_dsl.plan.named import Integers, Mask
from glassbox_dsl.plan.shelf import Readings, Shelf
from glassbox_dsl.run.named import Named, tensor
from glassbox_dsl.vocabulary.axes import ITEM

if TYPE_CHECKING:
    from glassbox_dsl.run.context import Context

Floats = NDArray[np.float32]
Match = Callable[[str, Keys], tuple[Mask, Floats]]
"""Which keys [n, 2] of a reading are known, and the numbers [hit, width] of those."""


@dataclass
class KeptValue:
    """A value in a context: which of its cells [keyed cell, item] are `known`, and its pieces."""

    layout: ValueLayout
    known: Mask
    pieces: list[KeptPiece]

    def unknown(self) -> Mask:
        """The cells that are not known, [the value's dimensions..., item]."""
        layout, sizes = self.layout, self.pieces[0].sizes
        known = self.known.reshape(*sizes[: len(layout.keyed) + 1], *[1] * len(layout.flat))
        left: Mask = ~known & layout.inside(max(sizes[len(layout.keyed) + 1 :], default=0))
        names = (*(d.name for d in layout.value.dimensions), ITEM)
        return left.transpose([layout.order.index(name) for name in names])

    def make(self, ready: Mask) -> None:
        """Evaluate the items [item] of which all runs are there."""
        for piece in self.pieces:
            piece.make(np.flatnonzero(ready))


def kept_value(context: Context, layout: ValueLayout, shelf: Shelf, match: Match) -> KeptValue:
    """A value with what is known of it: the cells of which every piece is."""
    lengths = {d.name: len(context.rows(d)) for d in layout.value.dimensions} | {ITEM: context.data.n_items}
    sizes = tuple(lengths[name] for name in layout.order)
    found = [list(_known_rows(layout, name, match)) for name in layout.names]
    known = np.ones(layout.keys.shape[:2], dtype=np.bool_)
    for groups in found:
        here = np.zeros_like(known)
        for rows in groups:
            here[rows.cells, rows.items] = True
        known &= here
    pieces = [
        KeptPiece(context, layout, number, shelf, sizes, known.copy(), groups)
        for number, groups in enumerate(found)
    ]
    return KeptValue(layout, known, pieces)


def _known_rows(layout: ValueLayout, name: str, match: Match) -> Iterator[Rows]:
    """What is known of a piece, by the lengths of items and by the way it is written."""
    for length in np.unique(layout.lengths).tolist():
        mine = np.flatnonzero(layout.lengths == length)
        cells, items = (a.reshape(-1) for a in np.meshgrid(np.arange(len(layout.keys)), mine, indexing="ij"))
        hit, numbers = match(name, layout.keys[cells, items])
        shape = (length,) * len(layout.flat)
        for mark in np.unique(numbers[:, 0]) if hit.any() else ():
            same = numbers[:, 0] == mark
            yield read_rows(cells[hit][same], items[hit][same], numbers[same], shape)


@dataclass
class KeptPiece:
    """One piece of a value, with axes of `sizes` in the order of its layout.

    `made` [keyed cell, item]: what is known or was evaluated; `found`: what is known, until it is filled in.
    """

    context: Context
    layout: ValueLayout
    number: int
    shelf: Shelf
    sizes: tuple[int, ...]
    made: Mask
    found: list[Rows]
    whole: Whole | None = None

    def value(self) -> Named:
        """The piece in all its cells."""
        if not self.made.any():
            found = self._evaluated(None)
            self._keep(found, ~self.made)
            return found
        self.make(np.arange(self.made.shape[1]))
        for rows in self.found:
            self._whole(rows.data.shape[-1]).fill(rows)
        self.found = []
        assert self.whole is not None
        return self.whole.named()

    def make(self, items: Integers) -> None:
        """Evaluate what is not made of some items: those that are new in all cells, and those that are in some.

        Cells are evaluated along whole axes: what is made with them needlessly may miss what it reads.
        """
        left = ~self.made[:, items]
        fresh = left.all(0)
        before, self.context.partly = self.context.partly, True
        try:
            for mine in (items[fresh], items[left.any(0) & ~fresh]):
                if len(mine) > 0:
                    self._make(mine)
        finally:
            self.context.partly = before

    def _make(self, items: Integers) -> None:
        env = self._env(items)
        found = self._evaluated(env)
        ids = {b.dimension: b.ids.data for b in env.variables.values()} | {ITEM: items}
        places = [ids[name] for name in self.layout.order]
        data, there = laid_out(found, self.layout.order, [len(p) for p in places])
        whole = self._whole(data.shape[-1])
        whole.put(places, data, there)
        new = np.zeros_like(self.made)
        new[:, items] = ~self.made[:, items]
        self._keep(whole.named(), new)
        self.made |= new

    def _evaluated(self, env: Env | None) -> Named:
        from glassbox_dsl.run.evaluate import Evaluator  # it asks for kept values itself

        return Evaluator(self.context).made(self.layout.value, self.number, env)

    def _env(self, items: Integers) -> Env:
        """Some items, and the cells along every keyed dimension that are not made of one of them."""
        env = narrowed(self.context.env(self.layout.value.dimensions), ITEM, items)
        cells = (~self.made[:, items]).any(1).reshape(self.sizes[: len(self.layout.keyed)])
        places = np.nonzero(cells) if self.layout.keyed else ()
        for name, along in zip(self.layout.keyed, places, strict=True):
            env = narrowed(env, name, np.unique(along))
        return env

    def _whole(self, width: int) -> Whole:
        """The value that is put together, with so many numbers in a cell."""
        if self.whole is None:
            there = torch.zeros(self.sizes, dtype=torch.bool)
            self.whole = Whole(self.layout, torch.zeros(*self.sizes, width), there)
        return self.whole

    def _keep(self, found: Named, new: Mask) -> None:
        """Put some cells on the shelf: one row for each cell and item, along the whole of its prompt."""
        layout = self.layout
        data, there = laid_out(found, layout.order, self.sizes)
        data, there = (t.reshape(len(layout.keys), *t.shape[len(layout.keyed) :]) for t in (data, there))
        cells, items = np.nonzero(new)
        kept = []
        for length in np.unique(layout.lengths[items]).tolist():
            mine = layout.lengths[items] == length
            where = tensor(cells[mine]), tensor(items[mine])
            cut: Any = (slice(None), *[slice(0, length)] * len(layout.flat))
            numbers = written_rows(data[where][cut], there[where][cut])
            kept.append(Readings(layout.names[self.number], layout.keys[cells[mine], items[mine]], numbers))
        self.shelf.put(kept)


# ---------------------------------------------------------------- laid out


def laid_out(found: Named, order: Sequence[str], sizes: Sequence[int]) -> tuple[Tensor, Tensor]:
    """A value's numbers [order..., feature] (one of a value without features) and where they are [order...]."""
    data, there = found.spread(order)
    data = data if found.feature else data[..., None]
    here = torch.ones([1] * len(sizes), dtype=torch.bool) if there is None else there
    return data.expand(*sizes, data.shape[-1]).float(), here.expand(*sizes)


@dataclass
class Whole:
    """A value that is put together: numbers [order..., feature] and presence [order...] of the cells there are."""

    layout: ValueLayout
    data: Tensor
    there: Tensor

    def put(self, places: Sequence[Integers], data: Tensor, there: Tensor) -> None:
        """Some cells, at `places` along each axis."""
        where = tuple(tensor(i) for i in np.ix_(*places))
        self.data[where], self.there[where] = data, there

    def fill(self, rows: Rows) -> None:
        """Cells that are known."""
        n = len(self.layout.keyed)
        keyed = np.unravel_index(rows.cells, self.there.shape[:n]) if n else ()
        flat = (slice(0, m) for m in rows.there.shape[1:])
        where: Any = (*(tensor(k) for k in keyed), tensor(rows.items), *flat)
        self.data[where], self.there[where] = rows.data, rows.there

    def named(self) -> Named:
        """As a value."""
        value = self.layout.value
        feature = value.feature is not None or value.table is not None
        present = None if bool(self.there.all()) else self.there
        return Named(self.data if feature else self.data[..., 0], self.layout.order, feature, present)


# ---------------------------------------------------------------- rows


@dataclass(frozen=True, eq=False)
class Rows:
    """Some `cells` on some `items` [n]: `data` [n, flat dimensions..., feature], `there` [n, flat dimensions...]."""

    cells: Integers
    items: Integers
    data: Tensor
    there: Tensor


def written_rows(data: Tensor, there: Tensor) -> Floats:
    """Rows as numbers: how many a place has, negative where the presence of each place follows; then all of them."""
    n, width = len(data), data.shape[-1]
    parts = [torch.full((n, 1), float(width)), data.reshape(n, -1)]
    if not bool(there.all()):
        parts = [-parts[0], parts[1], there.reshape(n, -1).float()]
    found: Floats = torch.cat(parts, 1).numpy()
    return found


def read_rows(cells: Integers, items: Integers, numbers: Floats, shape: tuple[int, ...]) -> Rows:
    """Rows from numbers that are all written in the same way, with some flat dimensions."""
    mark, places = numbers[0, 0], math.prod(shape)
    width = round(abs(float(mark)))
    data = torch.from_numpy(numbers[:, 1 : 1 + places * width]).reshape(-1, *shape, width)
    there = torch.ones(len(data), *shape, dtype=torch.bool)
    if mark < 0:
        there = torch.from_numpy(numbers[:, 1 + places * width :][:, :places] > 0).reshape(-1, *shape)
    return Rows(cells, items, data, there)
