"""Edges taken away one by one, from the end of the model to its beginning (Conmy et al. 2023, arXiv:2304.14997).

Every edge is there at first. Each in turn carries the other run's output; if the metric, a mean over items, changes by
less than the threshold, it stays away. What no kept edge leads on from needs no edges of its own.

Most edges go, so several are tried in one pass: each row has those before it gone, too. From the first one that stays
on they are tried again.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from glassbox_dsl.language.circuit_nodes import Found
from glassbox_dsl.plan.demand import Wanted
from glassbox_dsl.plan.named import Integers, Mask
from glassbox_dsl.plan.rows import RowMaker
from glassbox_dsl.run.context import RunResults
from glassbox_dsl.run.entered import Entered, behind
from glassbox_dsl.run.gradients import Gradients, Write, copied
from glassbox_dsl.run.keeping import Keeping
from glassbox_dsl.run.kept_edges import Outputs, Rest, watched
from glassbox_dsl.run.rows import BATCH_SENT, Rows
from glassbox_dsl.vocabulary.keys import SiteKey

if TYPE_CHECKING:
    from glassbox_dsl.run.circuits import Circuits


@dataclass(frozen=True)
class Tried(Rows):
    """Rows of which each is one edge tried on one item: `slots` numbers the edges."""

    slots: Integers

    @property
    def places(self) -> tuple[Tensor, Tensor]:
        """Edges and items as an index of what is kept of the passes."""
        return torch.from_numpy(self.slots), torch.from_numpy(self.items)


@dataclass(frozen=True)
class Batch:
    """Items that pass together: the stream at every boundary of layers, and what senders put out in the other run.

    `whole` and `raw` are those of a `Rest` of the run as it is: what a pass begins behind is what they say there.
    """

    rows: Rows
    streams: list[Tensor]
    other: Outputs
    whole: Tensor
    raw: dict[int, Tensor]


@dataclass
class Removal:
    """Takes edges away; `outside` [receiver, sender] are those that are gone."""

    circuits: Circuits
    expr: Found
    batches: list[Batch] = field(init=False)
    outside: Tensor = field(init=False)

    def __post_init__(self) -> None:
        self.edges, self.context = self.circuits.edges, self.circuits.context
        self.gradients = Gradients(self.circuits.evaluator)
        self.wanted: Wanted = self.gradients.wanted(self.expr.metric, self.expr.clean.run)
        self.known = self.gradients.known(self.wanted)
        self.outside = torch.zeros(self.edges.there.shape, dtype=torch.bool)
        self.batches = [
            self._batch(rows) for rows in self.gradients.batches(self.wanted, tokens=self.circuits.tokens)
        ]

    def _batch(self, rows: Rows) -> Batch:
        """The passes of both runs over some items."""
        instrument, top = self.context.instrument, self.edges.n_layers
        streams = [*(SiteKey("resid_pre", layer) for layer in range(top)), self.edges.inputs[-1]]
        watch = watched(instrument, self.edges)
        clean, corrupt = self.circuits.both(self.expr, rows, [*watch, *streams])
        rest = Rest(instrument, self.edges, self.outside[None], corrupt)
        with torch.no_grad():
            for key in watch:
                rest.note(key, clean[key])
        assert rest.whole is not None
        other = {key: corrupt[key] for key in self.edges.outputs}
        return Batch(rows, [clean[key] for key in streams], other, rest.whole, rest.raw)

    def kept(self, threshold: float) -> tuple[Mask, NDArray[np.float64]]:
        """The edges [edge] that stay, and by how much each changed the metric when it was gone (NaN: not tried)."""
        self.outside[:] = False
        found = np.full(self.edges.there.shape, np.nan)
        with self.context.progress.within("edges taken away", self.edges.n_edges) as advance:
            for n in self._tried(threshold, found):
                advance(n)
        return ~self.outside.numpy()[self.edges.there], found[self.edges.there]

    def _tried(self, threshold: float, found: NDArray[np.float64]) -> Iterator[int]:
        """Edge by edge, changes noted in `found` [receiver, sender]: how many edges were settled by each pass."""
        end = self.edges.n_receivers - 1
        [current] = self.metrics(self.edges.inputs[-1], end, [None])
        at_once = 1
        for key in reversed(self.edges.inputs):
            there = self.edges.read_at(key)
            for receiver in reversed(range(there.start, there.stop)):
                left = list(reversed(range(self.edges.reach_of(key))))
                if not self._heard(receiver):
                    self.outside[receiver, left] = True
                    yield len(left)
                    continue
                while left:
                    some = left[: self._most(at_once)]
                    gone = 0
                    for sender, new in zip(some, self.metrics(key, receiver, some), strict=True):
                        found[receiver, sender] = change = new - current
                        if (change if self.expr.signed else abs(change)) >= threshold:
                            break
                        self.outside[receiver, sender], current, gone = True, new, gone + 1
                    settled = gone + (gone < len(some))
                    left = left[settled:]
                    at_once = 2 * len(some) if gone == len(some) else gone + 1
                    yield settled

    def _most(self, at_once: int) -> int:
        """How many edges may be tried in one pass."""
        largest = max(batch.whole.numel() for batch in self.batches)
        return max(1, min(at_once, BATCH_SENT // largest))

    def _heard(self, receiver: int) -> bool:
        """Whether any edge is left that leads on from the node that a receiver is an input of."""
        node = int(self.edges.nodes[receiver])
        if node == self.edges.n_senders:
            return True
        there = torch.from_numpy(self.edges.there[:, node])
        return bool((there & ~self.outside[:, node]).any())

    # ------------------------------------------------------------ passes

    def metrics(self, key: SiteKey, receiver: int, senders: Sequence[int | None]) -> list[float]:
        """The metric, a mean over items, when the first, the first two, ... of some edges to a receiver are gone, too.

        No edge to anything that reads before `key`, the receiver's site, may be gone.
        """
        outside = self.outside.repeat(len(senders), 1, 1)
        for slot, sender in enumerate(senders):
            if sender is not None:
                outside[slot:, receiver, sender] = True
        results = RunResults(np.ones((len(senders), self.known.made.shape[1]), dtype=np.bool_))
        Keeping(self.context, RowMaker(self.context)).prepare(results, self.wanted, None)
        for batch in self.batches:
            self._pass(batch, results, outside, self._start(key))
        cell = int(self.batches[0].rows.cells[0])
        return [self._mean(results, slot, cell) for slot in range(len(senders))]

    def _mean(self, results: RunResults, slot: int, cell: int) -> float:
        """The metric of the passes of one edge, in the place of those of the run's cell."""
        own = copied(self.known)
        for name, stored in own.sites.items():
            stored.data[cell] = results.sites[name].data[slot]
        for tap, value in own.taps.items():
            value.data[cell] = results.taps[tap].data[slot]
        found = self.gradients.number(self.expr.metric, self.wanted.run, own)
        data = found.data if found.present is None else found.data[found.full_presence()]
        return float(data.double().mean())

    def _start(self, key: SiteKey) -> int:
        """The layer from which on a pass has to go: below it nothing is exchanged."""
        assert key.layer is not None
        if any(site != "logits" for site in self.known.sites):
            return 0
        return self.edges.n_layers if key.site == "resid_post" else key.layer

    def _pass(self, batch: Batch, results: RunResults, outside: Tensor, start: int) -> None:
        instrument, rows = self.context.instrument, batch.rows
        n, size = len(outside), len(rows.items)
        slots = np.repeat(np.arange(n), size)
        tried = Tried(np.tile(rows.cells, n), np.tile(rows.items, n), rows.variant, rows.length, 0, slots)
        rest = Rest(
            instrument, self.edges, outside.repeat_interleave(size, 0).to(batch.whole.device),
            {key: _times(value, n) for key, value in batch.other.items() if behind(key, start)},
            raw={layer: _times(value, n) for layer, value in batch.raw.items()}, whole=_times(batch.whole, n),
        )  # fmt: skip

        def around(edits: Mapping[SiteKey, Write]) -> dict[SiteKey, Write]:
            found = {**edits}
            for key in self.edges.inputs:
                if behind(key, start) or key.site == "resid_post":
                    found[key] = rest.changing(key, found.get(key))
            for key in watched(instrument, self.edges):
                if behind(key, start):
                    found[key] = rest.watching(key, found.get(key))
            return found

        entered = Entered() if start == 0 else Entered(start, _times(batch.streams[start], n))
        self.gradients.passed(self.wanted, tried, results, around, gradients=False, entered=entered)


def _times(value: Tensor, n: int) -> Tensor:
    """A batch of rows n times over."""
    return value.repeat(n, *[1] * (value.ndim - 1))
