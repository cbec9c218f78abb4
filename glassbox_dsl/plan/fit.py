"""Whether a budget holds: how many rows may climb together, and whether one cell fits at all."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from glassbox_dsl.diagnostics import Findings
from glassbox_dsl.plan import errors
from glassbox_dsl.plan.cost import ModelCost
from glassbox_dsl.plan.jobs import Job
from glassbox_dsl.plan.packing import ROWS
from glassbox_dsl.plan.room import SPARE_SHARE, budget_rows, shown_bytes
from glassbox_dsl.plan.rows import RowMaker
from glassbox_dsl.plan.work import Work


@dataclass(frozen=True)
class Fit:
    """A budget in bytes for one model; `kept` is what its results will take of it."""

    cost: ModelCost
    budget: int
    kept: int

    def rows(self, works: Sequence[Work]) -> int | None:
        """Rows to aim at in a pack; None where the budget asks for no smaller packs than usual.

        Raises Findings where a single cell needs more.
        """
        jobs = [(work, job) for work in works for stage in work.stages for job in stage]
        if not jobs:
            return None
        longest = max(int(RowMaker(job.setting).lengths(job.run, job.extension).max()) for _, job in jobs)
        # A pack may reach twice the rows that are aimed at.
        aimed = budget_rows(self.budget, self.cost, longest, self.kept) // 2
        if aimed >= ROWS:
            return None
        for work, job in jobs:
            self._check(work, job, longest, 2 * aimed)
        return max(aimed, 1)

    def _check(self, work: Work, job: Job, longest: int, most: int) -> None:
        """Refuse a run of which one cell has more rows than may climb."""
        for cell, item in _cells(job):
            one = work.packing([job]).one(job, cell, item)
            if one.n_rows > most:
                rows = one.n_rows * self.cost.row_bytes(longest) + one.n_rows * self.cost.logit_bytes(1)
                parts = (
                    f"{shown_bytes(rows)} for {one.n_rows} rows, {shown_bytes(self.cost.weight_bytes)} for weights, "
                    f"{shown_bytes(self.kept)} for what is kept"
                )
                needed = int(rows / (1 - SPARE_SHARE)) + self.cost.weight_bytes + self.kept
                shown = shown_bytes(needed), parts, shown_bytes(self.budget)
                raise Findings([errors.budget_too_small(job.run.span, _name(job, cell, item), *shown)])


def _cells(job: Job) -> Iterator[tuple[int, int]]:
    """The first and the last cell of the item with the longest prompt: the largest ones, as far as is known."""
    lengths = RowMaker(job.setting).lengths(job.run, job.extension).max(0)
    item = int(np.where(job.made.any(0), lengths, -1).argmax())
    cells = np.flatnonzero(job.made[:, item])
    yield from ((int(cell), item) for cell in dict.fromkeys([*cells[:1].tolist(), *cells[-1:].tolist()]))


def _name(job: Job, cell: int, item: int) -> str:
    """`patched[layer=0, pos=3]` of an item."""
    setting, run = job.setting, job.run
    shape = setting.shape(run)
    places = np.unravel_index(cell, shape) if shape else ()
    named = [
        f"{variable.name}={row[number].text}"
        for dimension, place in zip(run.dimensions, places, strict=True)
        for row in [setting.rows(dimension)[int(place)]]
        for number, variable in enumerate(dimension.variables)
    ]
    inside = f"[{', '.join(named)}]" if named else ""
    return f"`{run.name}{inside}` of item {int(setting.data.numbers[item])} on `{setting.model}`"
