"""Of which cells the whole tensors must be there: what is not known reads them, the rest is not made again for them.

They are read by values that are not known yet, and by edits and metrics of cells that are still to be made. Where a
file reads runs in another way (gradients, fits, circuits), all of them are needed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from glassbox_dsl.language.program import Expr, Run, RunUse, Value
from glassbox_dsl.plan.content import Contents
from glassbox_dsl.plan.demand import Demand, Wanted, sets_of
from glassbox_dsl.plan.named import Mask
from glassbox_dsl.plan.places import Places
from glassbox_dsl.plan.setting import Setting
from glassbox_dsl.plan.walking import references
from glassbox_dsl.plan.whole_uses import Unsure, uses
from glassbox_dsl.syntax import nodes
from glassbox_dsl.vocabulary.axes import ITEM


def any_cell(cells: Mask) -> Mask:
    """The items [item] that are in any cell [dimensions..., item]."""
    return np.asarray(cells.reshape(-1, cells.shape[-1]).any(0), dtype=np.bool_)


def waits(run: Run) -> bool:
    """Whether the cells of a run are those of a set from results, which may not be there yet."""
    return any(
        d.members_from is not None or any(m.members_from is not None for m in d.meets) for d in run.dimensions
    )


@dataclass
class TensorsRead:
    """What is read of the runs of one setting.

    `unknown` has the kept values, with the cells [dimensions..., item] that are not known; `left` says of a run which
    cells [cell, item] are to be made where those of a mask have to keep their tensors (None: that is not known).
    """

    contents: Contents
    setting: Setting
    demand: Demand
    unknown: Mapping[tuple[str, str], Mask]
    left: Callable[[Wanted, Mask], Mask | None]
    read: dict[str, Mask] = field(default_factory=dict)
    whole: set[str] = field(default_factory=set)
    again: dict[str, Mask] = field(default_factory=dict)

    def cells(self) -> dict[str, Mask]:
        """The cells [cell, item] of each run in which tensors are read; a run that is not there: all of them."""
        try:
            for value in self.demand.values:
                if value.kind != "let" or self._read_elsewhere(value):
                    self._value(value)
            for expr in self.demand.more:
                self._expr(expr, self.every_item)
            for wanted in reversed(self.demand.ordered()):
                self._made_with(wanted)
        except Unsure:
            return {}
        looked_at = (name for name in self.demand.steps if name not in self.whole and not self._waits(name))
        return {name: self._of(name) for name in looked_at}

    def _read_elsewhere(self, value: Value) -> bool:
        """Whether another experiment reads a let; where its own does, that is looked at there."""
        own = self.setting.experiment.name
        others = (e for e in self.contents.program.experiments if e.name != own)
        return any(r.experiment == own and r.name == value.name for e in others for r in references(e))

    @property
    def every_item(self) -> Mask:
        """All items, [item]."""
        return np.ones(self.setting.data.n_items, dtype=np.bool_)

    def _of(self, run: str) -> Mask:
        """The cells of a run that are read so far."""
        if run not in self.read:
            shape = math.prod(self.setting.shape(self.setting.run(run))), self.setting.data.n_items
            self.read[run] = np.zeros(shape, dtype=np.bool_)
        return self.read[run]

    # ------------------------------------------------------------ what reads

    def _value(self, value: Value) -> None:
        """What an asked value reads: in the unknown cells of one that is kept, else in all."""
        unknown = self.unknown.get((value.kind, value.name))
        items = self.every_item if unknown is None else any_cell(unknown)
        for dimension in value.dimensions:
            self._expr(dimension, self.every_item)
        for variant in value.variants:
            for use, direct in uses(variant.value, self.setting.experiment, self.unknown):
                if unknown is not None and direct and not self._waits(use.run):
                    self._at(use, value, variant.value, unknown)
                else:
                    self._mark(use.run, items)

    def _expr(self, node: nodes.Node, items: Mask) -> None:
        """What anything else reads for some items."""
        for use, _ in uses(node, self.setting.experiment, self.unknown):
            self._mark(use.run, items)

    def _at(self, use: RunUse, value: Value, expr: Expr, unknown: Mask) -> None:
        """The cells of a run that stand in some cells of a value itself."""
        env = replace(self.setting.env(value.dimensions), around=expr)
        cell = Places(self.setting).run_cell(self.setting.run(use.run), use.where, env)
        data, there = cell.spread((*(d.name for d in value.dimensions), ITEM))
        chosen = unknown if there is None else unknown & there
        items = np.broadcast_to(np.arange(unknown.shape[-1]), unknown.shape)[chosen]
        self._of(use.run)[np.broadcast_to(data, unknown.shape)[chosen], items] = True

    def _made_with(self, wanted: Wanted) -> None:
        """What a run reads where it is made: for itself, or again for others to copy."""
        run = wanted.run
        items = self._items_made(wanted)
        for node in sets_of(run):
            self._expr(node, self.every_item)
        for tap in wanted.taps:
            if tap.other is not None:
                self._beside(tap.other.run.run, items, self.demand.beside(tap.other, run))
        for edit in (e for v in run.variants for e in v.edits):
            copied = self.demand.copied(edit, run)
            if copied is not None:
                self._beside(copied.run.run, items, True)
                continue
            reads = self.contents.writer(self.setting.experiment).node(edit).reads
            everything = reads.every or reads.world
            self._expr(edit, np.full_like(items, items.any()) if everything else items)

    def _items_made(self, wanted: Wanted) -> Mask:
        """The items for which a run is made in some cell."""
        name = wanted.run.name
        if name in self.whole or self._waits(name):
            return self.every_item
        left = self.left(wanted, self._of(name))
        if left is None:
            return self.every_item
        return np.asarray(any_cell(left) | self.again.get(name, False))

    def _beside(self, run: str, items: Mask, here: bool) -> None:
        """A run is compared with or copied from: made again in the same packs (`here`), or read."""
        if here:
            self.again[run] = np.asarray(items | self.again.get(run, False))
        else:
            self._mark(run, items)

    def _mark(self, run: str, items: Mask) -> None:
        if self._waits(run) or items.all():
            self.whole.add(run)
        else:
            self._of(run)[:, items] = True

    def _waits(self, run: str) -> bool:
        return waits(self.setting.run(run))


__all__ = ["TensorsRead", "waits"]
