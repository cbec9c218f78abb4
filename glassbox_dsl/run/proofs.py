"""Cells whose edits provably change nothing: they need no pass of their own.

With a causal model, the value at a position depends on the tokens up to it only. An edit that sets a cell to
the value of an unedited pass at the same position, over the same tokens up to there, writes what stands there
already. One such cell is run for each item and stands for the others.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from glassbox_dsl.language.indices import is_point
from glassbox_dsl.language.program import Edit, Run, RunVariant, SiteRead
from glassbox_dsl.run.context import Context, RunResults
from glassbox_dsl.run.indexing import Env
from glassbox_dsl.vocabulary.sites import sites


@dataclass(frozen=True)
class Proofs:
    """Finds cells without effect in one context."""

    context: Context

    def no_effect(self, variant: RunVariant, env: Env) -> Tensor:
        """Whether all edits of a variant provably change nothing, for each row of an environment, [row]."""
        proven = torch.ones(len(env.item.data), dtype=torch.bool)
        for edit in variant.edits:
            proven &= self._edit(edit, variant.prompt, env)
        return proven if variant.edits else torch.zeros_like(proven)

    def _edit(self, edit: Edit, prompt: str, env: Env) -> Tensor:
        none = torch.zeros(len(env.item.data), dtype=torch.bool)
        read, axes = edit.value, sites()[edit.site].axes
        if edit.op != ":=" or not isinstance(read, SiteRead) or not read.copied or "pos" not in axes:
            return none
        source = self._plain_prompt(read)
        place = axes.index("pos")
        if source is None or not is_point(edit.index[place]):
            return none
        at = self.context.indexer.point(edit.index[place], "pos", env, prompt)
        there = self.context.indexer.point(read.index[place], "pos", env, source)
        same = (at.data == there.data) & at.full_presence() & there.full_presence()
        return none | (same & (at.data < self._shared(prompt, source)[env.item.data]))

    def _plain_prompt(self, read: SiteRead) -> str | None:
        """The prompt of the run that is read, if it is an unedited pass of this model."""
        run = self.context.run(read.run.run)
        [first, *others] = run.variants
        if others or first.edits or run.model not in (None, self.context.model):
            return None
        return first.prompt

    def _shared(self, one: str, other: str) -> Tensor:
        """How many leading tokens two prompts of each item have in common, [item]."""
        a, b = self.context.data.prompt(one), self.context.data.prompt(other)
        n = min(a.ids.shape[1], b.ids.shape[1])
        inside = torch.arange(n) < torch.minimum(a.length, b.length)[:, None]
        return ((a.ids[:, :n] == b.ids[:, :n]) & inside).long().cumprod(1).sum(1)

    @staticmethod
    def stand_ins(proven: Tensor, variants: Tensor) -> tuple[Tensor, Tensor]:
        """For each cell [cell, item]: whether it is left out, and the cell whose result it takes.

        Of the proven cells of one variant and item the last is run: in a sweep over layers it is the cheapest.
        """
        left_out = torch.zeros_like(proven)
        instead = torch.arange(len(proven))[:, None].expand(proven.shape).clone()
        for variant in variants.unique().tolist():
            mine = proven & (variants == variant)[:, None]
            last = len(mine) - 1 - mine.flip(0).long().argmax(0)
            instead = torch.where(mine, last[None, :], instead)
            left_out |= mine & (torch.arange(len(mine))[:, None] != last[None, :])
        return left_out, instead

    @staticmethod
    def fill(results: RunResults, left_out: Tensor, instead: Tensor) -> None:
        """Give the cells that were left out the results of those that stand for them."""
        cells, items = left_out.nonzero(as_tuple=True)
        sources = instead[cells, items]
        for stored in results.sites.values():
            stored.data[cells, items] = stored.data[sources, items]
        for tap in results.taps.values():
            tap.data[cells, items] = tap.data[sources, items]


def may_prove(run: Run) -> bool:
    """Whether it is worth looking: a sweep with edits."""
    return bool(run.dimensions) and all(v.edits for v in run.variants)
