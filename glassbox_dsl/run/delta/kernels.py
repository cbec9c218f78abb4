"""Attention of packed rows: each row meets the keys of its own prompt, some its own, the rest its base's.

`gathered` copies the keys of every owner out: simple, and the measure of the other. `shared` lets many queries of a
base meet its keys at once, and behind them the own rows of all of their cells; a mask says who sees what. So no prefix
is copied for each cell, and torch's fused attention keeps no scores.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from glassbox_dsl.run.attention import softmax

Turn = Callable[[Tensor], Tensor]
"""Scores [..., key] -> scores: scale, cap; masks come after."""


@dataclass(frozen=True)
class Owners:
    """Owners whose own rows are padded to one number.

    `rows` [owner, own], `positions` [owner, own], `keys` [owner, pos]: the row that holds each key, as far as there are
    any: `ends` [owner] positions.
    """

    rows: Tensor
    positions: Tensor
    keys: Tensor
    ends: Tensor


Part = TypeVar("Part")


@dataclass(frozen=True)
class Parts(Generic[Part]):
    """What meets its keys at once; `places` [row]: where each row lies in all parts, one behind the other."""

    parts: Sequence[Part]
    places: Tensor

    def by_row(self, values: Iterable[Tensor]) -> Tensor:
        """Values [owner, own, ...] of each part as [row, ...]."""
        flat = [value.flatten(0, 1) for value in values]
        return (flat[0] if len(flat) == 1 else torch.cat(flat)).index_select(0, self.places)


def taken(values: Tensor, rows: Tensor) -> Tensor:
    """`values[rows]`, [any axes of rows, ...], by copies of whole rows: brackets took six times as long."""
    return values.index_select(0, rows.flatten()).view(*rows.shape, *values.shape[1:])


@dataclass(frozen=True)
class Rows:
    """Queries, keys and values of all rows, row first: [row, head, d_head], keys and values [row, kv_head, d_head].

    `mask` [pos, pos] is what `eager` adds to scores: 0 where a key is seen, the least number where not. `scale` is what
    scores are multiplied by, None where more than that is done to them; `turn` does either.
    """

    query: Tensor
    key: Tensor
    value: Tensor
    mask: Tensor | None
    turn: Turn
    sinks: Tensor | None = None
    scale: float | None = None

    @property
    def n_kv(self) -> int:
        """Heads of keys and values."""
        return self.key.shape[1]

    def queries(self, rows: Tensor) -> Tensor:
        """Queries of rows [owner, own]: [owner, kv_head, group * own, d_head]."""
        n, own = rows.shape
        found = taken(self.query, rows).view(n, own, self.n_kv, -1, self.query.shape[-1])
        return found.permute(0, 2, 3, 1, 4).reshape(n, self.n_kv, -1, self.query.shape[-1])


def scores_of(rows: Rows, owners: Owners) -> Tensor:
    """Scores of every own row [owner, kv_head, group, own, key], masked as `eager` masks them."""
    return _scores(rows, owners.rows, owners.keys, _own_mask(rows, owners))


def mixed(rows: Rows, keys: Tensor, pattern: Tensor) -> Tensor:
    """z [owner, own, head, d_head] from patterns [owner, kv_head, group, own, key] over rows `keys` [owner, key]."""
    n, n_kv, group, own, n_keys = pattern.shape
    value = taken(rows.value, keys).permute(0, 2, 1, 3)
    z = (pattern.reshape(n, n_kv, group * own, n_keys) @ value).view(n, n_kv, group, own, -1)
    return z.permute(0, 3, 1, 2, 4).reshape(n, own, n_kv * group, -1)


def gathered(rows: Rows, groups: Parts[Owners]) -> Tensor:
    """z of all rows [row, head, d_head]."""
    return groups.by_row(_attended(rows, o.rows, o.keys, _own_mask(rows, o)) for o in groups.parts)


@dataclass(frozen=True)
class Bases:
    """Bases and all rows that query their keys, those of cells above them too: see `BaseGroup` in plan/pack.py.

    `keys` [base, key] and `queries` [base, query] are rows, `query_at` and `own_at` the positions of the queries and
    of the keys behind the first `n_shared`. `seen` are the masks made last, each with the model's mask that it was made
    of: layers have few kinds of them.
    """

    keys: Tensor
    queries: Tensor
    n_shared: int
    fork: Tensor
    asker: Tensor
    owner: Tensor
    query_at: Tensor
    own_at: Tensor
    seen: list[tuple[Tensor | None, Tensor]] = field(default_factory=list)


def shared(rows: Rows, groups: Parts[Bases]) -> Tensor:
    """z of all rows [row, head, d_head]."""
    return groups.by_row(_attended(rows, b.queries, b.keys, _seen(rows, b)) for b in groups.parts)


def _attended(rows: Rows, queries: Tensor, keys: Tensor, mask: Tensor | None) -> Tensor:
    """z [owner, own, head, d_head] of rows `queries` [owner, own] that meet the rows `keys` [owner, key].

    In one call of torch's where scores are only scaled and masked.
    """
    if rows.scale is None or rows.sinks is not None:
        sinks = None if rows.sinks is None else rows.sinks.view(1, rows.n_kv, -1, 1, 1)
        return mixed(rows, keys, softmax(_scores(rows, queries, keys, mask), rows.query.dtype, sinks))
    query, key, value = (
        taken(t, wanted).transpose(1, 2)
        for t, wanted in ((rows.query, queries), (rows.key, keys), (rows.value, keys))
    )
    group = query.shape[1] // rows.n_kv
    if group > 1 and query.device.type != "cpu":  # where no kernel takes shared heads and a mask
        key, value, group = key.repeat_interleave(group, 1), value.repeat_interleave(group, 1), 1
    return scaled_dot_product_attention(
        query, key, value, attn_mask=mask, scale=rows.scale, enable_gqa=group > 1
    ).transpose(1, 2)


def _seen(rows: Rows, bases: Bases) -> Tensor:
    """What is added to scores [base, 1, query, key]: what the model adds, the least number where nothing is seen."""
    for of, mask in bases.seen:
        if _same(of, rows.mask) and mask.dtype == rows.query.dtype:
            return mask
    mask = _made_mask(rows, bases)
    bases.seen[:] = [*bases.seen[-1:], (rows.mask, mask)]
    return mask


def _same(one: Tensor | None, other: Tensor | None) -> bool:
    """Whether two masks are one: both are alive, so that no two of them can lie in one place."""
    if one is None or other is None:
        return one is other
    return one.data_ptr() == other.data_ptr() and one.shape == other.shape and one.stride() == other.stride()


def _made_mask(rows: Rows, bases: Bases) -> Tensor:
    n, n_queries = bases.queries.shape
    hidden = torch.finfo(rows.query.dtype).min
    mask = rows.query.new_zeros((n, n_queries, bases.keys.shape[1]))
    left, own = mask[..., : bases.n_shared], mask[..., bases.n_shared :]
    if rows.mask is not None:
        left.copy_(taken(rows.mask[:, : bases.n_shared], bases.query_at))
        own.copy_(rows.mask[bases.query_at[:, :, None], bases.own_at[:, None, :]])
    positions = torch.arange(bases.n_shared, device=mask.device)
    left.masked_fill_(positions >= bases.fork[:, :, None], hidden)
    own.masked_fill_(bases.asker[:, :, None] != bases.owner[:, None, :], hidden)
    return mask[:, None]


def _own_mask(rows: Rows, owners: Owners) -> Tensor | None:
    """What the model adds to the scores of own rows [owner, 1, own, key]."""
    return (
        None if rows.mask is None else taken(rows.mask[:, : owners.keys.shape[1]], owners.positions)[:, None]
    )


def _scores(rows: Rows, queries: Tensor, keys: Tensor, mask: Tensor | None) -> Tensor:
    """Turned products of queries and keys [owner, kv_head, group, own, key], masked [owner, 1, own, key]."""
    n, own = queries.shape
    key = taken(rows.key, keys).permute(0, 2, 3, 1)
    scores = rows.turn(rows.queries(queries) @ key).view(n, rows.n_kv, -1, own, keys.shape[1])
    return scores if mask is None else scores + mask[:, None]
