"""The mean slope of one value of a run with respect to another that it is computed from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from glassbox_dsl.diagnostics import Findings
from glassbox_dsl.language.program import SiteRead
from glassbox_dsl.language.technique_nodes import Fit, FitVariant
from glassbox_dsl.library.coordinates import Floats, Integers
from glassbox_dsl.plan.demand import Wanted
from glassbox_dsl.plan.indexing import Env
from glassbox_dsl.plan.named import Mask
from glassbox_dsl.run import errors
from glassbox_dsl.run.context import RunResults
from glassbox_dsl.run.named import tensor
from glassbox_dsl.run.read_places import Places, places_of
from glassbox_dsl.run.rows import portions
from glassbox_dsl.vocabulary.axes import ITEM
from glassbox_dsl.vocabulary.keys import COPIES

if TYPE_CHECKING:
    from glassbox_dsl.run.fits import Fits
    from glassbox_dsl.run.gradients import Gradients
    from glassbox_dsl.run.rows import Rows

TOGETHER = 4096
"""About so many positions go back together, those of each coordinate counted."""
Leaves = dict[int, Tensor]
"""By layer (0 for a site without): zeros [row, axes, feature] that are added to a site."""


@dataclass
class MeanSlope:
    """The mean of dy/dx over the training examples `train` [the fit's cells, item, positions], in every cell."""

    fits: Fits
    fit: Fit
    variant: FitVariant
    train: Mask

    def made(self) -> Floats:
        """[the fit's cells, dim of y, dim of x]: one pass a batch, and back for each coordinate of y, many together."""
        from glassbox_dsl.run.gradients import Gradients  # its passes evaluate edits, which evaluate values

        if not self.train.any():
            return np.zeros((*self.train.shape[: self.item], 0, 0))
        gradients = Gradients(self.fits.evaluator)
        wanted = gradients.wanted(self.variant.target, self.read.run.run)  # type: ignore[arg-type]
        known = gradients.known(wanted)
        only = np.zeros(known.made.shape, dtype=np.bool_)
        used = self.places.at(self.numbers[self.train])
        only[used["run"], used["item"]] = True
        total: dict[str, Floats] = {}
        for rows in gradients.batches(wanted, only):
            leaves, y = self._pass(gradients, wanted, known, rows, used)
            for cell in np.ndindex(*y.shape[: self.item], *y.shape[self.item + 1 : -1]):
                self._add(y, cell, Examples.of(self, rows, self._meant(y, cell)), leaves, total)
        counts = self.train.sum(tuple(range(self.item, self.train.ndim)))
        found: Floats = total["slopes"] / np.maximum(counts, 1)[..., None, None]
        return found

    def _pass(
        self,
        gradients: Gradients,
        wanted: Wanted,
        known: RunResults,
        rows: Rows,
        used: Mapping[str, Integers],
    ) -> tuple[Leaves, Tensor]:
        """One pass: the leaves at the layers that are read, and y [the fit's cells, item, positions, dim] or 1s."""
        from glassbox_dsl.run.gradients import copied

        target = self.variant.target
        assert target is not None
        every = gradients.keys(self.read.site)
        layers = np.unique(used["layer"]).tolist() if "layer" in used else [0]
        keys = {layer: every[layer] for layer in layers}
        results = copied(known)
        with torch.enable_grad():
            found, _ = gradients.opened_pass(wanted, rows, tuple(keys.values()), {}, results)
            shadow = gradients.shadow({(self.read.run.run, None): results})
            y = self.fits.evaluator.at(shadow).value(target, self._env).spread(self._order)[0]
        if not y.requires_grad:
            why = "it does not depend on what the run computes above `from:`"
            raise Findings([errors.no_gradient(target.span, why)])
        return {layer: found[key] for layer, key in keys.items()}, y

    # ------------------------------------------------------------ where x and y stand

    @property
    def read(self) -> SiteRead:
        """x."""
        assert isinstance(self.variant.body, SiteRead)
        return self.variant.body

    @property
    def item(self) -> int:
        """The place of items among the axes of examples; in front of it are the fit's own."""
        return len(self.fit.dimensions)

    @cached_property
    def _order(self) -> tuple[str, ...]:
        return (*(d.name for d in self.fit.dimensions), ITEM, *(d.name for d in self.fit.examples))

    @cached_property
    def _env(self) -> Env:
        return self.fits.context.env((*self.fit.dimensions, *self.fit.examples))

    @cached_property
    def places(self) -> Places:
        """Where x lies in every example."""
        return places_of(self.fits.context, self.read, self._env, self._order)

    @cached_property
    def numbers(self) -> Integers:
        """The place of x in every example, in the shape of `train`."""
        return np.broadcast_to(self.places.numbers, self.train.shape)

    def _meant(self, y: Tensor, cell: tuple[int, ...]) -> Mask:
        """The examples that a cell of y (without the item) is the target of; all along the axes that it lacks."""
        wide: list[Any] = [*cell[: self.item], slice(None), *cell[self.item :]]
        at = [slice(None) if size == 1 else one for one, size in zip(wide, y.shape[:-1], strict=True)]
        chosen = np.zeros(self.train.shape, dtype=np.bool_)
        chosen[tuple(at)] = True
        return chosen & self.train

    def _add(
        self, y: Tensor, cell: tuple[int, ...], examples: Examples, leaves: Leaves, total: dict[str, Floats]
    ) -> None:
        """Add the slopes of a cell of y to those of the cells of the fit."""
        if "slopes" not in total:
            width = next(iter(leaves.values())).shape[-1]
            total["slopes"] = np.zeros((*self.train.shape[: self.item], y.shape[-1], width))
        if not len(examples.layers):
            return
        where: Any = (*cell[: self.item], slice(None), *cell[self.item :])
        one = y[where]
        for some in portions(np.arange(y.shape[-1]), self._at_once(leaves)):
            for layer, slope in zip(leaves, self._back(one, some, leaves), strict=True):
                if slope is not None:
                    mine = np.flatnonzero(examples.layers == layer)
                    where = (slice(None), *(i[mine] for i in examples.index))
                    part = slope[where].double().cpu().numpy().swapaxes(0, 1)
                    cells = total["slopes"].reshape(-1, y.shape[-1], part.shape[2])
                    np.add.at(cells, (examples.owners[mine][:, None], some[None]), part)

    def _at_once(self, leaves: Leaves) -> int:
        """How many coordinates go back together. Copies that heads read are followed one coordinate at a time."""
        variants = self.fits.context.run(self.read.run.run).variants
        if set(COPIES) & {self.read.site, *(edit.site for variant in variants for edit in variant.edits)}:
            return 1
        one = next(iter(leaves.values()))
        return max(1, TOGETHER // (one.shape[0] * int(np.prod(one.shape[1:-1]))))

    @staticmethod
    def _back(y: Tensor, some: Integers, leaves: Leaves) -> Sequence[Tensor | None]:
        """Slopes of the sums over examples of some coordinates [n] of y [example, dim]: [n, a leaf's axes]."""
        ways = y.new_zeros(len(some), *y.shape)
        ways[np.arange(len(some)), :, some] = 1
        back = partial(torch.autograd.grad, y, list(leaves.values()), retain_graph=True, allow_unused=True)
        if len(some) > 1:
            return back(ways, is_grads_batched=True)
        return [None if slope is None else slope[None] for slope in back(ways[0])]


@dataclass(frozen=True)
class Examples:
    """Examples in a batch [n]: the number of the fit's cell (`owners`), the layer, and the place in the batch."""

    owners: Integers
    layers: Integers
    index: tuple[Tensor, ...]

    @classmethod
    def of(cls, slope: MeanSlope, rows: Rows, chosen: Mask) -> Examples:
        """Those of some examples that are in a batch."""
        row_of = np.full(slope.places.sizes[:2], -1)
        row_of[rows.cells, rows.items] = np.arange(len(rows.cells))
        found = chosen.nonzero()
        at = slope.places.at(slope.numbers[found])
        row = row_of[at["run"], at["item"]]
        mine = row >= 0
        layers = at["layer"][mine] if "layer" in at else np.zeros(int(mine.sum()), dtype=np.int64)
        rest = [place[mine] for axis, place in at.items() if axis not in ("run", "item", "layer")]
        shape = chosen.shape[: slope.item]
        owners = np.ravel_multi_index(found[: slope.item], shape) if shape else np.zeros_like(row)
        return cls(owners[mine], layers, (tensor(row[mine]), *map(tensor, rest)))
