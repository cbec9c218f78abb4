"""The values of sites: what was kept of a run, read at the cells and positions that a value names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from glassbox_dsl.diagnostics import Findings, InternalError
from glassbox_dsl.language.indices import is_point
from glassbox_dsl.language.program import Covered, Run, SiteRead
from glassbox_dsl.plan import named as indices
from glassbox_dsl.plan.indexing import TRUE, Env
from glassbox_dsl.plan.named import Mask
from glassbox_dsl.plan.places import Places
from glassbox_dsl.resolve.cells import fixed
from glassbox_dsl.run import errors
from glassbox_dsl.run.context import Context, RunResults, own_context
from glassbox_dsl.run.elementwise import choose
from glassbox_dsl.run.named import Named, combine, take_named, tensor
from glassbox_dsl.vocabulary.axes import POSITION_AXES
from glassbox_dsl.vocabulary.sites import sites


@dataclass(frozen=True)
class SiteValues:
    """Reads sites in one context; their runs must have been made."""

    context: Context

    @property
    def places(self) -> Places:
        """Finds cells and coordinates."""
        return Places(self.context)

    def results(self, run: str, env: Env) -> RunResults:
        """What was kept of a run."""
        key = (run, env.extension)
        if key not in self.context.results and self.context.make is not None:
            self.context.make(run)
        found = self.context.results.get(key)
        if found is None:
            raise InternalError(f"run {run} was not made before it is read")
        return found

    def site(self, expr: SiteRead, env: Env) -> Named:
        """A site at the cells and coordinates that a read names."""
        run = self.context.run(expr.run.run)
        home, env = own_context(self.context, run, env)
        if home is not self.context:
            return SiteValues(home).site(expr, env)
        results = self.results(run.name, env)
        stored = results.sites[sites()[expr.site].kept]
        cell = self.places.run_cell(run, expr.run.where, env)
        prompts = list(dict.fromkeys(v.prompt for v in run.variants))
        parts = [self._site_at(expr, env, stored, results, cell, prompt) for prompt in prompts]
        return by_prompt(self.places, run, cell, parts)

    def _site_at(
        self, expr: SiteRead, env: Env, stored: Any, results: RunResults, cell: indices.Named, prompt: str
    ) -> Named:
        axes = sites()[expr.site].axes
        coordinates = self.places.coordinates(expr, axes, env, prompt)
        value = Named(stored.data, ("#run", "#item", *(f"#{a}" for a in stored.axes)), stored.feature)
        picks = {"#run": cell, "#item": env.item}
        for axis in axes:
            picks[f"#{axis}"] = self._kept(coordinates[axis], axis, stored)
        found = take_named(value, picks)
        if expr.site == "mlp.result":
            found = combine(torch.mul, found, self.down_rows(coordinates["layer"], coordinates["neuron"]))
        found = self.only_existing(found, expr, axes, coordinates, env, prompt)
        there = made_at(results, cell, env.item)
        if results.waiting is not None and results.waiting.any() and not self.context.partly:
            self._none_waits(results.waiting, there, cell, env)
        if results.whole is not None:
            found = self._only_whole(found, results.whole, there, cell, env)
        found = found.where(there.spread(found.dims)[0])
        if expr.site in PARTIAL:
            found = _where_routed(found)
        if expr.feature_index is not None:
            place = fixed(expr.feature_index, found.data.shape[-1])
            if place is None:
                raise Findings([errors.no_such_feature(expr.span, found.data.shape[-1])])
            found = Named(found.data[..., place], found.dims, False, found.present)
        return found

    @staticmethod
    def _none_waits(waiting: Mask, there: indices.Named, cell: indices.Named, env: Env) -> None:
        """That nothing is read before its pack has climbed: the stages of a plan are there to see to it."""
        if (there.data & in_cells(waiting, cell, env.item).data).any():
            raise InternalError("a run is read that has not been made yet")

    def _only_whole(
        self, found: Named, whole: Mask, there: indices.Named, cell: indices.Named, env: Env
    ) -> Named:
        """NaN in cells of which the run was not made again, which only values may read that are known there."""
        lacking = there.data & ~in_cells(whole, cell, env.item).data
        if not lacking.any():
            return found
        if not self.context.partly:
            raise InternalError("whole tensors are read of a cell that was not made")
        here = tensor(indices.Named(~lacking, there.dims).spread(found.dims)[0])
        return Named(
            torch.where(here[..., None] if found.feature else here, found.data, torch.nan),
            found.dims, found.feature, found.present,
        )  # fmt: skip

    def down_rows(self, layer: indices.Named, neuron: indices.Named) -> Named:
        """The rows of the down-projections that coordinates name (feature: dim); none where there is no such layer."""
        instrument = self.context.instrument
        n, layers = instrument.facts.n_neurons, instrument.facts.layers_with("mlp.post")
        pairs = indices.combine(lambda at, which: at * n + which.clip(0, n - 1), layer, neuron)
        wanted, place = np.unique(pairs.data, return_inverse=True)
        rows = torch.zeros(len(wanted), instrument.facts.d_model)
        for number in np.intersect1d(wanted // n, layers).tolist():
            mine = torch.from_numpy(np.flatnonzero(wanted // n == number))
            rows[mine] = instrument.down_rows(number, torch.from_numpy(wanted)[mine] % n)
        return Named(rows[torch.from_numpy(place.reshape(pairs.data.shape))], pairs.dims, True)

    @staticmethod
    def _kept(coordinate: indices.Named, axis: str, stored: Any) -> indices.Named:
        """Where a coordinate lies in what was kept of the axis."""
        if axis == "layer" and stored.layers is not None:
            table = {layer: i for i, layer in enumerate(stored.layers)}
            if list(table) == list(range(len(table))) and len(table) > int(coordinate.data.max()):
                return coordinate
            size = int(max(coordinate.data.max(), max(table))) + 1
            lookup = np.array([table.get(i, -1) for i in range(size)])
            found = lookup[coordinate.data.clip(0, size - 1)]
            return indices.Named(found, coordinate.dims, indices.both(coordinate.present, found >= 0))
        if axis == "pos" and stored.position is not None:
            return indices.Named(np.zeros_like(coordinate.data), coordinate.dims, coordinate.present)
        return coordinate

    def only_existing(
        self,
        found: Named,
        expr: SiteRead,
        axes: Sequence[str],
        coordinates: dict[str, indices.Named],
        env: Env,
        prompt: str,
    ) -> Named:
        """Mark as missing what the indices leave out, and positions behind the end of an item's prompt."""
        indexer = self.context.indexer
        chosen = TRUE
        if not expr.copied and any(not is_point(i) for i in expr.index):
            chosen = indexer.selection(
                [i if not is_point(i) else Covered(span=i.span) for i in expr.index],
                axes,
                coordinates,
                env,
                prompt,
            )
        for axis in axes:
            if axis in POSITION_AXES:
                end = indexer.length(axis, env, prompt)
                more = self.places.extra_tokens(env)
                inside = indices.combine(lambda c, n, m: c < n + m, coordinates[axis], end, more)
                chosen = indices.combine(np.logical_and, chosen, indices.Named(inside.data, inside.dims))
        if not chosen.dims and bool(chosen.data):
            return found
        if set(chosen.dims) <= set(found.dims):
            return found if bool(chosen.data.all()) else found.where(chosen.spread(found.dims)[0])
        dims = tuple(dict.fromkeys((*found.dims, *chosen.dims)))
        wide = combine(lambda x, z: x + z, found, Named(torch.zeros(chosen.data.shape), chosen.dims))
        return wide.where(chosen.spread(dims)[0])


PARTIAL = frozenset({"expert.post", "expert.out"})
"""Sites that only exist where a token is routed to an expert; elsewhere they are NaN in what is kept."""


def _where_routed(found: Named) -> Named:
    there = ~torch.isnan(found.data)
    return Named(found.data.nan_to_num(), found.dims, found.feature, found.present).where(
        there.all(-1) if found.feature else there
    )


def by_prompt(places: Places, run: Run, cell: indices.Named, parts: Sequence[Named]) -> Named:
    """Of values read at the positions of each prompt in turn, for each cell the one of its own prompt."""
    result = parts[0]
    for number, part in enumerate(parts[1:], start=1):
        chosen = places.prompt_of(run, cell)
        dims = tuple(dict.fromkeys((*chosen.dims, *result.dims, *part.dims)))
        result = choose(chosen, number, part, result, dims)
    return result


def made_at(results: RunResults, cell: indices.Named, item: indices.Named) -> indices.Named:
    """Whether the pass of a cell (dimensions multiplied out) on an item exists."""
    return in_cells(results.made, cell, item)


def in_cells(mask: Mask, cell: indices.Named, item: indices.Named) -> indices.Named:
    """A mask [cell, item] in some cells (dimensions multiplied out) on items; false where there is no such cell."""
    found = indices.take(indices.Named(mask, ("#run", "#item")), {"#run": cell, "#item": item})
    return indices.Named(found.data if found.present is None else found.data & found.present, found.dims)
