"""Edges outside of a circuit, in one batch of passes: what their senders put out in another run, for each receiver.

A receiver reads the stream as it is, plus for every edge outside the difference between what its sender puts out in the
other run and what it puts out in this one. Heads whose sum goes through a norm before it is added are exchanged in that
sum, and the difference of what the norm makes of it is what arrives (Syed et al. 2023, arXiv:2310.10348; Hanna et al.
2024, arXiv:2403.17806).
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from glassbox_dsl.language.program import RunUse
from glassbox_dsl.plan.edges import Edges
from glassbox_dsl.plan.indexing import Env
from glassbox_dsl.plan.named import Integers
from glassbox_dsl.plan.places import Places
from glassbox_dsl.plan.rows import RowMaker
from glassbox_dsl.run.context import Context
from glassbox_dsl.run.instrument import Instrument
from glassbox_dsl.run.named import tensor
from glassbox_dsl.vocabulary.keys import COPIES, SiteKey

Outputs = dict[SiteKey, Tensor]
"""What senders put out, [row, (head,) pos, dim], by the site at which they are read."""
Write = Callable[[Tensor], Tensor]


def watched(instrument: Instrument, edges: Edges) -> list[SiteKey]:
    """The sites that tell what senders put out: outputs, and the sums of heads that go through a norm."""
    sums = [
        SiteKey("attn.out_raw", layer) for layer in range(edges.n_layers) if not instrument.sums_heads(layer)
    ]
    return [*edges.outputs, *sums]


@dataclass
class Rest:
    """The edges outside of a circuit in a batch.

    `outside` [row or 1, receiver, sender] says which; `other` is what their senders put out in the other run (None:
    nothing, in the place of each). `whole` [row, sender, pos, dim] says how far each is from it, and fills up as the
    pass goes on; in a pass with gradients, which nothing may be written into, its parts stand in `change`.
    """

    instrument: Instrument
    edges: Edges
    outside: Tensor
    other: Outputs | None
    change: Outputs = field(default_factory=dict)
    raw: dict[int, Tensor] = field(default_factory=dict)
    whole: Tensor | None = None
    of_layer: dict[int, Tensor] = field(default_factory=dict)

    def watching(self, key: SiteKey, edited: Write | None) -> Write:
        """A write that changes no more than the edits of a site do, and takes note of what is put out there."""

        def write(value: Tensor) -> Tensor:
            value = value if edited is None else edited(value)
            self.note(key, value)
            return value

        return write

    def changing(self, key: SiteKey, edited: Write | None) -> Write:
        """A write of what a receiver reads, behind the edits of the site."""

        def write(value: Tensor) -> Tensor:
            value = value if edited is None else edited(value)
            change = self.carried(key)
            return value if change is None else value + change.to(value)

        return write

    def note(self, key: SiteKey, value: Tensor) -> None:
        """Take note of what a site puts out in this pass: [row, (head,) pos, dim]."""
        if key.site == "attn.out_raw":
            self.raw[key.layer or 0] = value
            return
        change = -value if self.other is None else self.other[key].to(value) - value
        change = change if key.site == "attn.result" else change[:, None]
        if key.site == "attn.result" and self.instrument.sums_heads(key.layer or 0):
            change = self.instrument.added(key.layer or 0, change)
        if torch.is_grad_enabled():
            self.change[key] = change
            return
        if self.whole is None:
            rows, _, length, width = change.shape
            self.whole = change.new_empty(rows, self.edges.n_senders, length, width)
        self.whole[:, self.edges.sent_at(key)] = change

    def _changes(self, n: int) -> Tensor:
        """How far the first senders are from the other run, [row, sender, pos, dim]."""
        if self.change:
            before = [key for key in self.edges.outputs if self.edges.sent_at(key).stop <= n]
            return torch.cat([self.change[key] for key in before], 1)
        assert self.whole is not None
        return self.whole[:, :n]

    def carried(self, key: SiteKey) -> Tensor | None:
        """How the edges outside change what is read at a site, [row, (head,) pos, dim]; None where there are none."""
        if not bool(self.outside[:, self.edges.read_at(key)].any()):
            return None
        if key.site not in COPIES:
            return self._arriving(self.edges.read_at(key), self.edges.reach_of(key))[:, 0]
        # Queries, keys and values of a layer hear of the same senders.
        sites = [SiteKey(site, key.layer) for site in COPIES]
        first = self.edges.read_at(sites[0]).start
        if key.layer not in self.of_layer:
            every = slice(first, self.edges.read_at(sites[-1]).stop)
            self.of_layer = {key.layer or 0: self._arriving(every, self.edges.reach_of(key))}
        own = self.edges.read_at(key)
        return self.of_layer[key.layer or 0][:, own.start - first : own.stop - first]

    def _arriving(self, receivers: slice, reach: int) -> Tensor:
        """What the edges outside change at some receivers that hear of the first senders, [row, receiver, pos, dim]."""
        outside = self.outside[:, receivers, :reach]
        # Those that miss the same edges read the same: it is summed once.
        rows = len(outside)
        alike, which = torch.unique(outside.transpose(0, 1).flatten(1), dim=0, return_inverse=True)
        found = self._summed(alike.unflatten(1, (rows, -1)).transpose(0, 1), self._changes(reach))
        return found[:, which]

    def _summed(self, outside: Tensor, change: Tensor) -> Tensor:
        """The changes of the edges outside [row or 1, receiver, sender] together: [row, receiver, pos, dim]."""
        share = outside.to(change)
        through = [layer for layer in self.raw if self._heads(layer).stop <= change.shape[1]]
        plain = share.clone()
        for layer in through:
            plain[..., self._heads(layer)] = 0
        found = _mixed(plain, change)
        for layer in through:
            heads, raw = self._heads(layer), self.raw[layer][:, None].to(change)
            if bool(outside[..., heads].any()):
                new = raw + _mixed(share[..., heads], change[:, heads])
                found = found + (self.instrument.added(layer, new) - self.instrument.added(layer, raw))
        return found

    def _heads(self, layer: int) -> slice:
        return self.edges.sent_at(SiteKey("attn.result", layer))


def _mixed(share: Tensor, change: Tensor) -> Tensor:
    """Sums over senders: [row or 1, receiver, sender] and [row, sender, pos, dim] to [row, receiver, pos, dim]."""
    mixed: Tensor = torch.matmul(share, change.flatten(2)).unflatten(2, change.shape[2:])
    return mixed


def outputs_again(context: Context, use: RunUse, env: Env, keys: Collection[SiteKey]) -> Outputs:
    """The same as `outputs`, made once for passes that follow each other and are about the same items."""
    cells = Places(context).run_cell(context.run(use.run), use.where, env).data
    name = (use, np.atleast_1d(env.item.data).tobytes(), np.asarray(cells).tobytes(), env.extension)
    if context.sent is None or context.sent[0] != name:
        context.sent = None  # the other one's room is free before there is a new one
        context.sent = name, outputs(context, use, env, keys)
    return context.sent[1]


def outputs(context: Context, use: RunUse, env: Env, keys: Collection[SiteKey]) -> Outputs:
    """Sites of another run's passes over the items of an environment's rows, by passes of their own: [row, ...]."""
    from glassbox_dsl.run.edits import EditBatch  # an edit may need the outputs of another run

    run, maker = context.run(use.run), RowMaker(context)
    items = np.atleast_1d(env.item.data)
    cells = np.broadcast_to(Places(context).run_cell(run, use.where, env).data, len(items))
    variants = context.cell_variants(run).reshape(-1)[cells]
    lengths = maker.lengths(run, env.extension)[variants, items]
    found: Outputs = {}
    for number in np.unique(variants).tolist():
        mine: Integers = np.flatnonzero(variants == number)
        variant, length = run.variants[number], int(lengths[mine].max())
        own = maker.env(run, cells[mine], items[mine], env.extension)
        edits = EditBatch(context, variant, own).writes()
        ids = tensor(maker.ids(variant.prompt, items[mine], length, env.extension))
        got = context.instrument.forward(ids, reads=set(keys), writes=edits)
        for key, value in got.items():
            if key not in found:
                found[key] = value.new_empty(len(items), *value.shape[1:])
            found[key][tensor(mine).to(value.device)] = value
    return found


def rest_of(context: Context, outside: Tensor, other: RunUse | None, env: Env) -> Rest:
    """The edges outside of a circuit for the rows of an environment."""
    edges = Edges.of(context.sizes.facts)
    sent = None if other is None else outputs_again(context, other, env, edges.outputs)
    if bool((outside == outside[:1]).all()):
        outside = outside[:1]
    return Rest(context.instrument, edges, outside.to(context.instrument.device), sent)
