"""What fits ask of the model: the loss of vectors in the place of others, and the slope of one value along another."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from glassbox_dsl.diagnostics import InternalError
from glassbox_dsl.language.program import MetricCall, Run, SiteRead
from glassbox_dsl.language.technique_nodes import Fit, FitVariant
from glassbox_dsl.library.coordinates import Floats, Integers
from glassbox_dsl.library.fit import fit_kinds
from glassbox_dsl.plan.copies import by_full_passes
from glassbox_dsl.plan.demand import Wanted
from glassbox_dsl.plan.indexing import narrowed
from glassbox_dsl.plan.named import Mask
from glassbox_dsl.run.instrument import Instrument
from glassbox_dsl.run.named import tensor
from glassbox_dsl.run.read_places import axis_length, places_of
from glassbox_dsl.run.rows import portions
from glassbox_dsl.run.slopes import MeanSlope
from glassbox_dsl.run.steps import boundary
from glassbox_dsl.vocabulary.axes import ITEM
from glassbox_dsl.vocabulary.keys import STREAM, SiteKey
from glassbox_dsl.vocabulary.sites import sites

if TYPE_CHECKING:
    from glassbox_dsl.run.context import RunResults
    from glassbox_dsl.run.entered import Entered
    from glassbox_dsl.run.fits import Fits
    from glassbox_dsl.run.gradients import Gradient, Gradients
    from glassbox_dsl.run.rows import Rows

LOGITS = 2**25
"""At most about so many logits are made at once, a few copies of each (128 MiB a copy)."""
TOKENS = 512
"""At most about so many tokens pass together with their graph."""
DISTRIBUTIONS = 2**27
"""At most about so many probabilities (512 MiB) are kept while a lens is trained."""
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
    """Judges states of the stream by what the model's end makes of them; `final` [n, dim]: what it is given itself.

    The loss is KL(final || state). Its slope in the logits is the difference of both distributions, so that what the
    end makes of the final states is made once.
    """

    instrument: Instrument
    final: Floats

    @cached_property
    def wanted(self) -> Tensor | None:
        """The model's own distributions [n, vocab], if there is room for them."""
        if len(self.final) * self.instrument.facts.vocab_size > DISTRIBUTIONS:
            return None
        return torch.cat([self._given(rows) for rows in self._portions(np.arange(len(self.final)))])

    def slopes(self, vectors: Floats, rows: Integers) -> Floats:
        """The slope of the loss of each [n, dim]."""
        parts = self._portions(np.arange(len(rows)))
        return np.concatenate([self._slopes(vectors[part], rows[part]) for part in parts])

    def losses(self, vectors: Floats) -> Floats:
        """The loss of a vector for each final state [n]."""
        parts = self._portions(np.arange(len(self.final)))
        return np.concatenate([self._losses(vectors[part], self.final[part]) for part in parts])

    def right(self, vectors: Floats) -> Floats:
        """No answer is asked for."""
        raise InternalError("a lens has no answer")

    def _portions(self, rows: Integers) -> list[Integers]:
        return portions(rows, max(1, LOGITS // self.instrument.facts.vocab_size))

    def _given(self, rows: Integers) -> Tensor:
        return self.instrument.unembed(torch.from_numpy(self.final[rows]).float()).float().softmax(-1)

    def _slopes(self, vectors: Floats, rows: Integers) -> Floats:
        with torch.enable_grad():
            x = torch.from_numpy(vectors).float().requires_grad_()
            logits = self.instrument.unembed(x)
        wanted = self._given(rows) if self.wanted is None else self.wanted[tensor(rows).to(logits.device)]
        off = logits.detach().float().softmax(-1).sub_(wanted)
        [slopes] = torch.autograd.grad(logits, [x], off.to(logits))
        return slopes.double().cpu().numpy()

    def _losses(self, vectors: Floats, final: Floats) -> Floats:
        found, wanted = (
            self.instrument.unembed(torch.from_numpy(x).float()).float().log_softmax(-1)
            for x in (vectors, final)
        )
        return (wanted.exp() * (wanted - found)).sum(-1).double().cpu().numpy()


@dataclass(frozen=True)
class Part:
    """Vectors of a fit that pass together: `mine` [n] says which of them, `index` [n] where they stand in the rows.

    `shape` is that of the site in these rows; `entered` what their passes have in common.
    """

    rows: Rows
    mine: Integers
    index: tuple[Tensor, ...]
    shape: tuple[int, ...]
    entered: Entered

    @property
    def row(self) -> Tensor:
        """The row of each vector [n]."""
        return self.index[0]

    def behind_first(self) -> tuple[Tensor, ...]:
        """Where the vectors stand in passes that begin at their first position."""
        row, *rest = self.index
        return (row, *rest[:-1], rest[-1] - self.entered.first)


@dataclass(frozen=True)
class Interchange:
    """Judges vectors in the place of those of a run, one for each item of `mask`, by the answer that it gives then.

    `x` [n, dim] is what the run has there itself, after its own edits. Only what changes is run again: the layers from
    that of the vectors on, at the positions from the first of theirs on.
    """

    fits: Fits
    fit: Fit
    variant: FitVariant
    cell: Cell
    mask: Mask
    x: Floats
    asked: dict[str, tuple[Wanted, RunResults]] = field(default_factory=dict)

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
    def gradients(self) -> Gradients:
        """What takes the slopes."""
        from glassbox_dsl.run.gradients import Gradients  # its passes evaluate edits, which evaluate values

        return Gradients(self.fits.evaluator)

    @cached_property
    def parts(self) -> list[Part]:
        """The vectors in batches of passes."""
        wanted, known = self._asked("logprob")
        only = np.zeros_like(known.made)
        only[self.where["run"], self.where["item"]] = True
        longest, first = self.fits.context.data.longest, int(self.where["pos"].min())
        tokens = TOKENS * min(8, longest // max(1, longest - first))
        return [self._part(wanted, rows) for rows in self.gradients.batches(wanted, only, tokens)]

    def _begun(self, run: Run, positions: Integers) -> tuple[int, int]:
        """The layer and the first position that passes begin at which put vectors at some positions."""
        if by_full_passes(run):
            return 0, 0
        layer = boundary(self.key) - 1 if self.key.site in STREAM else self.key.layer or 0
        return max(0, layer), int(positions.min())

    def _part(self, wanted: Wanted, rows: Rows) -> Part:
        from glassbox_dsl.run.entered import entered  # edits are evaluated there, too

        context = self.fits.context
        row_of = np.full(context.results[wanted.run.name, None].made.shape, -1)
        row_of[rows.cells, rows.items] = np.arange(len(rows.cells))
        row = row_of[self.where["run"], self.where["item"]]
        mine = np.flatnonzero(row >= 0)
        axes = [a for a in sites()[self.read.site].axes if a != "layer"]
        shape = (len(rows.cells), *(axis_length(context, a, self.read.site) for a in axes))
        index = (tensor(row[mine]), *(tensor(self.where[a][mine]) for a in axes))
        layer, first = self._begun(wanted.run, self.where["pos"][mine])
        return Part(rows, mine, index, shape, entered(context, wanted.run, rows, layer, first))

    def slopes(self, vectors: Floats, rows: Integers) -> Floats:
        """The slope of -log p(answer) of each [n, dim]."""
        found = np.zeros_like(vectors)
        for part, gradient in self._passed(vectors, "logprob", (self.key,)):
            slopes = gradient.slopes[self.key][part.behind_first()]
            found[part.mine] = -slopes.double().cpu().numpy()
        return found[rows]

    def losses(self, vectors: Floats) -> Floats:
        """-log p(answer) of each [n]."""
        return -self._numbers(vectors, "logprob")

    def right(self, vectors: Floats) -> Floats:
        """Whether the run's prediction is the answer."""
        return self._numbers(vectors, "correct")

    def _numbers(self, vectors: Floats, metric: str) -> Floats:
        found = np.zeros(len(vectors))
        for part, gradient in self._passed(vectors, metric, ()):
            assert gradient.numbers is not None
            found[part.mine] = gradient.numbers[part.row].double().numpy()
        return found

    def _passed(
        self, vectors: Floats, metric: str, keys: tuple[SiteKey, ...]
    ) -> Iterator[tuple[Part, Gradient]]:
        """Passes with the vectors in their places."""
        wanted, known = self._asked(metric)
        for part in self.parts:
            change = torch.zeros(*part.shape, vectors.shape[1])
            change[part.index] = torch.from_numpy(vectors[part.mine] - self.x[part.mine]).float()
            shift = {self.key: partial(_same, change)}
            yield (
                part,
                self.gradients.batch(
                    self._scored(metric), wanted, part.rows, keys, shift, known, entered=part.entered
                ),
            )

    def _scored(self, metric: str) -> MetricCall:
        assert self.variant.scored is not None
        return self.variant.scored.changed(metric=metric)

    def _asked(self, metric: str) -> tuple[Wanted, RunResults]:
        """What a metric reads of the run, and what of it is known."""
        if metric not in self.asked:
            call = self._scored(metric)
            self.gradients.check(call)
            wanted = self.gradients.wanted(call, self.read.run.run)
            self.asked[metric] = wanted, self.gradients.known(wanted)
        return self.asked[metric]


def _same(change: Tensor, _: Rows) -> Tensor:
    return change
