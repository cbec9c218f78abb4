"""Which passes a run has, and how they are put into batches: rows of one variant, length and first layer."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from glassbox_dsl.language.program import RunVariant
from glassbox_dsl.library.metric import metrics
from glassbox_dsl.plan.copies import by_full_passes
from glassbox_dsl.plan.demand import Wanted
from glassbox_dsl.plan.edges import Edges
from glassbox_dsl.plan.edit_cells import first_layers
from glassbox_dsl.plan.indexing import Env
from glassbox_dsl.plan.named import Integers, Mask
from glassbox_dsl.plan.rows import RowMaker
from glassbox_dsl.plan.setting import Extension
from glassbox_dsl.run.context import Context
from glassbox_dsl.run.named import tensor
from glassbox_dsl.vocabulary.keys import SiteKey

BATCH_TOKENS = 2048
BATCH_LOGITS = 2**26
BATCH_SENT = 2**26
"""At most about this many tokens, this many logits (256 MiB) and numbers sent along edges, in one pass."""


@dataclass(frozen=True)
class Rows:
    """A batch: which cell and item each row is; all have one variant, one length and one first layer."""

    cells: Integers
    items: Integers
    variant: int
    length: int
    start: int

    @property
    def places(self) -> tuple[Tensor, Tensor]:
        """Cells and items as an index of what is kept of a run."""
        return tensor(self.cells), tensor(self.items)


@dataclass(frozen=True)
class Pass:
    """A batch that was run: its rows and environment, the token ids [row, pos], and what the model gave.

    `positions` says which positions the logits in `got` are of; None when none were asked for.
    """

    run: str
    rows: Rows
    env: Env
    variant: RunVariant
    ids: Tensor
    positions: list[int] | None
    got: dict[SiteKey, Tensor]

    @property
    def logits(self) -> Tensor:
        """Logits [row, position, vocab] in float32."""
        return self.got[SiteKey("logits")].float()

    def logits_at(self, at: Tensor) -> Tensor:
        """Logits [row, vocab] at one position of each row."""
        place = {p: i for i, p in enumerate(self.positions or ())}
        return self.logits[torch.arange(len(at)), torch.tensor([place.get(p, 0) for p in at.tolist()])]

    def steps(self, row: int, positions: range) -> Tensor:
        """Logits [step, vocab] of one row at several positions."""
        place = {p: i for i, p in enumerate(self.positions or ())}
        return self.got[SiteKey("logits")][row, [place[p] for p in positions]].float()


@dataclass(frozen=True)
class Batches:
    """Puts the rows of one context into batches."""

    context: Context

    def of(self, wanted: Wanted, made: Mask, extension: Extension) -> Iterator[Rows]:
        """Rows of one variant, length and first layer together, as many as a pass takes."""
        run = wanted.run
        cells, items = made.nonzero()
        if not len(cells):
            return
        variants = self.context.cell_variants(run).reshape(-1)[cells]
        lengths = RowMaker(self.context).lengths(run, extension)[variants, items]
        starts = self._starts(wanted, cells, items, variants, extension)
        keys = np.stack([variants, lengths, starts], 1)
        for key in np.unique(keys, axis=0).tolist():
            mine = np.flatnonzero((keys == key).all(1))
            size = self._batch_rows(wanted, key[1])
            # What edges carry is made once for some items, and rows of one cell miss the same edges.
            for part in apart(mine, cells, items, size) if by_full_passes(run) else portions(mine, size):
                yield Rows(cells[part], items[part], key[0], key[1], key[2])

    def _batch_rows(self, wanted: Wanted, length: int) -> int:
        rows = max(1, BATCH_TOKENS // length)
        if any(t.at is None for t in wanted.taps):
            rows = min(rows, max(1, BATCH_LOGITS // (length * self.context.sizes.facts.vocab_size)))
        if by_full_passes(wanted.run):
            facts = self.context.sizes.facts
            sent = length * facts.d_model * Edges.of(facts).n_senders
            rows = min(rows, max(1, BATCH_SENT // sent))
        return min(rows, max(1, BATCH_LOGITS // self.context.sizes.facts.vocab_size))

    def _starts(
        self, wanted: Wanted, cells: Integers, items: Integers, variants: Integers, extension: Extension
    ) -> Integers:
        """The first layer that each row has to run: below its first edit it equals the unedited pass."""
        starts = np.zeros_like(cells)
        if len(cells) < 4 * self.context.data.n_items or not self._may_skip(wanted):
            return starts
        for number, variant in enumerate(wanted.run.variants):
            mine = variants == number
            env = RowMaker(self.context).env(wanted.run, cells[mine], items[mine], extension)
            if variant.edits:
                starts[mine] = first_layers(self.context, variant, env)
        return starts

    def _may_skip(self, wanted: Wanted) -> bool:
        """Whether everything read of the run lies at its end, so that lower layers need not run."""
        return not wanted.layers and all(metrics()[t.metric].shape != "pattern" for t in wanted.taps)


def portions(rows: Integers, size: int) -> list[Integers]:
    """Rows in pieces of at most a size."""
    return [rows[i : i + size] for i in range(0, len(rows), size)]


def apart(rows: Integers, cells: Integers, items: Integers, size: int) -> list[Integers]:
    """Rows of one cell each in pieces of at most a size, those of some items one after the other."""
    found = []
    for block in portions(np.unique(items[rows]), size):
        mine = rows[np.isin(items[rows], block)]
        found += [mine[cells[mine] == cell] for cell in np.unique(cells[mine])]
    return found
