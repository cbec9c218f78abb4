"""Metrics of edited runs to first order: the gradient at the run without its sweep, times how far each cell moves.

Attribution patching: Nanda 2023; Kramar et al. 2024, arXiv:2403.00745. Integrated gradients: Sundararajan et al. 2017,
arXiv:1703.01365; Hanna et al. 2024, arXiv:2403.17806.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from glassbox_dsl.diagnostics import Findings
from glassbox_dsl.language.gradients import swept_edits
from glassbox_dsl.language.program import Run, RunVariant, SiteRead
from glassbox_dsl.language.technique_nodes import Expansion
from glassbox_dsl.plan.indexing import Env
from glassbox_dsl.plan.named import Integers
from glassbox_dsl.plan.rows import RowMaker
from glassbox_dsl.run import errors
from glassbox_dsl.run.context import Context, own_context
from glassbox_dsl.run.edits import EditBatch
from glassbox_dsl.run.gradients import Gradient, Gradients, Shift
from glassbox_dsl.run.named import Named, combine, take_named, tensor
from glassbox_dsl.run.rows import portions
from glassbox_dsl.vocabulary.keys import SiteKey
from glassbox_dsl.vocabulary.sites import sites

if TYPE_CHECKING:
    from glassbox_dsl.run.evaluate import Evaluator

ROWS = 64
"""Cells whose edits are worked out together."""
NEAR_ZERO = 1e-6
"""A divergence below this in every item lies at its minimum, where the gradient says nothing."""


@dataclass(frozen=True)
class Moves:
    """How far cells move a site: rows [row] of cells and items, and the change [row, the site's axes, feature]."""

    cells: Integers
    items: Integers
    base: Integers
    key: SiteKey
    change: Tensor


@dataclass(frozen=True)
class Estimates:
    """Evaluates expansions in one context."""

    evaluator: Evaluator

    @property
    def context(self) -> Context:
        """Where they are evaluated."""
        return self.evaluator.context

    def value(self, expr: Expansion, env: Env) -> Named:
        """The metric of the run without its sweep, and to first order what the sweep changes of it."""
        run = self.context.run(expr.run)
        home, env = own_context(self.context, run, env)
        if home is not self.context:
            return self.evaluator.at(home).value(expr, env)
        name = ("expansion", expr.base, expr.run, expr.along, expr.steps)
        changes = self.evaluator.cached(name, lambda: self.changes(expr, run))
        cell = self.evaluator.places.run_cell(run, expr.where, env)
        found = take_named(changes, {"#run": cell, "#item": env.item})
        return combine(torch.add, self.evaluator.value(expr.base, env), found)

    def changes(self, expr: Expansion, run: Run) -> Named:
        """What the sweep changes of the metric [run cell, item], to first order."""
        self._check(expr)
        made = RowMaker(self.context).made(run, None)
        keys = sorted({k for v in run.variants for k in self.keys(run, v)}, key=str)
        plain = Gradients(self.evaluator).of(expr.base, expr.around, keys)
        slopes = plain.slopes if not expr.along else self.averaged(expr, run, plain, keys).slopes
        found = torch.zeros(made.shape)
        for moves in self.moves(run, plain):
            slope = slopes[moves.key][tensor(moves.base), tensor(moves.items)]
            part = (slope * moves.change).flatten(1).sum(1)
            if not bool(torch.isfinite(part).all()):
                raise Findings([errors.no_gradient(expr.span, "an edit moves a value by infinity")])
            found[tensor(moves.cells), tensor(moves.items)] += part
        return Named(found, ("#run", "#item"), False, tensor(made))

    def _check(self, expr: Expansion) -> None:
        """A divergence is expanded away from its minimum."""
        if expr.base.metric == "kl":
            found = self.evaluator.value(
                expr.base, self.context.env(self.context.run(expr.around).dimensions)
            )
            if float(found.data.abs().max()) < NEAR_ZERO:
                raise Findings(
                    [errors.no_gradient(expr.span, "`kl` is 0 where the edits begin, and so is its gradient")]
                )

    def keys(self, run: Run, variant: RunVariant) -> list[SiteKey]:
        """The sites that the sweep of a variant may write."""
        n_layers = self.context.sizes.facts.n_layers
        return [
            SiteKey(edit.site, layer)
            for edit in swept_edits(run, variant)
            for layer in (range(n_layers) if sites()[edit.site].has_layer else [None])
        ]

    def moves(self, run: Run, plain: Gradient) -> Iterator[Moves]:
        """How far the sweep moves each site, for every cell and item, from where the base is."""
        maker, variants = RowMaker(self.context), self.context.cell_variants(run).reshape(-1)
        cells, items = maker.made(run, None).nonzero()
        for number, variant in enumerate(run.variants):
            edited = variant.changed(edits=swept_edits(run, variant))
            mine = np.flatnonzero(variants[cells] == number)
            for part in portions(mine, ROWS):
                some, own = cells[part], items[part]
                base = self.base_cells(run, some)
                env = maker.env(run, some, own, None)
                batch = EditBatch(self.context, edited, env)
                with torch.no_grad():
                    for key, write in batch.writes().items():
                        old = plain.values[key][tensor(base), tensor(own)]
                        new = write(old)
                        yield Moves(some, own, base, key, torch.where(new == old, 0.0, new - old))

    def base_cells(self, run: Run, cells: Integers) -> Integers:
        """The cell of the run without its sweep that each cell [row] belongs to."""
        shape = self.context.shape(run)
        found = np.zeros_like(cells)
        if shape:
            for dimension, place in zip(run.dimensions, np.unravel_index(cells, shape), strict=True):
                if dimension.named:
                    found = found * len(self.context.rows(dimension)) + place
        return found

    # ------------------------------------------------------------ integrated gradients

    def averaged(self, expr: Expansion, run: Run, plain: Gradient, keys: list[SiteKey]) -> Gradient:
        """Slopes averaged over midpoints of the way."""
        ways = self.embeddings(run, plain, expr) if expr.along == "embed" else self.together(run, plain)
        groups = [(keys, ways)] if expr.along == "embed" else [([k], {k: ways[k]}) for k in keys if k in ways]
        gradients, found = Gradients(self.evaluator), Gradient()
        for some, way in groups:
            for step in range(expr.steps):
                share = (step + 0.5) / expr.steps
                shifts = {k: _shift(w, share) for k, w in way.items()}
                got = gradients.of(expr.base, expr.around, some, shifts)
                for key in some:
                    found.slopes[key] = found.slopes.get(key, 0) + got.slopes[key] / expr.steps
        return found

    def together(self, run: Run, plain: Gradient) -> dict[SiteKey, Tensor]:
        """How far all cells move each site [base cell, item, ...]; the mean where several move one coordinate."""
        sums: dict[SiteKey, Tensor] = {}
        counts: dict[SiteKey, Tensor] = {}
        for moves in self.moves(run, plain):
            if moves.key not in sums:
                sums[moves.key] = torch.zeros_like(plain.values[moves.key])
                counts[moves.key] = torch.zeros_like(sums[moves.key])
            places = tensor(moves.base), tensor(moves.items)
            sums[moves.key].index_put_(places, moves.change, accumulate=True)
            counts[moves.key].index_put_(places, (moves.change != 0).float(), accumulate=True)
        return {key: s / counts[key].clamp(min=1) for key, s in sums.items()}

    def embeddings(self, run: Run, plain: Gradient, expr: Expansion) -> Mapping[SiteKey, Tensor]:
        """From the embeddings of the base to those of the run that the edits copy."""
        key = SiteKey("embed")
        own = Gradients(self.evaluator).of(expr.base, expr.around, [key]).values[key]
        [source] = {e.run.run for e in expr.sources if isinstance(e, SiteRead)}
        other = torch.zeros_like(own)
        prompts = {v.prompt for v in self.context.run(source).variants}
        [prompt] = prompts
        arrays = self.context.data.prompt(prompt)
        for length in np.unique(arrays.length).tolist():
            mine = np.flatnonzero(arrays.length == length)
            got = self.context.instrument.forward(tensor(arrays.ids[mine, :length]), reads={key})[key]
            other[:, tensor(mine), :length] = got.float().cpu()
        return {key: other - own}


def _shift(way: Tensor, share: float) -> Shift:
    return lambda rows: share * way[rows.places]
