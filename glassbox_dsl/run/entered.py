"""Passes that change nothing below a layer, nor left of a position: what they have in common is made once."""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass
from functools import partial
from typing import Any

from torch import Tensor
from transformers import DynamicCache

from glassbox_dsl.language.program import Run
from glassbox_dsl.plan.rows import RowMaker
from glassbox_dsl.run.context import Context
from glassbox_dsl.run.edits import EditBatch
from glassbox_dsl.run.named import tensor
from glassbox_dsl.run.rows import Rows
from glassbox_dsl.run.steps import boundary
from glassbox_dsl.vocabulary.keys import HEAD, STREAM, SiteKey
from glassbox_dsl.vocabulary.sites import sites

LOGITS = SiteKey("logits")


@dataclass(frozen=True)
class Entered:
    """Where passes over the same rows go on from: nothing changes below `layer`, nor left of the position `first`.

    `stream` [row, pos, dim] enters the layer at the positions from `first` on (None: at layer 0, the embeddings);
    `cache` holds the keys and values of all layers left of them.
    """

    layer: int = 0
    stream: Tensor | None = None
    first: int = 0
    cache: Any = None

    @property
    def start(self) -> tuple[int, Tensor] | None:
        """The layer with its stream, as a pass takes it."""
        return None if self.stream is None else (self.layer, self.stream)

    def own_cache(self) -> Any:
        """The cache for one pass, which adds to it: layers put what they hold together anew, so it is not copied."""
        if self.cache is None:
            return None
        found = copy(self.cache)
        found.layers = [copy(layer) for layer in self.cache.layers]
        return found


WHOLE = Entered()


def entered(context: Context, run: Run, rows: Rows, layer: int, first: int) -> Entered:
    """What passes over some rows have in common that change nothing below a layer, nor left of a position."""
    maker = RowMaker(context)
    variant = run.variants[rows.variant]
    env = maker.env(run, rows.cells, rows.items, None)
    ids = tensor(maker.ids(variant.prompt, rows.items, rows.length, None))
    cache, stream = None, None
    # `gradients`: values made without them in mind could not stand in a graph.
    passed = partial(context.instrument.forward, gradients=True)
    if first:
        config: Any = context.instrument.model.config
        cache = DynamicCache(config=config)
        edits = EditBatch(context, variant, env, [first - 1], range(first)).writes()
        passed(ids[:, :first], reads={LOGITS}, logit_positions=[first - 1], writes=edits, cache=cache)
        first = first if _holds(cache, first) else 0
    if layer:
        key = SiteKey("resid_pre", layer)
        writes = EditBatch(context, variant, env).writes()
        below = {k: w for k, w in writes.items() if not behind(k, layer)}
        stream = passed(ids, reads={key}, writes=below)[key][:, first:]
    return Entered(layer, stream, first, cache if first else None)


def part_of(key: SiteKey, way: Tensor, value: Tensor, first: int) -> Tensor:
    """What is added to a value that begins at a position, of what is known for all positions."""
    axes = ["", *(a for a in sites()[key.site].axes if a != "layer")]
    begin = [first if axis in ("pos", "query") else 0 for axis in axes]
    begin += [0] * (value.ndim - len(begin))
    return way[tuple(slice(b, b + n) for b, n in zip(begin, value.shape, strict=True))].to(value)


def _holds(cache: Any, length: int) -> bool:
    """Whether a cache holds the keys of so many positions in every layer: windows and recurrent states do not."""
    keys = [getattr(layer, "keys", None) for layer in cache.layers]
    return all(isinstance(k, Tensor) and k.ndim == 4 and k.shape[2] == length for k in keys)


def behind(key: SiteKey, start: int) -> bool:
    """Whether a pass that begins with the stream that enters a layer comes by a site behind that stream."""
    if start == 0 or key.site in HEAD:
        return True
    if key.site in STREAM:
        return boundary(key) > start
    return key.layer is not None and key.layer >= start
