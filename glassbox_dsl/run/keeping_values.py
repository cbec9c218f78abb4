"""Values of whole tensors that a results file keeps: what is known is filled in, the rest is evaluated and kept."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

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
    """One value in a context: which cells [keyed cell, item] are `known`, and the pieces that were `found` of it."""

    context: Context
    layout: ValueLayout
    shelf: Shelf
    known: Mask = field(init=False)
    found: list[list[Rows]] = field(default_factory=list)

    def look_up(self, match: Match) -> None:
        """Find out what is known: cells of which every piece is."""
        keys = self.layout.keys
        self.known = np.ones(keys.shape[:2], dtype=np.bool_)
        self.found = [list(self._rows(name, keys, match)) for name in self.layout.names]
        for groups in self.found:
            here = np.zeros_like(self.known)
            for rows in groups:
                here[rows.cells, rows.items] = True
            self.known &= here

    def _rows(self, name: str, keys: Keys, match: Match) -> Iterator[Rows]:
        """What is known of a piece, by the lengths of items and by the way it is written."""
        for length in np.unique(self.layout.lengths).tolist():
            mine = np.flatnonzero(self.layout.lengths == length)
            cells, items = (a.reshape(-1) for a in np.meshgrid(np.arange(len(keys)), mine, indexing="ij"))
            hit, numbers = match(name, keys[cells, items])
            shape = (length,) * len(self.layout.flat)
            for mark in np.unique(numbers[:, 0]) if hit.any() else ():
                same = numbers[:, 0] == mark
                yield read_rows(cells[hit][same], items[hit][same], numbers[same], shape)

    def unknown(self) -> Mask:
        """The cells that are not known, in the order of the value's dimensions and items."""
        layout = self.layout
        known = self.known.reshape(*self.sizes()[: len(layout.keyed) + 1], *[1] * len(layout.flat))
        left = ~known & layout.inside(self.context.data.longest)
        names = [d.name for d in layout.value.dimensions]
        return left.transpose([layout.order.index(n) for n in (*names, ITEM)])

    def sizes(self) -> tuple[int, ...]:
        """The lengths of the axes in which the value is laid out."""
        lengths = {d.name: len(self.context.rows(d)) for d in self.layout.value.dimensions}
        lengths[ITEM] = self.context.data.n_items
        return tuple(lengths[name] for name in self.layout.order)

    # ------------------------------------------------------------ values

    def value(self, piece: int, make: Callable[[Env], Named]) -> Named:
        """A piece of the value in all its cells; those that are not known are made, and kept."""
        env = self.context.env(self.layout.value.dimensions)
        found = self._completed(piece, make, env) if self.known.any() else make(env)
        self._keep(piece, found)
        return found

    def _completed(self, piece: int, make: Callable[[Env], Named], env: Env) -> Named:
        """What is known, and the rest made: other cells that are made with it may miss what they read."""
        whole, before = Whole(self.layout, self.sizes()), self.context.partly
        self.context.partly = True
        try:
            for part in self._parts(env):
                whole.put(make(part), part)
        finally:
            self.context.partly = before
        for rows in self.found[piece]:
            whole.fill(rows)
        return whole.named()

    def _parts(self, env: Env) -> Iterator[Env]:
        """The cells to be made: items that are new in all cells, and those that are new in some."""
        left = ~self.known
        fresh = left.all(0)
        for items in (np.flatnonzero(fresh), np.flatnonzero(left.any(0) & ~fresh)):
            if len(items) > 0:
                cells = left[:, items].any(1).reshape(self.sizes()[: len(self.layout.keyed)])
                part = narrowed(env, ITEM, items)
                places_of = np.nonzero(cells) if self.layout.keyed else ()
                for name, places in zip(self.layout.keyed, places_of, strict=True):
                    part = narrowed(part, name, np.unique(places))
                yield part

    def _keep(self, piece: int, found: Named) -> None:
        """Put what was made on the shelf: one row for each cell and item, along the whole of its prompt."""
        layout, sizes = self.layout, self.sizes()
        data, there = laid_out(found, layout.order, sizes)
        n_keyed = math.prod(sizes[: len(layout.keyed)])
        data, there = (t.reshape(n_keyed, *t.shape[len(layout.keyed) :]) for t in (data, there))
        keys, (cells, items) = layout.keys, np.nonzero(~self.known)
        kept = []
        for length in np.unique(layout.lengths[items]).tolist():
            mine = layout.lengths[items] == length
            where = tensor(cells[mine]), tensor(items[mine])
            cut: Any = (slice(None), *[slice(0, length)] * len(layout.flat))
            numbers = written_rows(data[where][cut], there[where][cut])
            kept.append(Readings(layout.names[piece], keys[cells[mine], items[mine]], numbers))
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
    sizes: tuple[int, ...]
    data: Tensor | None = None
    there: Tensor | None = None

    def put(self, part: Named, env: Env) -> None:
        """Some cells, which an environment stands for."""
        ids = {b.dimension: b.ids.data for b in env.variables.values()} | {ITEM: env.item.data}
        places = [ids[name] for name in self.layout.order]
        data, there = laid_out(part, self.layout.order, [len(p) for p in places])
        self._room(data.shape[-1])
        assert self.data is not None and self.there is not None
        where = tuple(tensor(i) for i in np.ix_(*places))
        self.data[where], self.there[where] = data, there

    def fill(self, rows: Rows) -> None:
        """Cells that are known."""
        self._room(rows.data.shape[-1])
        assert self.data is not None and self.there is not None
        n = len(self.layout.keyed)
        keyed = np.unravel_index(rows.cells, self.sizes[:n]) if n else ()
        where = (
            *(tensor(k) for k in keyed),
            tensor(rows.items),
            *(slice(0, m) for m in rows.there.shape[1:]),
        )
        self.data[where], self.there[where] = rows.data, rows.there

    def _room(self, width: int) -> None:
        if self.data is None:
            self.data = torch.zeros(*self.sizes, width)
            self.there = torch.zeros(self.sizes, dtype=torch.bool)

    def named(self) -> Named:
        """As a value."""
        assert self.data is not None and self.there is not None
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
