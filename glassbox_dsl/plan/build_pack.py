"""Collects what climbs together: an owner for every cell asked for, and for what its edits copy from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np

from glassbox_dsl.language.program import Index, RunVariant, SiteRead
from glassbox_dsl.library.metric import metrics
from glassbox_dsl.plan.copies import copied_read, is_here, split_edits
from glassbox_dsl.plan.jobs import Job
from glassbox_dsl.plan.lowering import NOWHERE, Sources, Touch, boundary, looks_ahead, touches
from glassbox_dsl.plan.named import Integers, Mask
from glassbox_dsl.plan.needed import asked_of
from glassbox_dsl.plan.pack import EditPart, Pack, Proven, Share
from glassbox_dsl.plan.places import Places
from glassbox_dsl.plan.rows import RowMaker
from glassbox_dsl.plan.stack import EditedCells, Owners, stacked
from glassbox_dsl.plan.twins import Twins

Jobs = Mapping[tuple[int, str, object], Job]
"""Jobs by setting (its id), run and what stands behind the prompt."""


@dataclass
class PackBuilder:
    """Builds one pack. `jobs` finds the job of a run that is copied from; `top` layers are run."""

    n_layers: int
    top: int
    jobs: Jobs
    owners: Owners = field(init=False)
    tables: dict[Job, Integers] = field(default_factory=dict)
    edited: list[EditedCells] = field(default_factory=list)
    shares: list[Share] = field(default_factory=list)
    proven: list[Proven] = field(default_factory=list)
    twins: Twins = field(default_factory=Twins)

    def __post_init__(self) -> None:
        self.owners = Owners(self.top)

    def add(self, job: Job, cells: Integers, items: Integers) -> None:
        """Let cells [n] of a job on items [n] climb, and keep what is wanted of them."""
        found = self.ensure(job, cells, items)
        self.owners.read_to(found, self._last_read(job, cells, items))
        self.shares.append(Share(job, cells, items, found, self._guests(job, cells, items)))

    def _guests(self, job: Job, cells: Integers, items: Integers) -> dict[int, Integers]:
        """For metrics of two runs (by place): the owner in the other run of each cell, -1 where there is none."""
        found = {}
        for place, tap in enumerate(job.wanted.taps):
            if tap.other is not None and is_here(job.setting.run(tap.other.run.run), job.setting):
                found[place] = self._owners_of(tap.other, job, job.run.variants[0], cells, items)
        return found

    def finish(self) -> Pack:
        """The pack of everything added."""
        self.edited.sort(key=lambda e: e.job.rank)
        reads = partial(asked_of, n_layers=self.n_layers)
        pack = stacked(self.owners, self.edited, tuple(self.shares), reads, self.n_layers)
        return replace(pack, proven=self._held(), twins=self.twins.each_once())

    def _held(self) -> tuple[Proven, ...]:
        """What was proven of the cells that the pack is there for."""
        shares = {share.job: share for share in self.shares}
        found = []
        for key, cells, items in self.proven:
            if key[0] in shares:
                own = shares[key[0]].holds(cells, items)
                found.append((key, cells[own], items[own]))
        return tuple(found)

    # ------------------------------------------------------------ owners

    def ensure(self, job: Job, cells: Integers, items: Integers) -> Integers:
        """The owners of cells of a job; those that are not there yet are made."""
        shape = (max(job.n_cells, 1), job.setting.data.n_items)
        table = self.tables.setdefault(job, np.full(shape, -1, dtype=np.int64))
        flat = np.unique((cells * shape[1] + items)[table[cells, items] < 0])
        new_cells, new_items = np.unravel_index(flat, shape)
        variants = job.setting.cell_variants(job.run).reshape(-1)[new_cells]
        for number, variant in enumerate(job.run.variants):
            mine = np.flatnonzero(variants == number)
            if len(mine):
                table[new_cells[mine], new_items[mine]] = self._make(
                    job, variant, new_cells[mine], new_items[mine]
                )
        owners: Integers = table[cells, items]
        return owners

    def _make(self, job: Job, variant: RunVariant, cells: Integers, items: Integers) -> Integers:
        roots = self._roots(job, variant, items)
        if not variant.edits:
            return roots
        fixed, swept = split_edits(job.run, variant)
        parts = [EditPart(job, variant, place, cells, items) for place in range(len(variant.edits))]
        found = self._touches(parts, roots)
        bases = roots
        if fixed and swept:
            first = self._first(found, swept, len(cells))
            bases = self._fixed([t for t in found if t.part.place in fixed], roots, first)
        alone = bases == roots
        return self._cells(bases, [t.kept(alone[t.number]) if t.part.place in fixed else t for t in found])

    def _touches(self, parts: Sequence[EditPart], roots: Integers) -> list[Touch]:
        """What edits write, in the order of the file; sources first, since they may be longer.

        Prompts of a pack are of many lengths: what lies behind the end of one is none of its positions.
        """
        sources = [self._sources(part, roots) for part in parts]
        longest, lengths = self.owners.longest, self.owners.lengths(roots)
        found = [t for p, s in zip(parts, sources, strict=True) for t in touches(p, longest, s)]
        return [t.kept(t.position < lengths[t.number]) for t in found]

    def _floor(self, touch: Touch) -> int:
        return boundary(touch.part.edit.site, touch.layer, self.n_layers)

    def _first(self, found: Sequence[Touch], swept: Sequence[int], n: int) -> Integers:
        """The floor [row] of the first edit that the cells' variables change."""
        first = np.full(n, NOWHERE, dtype=np.int64)
        for touch in found:
            if touch.part.place in swept:
                np.minimum.at(first, touch.number, self._floor(touch))
        return first

    def _fixed(self, found: Sequence[Touch], roots: Integers, first: Integers) -> Integers:
        """Bases [row] that carry the edits that are the same in all cells, where those come before all others.

        `first` [row] is the floor of the first edit that the cells' variables change. The rows of an item have one
        base: what they come to is equal.
        """
        latest = np.full(len(roots), -1, dtype=np.int64)
        for touch in found:
            np.maximum.at(latest, touch.number, self._floor(touch))
        below = latest < first
        return self._cells(roots, [touch.kept(below[touch.number]) for touch in found])

    def _cells(self, bases: Integers, found: Sequence[Touch]) -> Integers:
        """Owners of rows [row] with touches; a row that nothing reaches is its base."""
        forks = np.full((len(bases), self.top + 1), NOWHERE, dtype=np.int64)
        below = self.owners.forks(bases)
        kept = []
        for touch in sorted(found, key=lambda t: (self._floor(t), t.order)):
            at = self._floor(touch)
            if at > self.top:
                continue
            reached = np.minimum(forks[:, : at + 1].min(1), below[:, at])
            touch = touch.kept(~(touch.nothing & (touch.position < reached[touch.number])))
            np.minimum.at(forks[:, at], touch.number, touch.position)
            kept.append(touch)
        forks = np.minimum.accumulate(forks, axis=1)
        moved = forks[:, -1] < NOWHERE
        self._note_proven(found, kept, len(bases))
        owners, new = self._owners(bases, forks, np.flatnonzero(moved), kept)
        for touch in kept:
            self.owners.read_whole(owners[touch.number[looks_ahead(touch)]])
        if found:
            own = [t.kept(new[t.number]) for t in kept]
            self.edited.append(EditedCells(found[0].part.job, owners, [t for t in own if len(t.number)]))
        return owners

    def _owners(
        self, bases: Integers, forks: Integers, moved: Integers, kept: Sequence[Touch]
    ) -> tuple[Integers, Mask]:
        """The owner of each row, and which rows it was made for: equal cells have one."""
        owners, new = bases.copy(), np.zeros(len(bases), dtype=np.bool_)
        keys = self.twins.keys(bases, kept)
        first = {keys[row]: row for row in reversed(moved.tolist()) if keys[row] not in self.twins.owners}
        rows = np.array(sorted(first.values()), dtype=np.int64)
        new[rows] = True
        owners[rows] = self.owners.add(bases[rows], forks[rows])
        self.twins.note(keys, rows, owners[rows], kept)
        others = moved[~new[moved]]
        owners[others] = [self.twins.owners[keys[row]] for row in others.tolist()]
        self.twins.pair(others, owners[others], kept)
        return owners, new

    def _note_proven(self, found: Sequence[Touch], kept: Sequence[Touch], n: int) -> None:
        """Note, for each edit, the cells in which all of it was proven to change nothing."""
        stays: dict[EditPart, Mask] = {t.part: np.zeros(n, dtype=np.bool_) for t in found}
        was = {part: mask.copy() for part, mask in stays.items()}
        for touch in found:
            was[touch.part][touch.number] = True
        for touch in kept:
            stays[touch.part][touch.number] = True
        for part in was:
            gone = was[part] & ~stays[part]
            self.proven.append((part.key, part.cells[gone], part.items[gone]))

    # ------------------------------------------------------------ prompts and sources

    def _roots(self, job: Job, variant: RunVariant, items: Integers) -> Integers:
        """The root of each row's prompt."""
        made = RowMaker(job.setting)
        number = next(i for i, v in enumerate(job.run.variants) if v is variant)
        lengths = made.lengths(job.run, job.extension)[number]
        roots = np.full(job.setting.data.n_items, -1, dtype=np.int64)
        for item in np.unique(items).tolist():
            ids = made.ids(variant.prompt, np.array([item]), int(lengths[item]), job.extension)[0]
            roots[item] = self.owners.add_root(ids)
        found: Integers = roots[items]
        return found

    def _sources(self, part: EditPart, roots: Integers) -> Sources | None:
        """What each row of an edit, of a prompt of `roots` [row], copies from; None if it copies nothing.

        An unedited source is what stands there already as far as its tokens are those of the prompt.
        """
        job = part.job
        read = copied_read(part.edit, job.run, job.setting)
        if read is None:
            return None
        owners = self._owners_of(read, job, part.variant, part.cells, part.items)
        alike = np.where(self.owners.is_root(owners), self.owners.shared(roots, owners), 0)
        return Sources(owners, alike)

    def _owners_of(
        self, read: SiteRead, job: Job, variant: RunVariant, cells: Integers, items: Integers
    ) -> Integers:
        """The owner in another run that each cell of a job reads; -1 where there is no such cell."""
        source = self.jobs[(id(job.setting), read.run.run, job.extension)]
        env = replace(RowMaker(job.setting).env(job.run, cells, items, job.extension), prompt=variant.prompt)
        found = Places(job.setting).run_cell(source.run, read.run.where, env)
        other = np.broadcast_to(found.data, len(cells))
        there = np.broadcast_to(found.full_presence(), len(cells))
        there = there & source.made[np.where(there, other, 0), items]
        owners = np.full(len(cells), -1, dtype=np.int64)
        owners[there] = self.ensure(source, other[there], items[there])
        self.owners.read_whole(owners[there])
        return owners

    def _last_read(self, job: Job, cells: Integers, items: Integers) -> Integers:
        """The last position that is read of each cell, [row]."""
        last = np.zeros(len(cells), dtype=np.int64)
        variants = job.setting.cell_variants(job.run).reshape(-1)[cells]
        for number, variant in enumerate(job.run.variants):
            mine = np.flatnonzero(variants == number)
            if len(mine):
                last[mine] = self._last_of(job, variant, number, cells[mine], items[mine])
        return last

    def _last_of(
        self, job: Job, variant: RunVariant, number: int, cells: Integers, items: Integers
    ) -> Integers:
        rows = RowMaker(job.setting)
        whole: Integers = rows.lengths(job.run, job.extension)[number][items] - 1
        if job.extension is not None:
            return whole
        env = rows.env(job.run, cells, items, job.extension)
        last: Integers = np.full(len(cells), -1, dtype=np.int64)
        for at in _positions_read(job):
            if at is None:
                return whole
            point = job.setting.indexer.point(at, "pos", env, variant.prompt)
            last = np.maximum(last, np.where(point.full_presence(), point.data, -1))
        return np.minimum(last, whole)


def _positions_read(job: Job) -> Iterator[Index | None]:
    """The positions that are read of a run; None: all of them."""
    wanted = job.wanted
    for tap in wanted.taps:
        yield None if metrics()[tap.metric].shape in ("pattern", "sequence") and tap.at is None else tap.at
        if metrics()[tap.metric].shape == "pattern":
            yield None
    for site in wanted.layers:
        yield wanted.positions.get(site)
