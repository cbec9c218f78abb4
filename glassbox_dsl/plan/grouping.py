"""How the rows of a floor meet their keys: owner by owner, or all that share a base at once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from glassbox_dsl.plan.named import Integers, Mask
from glassbox_dsl.plan.pack import BaseGroup, OwnerGroup

SHARED_FROM = 64
"""Prompts of this many tokens and more share the keys of their base; shorter ones are copied out as fast."""
BLOCK, CHUNK = 128, 128
"""Positions of a prompt, and queries of cells above it, that meet their keys in one call.

More of either means more keys that most queries do not see: those to their right, those of other cells.
"""
KEYS_AT_ONCE = 2**14
"""About how many keys are copied out at once. A cell with a single row has as many as its whole prompt."""
TWOS, FOURS = 2 ** np.arange(62), 4 ** np.arange(31)


@dataclass(frozen=True)
class Grouping:
    """The owners with rows on a floor: [owner] of all arrays.

    `owners` numbers them in the pack, `fork` and `end` bound their own positions, `base` is the owner whose keys they
    meet left of the fork (their own for a root). `own` and `table` [any owner, pos] are the pack's. `queried` [row]
    says which rows meet their keys at all (None: all of them); every owner has one that does. `place` [row] numbers the
    rows of the groups (None: as in the pack). Groups are made when a climb asks for them, and are not kept: a plan only
    counts, and what lives on between the tensors of layers keeps their memory from being used again.
    """

    owners: Integers
    fork: Integers
    end: Integers
    base: Integers
    own: Integers
    table: Integers
    queried: Mask | None = None
    place: Integers | None = None

    def groups(self) -> tuple[OwnerGroup, ...]:
        """Every owner once."""
        found = self.by_owner() if len(self.owners) else ()
        return found if self.place is None else tuple(group.placed(self.place) for group in found)

    def bases(self) -> tuple[BaseGroup, ...]:
        """The same by base, where prompts are long."""
        found = self.by_base()
        return found if self.place is None else tuple(base.placed(self.place) for base in found)

    @cached_property
    def counts(self) -> Integers:
        """Queries of each owner."""
        if self.queried is None:
            return self.end - self.fork
        found: Integers = self._asking(self._rows(np.arange(len(self.owners)))).sum(1)
        return found

    def by_owner(self) -> tuple[OwnerGroup, ...]:
        """Owners by the number of their queries and keys rounded up to powers of four: few calls, some padding."""
        found = []
        for alike in _alike(_power(self.counts, FOURS), _power(self.end, FOURS)):
            n_keys = int(self.end[alike].max())
            n_at_once = max(1, KEYS_AT_ONCE // n_keys)
            for mine in (alike[i : i + n_at_once] for i in range(0, len(alike), n_at_once)):
                keys = np.maximum(self.table[self.owners[mine]][:, :n_keys], 0)
                found.append(OwnerGroup(self._queries(mine), keys, self.end[mine]))
        return tuple(found)

    def _rows(self, mine: Integers) -> Integers:
        """The own rows of some owners, -1 behind the last."""
        n_rows = self.end[mine] - self.fork[mine]
        ramp = np.arange(int(n_rows.max()))
        at = self.fork[mine][:, None] + ramp
        rows = self.own[self.owners[mine][:, None], np.minimum(at, self.own.shape[1] - 1)]
        return np.where(ramp < n_rows[:, None], rows, -1)

    def _asking(self, rows: Integers) -> Mask:
        """Which of some rows (-1: none) meet their keys."""
        return (rows >= 0) if self.queried is None else (rows >= 0) & self.queried[np.maximum(rows, 0)]

    def _queries(self, mine: Integers) -> Integers:
        """The own rows of some owners that meet their keys, -1 behind the last."""
        rows = self._rows(mine)
        if self.queried is None:
            return rows
        asking = self._asking(rows)
        order = np.argsort(~asking, axis=1, kind="stable")[:, : int(self.counts[mine].max())]
        return np.take_along_axis(np.where(asking, rows, -1), order, 1)

    def by_base(self) -> tuple[BaseGroup, ...]:
        """What meets the keys of one base, where prompts are long: its own rows in blocks, then cells above it."""
        if int(self.end.max(initial=0)) < SHARED_FROM:
            return ()
        alone = self.base == self.owners
        return (*self._blocks(np.flatnonzero(alone)), *self._chunks(np.flatnonzero(~alone)))

    def _blocks(self, mine: Integers) -> Iterator[BaseGroup]:
        """The own rows of bases, so many positions at once: they meet no keys behind these.

        Bases with about as many rows in a block share a call: of a prompt that begins like another, few are its own.
        """
        if not len(mine):
            return
        rows = self._rows(mine)
        owner, place = self._asking(rows).nonzero()
        block = (self.fork[mine][owner] + place) // BLOCK
        order = np.lexsort((owner, block))
        owner, block, queried = owner[order], block[order], rows[owner, place][order]
        piece, which = _kinds(block, owner)
        for alike in _alike(block[piece], _power(np.bincount(which))):
            here, line = _lines(alike, which, len(piece))
            (queries,) = _laid_out(line, len(alike), queried[here])
            some = mine[owner[piece[alike]]]
            n_keys = min((int(block[piece[alike[0]]]) + 1) * BLOCK, int(self.end[some].max()))
            keys = np.maximum(self.table[self.owners[some]][:, :n_keys], 0)
            everything, nobody = np.full_like(queries, n_keys), np.full_like(queries, -1)
            yield BaseGroup(keys, queries, n_keys, everything, nobody, nobody[:, :0])

    def _chunks(self, mine: Integers) -> Iterator[BaseGroup]:
        """Cells above bases: about so many queries of one base at once, or of several that have fewer.

        Cells that join later come behind those that are there, so that most chunks are the same a layer up.
        """
        if not len(mine):
            return
        mine = mine[np.argsort(self.base[mine], kind="stable")]
        counts, base = self.counts[mine], self.base[mine]
        before = np.cumsum(counts) - counts
        first = before[np.searchsorted(base, base)]
        chunks, which = _kinds(base, (before - first) // CHUNK)
        n_queries = np.bincount(which, weights=counts, minlength=len(chunks)).astype(np.int64)
        n_shared = np.zeros(len(chunks), dtype=np.int64)
        np.maximum.at(n_shared, which, self.fork[mine])
        sizes = _power(n_queries)
        for alike in _alike(sizes, _power(n_shared)):
            n_at_once = max(1, CHUNK // int(sizes[alike[0]]))
            for some in (alike[i : i + n_at_once] for i in range(0, len(alike), n_at_once)):
                here, line = _lines(some, which, len(chunks))
                shared = np.maximum(self.table[base[chunks[some]]][:, : int(n_shared[some].max())], 0)
                yield self._chunk(mine[here], line, shared)

    def _chunk(self, mine: Integers, chunk: Integers, shared: Integers) -> BaseGroup:
        """Cells, each in one `chunk` [cell]; `shared` [chunk, pos] are keys of their base, left of the last fork."""
        rows = self._rows(mine)
        asking = self._asking(rows)
        cell, _ = asking.nonzero()
        queries, asker, fork = _laid_out(chunk[cell], len(shared), rows[asking], cell, self.fork[mine][cell])
        cell, _ = (rows >= 0).nonzero()
        own, owner = _laid_out(chunk[cell], len(shared), rows[rows >= 0], cell)
        keys = np.concatenate([shared, np.maximum(own, 0)], 1)
        return BaseGroup(keys, queries, shared.shape[1], fork, asker, owner)


def _lines(some: Integers, which: Integers, n: int) -> tuple[Integers, Integers]:
    """Where in `which` some of `n` things stand, in order, and as the how-manieth of these."""
    number = np.full(n, -1, dtype=np.int64)
    number[some] = np.arange(len(some))
    here = np.flatnonzero(number[which] >= 0)
    return here, number[which[here]]


def _laid_out(line: Integers, n_lines: int, *values: Integers) -> list[Integers]:
    """Values [n] in lines [line, place], in their order, -1 behind the last of each; `line` [n] is sorted."""
    counts = np.bincount(line, minlength=n_lines)
    place = np.arange(len(line)) - (np.cumsum(counts) - counts)[line]
    found = [np.full((n_lines, int(counts.max(initial=0))), -1, dtype=np.int64) for _ in values]
    for table, own in zip(found, values, strict=True):
        table[line, place] = own
    return found


def _kinds(*columns: Integers) -> tuple[Integers, Integers]:
    """The distinct rows of columns [n] of numbers >= 0: where the first of each stands, and of which each is [n]."""
    code = columns[0]
    for column in columns[1:]:
        code = code * (int(column.max(initial=0)) + 1) + column
    _, first, which = np.unique(code, return_index=True, return_inverse=True)
    return first, which.reshape(-1)


def _alike(*columns: Integers) -> Iterator[Integers]:
    """The places of equal rows of columns [n] of numbers >= 0, kind by kind."""
    kinds, which = _kinds(*columns)
    return (np.flatnonzero(which == one) for one in range(len(kinds)))


def _power(counts: Integers, powers: Integers = TWOS) -> Integers:
    """Counts rounded up to powers of a base."""
    found: Integers = powers[np.searchsorted(powers, counts)]
    return found
