"""Which passes a run has: every cell on every item where it exists, with its variables, length and token ids."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from glassbox_dsl.language.program import Run, RunVariant
from glassbox_dsl.plan.indexing import Binding, Env
from glassbox_dsl.plan.named import Integers, Mask, Named
from glassbox_dsl.plan.setting import Extension, Setting
from glassbox_dsl.vocabulary.axes import POSITION_AXES

ROW = "row"
"""The dimension of what differs between the rows of a batch."""
ROWS_AT_ONCE = 2**20
"""Cells and items whose existence is looked at in one go, so that large sweeps need little room for it."""


@dataclass(frozen=True)
class RowMaker:
    """Lays out the rows of runs in one setting."""

    setting: Setting

    def shape(self, run: Run) -> tuple[int, ...]:
        """How many cells each dimension of a run has."""
        return self.setting.shape(run)

    def env(self, run: Run, cells: Integers, items: Integers, extension: Extension) -> Env:
        """The environment of rows that are cells [row] (dimensions multiplied out) on items [row]."""
        shape = self.shape(run)
        members = np.unravel_index(cells, shape) if shape else ()
        ids = {d.name: Named(m, (ROW,)) for d, m in zip(run.dimensions, members, strict=True)}
        variables = {
            name: Binding(ids[binding.dimension], binding.dimension, binding.cells)
            for name, binding in self.setting.bindings(run.dimensions).items()
        }
        return Env(item=Named(items, (ROW,)), variables=variables, extension=extension)

    def made(self, run: Run, extension: Extension) -> Mask:
        """Which cells exist for which items [cell, item]: swept positions must lie in the item's prompt."""
        n_cells, n_items = math.prod(self.shape(run)), self.setting.data.n_items
        step = max(1, ROWS_AT_ONCE // max(n_cells, 1))
        blocks = [np.arange(i, min(i + step, n_items)) for i in range(0, n_items, step)]
        none = np.zeros((n_cells, 0), dtype=np.bool_)
        return np.concatenate([none, *(self._made(run, extension, n_cells, items) for items in blocks)], 1)

    def _made(self, run: Run, extension: Extension, n_cells: int, some: Integers) -> Mask:
        cells, items = np.repeat(np.arange(n_cells), len(some)), np.tile(some, n_cells)
        exists = np.ones(len(cells), dtype=np.bool_)
        env = self.env(run, cells, items, extension)
        variants = self.setting.cell_variants(run).reshape(-1)[cells]
        for number, variant in enumerate(run.variants):
            exists &= (variants != number) | self._inside(run, variant, env)
        if extension is not None:
            exists &= (self.setting.answer_lengths(extension) > 1)[items]
        return exists.reshape(n_cells, len(some))

    def _inside(self, run: Run, variant: RunVariant, env: Env) -> Mask:
        """Whether the swept positions of each row lie in its prompt, [row]."""
        inside = np.ones(len(env.item.data), dtype=np.bool_)
        for dimension in run.dimensions:
            if dimension.samples is not None:  # sample by sample, every item in turn
                number = env.variables[dimension.variables[0].name].ids.data
                inside &= number * self.setting.data.n_items + env.item.data < dimension.samples
            for variable in dimension.variables:
                binding = env.variables[variable.name]
                if variable.axis not in POSITION_AXES or (
                    binding.cells and any(c.whole for c in binding.cells)
                ):
                    continue
                at = self.setting.indexer.variable(variable.name, variable.axis, env, variant.prompt)
                end = self.setting.indexer.length(variable.axis, env, variant.prompt)
                inside &= (at.data >= 0) & (at.data < end.data) & at.full_presence()
        return inside

    def lengths(self, run: Run, extension: Extension) -> Integers:
        """Tokens of each variant's prompt with what stands behind it, [variant, item]."""
        extra = self.setting.extra_tokens(extension)
        return np.stack([self.setting.data.prompt(v.prompt).length + extra for v in run.variants])

    def ids(self, prompt: str, items: Integers, length: int, extension: Extension) -> Integers:
        """Token ids [row, pos] of a prompt with what stands behind it, for items [row] of that length."""
        if extension is None:
            return self.setting.data.prompt(prompt).ids[items, :length]
        return self.setting.data.extended(prompt, *extension)[items, :length]
