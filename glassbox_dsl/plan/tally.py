"""Counting what a plan or a run does: packs, rows, token-layers, FLOPs. Both are counted here, so they compare."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from glassbox_dsl.plan.cost import ModelCost
from glassbox_dsl.plan.jobs import Job
from glassbox_dsl.plan.named import Integers
from glassbox_dsl.plan.pack import Pack, Share
from glassbox_dsl.plan.reads import logit_rows, reads_of_a_cell
from glassbox_dsl.plan.rows import RowMaker


@dataclass
class Tally:
    """Sums over packs. `noops` are cells whose edits provably change nothing; `passes` are
    cells with those that have an answer behind their prompt, `prompts` the prompts of each pack.

    `peak_rows` and `peak_bytes` are those of the largest pack; `seconds` is 0 for a plan. `climbed` are the FLOPs of
    packs that were timed, `climbing` the seconds these took: what a run spends on other things tells no speed.
    """

    packs: int = 0
    layer_calls: int = 0
    prompts: int = 0
    passes: int = 0
    cells: int = 0
    noops: int = 0
    rows: int = 0
    token_layers: int = 0
    flops: int = 0
    peak_rows: int = 0
    peak_bytes: int = 0
    seconds: float = 0.0
    climbed: int = 0
    climbing: float = 0.0

    def add(self, pack: Pack, cost: ModelCost, seconds: float = 0.0) -> None:
        """Count one pack, and the time that its climb took."""
        read = logit_rows(pack)
        flops = (
            climb_flops(pack, cost) + cost.logit_flops(read.wide) + cost.logit_flops(read.few, read.tokens)
        )
        self.packs += 1
        self.layer_calls += len(pack.floors) - 1
        self.prompts += len(pack.tokens)
        self.passes += sum(len(s.cells) for s in pack.shares)
        self.cells += sum(len(s.cells) for s in pack.shares if s.job.extension is None)
        self.noops += sum(noops_of(pack, s) for s in pack.shares if s.job.extension is None)
        self.rows += pack.n_rows
        self.token_layers += pack.token_layers
        self.flops += flops
        if seconds:
            self.climbed += flops
            self.climbing += seconds
        self.peak_rows = max(self.peak_rows, pack.n_rows)
        self.peak_bytes = max(self.peak_bytes, pack_bytes(pack, cost))

    def add_pass(self, cells: int, length: int, layers: int, logits: int, cost: ModelCost) -> None:
        """Count a batch of full passes over prompts of one length through the upper `layers`, with rows of logits."""
        rows, n_layers = cells * length, cost.facts.n_layers
        whole = cost.pass_flops(np.array([length]), np.array([cells]))
        self.packs += 1
        self.layer_calls += layers
        self.passes += cells
        self.rows += rows
        self.token_layers += rows * layers
        self.flops += whole * layers // n_layers + cost.logit_flops(logits)
        self.peak_rows = max(self.peak_rows, rows)
        self.peak_bytes = max(self.peak_bytes, rows * cost.row_bytes(length) + cost.logit_bytes(logits))

    def merge(self, other: Tally, times: float = 1.0) -> None:
        """Add the sums of another, `times` over; the largest stays the largest."""
        for name in (
            "packs",
            "layer_calls",
            "prompts",
            "passes",
            "cells",
            "noops",
            "rows",
            "token_layers",
            "flops",
            "climbed",
        ):
            setattr(self, name, getattr(self, name) + round(getattr(other, name) * times))
        self.seconds += other.seconds * times
        self.climbing += other.climbing * times
        self.peak_rows = max(self.peak_rows, other.peak_rows)
        self.peak_bytes = max(self.peak_bytes, other.peak_bytes)


def pack_bytes(pack: Pack, cost: ModelCost) -> int:
    """What a climb has in use at most: rows at the widest place of a layer, logits, and the tables of its floors."""
    rows = pack.n_rows * cost.row_bytes(pack.longest) + cost.logit_bytes(logit_rows(pack).wide)
    tables = {id(floor.rowof): floor.rowof.nbytes for floor in pack.floors}
    return rows + 2 * sum(tables.values())  # once more as the keys of its groups


def climb_flops(pack: Pack, cost: ModelCost) -> int:
    """The layers of a climb. Where fewer rows leave a layer than enter it, those that leave are projected again."""
    seen: dict[int | None, Integers] = {}
    flops = 0
    for layer, floor in enumerate(pack.floors[:-1]):
        window = cost.facts.windows[layer]
        if window not in seen:
            keys = pack.positions + 1
            seen[window] = keys if window is None else np.minimum(keys, window)
        flops += cost.layer_flops * floor.n_queried + cost.key_flops * int(
            seen[window][floor.leaving()].sum()
        )
        if floor.queried is not None:
            flops += cost.projection_flops * floor.n_entered
    return flops


def noops_of(pack: Pack, share: Share) -> int:
    """How many cells of a share have edits and yet are their prompts: every edit was proven to change nothing."""
    run = share.job.run
    edited = np.array([bool(v.edits) for v in run.variants])
    variants = share.job.setting.cell_variants(run).reshape(-1)[share.cells]
    _, roots = np.unique(pack.root, return_index=True)  # a prompt stands before the cells above it
    return int((edited[variants] & np.isin(share.owners, roots)).sum())


@dataclass
class Naive:
    """One full forward pass for every cell and item: what the plan is measured against."""

    passes: int = 0
    token_layers: int = 0
    flops: int = 0

    def add(self, job: Job, cost: ModelCost) -> None:
        """Count the passes of one job."""
        places, everywhere = reads_of_a_cell(job)
        lengths = RowMaker(job.setting).lengths(job.run, job.extension)
        variants = job.setting.cell_variants(job.run).reshape(-1)
        for number in range(len(job.run.variants)):
            times = job.made[variants == number].sum(0)
            tokens = int((lengths[number] * times).sum())
            self.passes += int(times.sum())
            self.token_layers += tokens * cost.facts.n_layers
            self.flops += cost.pass_flops(lengths[number], times)
            self.flops += cost.logit_flops(tokens if everywhere else places * int(times.sum()))
