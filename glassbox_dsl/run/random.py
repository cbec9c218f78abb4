"""Random numbers that depend on what they are for, never on batches: items, positions and seeds."""

from __future__ import annotations

import hashlib
import random
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from glassbox_dsl.plan import named as indices
from glassbox_dsl.plan.named import Integers
from glassbox_dsl.run.named import Named, take
from glassbox_dsl.vocabulary.axes import ITEM, POSITION_AXES

if TYPE_CHECKING:
    from glassbox_dsl.plan.indexing import Env
    from glassbox_dsl.run.context import Context


def gaussian(key: tuple[object, ...], shape: tuple[int, ...]) -> Tensor:
    """Standard normal float32 numbers that a key alone decides."""
    digest = hashlib.sha256(repr(key).encode()).digest()
    generator = np.random.Generator(np.random.Philox(key=int.from_bytes(digest[:16], "little")))
    return torch.from_numpy(generator.standard_normal(shape, dtype=np.float32))


def site_noise(env: Env, seed: int, context: Context) -> Named:
    """Noise for the written site of an edit: one draw for (seed, site, layer, item, position)."""
    assert env.site is not None
    name, layer = env.site
    axes = [a for a in env.coordinates if a != "layer" and a not in POSITION_AXES]
    positions = [a for a in env.coordinates if a in POSITION_AXES]
    key = ("noise", seed, name, layer)
    cached = context.cache.get(key)
    longest = max((int(env.coordinates[a].data.max()) + 1 for a in positions), default=1)
    if cached is None or (positions and cached.data.shape[1] < longest):
        inner = tuple(len(env.coordinates[a].data) for a in axes)
        width = context.sizes.facts.feature_size(name)
        shape = (*inner, *((width,) if width is not None else ()))
        if len(positions) > 1:
            shape = (longest, *shape)  # keys first: a longer draw begins with the same numbers
        numbers = context.data.numbers.tolist()
        drawn = torch.stack(
            [torch.stack([gaussian((*key, item, p), shape) for p in range(longest)]) for item in numbers]
        )
        dims = (
            ITEM,
            "pos" if len(positions) < 2 else "query",
            *(("key",) if len(positions) > 1 else ()),
            *axes,
        )
        cached = Named(drawn, dims, width is not None)
        context.cache[key] = cached
    picks = {ITEM: env.item, **{a: env.coordinates[a] for a in positions}}
    return take(cached, picks)


def noise_like(like: Named, seed: int, numbers: Integers, item: indices.Named) -> Named:
    """Noise with the axes of a value; a value with items draws for each of them."""
    kept = [d for d in like.dims if d not in (ITEM, "row")]
    shape = tuple(like.sizes[d] for d in kept) + ((like.data.shape[-1],) if like.feature else ())
    if len(kept) == len(like.dims):
        return Named(gaussian(("like", seed), shape), tuple(kept), like.feature, like.present)
    drawn = torch.stack([gaussian(("like", seed, number), shape) for number in numbers.tolist()])
    return take(Named(drawn, (ITEM, *kept), like.feature), {ITEM: item})


def partners(numbers: list[int], groups: list[int], seed: int) -> list[int] | None:
    """For every item another one of its group, by place; None when a group has one item."""
    members: dict[int, list[int]] = {}
    for place, group in enumerate(groups):
        members.setdefault(group, []).append(place)
    found = []
    for place, group in enumerate(groups):
        others = [p for p in members[group] if p != place]
        if not others:
            return None
        found.append(random.Random(f"{seed}/{numbers[place]}").choice(others))
    return found
