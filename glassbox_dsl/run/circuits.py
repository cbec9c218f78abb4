"""Circuits found: the edges of a model scored, or taken away one by one.

Edge attribution patching (Syed et al. 2023, arXiv:2310.10348) scores an edge by the slope of the metric in what its
receiver reads, times how far what its sender adds to the stream would move there: all edges at once. With integrated
gradients (Hanna et al. 2024, arXiv:2403.17806) slopes are averaged on the way between the embeddings of both prompts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from glassbox_dsl.diagnostics import Findings
from glassbox_dsl.language.circuit_nodes import Found
from glassbox_dsl.language.program import Expr, MetricCall
from glassbox_dsl.plan import named as indices
from glassbox_dsl.plan.edges import EMBED, Edges
from glassbox_dsl.plan.indexing import Env
from glassbox_dsl.plan.named import Mask
from glassbox_dsl.plan.rows import RowMaker
from glassbox_dsl.plan.set_maker import Searched
from glassbox_dsl.run import errors
from glassbox_dsl.run.acdc import Removal
from glassbox_dsl.run.context import Context
from glassbox_dsl.run.gradients import Gradients, Shift
from glassbox_dsl.run.kept_edges import Outputs, outputs, watched
from glassbox_dsl.run.rows import Rows
from glassbox_dsl.run.set_values import spread_out
from glassbox_dsl.syntax import nodes
from glassbox_dsl.vocabulary.axes import EDGE
from glassbox_dsl.vocabulary.keys import SiteKey

if TYPE_CHECKING:
    from glassbox_dsl.run.evaluate import Evaluator

SLOPES = 2**26
"""At most about this many numbers of slopes (256 MiB) in one pass."""
NEAR_ZERO = 1e-6
"""A divergence below this in every item lies at its minimum, where the gradient says nothing."""


@dataclass(frozen=True)
class Circuits:
    """Finds the circuits of one context."""

    evaluator: Evaluator

    @property
    def context(self) -> Context:
        """Where they are found."""
        return self.evaluator.context

    @property
    def edges(self) -> Edges:
        """The edges of the model."""
        return Edges.of(self.context.sizes.facts)

    @property
    def tokens(self) -> int:
        """About how many tokens pass together: each has a number for every edge's end and channel of the stream."""
        return max(1, SLOPES // (self.edges.n_receivers * self.context.sizes.facts.d_model))

    def search(self, expr: Found, dims: Sequence[str], env: Env) -> Searched:
        """What a search finds, over all cells of some dimensions."""
        if expr.edges is None:
            return self._taken_away(expr, dims, env)
        scores, counts = self.scores(expr), self._numbers(expr.edges, dims, env)
        kept = np.zeros((*counts.shape, len(scores)), dtype=np.bool_)
        for place in np.ndindex(*counts.shape):
            wanted = int(np.nan_to_num(counts[place]).round())
            kept[place] = self.edges.connected(largest(scores, wanted, signed=expr.signed))
            self._note(expr, wanted, int(kept[place].sum()))
        return Searched(indices.Named(kept, (*dims, EDGE)), indices.Named(scores, (EDGE,)))

    def _taken_away(self, expr: Found, dims: Sequence[str], env: Env) -> Searched:
        """What is left when edges are taken away one by one."""
        assert expr.threshold is not None
        thresholds = self._numbers(expr.threshold, dims, env)
        removal = Removal(self, expr)
        kept = np.zeros((*thresholds.shape, self.edges.n_edges), dtype=np.bool_)
        scores = np.full(kept.shape, np.nan)
        for place in np.ndindex(*thresholds.shape):
            kept[place], scores[place] = removal.kept(float(thresholds[place]))
        return Searched(indices.Named(kept, (*dims, EDGE)), indices.Named(scores, (*dims, EDGE)))

    def _numbers(self, expr: Expr, dims: Sequence[str], env: Env) -> NDArray[np.float64]:
        """An option of a search in every cell."""
        return spread_out(self.evaluator.value(expr, env), dims, env)

    def _note(self, expr: Found, wanted: int, left: int) -> None:
        """Say how many edges lie on no way through the model, and were taken out."""
        note = errors.pruned_edges(expr.span, wanted, left, self.context.model)
        if left < wanted and note not in self.context.sets.notes:
            self.context.sets.notes.append(note)

    # ------------------------------------------------------------ edge attribution

    def scores(self, expr: Found) -> NDArray[np.float64]:
        """By how much each edge is estimated to change the metric when it carries the other run: a mean over items."""
        key = ("scores", expr.kind, expr.metric, expr.corrupt, expr.steps)
        if key not in self.context.scores:
            self.context.scores[key] = self._scored(expr)
        return self.context.scores[key]

    def _scored(self, expr: Found) -> NDArray[np.float64]:
        if expr.kind == "eap":
            self._check(expr.metric)
        gradients, edges = Gradients(self.evaluator), self.edges
        gradients.check(expr.metric)
        wanted = gradients.wanted(expr.metric, expr.clean.run)
        known = gradients.known(wanted)
        table = torch.zeros(edges.n_receivers, edges.n_senders, dtype=torch.float64)
        batches = gradients.batches(wanted, tokens=self.tokens)
        with self.context.progress.within("edges scored", len(batches) * expr.steps) as advance:
            for rows in batches:
                clean, corrupt = self.both(expr, rows, watched(self.context.instrument, edges))
                sent, way = self._sent(clean, corrupt), corrupt[EMBED] - clean[EMBED]
                del clean, corrupt
                slopes = Slopes.of(edges, sent)
                for step in range(expr.steps):
                    shift = {} if expr.kind == "eap" else {EMBED: _along(way, (step + 0.5) / expr.steps)}
                    gradients.batch(expr.metric, wanted, rows, (), shift, known, slopes.noted())
                    advance(1)
                slopes.add_scores(sent, table)
        n_items = max(int(self.context.results[expr.clean.run, None].made.sum()), 1)
        found: NDArray[np.float64] = table.numpy()[edges.there] / expr.steps / n_items
        if not np.isfinite(found).all():
            raise Findings([errors.no_gradient(expr.span, "an edge moves a value by infinity")])
        return found

    def _sent(self, clean: Outputs, corrupt: Outputs) -> Tensor:
        """How far what each sender adds to the stream moves when it is the other run's: [row, sender, pos, dim]."""
        parts = [self._moved(key, clean, corrupt) for key in self.edges.outputs]
        return torch.cat(parts, 1)

    def _moved(self, key: SiteKey, clean: Outputs, corrupt: Outputs) -> Tensor:
        """How far the senders of a site move the stream, each by itself."""
        change = corrupt[key] - clean[key]
        if key.site != "attn.result":
            return change[:, None]
        instrument, layer = self.context.instrument, key.layer or 0
        if instrument.sums_heads(layer):
            return instrument.added(layer, change)
        raw = clean[SiteKey("attn.out_raw", layer)][:, None]
        return instrument.added(layer, raw + change) - instrument.added(layer, raw)

    def both(self, expr: Found, rows: Rows, keys: Sequence[SiteKey]) -> tuple[Outputs, Outputs]:
        """Sites of both runs over the items of a batch."""
        run = self.context.run(expr.clean.run)
        env = RowMaker(self.context).env(run, rows.cells, rows.items, None)
        clean, corrupt = (outputs(self.context, use, env, keys) for use in (expr.clean, expr.corrupt))
        return clean, corrupt

    def _check(self, metric: Expr) -> None:
        """A divergence is expanded away from its minimum."""
        for call in nodes.everything(metric):
            if isinstance(call, MetricCall) and call.metric == "kl":
                found = self.evaluator.value(call, Env(item=self.context.all_items()))
                if float(found.data.abs().max()) < NEAR_ZERO:
                    why = "`kl` is 0 where nothing is exchanged, and so is its gradient: use `eap_ig` or another metric"
                    raise Findings([errors.no_gradient(call.span, why)])


def _along(way: Tensor, share: float) -> Shift:
    """Embeddings moved from those of the clean run to those of the other by a share of the way."""
    return lambda _: share * way


@dataclass(frozen=True)
class Slopes:
    """The slopes of a metric in what every receiver reads, [row, receiver, pos, dim]: a sum over passes."""

    edges: Edges
    data: Tensor

    @classmethod
    def of(cls, edges: Edges, sent: Tensor) -> Slopes:
        """None yet, for rows of which `sent` [row, sender, pos, dim] is known."""
        rows, _, length, width = sent.shape
        return cls(edges, sent.new_zeros(rows, edges.n_receivers, length, width))

    def noted(self) -> dict[SiteKey, Callable[[Tensor], None]]:
        """What adds the slope at each site where receivers read."""
        return {key: self._adding(self.data[:, self.edges.read_at(key)]) for key in self.edges.inputs}

    @staticmethod
    def _adding(here: Tensor) -> Callable[[Tensor], None]:
        def add(slope: Tensor) -> None:
            here.add_(slope if slope.ndim == 4 else slope[:, None])

        return add

    def add_scores(self, sent: Tensor, table: Tensor) -> None:
        """Add slopes times what is sent, summed over rows, positions and channels, to a table [receiver, sender]."""
        for reach, same in groupby(self.edges.inputs, self.edges.reach_of):
            places = [self.edges.read_at(key) for key in same]
            here = slice(places[0].start, places[-1].stop)
            flat = self.data[:, here].flatten(2), sent[:, :reach].to(self.data).flatten(2)
            table[here, :reach] += torch.matmul(flat[0], flat[1].transpose(1, 2)).double().sum(0).cpu()


def largest(scores: NDArray[np.float64], k: int, *, signed: bool) -> Mask:
    """The k edges with the largest scores, by size unless they are signed; the first ones on ties."""
    order = np.argsort(-(scores if signed else np.abs(scores)), kind="stable")
    found = np.zeros(len(scores), dtype=np.bool_)
    found[order[:k]] = True
    return found
