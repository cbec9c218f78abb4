"""Operations cell by cell: arithmetic, comparison, choice, and the scoring of answers."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from glassbox_dsl.plan import named as indices
from glassbox_dsl.run.named import Named, both, tensor

NEAR_ZERO = 1e-6
"""A denominator below this, or below this share of the typical one, gives no quotient for the item."""

OPERATIONS: dict[str, Callable[..., Tensor]] = {
    "+": torch.add,
    "-": torch.sub,
    "*": torch.mul,
    "/": torch.div,
    "neg": torch.neg,
    "not": lambda x: 1.0 - x,
    "==": lambda a, b: known(a, b, a == b),
    "!=": lambda a, b: known(a, b, a != b),
    "<": lambda a, b: known(a, b, a < b),
    "<=": lambda a, b: known(a, b, a <= b),
    ">": lambda a, b: known(a, b, a > b),
    ">=": lambda a, b: known(a, b, a >= b),
    "max": lambda *xs: pairwise(torch.maximum, xs),
    "min": lambda *xs: pairwise(torch.minimum, xs),
}


def known(a: Tensor, b: Tensor, truth: Tensor) -> Tensor:
    """1 and 0, or NaN where one of the sides has no value."""
    return torch.where(torch.isnan(a) | torch.isnan(b), torch.nan, truth.to(torch.float32))


def pairwise(function: Callable[[Tensor, Tensor], Tensor], values: Sequence[Tensor]) -> Tensor:
    """A function of two applied to many."""
    result = values[0]
    for value in values[1:]:
        result = function(result, value)
    return result


def choose(chosen: indices.Named, number: int, part: Named, rest: Named, dims: Sequence[str]) -> Named:
    """`part` where `chosen` is a number, `rest` elsewhere; presence goes with the values."""
    feature = part.feature or rest.feature
    pick = tensor(chosen.spread(dims)[0] == number)
    (a, a_there), (b, b_there) = part.spread(dims), rest.spread(dims)
    data = torch.where(pick[..., None] if feature else pick, a, b)
    ones = torch.ones([1] * len(dims), dtype=torch.bool)
    present = torch.where(
        pick, a_there if a_there is not None else ones, b_there if b_there is not None else ones
    )
    return Named(data, tuple(dims), feature, None if bool(present.all()) else present)


def score(compute: Callable[..., Tensor], logits: Named, ids: Named, valid: Named) -> Named:
    """An answer metric of logits [..., vocab] and ids [..., n] whose dimensions meet by name."""
    dims = tuple(dict.fromkeys((*logits.dims, *ids.dims)))
    (x, there), (i, also), (v, _) = logits.spread(dims), ids.spread(dims), valid.spread(dims)
    shape = torch.broadcast_shapes(x.shape[:-1], i.shape[:-1])
    result = compute(
        x.expand(*shape, x.shape[-1]), i.expand(*shape, i.shape[-1]), v.expand(*shape, v.shape[-1])
    )
    return Named(result, dims, False, both(there, also))


def quotient(numerator: Tensor, denominator: Tensor) -> Tensor:
    """num / den, NaN where the denominator is near 0 (absolutely, or beside its typical size)."""
    size = denominator.abs()
    typical = size[torch.isfinite(size)].mean() if size.numel() else size.new_tensor(0.0)
    return torch.where(size < NEAR_ZERO * torch.clamp(typical, min=1.0), torch.nan, numerator / denominator)
