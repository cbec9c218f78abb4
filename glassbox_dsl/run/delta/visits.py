"""Reads and writes of a pack: edits on the rows of cells, and what is kept of every cell that stands in them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from glassbox_dsl.library.metric import metrics
from glassbox_dsl.plan import lowering
from glassbox_dsl.plan.indexing import Env
from glassbox_dsl.plan.layers import reads_patterns
from glassbox_dsl.plan.named import Integers
from glassbox_dsl.plan.pack import CellEdit, EditKey, EditPart, Floor, Pack, RowCopy, Share, Write
from glassbox_dsl.plan.rows import RowMaker
from glassbox_dsl.run.context import Context, RunResults, Stored
from glassbox_dsl.run.delta.kernels import taken
from glassbox_dsl.run.edits import EditBatch
from glassbox_dsl.run.receipts import Log, Writes
from glassbox_dsl.run.scrub import prepare
from glassbox_dsl.vocabulary.keys import SiteKey
from glassbox_dsl.vocabulary.sites import sites


@dataclass(frozen=True)
class Kept:
    """A share of a pack with where its results go."""

    share: Share
    context: Context
    results: RunResults


@dataclass
class Moved:
    """How far a copy moved its rows [pair] and how long they were; the numbers are fetched when the climb is over."""

    number: Integers
    distance: Tensor
    size: Tensor


@dataclass
class Visits:
    """Visits the sites of one climb."""

    pack: Pack
    kept: Sequence[Kept]
    device: torch.device
    floor: Floor = field(init=False)
    local: Tensor | None = None
    moves: dict[EditPart, list[Moved]] = field(default_factory=dict)
    log: Log = field(default_factory=Log)
    tables: dict[tuple[int, int, int], tuple[Tensor, bool]] = field(default_factory=dict)

    def keys(self) -> tuple[set[SiteKey], set[SiteKey]]:
        """What is read and what is written, by layer."""
        writes = {SiteKey(*key) for floor in self.pack.floors for key in floor.writes}
        reads: set[SiteKey] = set()
        for kept in self.kept:
            for site, stored in kept.results.sites.items():
                reads |= {SiteKey(site, layer) for layer in stored.layers or (None,)}
            if kept.share.job.extension is None and reads_patterns(kept.share.job):
                reads |= {SiteKey("attn.pattern", layer) for layer in range(len(self.pack.floors) - 1)}
        return reads, writes

    def tensor(self, array: Integers) -> Tensor:
        """An index array of the plan on the device."""
        return torch.from_numpy(np.ascontiguousarray(array)).to(self.device)

    @contextmanager
    def at(self, rows: Tensor, n_rows: int) -> Iterator[None]:
        """Visit values of some rows [row] alone, of `n_rows`."""
        self.local = torch.full((n_rows,), -1, dtype=torch.long, device=rows.device)
        self.local[rows] = torch.arange(len(rows), device=rows.device)
        try:
            yield
        finally:
            self.local = None

    # ------------------------------------------------------------ layout

    def visit(self, key: SiteKey, value: Tensor) -> Tensor:
        """Write, then read, one site laid out as a model has it: [1, the site's axes, feature]."""
        axis = row_axis(key.site)
        rows = value[0].movedim(axis, 0)
        after = self.rows(key, rows)
        return value if after is rows else after.movedim(0, axis)[None]

    def rows(self, key: SiteKey, rows: Tensor) -> Tensor:
        """Write, then read, one site laid out by rows: [row, the site's other axes, feature]."""
        after = self.written(key, rows)
        self.read(key, after)
        return after

    def written(self, key: SiteKey, rows: Tensor) -> Tensor:
        """The rows after all writes at a site; the given ones are not changed."""
        writes = self.floor.writes.get((key.site, key.layer), ())
        if writes:
            rows = rows.clone()
        for write in writes:
            if isinstance(write, RowCopy):
                self._copy(write, rows)
            else:
                self._edit(write, key, rows)
        return rows

    def _at(self, ids: Tensor) -> Tensor:
        """Where rows of the pack lie among those at hand; -1: they are not."""
        if self.local is None:
            return ids
        return torch.where(ids >= 0, self.local[ids.clamp(min=0)], -1)

    # ------------------------------------------------------------ writes

    def _copy(self, write: RowCopy, rows: Tensor) -> None:
        dst, src = self._at(self.tensor(write.dst)), self._at(self.tensor(write.src))
        number = write.number
        if self.local is not None:
            there = (dst >= 0) & (src >= 0)
            dst, src, number = dst[there], src[there], number[there.cpu().numpy()]
        old, new = rows.index_select(0, dst), rows.index_select(0, src)
        if write.mask is not None:
            mask = torch.from_numpy(write.mask).to(self.device)
            mask = mask.reshape(*mask.shape, *[1] * (old.ndim - mask.ndim))
            new = torch.where(mask, new, old)
            old = torch.where(mask, old, 0)
            change = torch.where(mask, new - old, 0)
        else:
            change = new - old
        self.moves.setdefault(write.part, []).append(Moved(number, _norm(change), _norm(old)))
        rows[dst] = new

    def prepare(self) -> None:
        """Make, before the climb, what takes passes of its own."""
        floors = (write for floor in self.pack.floors for writes in floor.writes.values() for write in writes)
        edits = (write for write in floors if isinstance(write, CellEdit))
        prepare((write.part.edit, *self._rows_of(write)) for write in edits)

    @staticmethod
    def _rows_of(write: CellEdit) -> tuple[Context, Env]:
        """Where an edit is evaluated: its context, and the rows that it writes."""
        part, context = write.part, write.part.job.setting
        assert isinstance(context, Context)
        cells, items = part.cells[write.number], part.items[write.number]
        return context, RowMaker(context).env(part.job.run, cells, items, part.job.extension)

    def _edit(self, write: CellEdit, key: SiteKey, rows: Tensor) -> None:
        part, axis = write.part, row_axis(key.site)
        context, env = self._rows_of(write)
        line = self.log.about(part.key, part.cells[write.number], part.items[write.number])
        batch = EditBatch(context, part.variant, env, receipts={part.edit: line})
        place = self._at(self.tensor(write.rows))
        own = torch.from_numpy(write.own).to(self.device) & (place >= 0)
        value = taken(rows, place.clamp(min=0)).movedim(1, 1 + axis)
        inner = value.ndim - 1 - (sites()[key.site].feature is not None)
        spread = own.cpu().reshape(len(own), *[1] * axis, -1, *[1] * (inner - axis - 1))
        after = batch.apply(part.edit, key, value, write.positions, spread)
        if after is not value:
            rows[place[own]] = after.movedim(1 + axis, 1)[own]

    def settle(self) -> dict[EditKey, Writes]:
        """After the climb: what each edit wrote in the cells that the pack is there for."""
        for part, moves in self.moves.items():
            number, distance, size = _by_cell(moves)
            line = self.log.about(part.key, part.cells[number], part.items[number])
            line.add(torch.ones(len(number), dtype=torch.bool), distance, size)
        return self.log.of_shares(self.pack.twins, self.pack.shares)

    # ------------------------------------------------------------ reads

    def read(self, key: SiteKey, rows: Tensor) -> None:
        """Keep what is wanted of a site."""
        for kept in self.kept:
            stored = kept.results.sites.get(key.site)
            if (
                stored is not None
                and key.site != "logits"
                and (stored.layers is None or key.layer in stored.layers)
            ):
                self._keep(kept, stored, key, rows)
            if key.site == "attn.pattern" and kept.share.job.extension is None:
                self._score_patterns(kept, key, rows)

    def _keep(self, kept: Kept, stored: Stored, key: SiteKey, rows: Tensor) -> None:
        share, axis = kept.share, row_axis(key.site)
        places = (
            1 if stored.position is not None else stored.data.shape[2 + (stored.layers is not None) + axis]
        )
        found, whole = self._found(kept, stored, places)
        if self.local is not None:
            found, whole = self._at(found), False
        values = taken(rows, found if whole else found.clamp(min=0))
        if not whole:
            missing = (found < 0).reshape(*found.shape, *[1] * (values.ndim - 2))
            values = torch.where(missing, 0, values)
        values = values.movedim(1, 1 + axis).float().cpu()
        there = stored.data
        if stored.layers is not None:
            there = there.select(2, stored.layers.index(key.layer or 0))
        # Keys go up to the longest prompt of the pack, which may be another run's.
        values = values[(slice(None), *(slice(0, n) for n in there.shape[2:]))]
        there = there[(slice(None), slice(None), *(slice(0, n) for n in values.shape[1:]))]
        there[torch.from_numpy(share.cells), torch.from_numpy(share.items)] = values

    def _found(self, kept: Kept, stored: Stored, places: int) -> tuple[Tensor, bool]:
        """The rows of kept positions, [cell, pos], and whether all of them exist; made once for equal floors."""
        key = (id(stored), id(self.floor.rowof), places)
        if key not in self.tables:
            table = self.table(kept, stored, places)
            self.tables[key] = torch.from_numpy(table).to(self.device), bool((table >= 0).all())
        return self.tables[key]

    def keep_logits(self, logits: Tensor, rows: Tensor) -> None:
        """Keep logits [row, vocab] of some of the pack's rows [row]."""
        for kept in self.kept:
            stored = kept.results.sites.get("logits")
            if stored is None:
                continue
            table = self.tensor(self.table(kept, stored, stored.data.shape[2]))
            cell, place = torch.isin(table, rows).nonzero(as_tuple=True)
            at = torch.searchsorted(rows, table[cell, place])
            cells, items = (torch.from_numpy(n)[cell.cpu()] for n in (kept.share.cells, kept.share.items))
            stored.data[cells, items, place.cpu()] = logits[at].float().cpu()

    def table(self, kept: Kept, stored: Stored, places: int) -> Integers:
        """The row of every kept position of a share, [cell, pos]; -1: none."""
        rowof = self.floor.rowof[kept.share.owners]
        if stored.position is not None:
            at = positions_of(kept, stored.position)
            return np.take_along_axis(rowof, at[:, None].clip(0, rowof.shape[1] - 1), 1)
        return rowof[:, :places]

    def _score_patterns(self, kept: Kept, key: SiteKey, rows: Tensor) -> None:
        """Metrics of patterns, over cells whose prompts have one length."""
        job, share, layer = kept.share.job, kept.share, key.layer
        if not reads_patterns(kept.share.job):
            return
        assert layer is not None
        lengths = self.pack.lengths_of(share.owners)
        reach = kept.context.sizes.facts.windows[layer]
        for length in np.unique(lengths).tolist():
            mine = np.flatnonzero(lengths == length)
            table = self.floor.rowof[share.owners[mine]][:, :length]
            pattern = rows[self._at(self.tensor(table))][..., :length].movedim(1, 2).float()
            ids = torch.from_numpy(self.pack.ids_of(share.owners[mine], length)).to(self.device)
            places = torch.from_numpy(share.cells[mine]), torch.from_numpy(share.items[mine])
            for tap in job.wanted.taps:
                entry = metrics()[tap.metric]
                if entry.shape == "pattern":
                    value = entry.compute(pattern, ids, reach, dict(tap.options)["kind"])
                    kept.results.taps[tap].data[*places, layer] = value.cpu()


def _norm(rows: Tensor) -> Tensor:
    """The length of each row [row], in float32."""
    flat = rows.flatten(1) if rows.ndim > 1 else rows[:, None]
    found: Tensor = torch.linalg.vector_norm(flat, dim=1, dtype=torch.float32)
    return found


def _by_cell(moves: Sequence[Moved]) -> tuple[Integers, Tensor, Tensor]:
    """The rows of an edit [cell], one for each copy that wrote there, with the norms of the change and of what was."""
    write = np.repeat(np.arange(len(moves)), [len(moved.number) for moved in moves])
    number = np.concatenate([moved.number for moved in moves])
    kinds, place = np.unique(np.stack([write, number]), axis=1, return_inverse=True)

    def summed(norms: Sequence[Tensor]) -> Tensor:
        squares = torch.cat(list(norms)).cpu().double().square()
        sums = squares.new_zeros(kinds.shape[1])
        return sums.index_add_(0, torch.from_numpy(place.reshape(-1)), squares).sqrt().float()

    return kinds[1], summed([m.distance for m in moves]), summed([m.size for m in moves])


def positions_of(kept: Kept, index: object) -> Integers:
    """The position that an index names in each cell of a share, [cell]; -1 where there is none."""
    share, job = kept.share, kept.share.job
    context = kept.context
    at = np.full(len(share.cells), -1, dtype=np.int64)
    variants = context.cell_variants(job.run).reshape(-1)[share.cells]
    for number, variant in enumerate(job.run.variants):
        mine = np.flatnonzero(variants == number)
        env = RowMaker(context).env(job.run, share.cells[mine], share.items[mine], job.extension)
        point = context.indexer.point(index, "pos", env, variant.prompt)  # type: ignore[arg-type]
        at[mine] = np.where(point.full_presence(), point.data, -1)
    return at


def row_axis(site: str) -> int:
    """The place of the axis along which rows lie, among a site's axes without `layer`."""
    return [a for a in sites()[site].axes if a != "layer"].index(lowering.row_axis(site))


__all__ = ["Kept", "Visits", "Write", "positions_of", "row_axis"]
