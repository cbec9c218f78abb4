"""Receipts: in how many cells an edit fired, and how far it moved what it wrote."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from glassbox_dsl.language.program import Edit
from glassbox_dsl.plan.named import Integers
from glassbox_dsl.plan.pack import EditKey, Share, Twin, edit_of
from glassbox_dsl.plan.reads import reads_head
from glassbox_dsl.vocabulary.keys import HEAD

Floats = NDArray[np.float32]
MOVED = 1e-6
"""An edit that moves a value by less than this share of its size has not moved it (float noise)."""


@dataclass
class Receipt:
    """What an edit did over all rows of a run: how many it fired on, and how far it moved them.

    `fired` counts writes (an edit of many layers writes several times in a row), `fired_rows` rows; `proven` rows
    whose edit was proven to change nothing and was not run; `total` and `relative` sum distances over writes.
    """

    edit: Edit
    fired: int = 0
    fired_rows: int = 0
    moved: int = 0
    proven: int = 0
    largest: float = 0.0
    total: float = 0.0
    relative: float = 0.0

    def count(self, writes: Writes) -> None:
        """Count writes in cells that have not been counted yet."""
        self.fired += len(writes.far)
        self.fired_rows += writes.rows
        self.moved += int((writes.share > MOVED).sum())
        self.total += float(writes.far.sum())
        self.relative += float(writes.share.sum())
        self.largest = max(self.largest, float(writes.far.max(initial=0.0)))


@dataclass(frozen=True)
class Writes:
    """Writes [n] of one edit: their cells and items, how far they moved the value, and by which share of its size."""

    cells: Integers
    items: Integers
    far: Floats
    share: Floats

    def picked(self, which: Integers) -> Writes:
        """Some of them [k], in that order."""
        return Writes(self.cells[which], self.items[which], self.far[which], self.share[which])

    @property
    def rows(self) -> int:
        """How many cells and items were written."""
        return len(np.unique(np.stack([self.cells, self.items]), axis=1).T)


def joined(writes: Sequence[Writes]) -> Writes:
    """Writes of one edit (at least one) one after the other."""
    if len(writes) == 1:
        return writes[0]
    return Writes(
        np.concatenate([w.cells for w in writes]),
        np.concatenate([w.items for w in writes]),
        np.concatenate([w.far for w in writes]),
        np.concatenate([w.share for w in writes]),
    )


@dataclass
class Log:
    """What the edits of a pack did, write by write."""

    found: defaultdict[EditKey, list[Writes]] = field(default_factory=lambda: defaultdict(list))

    def about(self, key: EditKey, cells: Integers, items: Integers) -> Line:
        """Where writes of an edit in cells [row] on items [row] are noted."""
        return Line(self.found[key], cells, items)

    def of_shares(self, twins: Sequence[Twin], shares: Sequence[Share]) -> dict[EditKey, Writes]:
        """The writes in the cells that a pack is there for, those of equal cells that were made once among them.

        Cells that were made for others to copy from only are counted in the pack that they belong to.
        """
        own = {key: joined(writes) for key, writes in self.found.items() if writes}
        found: defaultdict[EditKey, list[Writes]] = defaultdict(list)
        for key, writes in own.items():
            found[key].append(writes)
        for twin in twins:
            if twin.of in own:
                found[twin.key].append(_echo(own[twin.of], twin))
        held = {share.job: share for share in shares}
        return {
            key: _held(joined(writes), held[key[0]])
            for key, writes in found.items()
            if key[0] in held and _told(key)
        }


@dataclass(frozen=True)
class Line:
    """Notes writes of one edit in cells [row] on items [row]."""

    into: list[Writes]
    cells: Integers
    items: Integers

    def add(self, fired: Tensor, distance: Tensor, size: Tensor) -> None:
        """One write: which rows [row] it fired on, and the norms of the change and of the value before."""
        every = Writes(self.cells, self.items, distance.numpy(), (distance / size.clamp(min=1e-12)).numpy())
        self.into.append(every.picked(np.flatnonzero(fired.numpy())))


def _told(key: EditKey) -> bool:
    """Whether the writes of an edit count: the end of the model is visited for others too, where they read it."""
    job, *_ = key
    wanted = job.wanted
    reads_nothing = not (wanted.taps or wanted.layers or job.extension)  # is there for others to copy from
    return edit_of(key).site not in HEAD or reads_nothing or reads_head(job)


def _held(writes: Writes, share: Share) -> Writes:
    """Those in the cells of a share."""
    own = share.holds(writes.cells, writes.items)
    return writes if own.all() else writes.picked(np.flatnonzero(own))


def _echo(writes: Writes, twin: Twin) -> Writes:
    """What an edit did in cells, said of the cells that are equal to them: it was done once, for all."""
    n_items = 1 + max(int(twin.of_items.max(initial=0)), int(writes.items.max(initial=0)))
    wanted = twin.of_cells * n_items + twin.of_items
    order = np.argsort(wanted, kind="stable")
    at = writes.cells * n_items + writes.items
    # Several cells may be equal to one.
    low, high = (np.searchsorted(wanted[order], at, side=side) for side in ("left", "right"))
    entry = np.repeat(np.arange(len(at)), high - low)
    start = np.repeat(np.cumsum(high - low) - (high - low), high - low)
    mine = order[low[entry] + np.arange(len(entry)) - start]
    return Writes(twin.cells[mine], twin.items[mine], writes.far[entry], writes.share[entry])
