"""Reductions over named dimensions: missing cells do not count, every present cell counts once."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from glassbox_dsl.run.named import Named, union
from glassbox_dsl.vocabulary.axes import ITEM


def reduce_dims(
    op: str,
    value: Named,
    over: Sequence[str],
    feature: bool,
    groups: Tensor | None,
    coordinate: Tensor | None,
) -> Named:
    """Reduce dimensions (and the feature axis); with `groups` [item], items are reduced within their group.

    `coordinate` gives what argmax returns for each cell of the one dimension it runs over, with an axis for each of
    `value`; None: its place.
    """
    if groups is not None:
        return within_groups(op, value, groups)
    over = [d for d in over if d in value.dims]
    present = value.full_presence()
    data = value.data
    if value.feature and not feature:
        present = present[..., None]
    elif feature:
        present = present[..., None].expand(data.shape)
    axes = [value.dims.index(d) for d in over] + ([data.ndim - 1] if feature else [])
    if not axes:
        return value
    present = present.expand(data.shape)
    if coordinate is not None and value.feature:
        coordinate = coordinate[..., None]
    result = REDUCERS[op](data, present, axes) if op != "argmax" else argmax(data, present, axes, coordinate)
    left = present.any(dim=tuple(axes))
    dims = tuple(d for d in value.dims if d not in over)
    keeps = value.feature and not feature
    there = left.any(-1) if keeps else left
    return Named(result, dims, keeps, None if bool(there.all()) else there)


def mean(data: Tensor, present: Tensor, axes: list[int]) -> Tensor:
    """Mean of the present cells, summed in float64."""
    return (total(data, present, axes).double() / present.sum(dim=axes)).to(data.dtype)


def total(data: Tensor, present: Tensor, axes: list[int]) -> Tensor:
    """Sum of the present cells, in float64."""
    return torch.where(present, data, 0).sum(dim=axes, dtype=torch.float64).to(data.dtype)


def std(data: Tensor, present: Tensor, axes: list[int]) -> Tensor:
    """Standard deviation of the present cells with n - 1."""
    n = present.sum(dim=axes, keepdim=True)
    centre = torch.where(present, data, 0).sum(dim=axes, keepdim=True, dtype=torch.float64) / n
    squares = torch.where(present, (data - centre) ** 2, 0).sum(dim=axes)
    return (squares / (n.squeeze(axes) - 1)).sqrt().to(data.dtype)


def largest(data: Tensor, present: Tensor, axes: list[int]) -> Tensor:
    """Largest present cell."""
    return torch.where(present, data, -torch.inf).amax(dim=axes)


def smallest(data: Tensor, present: Tensor, axes: list[int]) -> Tensor:
    """Smallest present cell."""
    return torch.where(present, data, torch.inf).amin(dim=axes)


REDUCERS = {"mean": mean, "sum": total, "std": std, "max": largest, "min": smallest}


def argmax(data: Tensor, present: Tensor, axes: list[int], coordinate: Tensor | None) -> Tensor:
    """The index of the largest present cell along one dimension; the lowest on ties."""
    [axis] = axes
    kept = torch.where(present, data, -torch.inf)
    best = kept == kept.amax(dim=axis, keepdim=True)
    if coordinate is None:
        return best.long().argmax(dim=axis).to(torch.float32)
    return torch.where(best & present, coordinate, torch.inf).amin(dim=axis)


def within_groups(op: str, value: Named, groups: Tensor) -> Named:
    """For each item, the mean or deviation over the items of its group."""
    rest = tuple(d for d in value.dims if d != ITEM)
    ordered = value.spread((ITEM, *rest))[0]
    present = value.full_presence().permute([value.dims.index(d) for d in (ITEM, *rest)])
    if value.feature:
        present = present[..., None]
    present = present.expand(ordered.shape)
    result = torch.empty_like(ordered)
    for group in groups.unique().tolist():
        mine = groups == group
        result[mine] = REDUCERS[op](ordered[mine], present[mine], [0])
    return Named(result, (ITEM, *rest), value.feature)


def correlate(x: Named, y: Named, over: Sequence[str], rank: bool, feature: bool) -> Named:
    """Pearson's r (of ranks: Spearman's rho) between two values over dimensions."""
    dims = union([x, y])
    rest = [d for d in dims if d not in over]
    order = (*rest, *[d for d in dims if d in over])
    (a, a_there), (b, b_there) = x.spread(order), y.spread(order)
    shape = torch.broadcast_shapes(a.shape, b.shape)
    a, b = a.expand(shape), b.expand(shape)
    there = torch.ones(shape[: len(order)], dtype=torch.bool)
    for one in (a_there, b_there):
        there = there & one if one is not None else there
    if feature:
        there = there[..., None].expand(shape)
    a, b, there = (t.reshape(*shape[: len(rest)], -1).double() for t in (a, b, there.to(a.dtype)))
    if rank:
        a, b = ranks(a, there), ranks(b, there)
    n = there.sum(-1, keepdim=True)
    a, b = ((t - (t * there).sum(-1, keepdim=True) / n) * there for t in (a, b))
    r = (a * b).sum(-1) / (a.square().sum(-1) * b.square().sum(-1)).sqrt()
    return Named(r.to(torch.float32), tuple(rest))


def ranks(x: Tensor, there: Tensor) -> Tensor:
    """Ranks along the last axis, ties by their mean; cells that are not there rank last."""
    x = torch.where(there > 0, x, torch.inf)
    less = (x[..., None, :] < x[..., :, None]).sum(-1)
    equal = (x[..., None, :] == x[..., :, None]).sum(-1)
    return less + (equal + 1) / 2.0
