"""Cells whose edits provably change nothing: they need no pass of their own.

With a causal model, the value at a position depends on the tokens up to it only. An edit that sets a cell to
the value of an unedited pass at the same position, over the same tokens up to there, writes what stands there
already. One such cell is run for each item and stands for the others.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from glassbox_dsl.language.indices import is_point
from glassbox_dsl.language.program import Edit, Run, RunVariant, SiteRead
from glassbox_dsl.plan.indexing import Env
from glassbox_dsl.plan.named import Integers, Mask
from glassbox_dsl.plan.pairing import sweeps_sets
from glassbox_dsl.plan.setting import Setting
from glassbox_dsl.vocabulary.sites import sites


@dataclass(frozen=True)
class Proofs:
    """Finds cells without effect in one setting."""

    setting: Setting

    def no_effect(self, variant: RunVariant, env: Env) -> Mask:
        """Whether all edits of a variant provably change nothing, for each row of an environment, [row]."""
        proven = np.ones(len(env.item.data), dtype=np.bool_)
        for edit in variant.edits:
            proven &= self._edit(edit, variant.prompt, env)
        return proven if variant.edits else np.zeros_like(proven)

    def _edit(self, edit: Edit, prompt: str, env: Env) -> Mask:
        none = np.zeros(len(env.item.data), dtype=np.bool_)
        read, axes = edit.value, sites()[edit.site].axes
        if edit.op != ":=" or not isinstance(read, SiteRead) or not read.copied or "pos" not in axes:
            return none
        source = self._plain_prompt(read)
        place = axes.index("pos")
        if source is None or not is_point(edit.index[place]) or sweeps_sets(edit.index[place], env):
            return none
        at = self.setting.indexer.point(edit.index[place], "pos", env, prompt)
        there = self.setting.indexer.point(read.index[place], "pos", env, source)
        same = (at.data == there.data) & at.full_presence() & there.full_presence()
        proven: Mask = none | (same & (at.data < self._shared(prompt, source)[env.item.data]))
        return proven

    def _plain_prompt(self, read: SiteRead) -> str | None:
        """The prompt of the run that is read, if it is an unedited pass of this model."""
        run = self.setting.run(read.run.run)
        [first, *others] = run.variants
        if others or first.edits or run.model not in (None, self.setting.model):
            return None
        return first.prompt

    def _shared(self, one: str, other: str) -> Integers:
        """How many leading tokens two prompts of each item have in common, [item]."""
        a, b = self.setting.data.prompt(one), self.setting.data.prompt(other)
        n = min(a.ids.shape[1], b.ids.shape[1])
        inside = np.arange(n) < np.minimum(a.length, b.length)[:, None]
        shared: Integers = ((a.ids[:, :n] == b.ids[:, :n]) & inside).cumprod(1).sum(1)
        return shared

    @staticmethod
    def stand_ins(proven: Mask, variants: Integers) -> tuple[Mask, Integers]:
        """For each cell [cell, item]: whether it is left out, and the cell whose result it takes.

        Of the proven cells of one variant and item the last is run: in a sweep over layers it is the cheapest.
        """
        left_out = np.zeros_like(proven)
        instead = np.broadcast_to(np.arange(len(proven))[:, None], proven.shape)
        for variant in np.unique(variants).tolist():
            mine = proven & (variants == variant)[:, None]
            last = len(mine) - 1 - mine[::-1].argmax(0)
            instead = np.where(mine, last[None, :], instead)
            left_out |= mine & (np.arange(len(mine))[:, None] != last[None, :])
        return left_out, instead


def may_prove(run: Run) -> bool:
    """Whether it is worth looking: a sweep with edits."""
    return bool(run.dimensions) and all(v.edits for v in run.variants)
