"""Sets of cells once the values they are made from are known: members, operators, choices and masks.

A member is a row of cells, one for each axis of the set; what makes two members the same is the keys of their
cells. A set may depend on swept variables: a `SetFamily` has one set for each of their cells.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from glassbox_dsl.language.program import At, Between, Index, Position, Swept
from glassbox_dsl.language.set_nodes import SetIndex
from glassbox_dsl.resolve.cells import Cell, Row, Sizes
from glassbox_dsl.resolve.checks import index_number
from glassbox_dsl.vocabulary.axes import POSITION_AXES

Members = dict[tuple[str, ...], Row]
"""The members of a set by their keys, in the order of its axes."""


@dataclass(frozen=True)
class SetFamily:
    """One set for each cell of the dimensions that it depends on: `sets` has an axis for each name in `dims`."""

    dims: tuple[str, ...]
    sets: NDArray[Any]

    def spread(self, dims: Sequence[str]) -> NDArray[Any]:
        """The sets with axes in the order of `dims`, of length 1 where they do not depend on one."""
        ordered = self.sets.transpose([self.dims.index(d) for d in dims if d in self.dims])
        places = iter(ordered.shape)
        return ordered.reshape([next(places) if d in self.dims else 1 for d in dims])

    @property
    def empty(self) -> bool:
        """Whether no cell has any member."""
        return not any(self.sets.flat)

    def only(self) -> Members:
        """The set of a family that depends on nothing."""
        [members] = self.sets.flat
        return members  # type: ignore[no-any-return]


def family(
    dims: Sequence[str], shape: Sequence[int], make: Callable[[tuple[int, ...]], Members]
) -> SetFamily:
    """A family whose sets are made cell by cell."""
    sets = np.empty(tuple(shape), dtype=object)
    for place in np.ndindex(*shape):
        sets[place] = make(place)
    return SetFamily(tuple(dims), sets)


def join(function: Callable[..., Members], families: Sequence[SetFamily]) -> SetFamily:
    """A function of sets, their families matched by name."""
    dims = tuple(dict.fromkeys(d for f in families for d in f.dims))
    spread = np.broadcast_arrays(*(f.spread(dims) for f in families))
    return family(dims, spread[0].shape, lambda place: function(*(s[place] for s in spread)))


# ---------------------------------------------------------------- operators


def in_order(members: Members) -> Members:
    """The same members, sorted by the indices of their cells; those without one come last."""

    def place(key: tuple[str, ...]) -> tuple[tuple[float, str], ...]:
        return tuple((float("inf") if c.at is None else c.at, c.text) for c in members[key])

    return {key: members[key] for key in sorted(members, key=place)}


def union(left: Members, right: Members) -> Members:
    """Members of either."""
    return in_order({**left, **right})


def difference(left: Members, right: Members) -> Members:
    """Members of the first that the second lacks."""
    return {key: row for key, row in left.items() if key not in right}


def intersection(left: Members, right: Members) -> Members:
    """Members of both."""
    return {key: row for key, row in left.items() if key in right}


def everything(axes: Sequence[str], sizes: Sizes) -> Members:
    """Every cell of some axes."""
    cells = [[Cell(text=str(i), at=i) for i in range(sizes.of(axis))] for axis in axes]
    return {tuple(c.key for c in row): row for row in product(*cells)}


OPERATIONS: dict[str, Callable[..., Members]] = {"+": union, "-": difference, "*": intersection}


# ---------------------------------------------------------------- choices


def rows_of(dimensions: Sequence[tuple[Row, ...]]) -> list[Row]:
    """Every joint cell of some dimensions, in order."""
    return [tuple(cell for row in rows for cell in row) for rows in product(*dimensions)]


def members_at(rows: Sequence[Row], places: Sequence[int]) -> Members:
    """The members that stand at some places of a list of joint cells."""
    return {tuple(c.key for c in rows[i]): rows[i] for i in places}


def largest(numbers: NDArray[np.float64], k: int) -> list[int]:
    """The places of the k largest numbers, in order; the lowest places on ties, NaN never."""
    best = np.argsort(np.where(np.isnan(numbers), np.inf, -numbers), kind="stable")
    known = int((~np.isnan(numbers)).sum())
    return sorted(int(i) for i in best[: min(k, known)])


def sample(members: Members, k: int, seed: int) -> Members:
    """k members, drawn from a seed: a smaller sample is part of a larger one."""
    keys = list(members)
    drawn = np.random.Generator(np.random.Philox(key=seed)).permutation(len(keys))[:k]
    return {keys[i]: members[keys[i]] for i in sorted(drawn)}


# ---------------------------------------------------------------- written members


def written(
    items: Sequence[Sequence[Index]],
    axes: Sequence[str],
    cells: Mapping[str, Cell],
    sizes: Sizes,
    inner: Callable[[SetIndex], list[Cell]],
) -> Members:
    """The members that are written out, where variables stand for some cells; what lies outside is left out.

    `inner` gives the cells of a set over one axis that stands among them.
    """
    found: Members = {}
    for item in items:
        choices = [
            inner(index) if isinstance(index, SetIndex) else cells_at(index, axis, cells, sizes)
            for index, axis in zip(item, axes, strict=True)
        ]
        for row in product(*choices):
            found[tuple(c.key for c in row)] = row
    return in_order(found)


def cells_at(index: Index, axis: str, cells: Mapping[str, Cell], sizes: Sizes) -> list[Cell]:
    """The cells of an axis that a written index names."""
    match index:
        case Swept(variable=name) if name in cells:
            return [cells[name]]
        case Position():
            return [Cell(text=index.span.text, index=index)]
        case At(value=value) if axis in POSITION_AXES and value < 0:
            return [Cell(text=str(value), index=index)]
        case Between():
            low, high = (index_number(i, axis, cells, sizes) for i in (index.low, index.high))
            if low is None or high is None:
                return []
            return [Cell(text=str(i), at=i) for i in range(max(low, 0), min(high, sizes.of(axis) - 1) + 1)]
    at = index_number(index, axis, cells, sizes)
    return [Cell(text=str(at), at=at)] if at is not None and 0 <= at < sizes.of(axis) else []


# ---------------------------------------------------------------- masks


def mask(
    sets: SetFamily,
    axes: Sequence[str],
    sizes: Sizes,
    n_items: int | None,
    position: Callable[[Cell, str], NDArray[np.int64]],
) -> NDArray[np.bool_]:
    """Which coordinates each set of a family holds: one axis for each of its dimensions, then for each of `axes`.

    `n_items`: where members lie at positions by name there is an axis of items before those of the members, and
    `position` says where such a cell lies in every item (-1: nowhere).
    """
    items = () if n_items is None else (n_items,)
    found = np.zeros((*sets.sets.shape, *items, *(sizes.of(a) for a in axes)), dtype=np.bool_)
    for place in np.ndindex(*sets.sets.shape):
        members: Members = sets.sets.item(*place)
        for row in members.values():
            _mark(found[place], row, axes, items, position)
    return found


def _mark(
    found: NDArray[np.bool_],
    row: Row,
    axes: Sequence[str],
    items: tuple[int, ...],
    position: Callable[[Cell, str], NDArray[np.int64]],
) -> None:
    if not items:
        found[tuple(int(c.at or 0) for c in row)] = True
        return
    coordinates = [
        np.full(items, c.at) if c.at is not None or axis not in POSITION_AXES else position(c, axis)
        for c, axis in zip(row, axes, strict=True)
    ]
    inside = np.all([c >= 0 for c in coordinates], axis=0)
    places = np.arange(items[0])[inside]
    found[(places, *(c[inside] for c in coordinates))] = True
