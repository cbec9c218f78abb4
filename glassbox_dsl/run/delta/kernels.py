"""Attention of packed rows: each row meets the keys of its own prompt, some its own, the rest its base's.

`gathered` copies the keys of every owner out: simple, and the measure of the other. `shared` lets many queries of a
base meet its keys at once, and behind them the own rows of all of their cells; a mask says who sees what. So no prefix
is copied for each cell, and torch's fused attention keeps no scores.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

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
    any: `ends` [owner] positions. `real` are those of `rows`, flattened, that are no padding (None: all).
    """

    rows: Tensor
    positions: Tensor
    keys: Tensor
    real: Tensor | None = None
    ends: Tensor | None = None


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

    def empty(self) -> Tensor:
        """Room for z of all rows: [row, head, width of values]."""
        return self.query.new_empty((*self.query.shape[:2], self.value.shape[-1]))

    def queries(self, rows: Tensor) -> Tensor:
        """Queries of rows [owner, own]: [owner, kv_head, group * own, d_head]."""
        n, own = rows.shape
        found = self.query[rows].view(n, own, self.n_kv, -1, self.query.shape[-1])
        return found.permute(0, 2, 3, 1, 4).reshape(n, self.n_kv, -1, self.query.shape[-1])


def scores_of(rows: Rows, owners: Owners) -> Tensor:
    """Scores of every own row [owner, kv_head, group, own, key], masked as `eager` masks them."""
    return _scores(rows, owners.rows, owners.keys, _own_mask(rows, owners))


def mixed(rows: Rows, keys: Tensor, pattern: Tensor) -> Tensor:
    """z [owner, own, head, d_head] from patterns [owner, kv_head, group, own, key] over rows `keys` [owner, key]."""
    n, n_kv, group, own, n_keys = pattern.shape
    value = rows.value[keys].permute(0, 2, 1, 3)
    z = (pattern.reshape(n, n_kv, group * own, n_keys) @ value).view(n, n_kv, group, own, -1)
    return z.permute(0, 3, 1, 2, 4).reshape(n, own, n_kv * group, -1)


def gathered(rows: Rows, groups: Sequence[Owners]) -> Tensor:
    """z of all rows [row, head, d_head]."""
    out = rows.empty()
    for owners in groups:
        z = _attended(rows, owners.rows, owners.keys, _own_mask(rows, owners))
        scatter(out, owners.rows, owners.real, z)
    return out


def scatter(out: Tensor, rows: Tensor, real: Tensor | None, values: Tensor) -> None:
    """Put values [owner, own, ...] to the rows [owner, own] they belong to."""
    flat, values = rows.flatten(), values.flatten(0, 1)
    if real is not None:
        flat, values = flat[real], values[real]
    out[flat] = values


@dataclass(frozen=True)
class Bases:
    """Bases and all rows that query their keys, those of cells above them too: see `BaseGroup` in plan/pack.py.

    `keys` [base, key] and `queries` [base, query] are rows, `query_at` and `own_at` the positions of the queries and of
    the keys behind the first `n_shared`; `real` are the queries, flattened, that are no padding (None: all). `seen` are
    the masks made last, each with the model's mask that it was made of: layers have few kinds of them.
    """

    keys: Tensor
    queries: Tensor
    n_shared: int
    fork: Tensor
    asker: Tensor
    owner: Tensor
    query_at: Tensor
    own_at: Tensor
    real: Tensor | None = None
    seen: list[tuple[Tensor | None, Tensor]] = field(default_factory=list)


def shared(rows: Rows, groups: Sequence[Bases]) -> Tensor:
    """z of all rows [row, head, d_head]."""
    out = rows.empty()
    for bases in groups:
        z = _attended(rows, bases.queries, bases.keys, _seen(rows, bases))
        scatter(out, bases.queries, bases.real, z)
    return out


def _attended(rows: Rows, queries: Tensor, keys: Tensor, mask: Tensor | None) -> Tensor:
    """z [owner, own, head, d_head] of rows `queries` [owner, own] that meet the rows `keys` [owner, key].

    In one call of torch's where scores are only scaled and masked.
    """
    if rows.scale is None or rows.sinks is not None:
        sinks = None if rows.sinks is None else rows.sinks.view(1, rows.n_kv, -1, 1, 1)
        return mixed(rows, keys, softmax(_scores(rows, queries, keys, mask), rows.query.dtype, sinks))
    query = rows.query[queries].transpose(1, 2)
    key, value = rows.key[keys].transpose(1, 2), rows.value[keys].transpose(1, 2)
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
        left.copy_(rows.mask[bases.query_at][..., : bases.n_shared])
        own.copy_(rows.mask[bases.query_at[:, :, None], bases.own_at[:, None, :]])
    positions = torch.arange(bases.n_shared, device=mask.device)
    left.masked_fill_(positions >= bases.fork[:, :, None], hidden)
    own.masked_fill_(bases.asker[:, :, None] != bases.owner[:, None, :], hidden)
    return mask[:, None]


def _own_mask(rows: Rows, owners: Owners) -> Tensor | None:
    """What the model adds to the scores of own rows [owner, 1, own, key]."""
    return None if rows.mask is None else rows.mask[owners.positions][:, None, :, : owners.keys.shape[1]]


def _scores(rows: Rows, queries: Tensor, keys: Tensor, mask: Tensor | None) -> Tensor:
    """Turned products of queries and keys [owner, kv_head, group, own, key], masked [owner, 1, own, key]."""
    n, own = queries.shape
    key = rows.key[keys].permute(0, 2, 3, 1)
    scores = rows.turn(rows.queries(queries) @ key).view(n, rows.n_kv, -1, own, keys.shape[1])
    return scores if mask is None else scores + mask[:, None]
