"""Tensors with named dimensions: values meet by name, and cells that do not exist stay marked as missing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


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

    def where(self, present: Tensor | None) -> Named:
        """The same value, present only where `present` is (and was)."""
        if present is None:
            return self
        both = present if self.present is None else self.present & present
        return Named(self.data, self.dims, self.feature, both)


def scalar(value: float | int) -> Named:
    """A number without dimensions."""
    dtype = torch.long if isinstance(value, int) else torch.float32
    return Named(torch.tensor(value, dtype=dtype))


def along(dim: str, n: int) -> Named:
    """0, 1, ... n - 1 along a dimension of its own."""
    return Named(torch.arange(n), (dim,))


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


def take(value: Named, picks: dict[str, Named]) -> Named:
    """Exchange dimensions for indices: `picks[d]` holds positions along `d`, with dimensions of their own.

    A pick that is out of range is no cell.
    """
    picks = {d: p for d, p in picks.items() if d in value.dims and not _whole(p, d, value.sizes[d])}
    if not picks:
        return value
    kept = [d for d in value.dims if d not in picks]
    # A dimension that both stays and stands in a pick is one dimension: it is picked along itself.
    meets = [d for d in kept if any(d in p.dims for p in picks.values())]
    for d in meets:
        picks[d] = along(d, value.sizes[d])
        kept.remove(d)
    new = union(list(picks.values()))
    index, present = [], None
    for d, p in picks.items():
        data, there = p.spread(new)
        inside = (data >= 0) & (data < value.sizes[d])
        present = both(present, there, None if bool(inside.all()) else inside)
        index.append(data.clamp(0, max(value.sizes[d] - 1, 0)))
    front = [value.dims.index(d) for d in picks]
    rest = [value.dims.index(d) for d in kept]
    tail = [value.data.ndim - 1] if value.feature else []
    data = value.data.permute((*front, *rest, *tail))[tuple(i.to(value.data.device) for i in index)]
    if value.present is not None:
        old = value.present.expand(value.data.shape[: len(value.dims)]).permute((*front, *rest))[tuple(index)]
        present = old if present is None else old & present.reshape((*present.shape, *[1] * len(kept)))
    elif present is not None:
        present = present.reshape((*present.shape, *[1] * len(kept)))
    return Named(data, (*new, *kept), value.feature, present)


def _whole(pick: Named, dim: str, size: int) -> bool:
    """Whether a pick is the dimension itself."""
    return (
        pick.dims == (dim,)
        and pick.present is None
        and len(pick.data) == size
        and bool((pick.data == torch.arange(size)).all())
    )


def concatenate(parts: Sequence[Named], dim: str) -> Named:
    """Pieces of one value put together along a dimension that all of them have."""
    axis = parts[0].dims.index(dim)
    present = None
    if any(p.present is not None for p in parts):
        present = torch.cat([p.full_presence() for p in parts], axis)
    return Named(torch.cat([p.data for p in parts], axis), parts[0].dims, parts[0].feature, present)


def take_named(value: Named, picks: dict[str, Named]) -> Named:
    """`take`, where a pick that is a whole dimension of another name renames it."""
    picks, renames = dict(picks), {}
    for dim, pick in list(picks.items()):
        if (
            dim in value.dims
            and len(pick.dims) == 1
            and pick.present is None
            and pick.dims[0] not in value.dims
        ):
            whole = len(pick.data) == value.sizes[dim] and bool(
                (pick.data == torch.arange(len(pick.data))).all()
            )
            if whole and sum(pick.dims[0] in p.dims for p in picks.values()) == 1:
                renames[dim] = pick.dims[0]
                del picks[dim]
    if renames:
        value = Named(value.data, tuple(renames.get(d, d) for d in value.dims), value.feature, value.present)
    return take(value, picks)
