"""The edges of a model: what adds to the residual stream, what reads it, and who comes before whom.

Senders are the embedding, every head and every MLP; receivers are each head's query, key and value input, the input of
every MLP, and the end of the stream. A receiver reads the sum of all that is sent before it, so its senders are the
first `reach` ones, and the edges are numbered receiver by receiver. In a parallel block the MLP reads what the heads of
its layer read, and nothing of what they add.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from glassbox_dsl.plan.named import Integers, Mask
from glassbox_dsl.resolve.facts import ModelFacts
from glassbox_dsl.vocabulary.keys import COPIES, SiteKey

EMBED = SiteKey("embed")


@dataclass(frozen=True)
class Edges:
    """The edges of a model with some layers and heads."""

    n_layers: int
    n_heads: int
    parallel: bool

    @classmethod
    def of(cls, facts: ModelFacts) -> Edges:
        """The edges of a model."""
        return cls(facts.n_layers, facts.n_heads, facts.parallel)

    # ------------------------------------------------------------ nodes

    @property
    def n_senders(self) -> int:
        """The embedding, and in every layer its heads and its MLP."""
        return 1 + self.n_layers * (self.n_heads + 1)

    @property
    def n_receivers(self) -> int:
        """Three inputs of every head, one of every MLP, and the end."""
        return self.n_layers * (3 * self.n_heads + 1) + 1

    @property
    def outputs(self) -> list[SiteKey]:
        """The sites at which senders are read, in the order of the stream."""
        layers = range(self.n_layers)
        return [EMBED, *(SiteKey(site, k) for k in layers for site in ("attn.result", "mlp.out"))]

    @property
    def inputs(self) -> list[SiteKey]:
        """The sites at which receivers read, in the order of the stream."""
        found = [SiteKey(site, k) for k in range(self.n_layers) for site in (*COPIES, "mlp.in")]
        return [*found, SiteKey("resid_post", self.n_layers - 1)]

    def sent_at(self, key: SiteKey) -> slice:
        """The senders of a site: the heads of a layer, or one."""
        if key == EMBED:
            return slice(0, 1)
        assert key.layer is not None
        first = 1 + key.layer * (self.n_heads + 1)
        return slice(first, first + self.n_heads) if key.site == "attn.result" else _one(first + self.n_heads)

    def read_at(self, key: SiteKey) -> slice:
        """The receivers of a site: the heads of a layer, or one."""
        assert key.layer is not None
        if key.site == "resid_post":
            return _one(self.n_receivers - 1)
        first = key.layer * (3 * self.n_heads + 1)
        if key.site == "mlp.in":
            return _one(first + 3 * self.n_heads)
        first += COPIES.index(key.site) * self.n_heads
        return slice(first, first + self.n_heads)

    def reach_of(self, key: SiteKey) -> int:
        """How many senders come before what reads at a site."""
        if key.site == "resid_post":
            return self.n_senders
        assert key.layer is not None
        before = 1 + key.layer * (self.n_heads + 1)
        return before + self.n_heads if key.site == "mlp.in" and not self.parallel else before

    @cached_property
    def reach(self) -> Integers:
        """How many senders come before each receiver, [receiver]."""
        found = np.zeros(self.n_receivers, dtype=np.int64)
        for key in self.inputs:
            found[self.read_at(key)] = self.reach_of(key)
        return found

    @cached_property
    def nodes(self) -> Integers:
        """The node that each receiver is an input of, as a sender, [receiver]; `n_senders` for the end."""
        found = np.full(self.n_receivers, self.n_senders)
        for key in self.inputs[:-1]:
            site = "mlp.out" if key.site == "mlp.in" else "attn.result"
            sent = self.sent_at(SiteKey(site, key.layer))
            found[self.read_at(key)] = np.arange(sent.start, sent.stop)
        return found

    def sender_names(self) -> list[str]:
        """What senders are called, as `path` takes them."""
        return list(self._names(self.outputs, self.sent_at))

    def receiver_names(self) -> list[str]:
        """What receivers are called, as `path` takes them."""
        return [*self._names(self.inputs[:-1], self.read_at), "resid_post[-1]"]

    @staticmethod
    def _names(keys: list[SiteKey], places: object) -> Iterator[str]:
        for key in keys:
            where: slice = places(key)  # type: ignore[operator]
            heads = key.site.startswith("attn")
            for place in range(where.stop - where.start):
                inside = ", ".join(map(str, [key.layer, *([place] if heads else [])]))
                yield key.site if key.layer is None else f"{key.site}[{inside}]"

    # ------------------------------------------------------------ edges

    @property
    def n_edges(self) -> int:
        """How many pairs of a receiver and a sender before it there are."""
        return int(self.reach.sum())

    @cached_property
    def there(self) -> Mask:
        """Which pairs are edges, [receiver, sender]."""
        found: Mask = np.arange(self.n_senders) < self.reach[:, None]
        return found

    @cached_property
    def ends(self) -> tuple[Integers, Integers]:
        """The receiver and the sender of every edge, [edge]."""
        receivers, senders = self.there.nonzero()
        return receivers, senders

    def table(self, edges: NDArray[np.bool_]) -> Mask:
        """Edges [..., edge] by their ends, [..., receiver, sender]."""
        found = np.zeros((*edges.shape[:-1], *self.there.shape), dtype=np.bool_)
        found[..., self.there] = edges
        return found

    def connected(self, edges: Mask) -> Mask:
        """Those of some edges [edge] that lie on a way from the embedding to the end."""
        table = self.table(edges)
        begun = np.zeros(self.n_senders + 1, dtype=np.bool_)
        begun[0] = True
        for receiver in range(self.n_receivers):  # receivers come after all that they can hear of
            begun[self.nodes[receiver]] |= bool((table[receiver] & begun[:-1]).any())
        ended = np.zeros(self.n_senders + 1, dtype=np.bool_)
        ended[-1] = True
        for receiver in reversed(range(self.n_receivers)):
            if ended[self.nodes[receiver]]:
                ended[:-1] |= table[receiver]
        receivers, senders = self.ends
        return edges & begun[senders] & ended[self.nodes[receivers]]


def _one(place: int) -> slice:
    return slice(place, place + 1)
