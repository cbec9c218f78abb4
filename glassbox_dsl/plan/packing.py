"""Which cells climb together: items are put into packs until their rows reach a budget, one item's cells if need be."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from glassbox_dsl.plan.build_pack import Jobs, PackBuilder
from glassbox_dsl.plan.jobs import Job
from glassbox_dsl.plan.layers import layer_number
from glassbox_dsl.plan.named import Integers, Mask
from glassbox_dsl.plan.pack import Pack
from glassbox_dsl.resolve.facts import ModelFacts
from glassbox_dsl.vocabulary.keys import HEAD
from glassbox_dsl.vocabulary.sites import sites

ROWS = 4096
"""About how many rows climb together on a CPU: enough for its products, few enough for its caches."""


@dataclass(frozen=True)
class Packing:
    """Packs of the jobs of one stage on one model; `every` finds any job of the model."""

    facts: ModelFacts
    jobs: Sequence[Job]
    every: Jobs
    budget_rows: int | None = None
    left: Mapping[Job, Mask] = field(default_factory=dict)
    """Which cells [cell, item] of a job are still to be made, where that is not all of them."""

    @property
    def rows(self) -> int:
        """About how many rows climb together."""
        return ROWS if self.budget_rows is None else self.budget_rows

    @property
    def top(self) -> int:
        """How many layers have to be run for what is read."""
        return max((self._top(job) for job in self.jobs), default=0)

    def _top(self, job: Job) -> int:
        n = self.facts.n_layers
        if job.extension is not None or job.wanted.taps:
            return n
        found = 0
        for name, layers in job.wanted.layers.items():
            if name in HEAD:
                return n
            site = sites()[name]
            behind = 0 if name in ("embed", "resid_pre") else 1
            numbers = [n - 1] if layers is None else [layer_number(layer, n) for layer in layers]
            found = max([found, *(number + behind for number in numbers)]) if site.has_layer else found
        return min(found, n)

    def packs(self) -> Iterator[Pack]:
        """All packs; between them they hold every cell of every job once."""
        by_data: dict[int, list[Job]] = {}
        for job in self.jobs:
            by_data.setdefault(id(job.setting.data), []).append(job)
        for jobs in by_data.values():
            yield from self._packs(jobs)

    def one(self, job: Job, cell: int, item: int) -> Pack:
        """The pack of a single cell: the least that can be run."""
        return self._pack([(job, np.array([cell]), np.array([item]))])

    def _packs(self, jobs: Sequence[Job]) -> Iterator[Pack]:
        n_items = jobs[0].setting.data.n_items
        size, start = 1, 0
        while start < n_items:
            items = np.arange(start, min(start + size, n_items))
            cells = [(job, *self._cells(job, items)) for job in jobs]
            if not any(len(some) for _, some, _ in cells):
                start += len(items)
                continue
            pack = self._pack(cells)
            if pack.n_rows > 2 * self.rows:
                if len(items) > 1:
                    size = max(1, len(items) // 2)
                    continue
                yield from self._by_cells(jobs, items, pack.n_rows)
            else:
                yield pack
            start += len(items)
            per_item = max(1, pack.n_rows // len(items))
            size = max(1, self.rows // per_item)

    def _by_cells(self, jobs: Sequence[Job], items: Integers, n_rows: int) -> Iterator[Pack]:
        """One item's cells in several packs; its prompts are run again in each."""
        parts = -(-n_rows // self.rows)
        cells = [(job, *self._cells(job, items)) for job in jobs]
        for part in range(parts):
            mine = [(job, c[part::parts], i[part::parts]) for job, c, i in cells]
            if any(len(some) for _, some, _ in mine):
                yield self._pack(mine)

    def halves(self, pack: Pack) -> list[Pack]:
        """A pack in two, by items if it has several, else by cells; empty if it holds a single cell."""
        held = [(s.job, s.cells, s.items) for s in pack.shares]
        by_item = len({(id(job.setting.data), item) for job, _, items in held for item in items.tolist()}) > 1
        places = [
            np.unique(items, return_inverse=True)[1] if by_item else np.arange(len(c)) for _, c, items in held
        ]
        parts = [
            [(job, c[p % 2 == half], i[p % 2 == half]) for (job, c, i), p in zip(held, places, strict=True)]
            for half in (0, 1)
        ]
        full = [part for part in parts if any(len(c) for _, c, _ in part)]
        return [self._pack(part) for part in full] if len(full) > 1 else []

    def _cells(self, job: Job, items: Integers) -> tuple[Integers, Integers]:
        """The cells of a job that are to be made for some items."""
        cells, place = np.nonzero(self.left.get(job, job.made)[:, items])
        return cells, items[place]

    def _pack(self, cells: Sequence[tuple[Job, Integers, Integers]]) -> Pack:
        builder = PackBuilder(self.facts.n_layers, self.top, self.every)
        for job, some, items in cells:
            if len(some):
                builder.add(job, some, items)
        return builder.finish()
