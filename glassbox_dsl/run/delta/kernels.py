"""Attention of packed rows: each row meets the keys of its own prompt, some its own, the rest its base's.

`gathered` copies the keys of every owner out: simple, and the measure of the other. `shared` lets all queries of a
base meet its keys in one product and exchanges the scores at positions that an owner has rows of its own for, so that
no prefix is copied.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from glassbox_dsl.run.attention import softmax

Turn = Callable[[Tensor], Tensor]
"""Scores [..., key] -> scores: scale, cap; masks come after."""


@dataclass(frozen=True)
class Owners:
    """Owners whose own rows are padded to one number.

    `rows` [owner, own] (-1: padding), `positions` [owner, own], `keys` [owner, pos]: the row that holds each key, as
    far as there are any: `ends` [owner] positions.
    """

    rows: Tensor
    positions: Tensor
    keys: Tensor
    ends: Tensor | None = None


@dataclass(frozen=True)
class Rows:
    """Queries, keys and values of all rows, row first: [row, head, d_head], keys and values [row, kv_head, d_head].

    `mask` [pos, pos] is what `eager` adds to scores: 0 where a key is seen, the least number where not.
    """

    query: Tensor
    key: Tensor
    value: Tensor
    mask: Tensor | None
    turn: Turn
    sinks: Tensor | None = None

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
    scores = _products(rows, owners)
    if rows.mask is None:
        return scores
    seen = rows.mask[owners.positions][..., : owners.keys.shape[1]]
    return scores + seen[:, None, None]


def mixed(rows: Rows, owners: Owners, pattern: Tensor) -> Tensor:
    """z of every own row [owner, own, head, d_head] from its pattern."""
    n, n_kv, group, own, n_keys = pattern.shape
    value = rows.value[owners.keys].permute(0, 2, 1, 3)
    z = (pattern.reshape(n, n_kv, group * own, n_keys) @ value).view(n, n_kv, group, own, -1)
    return z.permute(0, 3, 1, 2, 4).reshape(n, own, n_kv * group, -1)


def gathered(rows: Rows, groups: Sequence[Owners]) -> Tensor:
    """z of all rows [row, head, d_head]."""
    out = rows.empty()
    for owners in groups:
        sinks = None if rows.sinks is None else rows.sinks.view(1, rows.n_kv, -1, 1, 1)
        pattern = softmax(scores_of(rows, owners), rows.query.dtype, sinks)
        scatter(out, owners, mixed(rows, owners, pattern))
    return out


def scatter(out: Tensor, owners: Owners, values: Tensor) -> None:
    """Put values [owner, own, ...] to the rows they belong to."""
    there = owners.rows >= 0
    out[owners.rows[there]] = values[there]


@dataclass(frozen=True)
class Cells:
    """Cells above the bases of a `Bases`: their own rows [cell, own] at `positions`, and which base each has.

    `queries` [cell, query] are those of the rows that meet their keys, `slots` where they stand among the base's.
    """

    rows: Tensor
    base: Tensor
    queries: Tensor
    slots: Tensor
    positions: Tensor


@dataclass(frozen=True)
class Bases:
    """Bases with everything that queries their keys: `keys` [base, pos], `queries` [base, slot] (-1: none).

    `positions` [base, slot] says where each query stands.
    """

    keys: Tensor
    queries: Tensor
    positions: Tensor
    cells: Sequence[Cells]


def shared(rows: Rows, groups: Sequence[Bases]) -> Tensor:
    """z of all rows [row, head, d_head]."""
    out = rows.empty()
    for bases in groups:
        _mix_shared(rows, bases, out)
    return out


def _mix_shared(rows: Rows, bases: Bases, out: Tensor) -> None:
    everything = Owners(bases.queries, bases.positions, bases.keys)
    n_keys, n_slots = bases.keys.shape[1], bases.queries.shape[1]
    scores = _products(rows, everything).flatten(1, 2)  # [base, head, slot, key]
    n_heads = scores.shape[1]
    places = []
    for cells in bases.cells:
        own = Owners(cells.queries, cells.positions, cells.rows.clamp(min=0))
        place, there = _places(cells, n_heads, n_slots, n_keys)
        scores.view(-1)[place] = _products(rows, own).flatten(1, 2)[there]
        places.append((own, place, there))
    if rows.mask is not None:
        scores += rows.mask[bases.positions][:, None, :, :n_keys]
    sinks = None if rows.sinks is None else rows.sinks.view(1, -1, 1, 1)
    pattern = softmax(scores, rows.query.dtype, sinks)
    if sinks is not None:
        pattern = pattern.contiguous()
    taken = [pattern.view(-1)[place] for _, place, _ in places]
    for _, place, _ in places:
        pattern.view(-1)[place] = 0
    grouped = pattern.view(len(pattern), rows.n_kv, -1, n_slots, n_keys)
    scatter(out, everything, mixed(rows, everything, grouped))
    for (own, _, there), part in zip(places, taken, strict=True):
        alone = pattern.new_zeros(there.shape)
        alone[there] = part
        z = mixed(rows, own, alone.view(len(alone), rows.n_kv, -1, *alone.shape[-2:]))
        real = own.rows >= 0
        out[own.rows[real]] += z[real]


def _products(rows: Rows, owners: Owners) -> Tensor:
    """Turned products of queries and keys [owner, kv_head, group, own, key], without a mask."""
    n, own = owners.rows.shape
    query = rows.queries(owners.rows.clamp(min=0))
    key = rows.key[owners.keys].permute(0, 2, 3, 1)
    return rows.turn(query @ key).view(n, rows.n_kv, -1, own, owners.keys.shape[1])


def _places(cells: Cells, n_heads: int, n_slots: int, n_keys: int) -> tuple[Tensor, Tensor]:
    """Where the scores among a cell's own rows stand in those of its base, flattened, and which of them exist."""
    heads = torch.arange(n_heads, device=cells.rows.device)
    row = (cells.base[:, None] * n_heads + heads)[:, :, None] * n_slots + cells.slots[:, None, :]
    place = row[..., None] * n_keys + cells.positions[:, None, None, :]
    there = ((cells.queries >= 0)[:, :, None] & (cells.rows >= 0)[:, None, :])[:, None].expand(place.shape)
    return place[there], there
