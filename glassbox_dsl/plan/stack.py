"""Rows of owners, and the tables of every floor of a climb."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from glassbox_dsl.plan.grouping import Grouping
from glassbox_dsl.plan.jobs import Job
from glassbox_dsl.plan.lowering import NOWHERE, Touch, boundary
from glassbox_dsl.plan.named import Integers, Mask
from glassbox_dsl.plan.needed import Asked, Rows, needed
from glassbox_dsl.plan.pack import CellEdit, Floor, Pack, RowCopy, Share, Write


@dataclass(eq=False)
class EditedCells:
    """Cells [row] of a job with the touches of their edits that may change something."""

    job: Job
    owners: Integers
    touches: list[Touch]


@dataclass
class Owners:
    """Prompts and cells: base, where each forks on every floor, and how far it is read."""

    top: int
    tokens: list[Integers] = field(default_factory=list)
    known: dict[bytes, int] = field(default_factory=dict)
    root: list[int] = field(default_factory=list)
    base: list[int] = field(default_factory=list)
    fork: list[Integers] = field(default_factory=list)
    last: list[int] = field(default_factory=list)
    root_owners: list[int] = field(default_factory=list)

    @property
    def longest(self) -> int:
        """Tokens of the longest prompt so far."""
        return max((len(t) for t in self.tokens), default=1)

    def lengths(self, owners: Integers) -> Integers:
        """How many tokens the prompts of owners have."""
        found: Integers = np.array([len(ids) for ids in self.tokens], dtype=np.int64)[
            np.array(self.root)[owners]
        ]
        return found

    def add_root(self, ids: Integers) -> int:
        """The owner of a prompt; equal prompts are one."""
        key = ids.tobytes()
        if key not in self.known:
            self.known[key] = len(self.root)
            self.root_owners.append(len(self.root))
            self.root.append(len(self.tokens))
            self.base.append(-1)
            self.fork.append(np.zeros(self.top + 1, dtype=np.int64))
            self.last.append(len(ids) - 1)
            self.tokens.append(ids)
        return self.known[key]

    def add(self, bases: Integers, forks: Integers) -> Integers:
        """New owners [n] above bases that fork at `forks` [n, floor]."""
        first = len(self.root)
        self.root += [self.root[b] for b in bases.tolist()]
        self.base += bases.tolist()
        self.fork += list(forks)
        self.last += [-1] * len(bases)
        return np.arange(first, len(self.root))

    def is_root(self, owners: Integers) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
        """Whether owners are unedited prompts."""
        found: np.ndarray[tuple[int, ...], np.dtype[np.bool_]] = np.array(self.base)[owners] < 0
        return found

    def forks(self, owners: Integers) -> Integers:
        """The leftmost position [n, floor] that some edit of an owner or its bases has reached."""
        found = np.full((len(owners), self.top + 1), NOWHERE, dtype=np.int64)
        for kind in np.unique(owners).tolist():
            at = kind
            while self.base[at] >= 0:
                mine = owners == kind
                found[mine] = np.minimum(found[mine], self.fork[at])
                at = self.base[at]
        return found

    def shared(self, owners: Integers, others: Integers) -> Integers:
        """How many leading tokens the prompts of owners have in common, [n]."""
        roots = np.array(self.root)
        pairs = np.stack([roots[owners], roots[others]], 1)
        kinds, which = np.unique(pairs, axis=0, return_inverse=True)
        lengths = []
        for a, b in kinds.tolist():
            n = min(len(self.tokens[a]), len(self.tokens[b]))
            differ = (self.tokens[a][:n] != self.tokens[b][:n]).nonzero()[0]
            lengths.append(int(differ[0]) if len(differ) else n)
        return np.array(lengths, dtype=np.int64)[which.reshape(-1)]

    def prefixes(self) -> Iterator[tuple[int, int, int]]:
        """Prompts (their owners) that begin like an earlier one: both, and how many tokens they have in common."""
        # A tree of tokens: from a node by a token to the next one, and the first prompt that came by.
        below: dict[tuple[int, int], tuple[int, int]] = {}
        for place, ids in enumerate(self.tokens):
            node, first, common = 0, place, 0
            for token in ids.tolist():
                if (node, token) in below:
                    node, first = below[node, token]
                    common += 1
                else:
                    below[node, token] = len(below) + 1, place
                    node = len(below)
            if common:
                yield self.root_owners[place], self.root_owners[first], common

    def read_to(self, owners: Integers, last: Integers) -> None:
        """Note the last position that is read of each owner."""
        for owner, position in zip(owners.tolist(), last.tolist(), strict=True):
            self.last[owner] = max(self.last[owner], position)

    def read_whole(self, owners: Integers) -> None:
        """Note that owners are read to the end of their prompts."""
        for owner in np.unique(owners).tolist():
            self.last[owner] = len(self.tokens[self.root[owner]]) - 1


def stacked(
    owners: Owners,
    edited: Sequence[EditedCells],
    shares: tuple[Share, ...],
    reads: Callable[[Pack], Asked] | None = None,
    n_layers: int | None = None,
) -> Pack:
    """Number the rows and lay out every floor.

    `reads` says what is read of the pack, so that each layer computes no more than that takes; None: everything.
    """
    stack = _Stack(owners, edited)
    pack = stack.pack(shares)
    return pack if reads is None else stack.narrowed(pack, reads(pack), n_layers or owners.top)


class _Stack:
    """Numbers rows floor by floor: the roots first, then each owner's as its fork moves left."""

    def __init__(self, owners: Owners, edited: Sequence[EditedCells]) -> None:
        self.owners = owners
        self.edited = edited
        self.base = np.array(owners.base, dtype=np.int64)
        self.last = np.array(owners.last, dtype=np.int64)
        self.like, forks = self._prefixes()
        # A base is read wherever a cell above it is, a prompt wherever another begins like it.
        for owner in range(len(self.base) - 1, -1, -1):
            if self.base[owner] >= 0:
                self.last[self.base[owner]] = max(self.last[self.base[owner]], self.last[owner])
            elif self.like[owner] >= 0:
                met = min(int(self.last[owner]), int(forks[owner, 0]) - 1)
                self.last[self.like[owner]] = max(self.last[self.like[owner]], met)
        self.fork = np.minimum(forks, (self.last + 1)[:, None])
        self.own = np.full((len(self.base), owners.longest), -1, dtype=np.int64)
        self.table = self.own.copy()
        self.positions: list[Integers] = []
        self.entering = np.zeros(0, dtype=np.int64)
        self.n_rows = 0
        self.depths = self._depths()
        self.touches = self._touches()

    def _prefixes(self) -> tuple[Integers, Integers]:
        """For each prompt the earlier one whose rows it begins with [owner] (-1: none), and all forks [owner, floor].

        A token sees nothing to its right, so that prompts that begin alike have equal rows there on every floor.
        """
        like, forks = np.full(len(self.base), -1, dtype=np.int64), np.stack(self.owners.fork)
        for owner, earlier, length in self.owners.prefixes():
            like[owner], forks[owner] = earlier, length
        return like, forks

    def _depths(self) -> list[Integers]:
        """Owners above a root by their height, so that each comes after its base."""
        depth = np.zeros(len(self.base), dtype=np.int64)
        for owner, base in enumerate(self.base.tolist()):
            depth[owner] = 0 if base < 0 else depth[base] + 1
        return [(depth == d).nonzero()[0] for d in range(1, int(depth.max(initial=0)) + 1)]

    def pack(self, shares: tuple[Share, ...]) -> Pack:
        """All floors."""
        floors: list[Floor] = []
        before = np.broadcast_to((self.last + 1)[:, None], self.fork.shape)[:, 0]
        for number in range(self.owners.top + 1):
            joins = self._join(before, self.fork[:, number], first=number == 0)
            before = self.fork[:, number]
            changed = number == 0 or len(joins) > 0
            rowof = self.table.copy() if changed else floors[-1].rowof
            grouping = self._grouping(number, rowof) if changed else floors[-1].grouping
            floors.append(Floor(self.n_rows, joins, rowof, grouping, self._writes(number)))
        return Pack(
            tuple(self.owners.tokens),
            np.array(self.owners.root),
            self.last + 1,
            np.concatenate(self.positions),
            self.entering,
            tuple(floors),
            shares,
        )

    def _join(self, before: Integers, now: Integers, first: bool) -> Integers:
        """Give new rows to owners whose fork moved left; the rows that the new ones copy."""
        counts = before - now
        roots = self.base < 0
        if first:
            owner, position = self._spread(np.where(roots, counts, 0), now)
            self._number(owner, position)
            self.entering = np.array(self.owners.root, dtype=np.int64)[owner]
            for prompt in np.flatnonzero(self.like >= 0).tolist():
                alike = slice(0, int(now[prompt]))
                self.table[prompt, alike] = self.table[self.like[prompt], alike]
        owner, position = self._spread(np.where(roots, 0, counts), now)
        self._number(owner, position)
        changed = (counts > 0) | first
        for level in self.depths:
            changed[level] |= changed[self.base[level]]
            mine = level[changed[level]]
            own = self.own[mine]
            self.table[mine] = np.where(own >= 0, own, self.table[self.base[mine]])
        return self.table[self.base[owner], position]

    @staticmethod
    def _spread(counts: Integers, start: Integers) -> tuple[Integers, Integers]:
        owner = np.repeat(np.arange(len(counts)), counts)
        ramp = np.arange(len(owner)) - np.repeat(np.cumsum(counts) - counts, counts)
        return owner, start[owner] + ramp

    def _number(self, owner: Integers, position: Integers) -> None:
        ids = self.n_rows + np.arange(len(owner))
        self.own[owner, position] = ids
        roots = self.base[owner] < 0
        self.table[owner[roots], position[roots]] = ids[roots]
        self.positions.append(position)
        self.n_rows += len(owner)

    def _grouping(self, floor: int, rowof: Integers) -> Grouping:
        """The owners that have rows on a floor. Rows that join later lie left of the forks: they are not looked at."""
        end = self.last + 1
        owners = np.flatnonzero(end > self.fork[:, floor])
        base = np.where(self.base[owners] < 0, owners, self.base[owners])
        return Grouping(owners, self.fork[owners, floor], end[owners], base, self.own, rowof)

    def narrowed(self, pack: Pack, asked: Asked, n_layers: int) -> Pack:
        """The pack, each layer with the rows alone that something reads."""
        owner_of = np.zeros(pack.n_rows, dtype=np.int64)
        owner, position = (self.own >= 0).nonzero()
        owner_of[self.own[owner, position]] = owner
        floors = list(pack.floors)
        for layer, rows in needed(pack, owner_of, asked, n_layers).items():
            floors[layer] = self._narrow(pack, layer, rows, owner_of)
        return replace(pack, floors=tuple(floors))

    def _narrow(self, pack: Pack, layer: int, rows: Rows, owner_of: Integers) -> Floor:
        floor, (owners, end) = pack.floors[layer], _ends(rows.queried, owner_of, pack.positions)
        base = np.where(self.base[owners] < 0, owners, self.base[owners])
        fork = self.fork[owners, layer]
        entered = None if rows.enter.all() else np.flatnonzero(rows.enter)
        queried = None if (rows.queried == rows.enter).all() else np.flatnonzero(rows.queried)
        place = np.full(floor.n_rows, -1, dtype=np.int64)
        place[np.flatnonzero(rows.enter)] = np.arange(int(rows.enter.sum()))
        grouping = Grouping(owners, fork, end, base, self.own, floor.rowof, rows.queried, place)
        return replace(floor, entered=entered, queried=queried, grouping=grouping)

    # ------------------------------------------------------------ writes

    def _writes(self, floor: int) -> dict[tuple[str, int | None], list[Write]]:
        found: dict[tuple[str, int | None], list[Write]] = {}
        for cells, touch in self.touches.get(floor, ()):
            write = self._write(cells, touch)
            if write is not None:
                found.setdefault((touch.part.edit.site, touch.layer), []).append(write)
        return found

    def _touches(self) -> dict[int, list[tuple[EditedCells, Touch]]]:
        """What edits touch in layers that are run, by floor."""
        found: dict[int, list[tuple[EditedCells, Touch]]] = {}
        for cells in self.edited:
            for touch in cells.touches:
                if not self._behind(touch):
                    floor = boundary(touch.part.edit.site, touch.layer, self.owners.top)
                    found.setdefault(floor, []).append((cells, touch))
        return found

    def _behind(self, touch: Touch) -> bool:
        """Whether a touch lies in a layer that is not run."""
        site, layer = touch.part.edit.site, touch.layer
        return layer is not None and not site.startswith("resid_p") and layer >= self.owners.top

    def _write(self, cells: EditedCells, touch: Touch) -> Write | None:
        owner = cells.owners[touch.number]
        dst = self.own[owner, touch.position]
        if touch.source is None or touch.source_owner is None:
            touch = touch.kept(dst >= 0)
            return self._cell_edit(cells, touch) if len(touch.number) else None
        src = self.table[touch.source_owner, touch.source.clip(max=self.table.shape[1] - 1)]
        there = (dst >= 0) & (src >= 0) & (touch.source < self.table.shape[1])
        if not there.any():
            return None
        mask = None if touch.mask is None else touch.mask[there]
        return RowCopy(touch.part, touch.number[there], dst[there], src[there], mask)

    def _cell_edit(self, cells: EditedCells, touch: Touch) -> CellEdit:
        number, positions = np.unique(touch.number), np.unique(touch.position)
        where = (cells.owners[number][:, None], positions[None])
        return CellEdit(touch.part, number, positions, self.table[where], self.own[where] >= 0)


def _ends(queried: Mask, owner_of: Integers, positions: Integers) -> tuple[Integers, Integers]:
    """The owners of some rows, and behind which position the last row of each stands."""
    rows = np.flatnonzero(queried)
    owners, which = np.unique(owner_of[rows], return_inverse=True)
    end = np.zeros(len(owners), dtype=np.int64)
    np.maximum.at(end, which.reshape(-1), positions[rows] + 1)
    return owners, end
