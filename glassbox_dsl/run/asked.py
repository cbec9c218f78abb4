"""What fits ask of the model: the loss of vectors in the place of others, and the slope of one value along another."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from glassbox_dsl.diagnostics import InternalError
from glassbox_dsl.language.program import SiteRead
from glassbox_dsl.language.technique_nodes import Fit, FitVariant
from glassbox_dsl.library.coordinates import Floats, Integers
from glassbox_dsl.library.fit import fit_kinds
from glassbox_dsl.plan.indexing import narrowed
from glassbox_dsl.plan.named import Mask
from glassbox_dsl.run.instrument import Instrument
from glassbox_dsl.run.named import tensor
from glassbox_dsl.run.read_places import axis_length, places_of
from glassbox_dsl.run.slopes import MeanSlope
from glassbox_dsl.vocabulary.axes import ITEM
from glassbox_dsl.vocabulary.keys import SiteKey
from glassbox_dsl.vocabulary.sites import sites

if TYPE_CHECKING:
    from glassbox_dsl.run.fits import Fits
    from glassbox_dsl.run.rows import Rows

LOGITS = 2**25
"""At most about so many logits are made at once, a few copies of each (128 MiB a copy)."""
Cell = tuple[int, ...]


def asked_of(
    fits: Fits, fit: Fit, variant: FitVariant, x: Floats, y: Floats, train: Mask
) -> Callable[[Cell, Mask], Any]:
    """What a kind of fit gets of the model for some examples [item, positions] of a cell."""
    asks = fit_kinds()[variant.kind].asks
    if asks == "readout":
        return lambda cell, mask: Readout(fits.context.instrument, y[cell][mask])
    if asks == "interchange":
        return lambda cell, mask: Interchange(fits, fit, variant, cell, mask, x[cell][mask])
    if asks == "slope":
        slopes = MeanSlope(fits, fit, variant, train).made()
        return lambda cell, _: slopes[cell]
    return lambda *_: None


@dataclass(frozen=True)
class Readout:
    """Judges states of the stream by what the model's end makes of them; `final` [n, dim]: what it is given itself."""

    instrument: Instrument
    final: Floats

    def __call__(self, vectors: Floats, rows: Integers) -> tuple[Floats, Floats]:
        """KL(final || vectors) of each [n], and its slope [n, dim]."""
        size = max(1, LOGITS // self.instrument.facts.vocab_size)
        parts = [self._some(vectors[i : i + size], rows[i : i + size]) for i in range(0, len(rows), size)]
        losses, slopes = zip(*parts, strict=True)
        return np.concatenate(losses), np.concatenate(slopes)

    def _some(self, vectors: Floats, rows: Integers) -> tuple[Floats, Floats]:
        wanted = self._log_probs(torch.from_numpy(self.final[rows]).float())
        with torch.enable_grad():
            x = torch.from_numpy(vectors).float().requires_grad_()
            losses = (wanted.exp() * (wanted - self._log_probs(x))).sum(-1)
            [slopes] = torch.autograd.grad(losses.sum(), [x])
        return losses.detach().double().cpu().numpy(), slopes.double().cpu().numpy()

    def _log_probs(self, x: Tensor) -> Tensor:
        return self.instrument.unembed(x).float().log_softmax(-1)

    def right(self, vectors: Floats) -> Floats:
        """No answer is asked for."""
        raise InternalError("a lens has no answer")


@dataclass(frozen=True)
class Interchange:
    """Judges vectors in the place of those of a run, one for each item of `mask`, by the answer that it gives then.

    `x` [n, dim] is what the run has there itself, after its own edits.
    """

    fits: Fits
    fit: Fit
    variant: FitVariant
    cell: Cell
    mask: Mask
    x: Floats

    @cached_property
    def read(self) -> SiteRead:
        """Where the vectors stand."""
        assert isinstance(self.variant.body, SiteRead)
        return self.variant.body

    @cached_property
    def where(self) -> dict[str, Integers]:
        """The run's cell, the item and the place of each vector."""
        env = self.fits.context.env(self.fit.dimensions)
        for dimension, place in zip(self.fit.dimensions, self.cell, strict=True):
            env = narrowed(env, dimension.name, np.array([place]))
        order = (*(d.name for d in self.fit.dimensions), ITEM)
        found = places_of(self.fits.context, self.read, env, order)
        items = np.broadcast_to(found.numbers, (*[1] * len(self.cell), len(self.mask))).reshape(-1)
        return found.at(items[self.mask])

    @cached_property
    def key(self) -> SiteKey:
        """The site that is written: one layer in a cell."""
        [layer] = set(self.where["layer"].tolist()) if "layer" in self.where else {None}
        return SiteKey(self.read.site, layer)

    @cached_property
    def index(self) -> tuple[Tensor, ...]:
        """The places of the vectors among [cell of the run, item, axes without the layer]."""
        return tuple(tensor(places) for name, places in self.where.items() if name != "layer")

    def __call__(self, vectors: Floats, rows: Integers) -> tuple[Floats, Floats]:
        """-log p(answer) of each [n], and its slope [n, dim]."""
        found = self._made(vectors, "logprob", (self.key,))
        numbers, slopes = found.numbers, found.slopes[self.key]
        assert numbers is not None
        losses = -numbers[self.index[:2]].double().numpy()
        return losses[rows], -slopes[self.index].double().numpy()[rows]

    def right(self, vectors: Floats) -> Floats:
        """Whether the run's prediction is the answer."""
        numbers = self._made(vectors, "correct", ()).numbers
        assert numbers is not None
        found: Floats = numbers[self.index[:2]].double().numpy()
        return found

    def _made(self, vectors: Floats, metric: str, keys: tuple[SiteKey, ...]) -> Any:
        from glassbox_dsl.run.gradients import Gradients  # its passes evaluate edits, which evaluate values

        context, scored = self.fits.context, self.variant.scored
        assert scored is not None
        made = context.results[self.read.run.run, None].made
        axes = [a for a in sites()[self.read.site].axes if a != "layer"]
        sizes = [axis_length(context, a, self.read.site) for a in axes]
        change = torch.zeros(*made.shape, *sizes, vectors.shape[1])
        change[self.index] = torch.from_numpy(vectors - self.x).float()
        only = np.zeros_like(made)
        only[self.where["run"], self.where["item"]] = True

        def shift(rows: Rows) -> Tensor:
            return change[rows.places]

        call = scored.changed(metric=metric)
        gradients = Gradients(self.fits.evaluator)
        return gradients.of(call, self.read.run.run, keys, {self.key: shift}, only)
