"""Room for what is wanted of a run, and putting what a pass gave into it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from glassbox_dsl.language.program import Depth
from glassbox_dsl.library.metric import metrics
from glassbox_dsl.plan.demand import Wanted
from glassbox_dsl.plan.layers import layer_number
from glassbox_dsl.plan.named import Integers, Mask
from glassbox_dsl.plan.rows import RowMaker
from glassbox_dsl.plan.setting import Extension
from glassbox_dsl.plan.taps import Tap
from glassbox_dsl.run.context import Context, RunResults, Stored
from glassbox_dsl.run.memory import allocate
from glassbox_dsl.run.named import Named, tensor
from glassbox_dsl.run.rows import Pass
from glassbox_dsl.vocabulary.axes import POSITION_AXES
from glassbox_dsl.vocabulary.keys import SiteKey
from glassbox_dsl.vocabulary.sites import sites


@dataclass(frozen=True)
class Keeping:
    """Keeps sites and makes room for taps in one context."""

    context: Context
    rows: RowMaker

    def prepare(self, results: RunResults, wanted: Wanted, extension: Extension) -> None:
        """Room for everything that is kept of a run."""
        facts = self.context.sizes.facts
        n_cells, n_items = results.made.shape
        longest = int(self.rows.lengths(wanted.run, extension).max())
        for name, layers in wanted.layers.items():
            site = sites()[name]
            kept = None
            if site.has_layer:
                kept = (
                    facts.layers_with(name)
                    if layers is None
                    else tuple(sorted(self._layer_numbers(layers) & set(facts.layers_with(name))))
                )
            position = wanted.positions.get(name)
            sizes = []
            for axis in site.axes:
                if axis == "layer":
                    sizes.append(len(kept or ()))
                elif axis in POSITION_AXES:
                    sizes.append(1 if axis == "pos" and position is not None else longest)
                else:
                    sizes.append(self.context.sizes.of(axis, name))
            width = (facts.feature_size(name),) if site.feature else ()
            data = allocate(
                f"{wanted.run.name}.{name}",
                (n_cells, n_items, *sizes, *width),
                torch.float32,
                wanted.run.span,
            )
            results.sites[name] = Stored(data, site.axes, site.feature is not None, kept, position)
        if extension is None:
            for tap in wanted.taps:
                results.taps[tap] = self._empty_tap(tap, n_cells, n_items, longest)

    def _layer_numbers(self, layers: set[int | Depth]) -> set[int]:
        n = self.context.sizes.facts.n_layers
        return {number for layer in layers if 0 <= (number := layer_number(layer, n)) < n}

    def _empty_tap(self, tap: Tap, n_cells: int, n_items: int, longest: int) -> Named:
        shape = metrics()[tap.metric].shape
        facts = self.context.sizes.facts
        if shape == "pattern":
            return Named(
                torch.full((n_cells, n_items, facts.n_layers, facts.n_heads), torch.nan),
                ("#run", "#item", "#layer", "#head"),
            )
        if shape == "sequence" and tap.at is None and "mean" in dict(tap.options):
            return Named(torch.full((n_cells, n_items), torch.nan), ("#run", "#item"))
        if tap.at is None:
            return Named(torch.full((n_cells, n_items, longest), torch.nan), ("#run", "#item", "#pos"))
        return Named(torch.full((n_cells, n_items), torch.nan), ("#run", "#item"))

    def keep(self, results: RunResults, done: Pass) -> None:
        """Put what a pass gave where it belongs."""
        for name, stored in results.sites.items():
            layers = stored.layers if stored.layers is not None else (None,)
            for place, layer in enumerate(layers):
                value = done.got[SiteKey(name, layer)].float().cpu()
                if stored.position is not None:
                    value = self._one_position(stored, value, name, done)
                where: list[Tensor | int | slice] = [*done.rows.places]
                if stored.layers is not None:
                    where.append(place)
                where += [slice(0, n) for n in value.shape[1:]]
                stored.data[tuple(where)] = value

    def _one_position(self, stored: Stored, value: Tensor, name: str, done: Pass) -> Tensor:
        """A value [row, ..., pos, ...] at the one position that is kept, as an axis of length 1."""
        assert stored.position is not None
        point = self.context.indexer.point(stored.position, "pos", done.env, done.variant.prompt)
        at = tensor(np.broadcast_to(point.data, len(done.rows.cells)))
        if name == "logits" and done.positions is not None:
            places = {p: i for i, p in enumerate(done.positions)}
            at = torch.tensor([places.get(p, 0) for p in at.tolist()])
        axis = 1 + [a for a in stored.axes if a != "layer"].index("pos")
        # Where the prompt has no such position anything may stand: it is missing when it is read.
        at = at.clamp(0, value.shape[axis] - 1)
        picked = value.movedim(axis, 1)[torch.arange(len(at)), at]
        return picked.unsqueeze(1).movedim(1, axis)

    def finish(self, results: RunResults, wanted: Wanted) -> None:
        """Metrics that some positions or heads do not have are missing there, not NaN."""
        for tap, value in results.taps.items():
            if metrics()[tap.metric].shape in ("sequence", "pattern") or tap.at is None:
                results.taps[tap] = Named(value.data, value.dims, False, ~torch.isnan(value.data))

    @staticmethod
    def fill(results: RunResults, left_out: Mask, instead: Integers) -> None:
        """Give the cells [cell, item] that were proven and left out the results of those that stand for them."""
        cells, items = (tensor(n) for n in left_out.nonzero())
        sources = tensor(instead[left_out])
        for stored in results.sites.values():
            stored.data[cells, items] = stored.data[sources, items]
        for tap in results.taps.values():
            tap.data[cells, items] = tap.data[sources, items]
