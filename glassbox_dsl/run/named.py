"""Tensors with named dimensions: values meet by name, and cells that do not exist stay marked as missing.

Indices and masks are numpy arrays with names (`plan/named.py`), for a plan needs them without torch. Here they
meet values: as picks, as presence, and as numbers (`tensor`, `valued`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from glassbox_dsl.plan import named as indices
from glassbox_dsl.plan.named import Mask


@dataclass(frozen=True)
class Named:
    """`data` has one axis per name in `dims`, then a feature axis when `feature`.

    `present` (bool, one axis per dim, sizes 1 or full) is False where there is no cell; None: all are there.
    A cell that is there but has no value (a quotient by nearly 0) holds NaN.
    """

    data: Tensor
    dims: tuple[str, ...] = ()
    feature: bool = False
    present: Tensor | None = None

    @property
    def sizes(self) -> dict[str, int]:
        """The length of each dimension."""
        return dict(zip(self.dims, self.data.shape, strict=False))

    def spread(self, dims: Sequence[str]) -> tuple[Tensor, Tensor | None]:
        """Data and presence with axes in the order of `dims` (length 1 where the value lacks one)."""
        order = [d for d in dims if d in self.dims]
        axes = [self.dims.index(d) for d in order]
        tail = [self.data.ndim - 1] if self.feature else []
        shape = [self.data.shape[self.dims.index(d)] if d in self.dims else 1 for d in dims]
        data = self.data.permute((*axes, *tail)).reshape(
            (*shape, *([self.data.shape[-1]] if self.feature else []))
        )
        if self.present is None:
            return data, None
        kept = [self.present.shape[self.dims.index(d)] if d in self.dims else 1 for d in dims]
        return data, self.present.permute(tuple(axes)).reshape(kept)

    def full_presence(self) -> Tensor:
        """Presence at full size."""
        shape = self.data.shape[:-1] if self.feature else self.data.shape
        if self.present is None:
            return torch.ones(shape, dtype=torch.bool)
        return self.present.expand(shape)

    def where(self, present: Tensor | Mask | None) -> Named:
        """The same value, present only where `present` is (and was)."""
        if present is None:
            return self
        if not isinstance(present, Tensor):
            present = tensor(present)
        both = present if self.present is None else self.present & present
        return Named(self.data, self.dims, self.feature, both)


def tensor(array: NDArray[Any]) -> Tensor:
    """A numpy array as a tensor of its own: an array may be a read-only view of another."""
    return torch.from_numpy(np.array(array, order="C"))


def valued(found: indices.Named) -> Named:
    """Indices as a value: their numbers in float32."""
    present = None if found.present is None else tensor(found.present)
    return Named(tensor(found.data).to(torch.float32), found.dims, False, present)


def scalar(value: float) -> Named:
    """A number without dimensions, in float32."""
    return Named(torch.tensor(value, dtype=torch.float32))


def union(values: Sequence[Named]) -> tuple[str, ...]:
    """All dimensions in order of first appearance."""
    return tuple(dict.fromkeys(d for v in values for d in v.dims))


def both(*presences: Tensor | None) -> Tensor | None:
    """Present in all."""
    found = [p for p in presences if p is not None]
    if not found:
        return None
    result = found[0]
    for one in found[1:]:
        result = result & one
    return result


def combine(function: Callable[..., Tensor], *values: Named, drops_feature: bool = False) -> Named:
    """Apply an elementwise function to values matched by name; `drops_feature`: it reduces the feature axis."""
    dims = union(values)
    feature = any(v.feature for v in values)
    parts = [v.spread(dims) for v in values]
    datas = [
        p[0] if v.feature or not feature else p[0][..., None] for p, v in zip(parts, values, strict=True)
    ]
    datas = [d.to(datas[0].device) for d in datas]
    data = function(*datas)
    keeps = feature and not drops_feature
    present = both(*(p[1] for p in parts))
    shape = data.shape[:-1] if keeps else data.shape
    if len(shape) != len(dims) or any(s == 1 for s in shape):
        full = torch.broadcast_shapes(*(d.shape[: len(dims)] for d in datas))
        data = data.expand(*full, data.shape[-1]) if keeps else data.expand(full)
    return Named(data, dims, keeps, present)


def take(value: Named, picks: Mapping[str, indices.Named]) -> Named:
    """Exchange dimensions for indices: `picks[d]` holds positions along `d`, with dimensions of their own.

    A pick that is out of range is no cell.
    """
    how = indices.exchange(value.dims, value.data.shape[: len(value.dims)], picks)
    if how is None:
        return value
    places = tuple(tensor(i) for i in how.index)
    tail = [value.data.ndim - 1] if value.feature else []
    data = value.data.permute((*how.axes, *tail))
    if all(i.ndim == 0 for i in places):
        data = data[tuple(int(i) for i in places)]  # one cell of each: nothing is copied
    else:
        data = data[tuple(i.to(data.device) for i in places)]
    old = None if value.present is None else value.full_presence().permute(how.axes)[places]
    there = None if how.present is None else tensor(how.present)
    return Named(data, how.dims, value.feature, both(old, there))


def take_named(value: Named, picks: Mapping[str, indices.Named]) -> Named:
    """`take`, where a pick that is a whole dimension of another name renames it."""
    dims, rest = indices.renamed(value.dims, value.data.shape[: len(value.dims)], picks)
    return take(Named(value.data, dims, value.feature, value.present), rest)


def stack(parts: Sequence[Named], dim: str) -> Named:
    """Values put side by side along a new dimension; what one has more cells of than another is missing there."""
    dims = union(parts)
    sizes = {d: max(p.sizes[d] for p in parts if d in p.dims) for d in dims}
    tail = [parts[0].data.shape[-1]] if parts[0].feature else []
    data = torch.zeros([len(parts), *sizes.values(), *tail], dtype=parts[0].data.dtype)
    present = torch.zeros([len(parts), *sizes.values()], dtype=torch.bool)
    for place, part in enumerate(parts):
        own: Any = (place, *(slice(0, part.sizes.get(d, sizes[d])) for d in dims))
        data[own] = part.spread(dims)[0].to(data)
        present[own] = Named(part.full_presence(), part.dims).spread(dims)[0]
    return Named(data, (dim, *dims), parts[0].feature, present)


def concatenate(parts: Sequence[Named], dim: str) -> Named:
    """Pieces of one value put together along a dimension that all of them have."""
    axis = parts[0].dims.index(dim)
    present = None
    if any(p.present is not None for p in parts):
        present = torch.cat([p.full_presence() for p in parts], axis)
    return Named(torch.cat([p.data for p in parts], axis), parts[0].dims, parts[0].feature, present)
