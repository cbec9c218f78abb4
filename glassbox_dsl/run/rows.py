"""Which passes a run has, and how they are put into batches: rows of one variant, length and first layer."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from glassbox_dsl.language.program import Run, RunVariant
from glassbox_dsl.library.metric import metrics
from glassbox_dsl.plan.demand import Wanted
from glassbox_dsl.run.context import Context, Extension
from glassbox_dsl.run.edits import EditBatch
from glassbox_dsl.run.indexing import Binding, Env
from glassbox_dsl.run.keys import SiteKey
from glassbox_dsl.run.named import Named
from glassbox_dsl.run.places import Places
from glassbox_dsl.vocabulary.axes import POSITION_AXES

BATCH_TOKENS = 2048
BATCH_LOGITS = 2**26
"""At most about this many tokens, and this many logits (256 MiB), in one pass."""


@dataclass(frozen=True)
class Rows:
    """A batch: which cell and item each row is; all have one variant, one length and one first layer."""

    cells: Tensor
    items: Tensor
    variant: int
    length: int
    start: int


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
class RowMaker:
    """Lays out the rows of runs in one context."""

    context: Context

    def shape(self, run: Run) -> tuple[int, ...]:
        """How many cells each dimension of a run has."""
        return self.context.shape(run)

    def _member_ids(self, run: Run, cells: Tensor) -> dict[str, Tensor]:
        """The member of each dimension at each cell number."""
        shape = self.shape(run)
        if not shape:
            return {}
        return dict(zip((d.name for d in run.dimensions), torch.unravel_index(cells, shape), strict=True))

    def env(self, run: Run, cells: Tensor, items: Tensor, extension: Extension) -> Env:
        """The environment of a batch's rows."""
        variables: dict[str, Binding] = {}
        full = self.context.bindings(run.dimensions)
        ids = {name: Named(member, ("row",)) for name, member in self._member_ids(run, cells).items()}
        for name, binding in full.items():
            variables[name] = Binding(ids[binding.dimension], binding.dimension, binding.cells)
        return Env(item=Named(items, ("row",)), variables=variables, extension=extension)

    def made(self, run: Run, extension: Extension) -> Tensor:
        """Which cells exist for which items: swept positions must lie in the item's prompt."""
        n_cells = int(torch.tensor(self.shape(run)).prod()) if run.dimensions else 1
        n_items = self.context.data.n_items
        cells = torch.arange(n_cells).repeat_interleave(n_items)
        items = torch.arange(n_items).repeat(n_cells)
        exists = torch.ones(n_cells * n_items, dtype=torch.bool)
        env = self.env(run, cells, items, extension)
        variants = self.context.cell_variants(run).reshape(-1)[cells]
        for number, variant in enumerate(run.variants):
            exists &= (variants != number) | self._inside(run, variant, env)
        if extension is not None:
            name, which = extension
            answers = [item.answers[name].alternatives for item in self.context.data.items]
            has = torch.tensor([which < len(a) and len(a[which]) > 1 for a in answers])
            exists &= has[items]
        return exists.reshape(n_cells, n_items)

    def _inside(self, run: Run, variant: RunVariant, env: Env) -> Tensor:
        """Whether the swept positions of each row lie in its prompt, [row]."""
        inside = torch.ones(len(env.item.data), dtype=torch.bool)
        for dimension in run.dimensions:
            for variable in dimension.variables:
                binding = env.variables[variable.name]
                if variable.axis not in POSITION_AXES or (
                    binding.cells and any(c.whole for c in binding.cells)
                ):
                    continue
                at = self.context.indexer.variable(variable.name, variable.axis, env, variant.prompt)
                end = self.context.indexer.length(variable.axis, env, variant.prompt)
                inside &= (at.data >= 0) & (at.data < end.data) & at.full_presence()
        return inside

    def lengths(self, run: Run, extension: Extension) -> Tensor:
        """Tokens of each variant's prompt with what stands behind it, [variant, item]."""
        extra = torch.zeros(self.context.data.n_items, dtype=torch.long)
        if extension is not None:
            env = Env(item=self.context.all_items(), extension=extension)
            extra = Places(self.context).extra_tokens(env).data
        return torch.stack([self.context.data.prompt(v.prompt).length + extra for v in run.variants])

    def batches(self, wanted: Wanted, made: Tensor, extension: Extension) -> Iterator[Rows]:
        """Rows of one variant, length and first layer together, as many as a pass takes."""
        run = wanted.run
        cells, items = made.nonzero(as_tuple=True)
        if not len(cells):
            return
        variants = self.context.cell_variants(run).reshape(-1)[cells]
        lengths = self.lengths(run, extension)[variants, items]
        starts = self._starts(wanted, cells, items, variants, extension)
        keys = torch.stack([variants, lengths, starts], 1)
        for key in keys.unique(dim=0).tolist():
            mine = (keys == torch.tensor(key)).all(1).nonzero().flatten()
            for part in mine.split(self._batch_rows(wanted, key[1])):
                yield Rows(cells[part], items[part], key[0], key[1], key[2])

    def _batch_rows(self, wanted: Wanted, length: int) -> int:
        rows = max(1, BATCH_TOKENS // length)
        if any(t.at is None for t in wanted.taps):
            rows = min(rows, max(1, BATCH_LOGITS // (length * self.context.sizes.facts.vocab_size)))
        return min(rows, max(1, BATCH_LOGITS // self.context.sizes.facts.vocab_size))

    def _starts(
        self, wanted: Wanted, cells: Tensor, items: Tensor, variants: Tensor, extension: Extension
    ) -> Tensor:
        """The first layer that each row has to run: below its first edit it equals the unedited pass."""
        starts = torch.zeros_like(cells)
        if len(cells) < 4 * self.context.data.n_items or not self._may_skip(wanted):
            return starts
        for number, variant in enumerate(wanted.run.variants):
            mine = variants == number
            env = self.env(wanted.run, cells[mine], items[mine], extension)
            if variant.edits:
                starts[mine] = EditBatch(self.context, variant, env, {}).first_layers()
        return starts

    def _may_skip(self, wanted: Wanted) -> bool:
        """Whether everything read of the run lies at its end, so that lower layers need not run."""
        return not wanted.layers and all(metrics()[t.metric].shape != "pattern" for t in wanted.taps)

    def ids(self, prompt: str, items: Tensor, length: int, extension: Extension) -> Tensor:
        """Token ids [row, pos] of a prompt with what stands behind it."""
        arrays = self.context.data.prompt(prompt)
        if extension is None:
            return arrays.ids[items, :length]
        name, which = extension
        rows = []
        for item in items.tolist():
            prompt_ids = arrays.ids[item, : arrays.length[item]].tolist()
            rows.append([*prompt_ids, *self.context.data.items[item].answers[name].alternatives[which][:-1]])
        return torch.tensor(rows)
