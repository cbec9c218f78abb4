"""How the rows of a floor meet their keys: owner by owner, or all that share a base at once."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from glassbox_dsl.plan.named import Integers, Mask
from glassbox_dsl.plan.pack import BaseGroup, CellGroup, OwnerGroup

SHARED_FROM = 64
"""Prompts of this many tokens and more share the keys of their base; shorter ones are copied out faster."""


@dataclass(frozen=True)
class Grouping:
    """The owners with rows on a floor: [owner] of all arrays.

    `owners` numbers them in the pack, `fork` and `end` bound their own positions, `base` is the owner whose keys they
    meet left of the fork (their own for a root). `own` and `table` [any owner, pos] are the pack's. `queried` [row]
    says which rows meet their keys at all (None: all of them); every owner has one that does. `place` [row] numbers the
    rows of the groups (None: as in the pack). Groups are made when a climb asks for them: a plan only counts.
    """

    owners: Integers
    fork: Integers
    end: Integers
    base: Integers
    own: Integers
    table: Integers
    queried: Mask | None = None
    place: Integers | None = None

    @cached_property
    def groups(self) -> tuple[OwnerGroup, ...]:
        """Every owner once."""
        found = self.by_owner() if len(self.owners) else ()
        return found if self.place is None else tuple(group.placed(self.place) for group in found)

    @cached_property
    def bases(self) -> tuple[BaseGroup, ...]:
        """The same by base, where prompts are long."""
        found = self.by_base()
        return found if self.place is None else tuple(base.placed(self.place) for base in found)

    @cached_property
    def counts(self) -> Integers:
        """Queries of each owner."""
        if self.queried is None:
            return self.end - self.fork
        found: Integers = self._asking(np.arange(len(self.owners))).sum(1)
        return found

    def by_owner(self) -> tuple[OwnerGroup, ...]:
        """Owners by the number of their queries and keys rounded up to powers of four: few calls, some padding."""
        kind = np.stack([_power(self.counts, 4), _power(self.end, 4)], 1)
        found = []
        for one in np.unique(kind, axis=0):
            mine = np.flatnonzero((kind == one).all(1))
            n_keys = int(self.end[mine].max())
            keys = self.table[self.owners[mine]][:, :n_keys].clip(min=0)
            found.append(OwnerGroup(self._queries(mine), keys, self.end[mine]))
        return tuple(found)

    def _rows(self, mine: Integers) -> Integers:
        """The own rows of some owners, -1 behind the last."""
        n_rows = self.end[mine] - self.fork[mine]
        ramp = np.arange(int(n_rows.max()))
        at = self.fork[mine][:, None] + ramp
        rows = self.own[self.owners[mine][:, None], at.clip(max=self.own.shape[1] - 1)]
        return np.where(ramp < n_rows[:, None], rows, -1)

    def _asking(self, mine: Integers) -> Mask:
        """Which own rows of some owners meet their keys."""
        rows = self._rows(mine)
        return (rows >= 0) if self.queried is None else (rows >= 0) & self.queried[rows.clip(min=0)]

    def _queries(self, mine: Integers) -> Integers:
        """The own rows of some owners that meet their keys, -1 behind the last."""
        rows = self._rows(mine)
        if self.queried is None:
            return rows
        asking = self._asking(mine)
        order = np.argsort(~asking, axis=1, kind="stable")[:, : int(self.counts[mine].max())]
        return np.take_along_axis(np.where(asking, rows, -1), order, 1)

    def by_base(self) -> tuple[BaseGroup, ...]:
        """Bases by the number of their queries and keys rounded up to powers of two."""
        if int(self.end.max(initial=0)) < SHARED_FROM:
            return ()
        bases, which = np.unique(self.base, return_inverse=True)
        which = which.reshape(-1)
        order = np.argsort(which, kind="stable")
        before = np.cumsum(self.counts[order]) - self.counts[order]
        first = np.zeros(len(bases), dtype=np.int64)
        n_queries = np.bincount(which, weights=self.counts, minlength=len(bases)).astype(np.int64)
        first[1:] = np.cumsum(n_queries)[:-1]
        slot = np.empty(len(which), dtype=np.int64)
        slot[order] = before - first[which[order]]
        n_keys = np.zeros(len(bases), dtype=np.int64)
        np.maximum.at(n_keys, which, self.end)
        kind = np.stack([_power(n_queries), _power(n_keys)], 1)
        return tuple(
            self._base_group(np.flatnonzero((kind == one).all(1)), bases, which, slot, n_queries, n_keys)
            for one in np.unique(kind, axis=0)
        )

    def _base_group(
        self, some: Integers, bases: Integers, which: Integers, slot: Integers, n_queries: Integers, n_keys: Integers
    ) -> BaseGroup:  # fmt: skip
        place = np.full(len(bases), -1, dtype=np.int64)
        place[some] = np.arange(len(some))
        mine = np.flatnonzero(place[which] >= 0)
        queries = np.full((len(some), int(n_queries[some].max())), -1, dtype=np.int64)
        rows = self._queries(mine)
        slots = slot[mine][:, None] + np.arange(rows.shape[1])
        there = rows >= 0
        base = np.broadcast_to(place[which[mine]][:, None], rows.shape)
        queries[base[there], slots[there]] = rows[there]
        above = mine[self.base[mine] != self.owners[mine]]
        width = _power(self.end[above] - self.fork[above])
        cells = []
        for one in np.unique(width).tolist():
            part = above[width == one]
            asked = self._queries(part)
            slots = slot[part][:, None] + np.arange(asked.shape[1])
            cells.append(CellGroup(self._rows(part), place[which[part]], asked, slots))
        keys = self.table[bases[some]][:, : int(n_keys[some].max())].clip(min=0)
        return BaseGroup(keys, queries, tuple(cells))


def _power(counts: Integers, base: int = 2) -> Integers:
    """Counts rounded up to powers of a base."""
    found: Integers = base ** np.ceil(np.log2(np.maximum(counts, 1)) / np.log2(base)).astype(np.int64)
    return found
