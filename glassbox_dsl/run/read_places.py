"""Where the values that a read names lie among all that is kept of a site: to put vectors there, or take slopes."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from glassbox_dsl.language.program import SiteRead
from glassbox_dsl.library.coordinates import Integers
from glassbox_dsl.plan.indexing import Env
from glassbox_dsl.run.context import Context, RunResults, Stored
from glassbox_dsl.run.site_values import SiteValues
from glassbox_dsl.vocabulary.axes import POSITION_AXES
from glassbox_dsl.vocabulary.sites import sites


@dataclass(frozen=True)
class Places:
    """Where a read lies among all values of its site: a number for each of its cells and items, -1 for none.

    It counts [cell of the run, item, the site's axes] in this order; `dims` are its axes.
    """

    numbers: NDArray[np.int64]
    dims: tuple[str, ...]
    sizes: tuple[int, ...]

    def at(self, numbers: Integers) -> dict[str, Integers]:
        """Places [n] apart: `run`, `item` and the site's axes, each [n]."""
        return dict(zip(self.dims, np.unravel_index(numbers, self.sizes), strict=True))


def places_of(context: Context, read: SiteRead, env: Env, order: tuple[str, ...]) -> Places:
    """The places of a read, with axes in this order: what a table of numbers holds there."""
    site = sites()[read.site]
    made = context.results[read.run.run, None].made
    sizes = (*made.shape, *(axis_length(context, axis, read.site) for axis in site.axes))
    numbers = torch.arange(int(np.prod(sizes)), dtype=torch.float64).reshape(*sizes, 1)
    layers = tuple(range(context.sizes.facts.n_layers)) if site.has_layer else None
    stored = Stored(numbers, site.axes, True, layers, None)
    shadow = _with(context, read, RunResults(made, {read.site: stored}))
    found = SiteValues(shadow).site(read, env)
    data, present = found.spread(order)
    there = data[..., 0] if present is None else torch.where(present, data[..., 0], -1.0)
    return Places(there.long().numpy(), ("run", "item", *site.axes), sizes)


def axis_length(context: Context, axis: str, site: str) -> int:
    """How many cells an axis of a site has in what is kept; positions count to the end of the longest prompt."""
    return context.data.longest if axis in POSITION_AXES else context.sizes.of(axis, site)


def _with(context: Context, read: SiteRead, results: RunResults) -> Context:
    """The context with other results of the run that is read."""
    found = replace(context, results={**context.results, (read.run.run, None): results}, cache={})
    found.sets.values = context.sets.values
    return found
