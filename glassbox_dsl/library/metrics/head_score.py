"""How much a head attends to keys of one kind."""

from __future__ import annotations

from typing import Any

from glassbox_dsl.library.metric import Metric


def keys_of(kind: str, ids: Any) -> Any:
    """Which keys count for each query: bool [batch, query, key] from token ids [batch, pos]."""
    n = ids.shape[1]
    position = ids.new_ones(n).cumsum(0) - 1
    query, key = position[:, None], position[None, :]
    if kind == "previous":
        return (key == query - 1).expand(len(ids), n, n)
    if kind == "self":
        return (key == query).expand(len(ids), n, n)
    if kind == "first":
        return (key == 0).expand(len(ids), n, n)
    same = ids[:, :, None] == ids[:, None, :]
    if kind == "duplicate":
        return same & (key < query)
    follows = same.roll(1, dims=2)
    return follows & (key < query) & (key >= 1)


def compute(pattern: Any, ids: Any, reach: int | None, kind: str) -> Any:
    """Pattern [batch, head, query, key] -> [batch, head]; NaN where no query has such a key.

    Mean over the queries with such a key within reach of the attention they give to those keys together; the
    pattern is not renormalised. `reach` is the sliding window in tokens, None without one.
    """
    keys = keys_of(kind, ids)
    if reach is not None:
        n = ids.shape[1]
        position = ids.new_ones(n).cumsum(0) - 1
        keys = keys & (position[None, :] > position[:, None] - reach)
    counted = keys.any(-1)
    mass = (pattern * keys[:, None]).sum(-1)
    return (mass * counted[:, None]).sum(-1) / counted.sum(-1)[:, None]


METRIC = Metric(
    name="head_score",
    shape="pattern",
    summary="mean attention to keys of a kind, over the queries that have such a key",
    unit="attention",
    compute=compute,
    example="head_score(clean, kind: induction)",
    source="Olsson et al. 2022, arXiv:2209.11895; reference code of the TransformerLens head detector",
    options=(("kind", ("previous", "duplicate", "induction", "self", "first")),),
)
