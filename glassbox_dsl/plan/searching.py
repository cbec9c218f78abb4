"""What searches for circuits, runs that keep one, and fits that the model takes part in need beside the packs.

Counted is the most that they may take: a search may stop early, heads that read the same are made once, and what
edges outside of a circuit carry is summed for those that are outside alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from glassbox_dsl.language.circuit_nodes import Exchanged, Found
from glassbox_dsl.language.indices import is_point
from glassbox_dsl.language.program import Index, Run, SiteRead, Value
from glassbox_dsl.language.technique_nodes import Fit, FitVariant
from glassbox_dsl.library.fit import fit_kinds
from glassbox_dsl.plan.cost import ModelCost
from glassbox_dsl.plan.edges import Edges
from glassbox_dsl.plan.named import Integers
from glassbox_dsl.plan.rows import RowMaker
from glassbox_dsl.plan.setting import Setting
from glassbox_dsl.vocabulary.axes import ITEM
from glassbox_dsl.vocabulary.sites import sites


@dataclass(frozen=True)
class Work:
    """Passes forward and back, token-layers and FLOPs, and in words what they are for."""

    name: str
    reason: str
    passes: int
    back: int
    token_layers: int
    flops: int


def lengths_of(setting: Setting, run: Run) -> tuple[Integers, Integers]:
    """Tokens of prompts [n], and how many cells of a run stand on each [n]."""
    rows = RowMaker(setting)
    made, variants = rows.made(run, None), setting.cell_variants(run).reshape(-1)
    times = np.stack([made[variants == number].sum(0) for number in range(len(run.variants))])
    return rows.lengths(run, None).reshape(-1), times.reshape(-1)


@dataclass(frozen=True)
class Searching:
    """Counts in one setting."""

    setting: Setting
    cost: ModelCost

    @property
    def edges(self) -> Edges:
        """The edges of the model."""
        return Edges.of(self.cost.facts)

    # ------------------------------------------------------------ circuits

    def circuit(self, value: Value) -> Iterator[Work]:
        """The passes behind the circuits of a declaration; scores are made once, whatever number of edges is kept."""
        seen = set()
        for variant in value.variants:
            found = variant.value
            if not isinstance(found, Found):
                continue
            key = found.kind, found.metric, found.clean, found.corrupt, found.steps
            if found.edges is None:
                yield self._taken_away(value, found)
            elif key not in seen:
                yield self._scored(value, found)
            seen.add(key)

    def _scored(self, value: Value, found: Found) -> Work:
        f, steps = self.cost.facts, found.steps
        lengths, times = lengths_of(self.setting, self.setting.run(found.clean.run))
        n, tokens = int(times.sum()), int((lengths * times).sum())
        once, logits = self.cost.pass_flops(lengths, times), self.cost.logit_flops(n)
        ports = (f.n_heads + 3) * self.cost.projection_flops * tokens * f.n_layers
        contracted = 2 * tokens * f.d_model * self.edges.n_edges
        flops = 2 * once + steps * (2 * (once + logits) + ports) + contracted
        reason = f"scores {self.edges.n_edges:,} edges: both runs, then {steps} x a pass forward and back"
        return Work(
            f"circuit `{value.name}`", reason, (2 + steps) * n, steps * n,
            (2 + 2 * steps) * tokens * f.n_layers, flops,
        )  # fmt: skip

    def _taken_away(self, value: Value, found: Found) -> Work:
        """A pass for every edge, from the layer on that its receiver is in; those tried again are left out."""
        f, edges = self.cost.facts, self.edges
        lengths, times = lengths_of(self.setting, self.setting.run(found.clean.run))
        n, tokens = int(times.sum()), int((lengths * times).sum())
        searches = int(np.prod(self.setting.shape(value)))
        layers = np.zeros(edges.n_receivers, dtype=np.int64)
        for key in edges.inputs[:-1]:
            layers[edges.read_at(key)] = f.n_layers - (key.layer or 0)
        climbed = searches * int((edges.reach * layers).sum())
        tried = searches * edges.n_edges
        once = self.cost.pass_flops(lengths, times)
        flops = climbed * once // f.n_layers + tried * self.cost.logit_flops(n)
        reason = f"tries {edges.n_edges:,} edges one by one, each for all items, from its layer on"
        return Work(f"circuit `{value.name}`", reason, tried * n, 0, climbed * tokens, flops)

    def kept(self, run: Run) -> Work | None:
        """What the edges outside of circuits carry in a run; the run's own passes are counted with the packs."""
        others = [
            edit.value.other for v in run.variants for edit in v.edits if isinstance(edit.value, Exchanged)
        ]
        if not others:
            return None
        f = self.cost.facts
        lengths, times = lengths_of(self.setting, run)
        tokens, n = int((lengths * times).sum()), int((times > 0).sum())
        runs = len({other for other in others if other is not None})
        once = self.cost.pass_flops(lengths, (times > 0).astype(np.int64))
        sums = 2 * tokens * f.d_model * self.edges.n_edges
        copies = 3 * f.n_heads * self.cost.projection_flops * tokens * f.n_layers
        layers = runs * int((lengths * (times > 0)).sum()) * f.n_layers
        reason = "what edges outside of a circuit carry, and what heads make of it"
        return Work(f"edges of `{run.name}`", reason, runs * n, 0, layers, runs * once + sums + copies)

    # ------------------------------------------------------------ fits

    def fit(self, fit: Fit) -> Iterator[Work]:
        """The passes of a fit that the model takes part in."""
        if fit.data not in (None, self.setting.data_name):
            return
        variants = self.setting.cell_variants(fit).reshape(-1)
        for number, variant in enumerate(fit.variants):
            cells = np.flatnonzero(variants == number)
            asks = fit_kinds()[variant.kind].asks if variant.kind in fit_kinds() else ""
            if not len(cells) or not asks:
                continue
            if asks == "readout":
                yield self._read_out(fit, variant, len(cells))
            elif isinstance(variant.body, SiteRead):
                make = self._interchanged if asks == "interchange" else self._sloped
                yield make(fit, variant, variant.body, cells)

    def _read_out(self, fit: Fit, variant: FitVariant, cells: int) -> Work:
        """Steps on batches of states, and each state once with its map and once without."""
        steps = int(dict(variant.options)["steps"])
        examples = self.setting.data.n_items * int(np.prod([len(self.setting.rows(d)) for d in fit.examples]))
        rows = min(
            fit_kinds()[variant.kind].at_once or examples, max(1, round((1 - variant.test) * examples))
        )
        flops = cells * (2 * steps * self.cost.logit_flops(rows) + 5 * self.cost.logit_flops(examples))
        reason = f"{cells} x {steps} steps of {rows} states, read out by the model's end: no layer runs"
        return Work(f"fit `{fit.name}`", reason, 0, 0, 0, flops)

    def _interchanged(self, fit: Fit, variant: FitVariant, read: SiteRead, cells: Integers) -> Work:
        """In each step every training item from the vector's layer and position on, forward and back."""
        steps, f = int(dict(variant.options)["steps"]), self.cost.facts
        lengths, layers, first = self._begun(fit, read)
        n, train = self.setting.data.n_items, max(1, round((1 - variant.test) * self.setting.data.n_items))
        climbed = int(((f.n_layers - layers[cells]) * (lengths - first).mean(-1)[cells]).sum())
        once = int(self.cost.layer_flops * climbed * train)
        logits = len(cells) * self.cost.logit_flops(train)
        flops = 2 * steps * (once + logits) + 2 * len(cells) * self.cost.pass_flops(
            lengths[0], np.ones_like(lengths[0])
        )
        reason = (
            f"{len(cells)} x {steps} steps: {train} items forward and back, from their layer and position on"
        )
        passes = len(cells) * (steps * train + 3 * n - train)
        return Work(
            f"fit `{fit.name}`", reason, passes, len(cells) * steps * train,
            2 * steps * climbed * train, flops,
        )  # fmt: skip

    def _sloped(self, fit: Fit, variant: FitVariant, read: SiteRead, cells: Integers) -> Work:
        """A pass over the training items, and back from every coordinate to the lowest layer that is read."""
        f, train = self.cost.facts, max(1, round((1 - variant.test) * self.setting.data.n_items))
        lengths, layers, _ = self._begun(fit, read)
        tokens = int(lengths[0].mean() * train)
        climbed = f.n_layers - int(layers[cells].min())
        once = self.cost.pass_flops(lengths[0], np.ones_like(lengths[0])) * train // max(1, lengths.shape[1])
        # Cells that read one target share its pass, but each way back is their own.
        ways = f.d_model * (len(cells) if fit.dimensions else 1)
        flops = 2 * once + ways * once * climbed // f.n_layers
        reason = f"a pass over {train} items, and back from each of {f.d_model} coordinates"
        layers_run = tokens * (2 * f.n_layers + ways * climbed)
        return Work(f"fit `{fit.name}`", reason, 2 * train, ways * train, layers_run, flops)

    def _begun(self, fit: Fit, read: SiteRead) -> tuple[Integers, Integers, Integers]:
        """Of a fit's cells: lengths of prompts [cell, item], layers [cell], positions [cell, item] that it reads."""
        axes, shape = (
            sites()[read.site].axes,
            (int(np.prod(self.setting.shape(fit))), self.setting.data.n_items),
        )
        run = self.setting.run(read.run.run)
        lengths = np.broadcast_to(RowMaker(self.setting).lengths(run, None)[0], shape)
        where = dict(zip(axes, read.index, strict=True))
        layers = self._places(fit, run, where.get("layer"), "layer").reshape(shape)[:, 0]
        return (
            lengths,
            layers,
            np.minimum(self._places(fit, run, where.get("pos"), "pos").reshape(shape), lengths - 1),
        )

    def _places(self, fit: Fit, run: Run, index: Index | None, axis: str) -> Integers:
        """An index in every cell and item of a fit; 0 where it names no single place."""
        order = (*(d.name for d in fit.dimensions), ITEM)
        sizes = (*self.setting.shape(fit), self.setting.data.n_items)
        if index is None or not is_point(index):
            return np.zeros(sizes, dtype=np.int64)
        env = self.setting.env(fit.dimensions)
        found = self.setting.indexer.point(index, axis, env, run.variants[0].prompt)
        return np.broadcast_to(found.spread(order)[0], sizes)
