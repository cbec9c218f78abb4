"""Integers and truths with named dimensions: indices and masks meet by name, and what is no cell stays missing."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.bool_]
Integers = NDArray[np.int64]


@dataclass(frozen=True)
class Named:
    """`data` has one axis per name in `dims`: an index (int64) or a choice (bool).

    `present` (bool, one axis per dim, sizes 1 or full) is False where there is no cell; None: all are there.
    """

    data: NDArray[Any]
    dims: tuple[str, ...] = ()
    present: Mask | None = None

    def __post_init__(self) -> None:
        # Arithmetic on arrays without axes gives numpy scalars.
        object.__setattr__(self, "data", np.asarray(self.data))
        if self.present is not None:
            object.__setattr__(self, "present", np.asarray(self.present))

    @property
    def sizes(self) -> dict[str, int]:
        """The length of each dimension."""
        return dict(zip(self.dims, self.data.shape, strict=True))

    def spread(self, dims: Sequence[str]) -> tuple[NDArray[Any], Mask | None]:
        """Data and presence with axes in the order of `dims` (length 1 where there is none)."""
        axes = [self.dims.index(d) for d in dims if d in self.dims]
        places = [self.dims.index(d) if d in self.dims else None for d in dims]

        def laid(array: NDArray[Any]) -> NDArray[Any]:
            return array.transpose(axes).reshape([1 if p is None else array.shape[p] for p in places])

        return laid(self.data), None if self.present is None else laid(self.present)

    def full_presence(self) -> Mask:
        """Presence at full size."""
        if self.present is None:
            return np.ones(self.data.shape, dtype=np.bool_)
        return np.broadcast_to(self.present, self.data.shape)

    def where(self, present: Mask | None) -> Named:
        """The same, present only where `present` is (and was)."""
        return Named(self.data, self.dims, both(self.present, present))


def scalar(value: int) -> Named:
    """An integer without dimensions."""
    return Named(np.array(value, dtype=np.int64))


def along(dim: str, n: int) -> Named:
    """0, 1, ... n - 1 along a dimension of its own."""
    return Named(np.arange(n, dtype=np.int64), (dim,))


def union(values: Sequence[Named]) -> tuple[str, ...]:
    """All dimensions in order of first appearance."""
    return tuple(dict.fromkeys(d for v in values for d in v.dims))


def both(*presences: Mask | None) -> Mask | None:
    """Present in all."""
    result: Mask | None = None
    for one in presences:
        if one is not None:
            result = one if result is None else result & one
    return result


def combine(function: Callable[..., NDArray[Any]], *values: Named) -> Named:
    """Apply an elementwise function (a numpy ufunc, say) to values matched by name."""
    dims = union(values)
    parts = [v.spread(dims) for v in values]
    data = np.asarray(function(*(p[0] for p in parts)))
    full = np.broadcast_shapes(*(p[0].shape for p in parts))
    return Named(
        data if data.shape == full else np.broadcast_to(data, full), dims, both(*(p[1] for p in parts))
    )


@dataclass(frozen=True)
class Exchange:
    """How dimensions are exchanged for indices.

    Axes are put in the order `axes`; the first ones are indexed with `index`, which gives the dimensions `dims`.
    `present` says where an index names a cell, with an axis (of length 1, possibly) for each of `dims`.
    """

    dims: tuple[str, ...]
    axes: tuple[int, ...]
    index: tuple[Integers, ...]
    present: Mask | None


def exchange(dims: tuple[str, ...], shape: Sequence[int], picks: Mapping[str, Named]) -> Exchange | None:
    """What `take` has to do to a value with these dimensions; None where it stays as it is."""
    sizes = dict(zip(dims, shape, strict=True))
    chosen = {d: p for d, p in picks.items() if d in sizes and not _whole(p, d, sizes[d])}
    if not chosen:
        return None
    kept = [d for d in dims if d not in chosen]
    # A dimension that both stays and stands in a pick is one dimension: it is picked along itself.
    for d in [d for d in kept if any(d in p.dims for p in chosen.values())]:
        chosen[d] = along(d, sizes[d])
        kept.remove(d)
    new = union(list(chosen.values()))
    index, present = [], None
    for d, p in chosen.items():
        data, there = p.spread(new)
        inside = (data >= 0) & (data < sizes[d])
        present = both(present, there, None if inside.all() else inside)
        index.append(data.clip(0, max(sizes[d] - 1, 0)))
    if present is not None:
        present = present.reshape((*present.shape, *[1] * len(kept)))
    axes = tuple(dims.index(d) for d in (*chosen, *kept))
    return Exchange((*new, *kept), axes, tuple(index), present)


def take(value: Named, picks: Mapping[str, Named]) -> Named:
    """Exchange dimensions for indices: `picks[d]` holds positions along `d`, with dimensions of their own.

    A pick that is out of range is no cell.
    """
    how = exchange(value.dims, value.data.shape, picks)
    if how is None:
        return value
    old = None if value.present is None else value.full_presence().transpose(how.axes)[how.index]
    return Named(value.data.transpose(how.axes)[how.index], how.dims, both(old, how.present))


def _whole(pick: Named, dim: str, size: int) -> bool:
    """Whether a pick is the dimension itself."""
    return pick.dims == (dim,) and pick.present is None and _counts_to(pick, size)


def _counts_to(pick: Named, size: int) -> bool:
    return len(pick.data) == size and bool((pick.data == np.arange(size)).all())


def renamed(
    dims: tuple[str, ...], shape: Sequence[int], picks: Mapping[str, Named]
) -> tuple[tuple[str, ...], dict[str, Named]]:
    """The dimensions after those are renamed whose pick is a whole dimension of another name, and the other picks."""
    sizes = dict(zip(dims, shape, strict=True))
    rest = dict(picks)
    names = dict(zip(dims, dims, strict=True))
    for dim, pick in picks.items():
        if (
            dim in sizes
            and len(pick.dims) == 1
            and pick.present is None
            and pick.dims[0] not in sizes
            and _counts_to(pick, sizes[dim])
            and sum(pick.dims[0] in p.dims for p in rest.values()) == 1
        ):
            names[dim] = pick.dims[0]
            del rest[dim]
    return tuple(names[d] for d in dims), rest


def take_named(value: Named, picks: Mapping[str, Named]) -> Named:
    """`take`, where a pick that is a whole dimension of another name renames it."""
    dims, rest = renamed(value.dims, value.data.shape, picks)
    return take(Named(value.data, dims, value.present), rest)
