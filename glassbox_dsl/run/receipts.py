"""Receipts: in how many cells an edit fired, and how far it moved what it wrote."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from glassbox_dsl.language.program import Edit
from glassbox_dsl.plan.jobs import Job
from glassbox_dsl.plan.named import Integers
from glassbox_dsl.plan.pack import Share, Twin
from glassbox_dsl.plan.reads import reads_head
from glassbox_dsl.vocabulary.keys import HEAD

Floats = NDArray[np.float32]
Key = tuple[Job, int, int]
"""An edit: its job, variant and place there."""
MOVED = 1e-6
"""An edit that moves a value by less than this share of its size has not moved it (float noise)."""


class Counts(Protocol):
    """Takes note of writes."""

    def add(self, fired: Tensor, distance: Tensor, size: Tensor) -> None:
        """One write: which rows [row] it fired on, and the norms of the change and of the value before."""


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

    def add(self, fired: Tensor, distance: Tensor, size: Tensor) -> None:
        """Count one write: which rows [row] it fired on, and the norms of the change and of the value before."""
        self.count(distance[fired].numpy(), relative(distance, size)[fired].numpy())

    def count(self, far: Floats, share: Floats) -> None:
        """Count writes [n] by how far they moved a value, and by which share of its size."""
        self.fired += len(far)
        self.moved += int((share > MOVED).sum())
        self.total += float(far.sum())
        self.relative += float(share.sum())
        self.largest = max(self.largest, float(far.max(initial=0.0)))


def relative(distance: Tensor, size: Tensor) -> Tensor:
    """Norms of changes [row] as shares of the norms of the values before."""
    return distance / size.clamp(min=1e-12)


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

    found: defaultdict[Key, list[Writes]] = field(default_factory=lambda: defaultdict(list))

    def about(self, key: Key, cells: Integers, items: Integers) -> Line:
        """Where writes of an edit in cells [row] on items [row] are noted."""
        return Line(self.found[key], cells, items)

    def of_shares(self, twins: Sequence[Twin], shares: Sequence[Share]) -> dict[Key, Writes]:
        """The writes in the cells that a pack is there for, those of equal cells that were made once among them.

        Cells that were made for others to copy from only are counted in the pack that they belong to.
        """
        own = {key: joined(writes) for key, writes in self.found.items()}
        found: defaultdict[Key, list[Writes]] = defaultdict(list)
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
        every = Writes(self.cells, self.items, distance.numpy(), relative(distance, size).numpy())
        self.into.append(every.picked(np.flatnonzero(fired.numpy())))


def _told(key: Key) -> bool:
    """Whether the writes of an edit count: the end of the model is visited for others too, where they read it."""
    job, variant, place = key
    wanted = job.wanted
    reads_nothing = not (wanted.taps or wanted.layers or job.extension)  # is there for others to copy from
    at_the_end = job.run.variants[variant].edits[place].site in HEAD
    return not at_the_end or reads_nothing or reads_head(job)


def _held(writes: Writes, share: Share) -> Writes:
    """Those in the cells of a share."""
    n_items = share.job.setting.data.n_items
    own = np.isin(writes.cells * n_items + writes.items, share.cells * n_items + share.items)
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
