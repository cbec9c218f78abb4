"""Sides compared, then timed in turns."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from benchmarks.sides import Side
from benchmarks.task import Task

TOLERANCE = 1e-3
"""How far values may lie apart, in logits: kernels differ, and so does the order of sums."""


@dataclass
class Timed:
    """The seconds of one side: of all layers and items, or of some of them that stand for all."""

    name: str
    n_layers: int
    layers: Sequence[int]
    n_items: int = 1
    items: int = 1
    fixed: float = 0.0
    fixed_cpu: float = 0.0
    difference: float = 0.0
    seconds: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)

    @property
    def share(self) -> str:
        """How much of the work was run."""
        layers = f"{len(self.layers)} of {self.n_layers}"
        return layers if self.items == self.n_items else f"{layers}, {self.items} of {self.n_items} items"

    def scaled(self, seconds: float, fixed: float) -> float:
        """Seconds of all layers and items; what no layer changes (`fixed`, the unedited passes) counts once."""
        if len(self.layers) < self.n_layers:
            seconds = fixed + max(0.0, seconds - fixed) * self.n_layers / len(self.layers)
        return seconds * self.n_items / self.items

    @property
    def lowest(self) -> float:
        """The fastest repeat."""
        return self.scaled(min(self.seconds), self.fixed)

    @property
    def median(self) -> float:
        """The median repeat."""
        return self.scaled(statistics.median(self.seconds), self.fixed)

    @property
    def least_cpu(self) -> float:
        """Processor time, over all threads, of the repeat that took least of it."""
        return self.scaled(min(self.cpu), self.fixed_cpu)


def sampled(layers: Sequence[int], seconds_per_layer: float, limit: float) -> Sequence[int]:
    """These layers, or as many of them, evenly spread, as take `limit` seconds: at least the middle one."""
    if seconds_per_layer * len(layers) <= limit:
        return layers
    count = min(len(layers), int(limit / seconds_per_layer))
    if count < 2:
        return [layers[len(layers) // 2]]
    return [layers[i * (len(layers) - 1) // (count - 1)] for i in range(count)]


class Apart(Exception):
    """Two sides that should have computed the same did not."""


def seconds_of(work: Callable[[], object]) -> tuple[float, float]:
    """Wall time and processor time of one call."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - wall, time.process_time() - cpu


def prepared(
    side: Side, task: Task, among: Sequence[int], limit: float, repeats: int = 1, items: int | None = None
) -> tuple[Timed, Tensor]:
    """Choose a side's layers and items among some and run it on them, which also warms it up.

    Gives values [item, layer, cell]; those that were not run are NaN. Fewer items are run where one layer of all of
    them takes longer than a round may. Where one of one item takes as long as all rounds may, that was its round.
    """
    n_items, every = len(task.base), items or len(task.base)
    timed = Timed(side.name, task.n_layers, among, n_items, every)
    values = torch.full((n_items, task.n_layers, len(task.cells)), torch.nan)
    if task.site != "lens":
        middle = [among[len(among) // 2]]
        if every > 1:
            one = task.first(1)
            side.run(one, [])
            wall, _ = seconds_of(lambda: side.run(one, middle))
            timed.items = min(every, max(1, int(limit / wall)))
        some = task.first(timed.items)
        side.run(some, [])
        timed.fixed, timed.fixed_cpu = seconds_of(lambda: side.run(some, []))
        found: list[Tensor] = []
        wall, cpu = seconds_of(lambda: found.append(side.run(some, middle)))
        values[: timed.items, middle] = found[0]
        timed.layers = sampled(among, max(wall - timed.fixed, 1e-9), limit)
        if timed.layers == middle:
            if wall >= repeats * limit:
                timed.seconds, timed.cpu = [wall], [cpu]
            return timed, values
    values[: timed.items, list(timed.layers)] = side.run(task.first(timed.items), timed.layers)
    return timed, values


def compare(
    timed: Timed, values: Tensor, reference: Tensor, layers: Sequence[int], items: int | None = None
) -> None:
    """Note the largest difference from the reference at some layers and items (all).

    Raises Apart where it is too large, or NaN.
    """
    places = list(layers)
    timed.difference = float((values[:items, places] - reference[:items, places]).abs().max())
    if not timed.difference <= TOLERANCE:
        raise Apart(f"{timed.name}: values lie {timed.difference:.2g} from those of plain hooks")


def in_turns(work: Sequence[tuple[Timed, Callable[[], object]]], repeats: int, limit: float) -> None:
    """Time each side once per round, so that a busy machine hurts all of them alike.

    A side that has taken `repeats * limit` seconds is done, after one round at the earliest.
    """
    for _ in range(repeats):
        for timed, run in work:
            if sum(timed.seconds) < repeats * limit:
                seconds, cpu = seconds_of(run)
                timed.seconds.append(seconds)
                timed.cpu.append(cpu)
