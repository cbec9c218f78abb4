"""What earlier runs have computed: fills it in before a stage, and hands on what each pack adds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from numpy.typing import NDArray

from glassbox_dsl.language.program import Edit
from glassbox_dsl.library.metric import metrics
from glassbox_dsl.plan.content import Contents, JobKeys, Keys
from glassbox_dsl.plan.copies import by_full_passes
from glassbox_dsl.plan.demand import Demand, Wanted
from glassbox_dsl.plan.jobs import Job
from glassbox_dsl.plan.kept_values import layouts
from glassbox_dsl.plan.named import Integers, Mask
from glassbox_dsl.plan.pack import EditKey, Pack, edit_of
from glassbox_dsl.plan.setting import Setting
from glassbox_dsl.plan.shelf import Readings, Shelf
from glassbox_dsl.plan.taps import Tap
from glassbox_dsl.plan.tensors_read import TensorsRead, waits
from glassbox_dsl.plan.work import Work
from glassbox_dsl.run.context import Context, RunResults
from glassbox_dsl.run.keeping_values import kept_value
from glassbox_dsl.run.receipts import MOVED, Receipt, Writes

RECEIPT = 6
"""Numbers of a receipt in one cell: writes, those that moved, distance, relative and largest distance, proven."""

Floats = NDArray[np.float32]
NOTHING = (np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros((0, 1), np.float32))


@dataclass
class Ledger:
    """One job: its keys, what is `known` [cell, item] of it, and its edits' receipts [cell, item, RECEIPT].

    `found` has what is known of each reading until it is filled in: cells, items and numbers [n, width].
    """

    job: Job
    keys: JobKeys
    known: Mask
    found: dict[tuple[int, Tap | Edit], tuple[Integers, Integers, Floats]] = field(default_factory=dict)
    receipts: dict[Edit, Floats] = field(default_factory=dict)
    combined: dict[Tap, tuple[Mask, Floats]] = field(default_factory=dict)


@dataclass
class Known:
    """Readings of the jobs of one maker. `contents` names them; `shelf` keeps them.

    `whole` says of which cells [cell, item] of a run whole tensors are read; one that is not there: of all.
    """

    contents: Contents
    shelf: Shelf
    found: dict[str, list[Readings]] = field(default_factory=dict)
    ledgers: dict[Job, Ledger] = field(default_factory=dict)
    whole: dict[tuple[int, str], Mask] = field(default_factory=dict)

    def look_up(self, jobs: Sequence[Job]) -> None:
        """Find out what is known of some jobs, all at once."""
        for job in jobs:
            keys = self.contents.of_job(job) if job.extension is None and job not in self.ledgers else None
            if keys is not None:
                self.ledgers[job] = Ledger(job, keys, job.made.copy())
        ledgers = [self.ledgers[job] for job in jobs if job in self.ledgers]
        self._fetch({name for ledger in ledgers for name in ledger.keys.names.values()})
        for ledger in ledgers:
            for what, name in ledger.keys.names.items():
                if what not in ledger.found:
                    self._find(ledger, what, name)

    def _fetch(self, names: Set[str]) -> None:
        new = sorted(names - set(self.found))
        self.found |= {name: [] for name in new}
        for readings in self.shelf.find(new) if new else ():
            self.found[readings.name].append(readings)

    def _find(self, ledger: Ledger, what: tuple[int, Tap | Edit], name: str) -> None:
        """What is known of one reading; cells of which it is not are not known."""
        cells, items = np.nonzero(ledger.job.made & (ledger.keys.variants == what[0])[:, None])
        hit, numbers = self._match(name, ledger.keys.of(*what, cells, items))
        ledger.known[cells[~hit], items[~hit]] = False
        ledger.found[what] = cells[hit], items[hit], numbers

    def values(self, context: Context, demand: Demand) -> None:
        """Find out what is known of the values of whole tensors of a context."""
        found = list(layouts(self.contents, context, demand.values))
        self._fetch({name for layout in found for name in layout.names})
        for layout in found:
            key = (layout.value.kind, layout.value.name)
            context.kept[key] = kept_value(context, layout, self.shelf, self._match)

    def read(self, work: Work) -> None:
        """Find out of which cells of every run whole tensors are read, for all that is not known."""
        jobs = [job for stage in work.stages for job in stage]
        self.look_up([job for job in jobs if not by_full_passes(job.run) and not waits(job.run)])
        for setting, demand in work.settings:
            assert isinstance(setting, Context)
            self.values(setting, demand)
            unknown = {key: kept.unknown() for key, kept in setting.kept.items()}

            def left(wanted: Wanted, whole: Mask, setting: Setting = setting) -> Mask | None:
                job = work.jobs.get((id(setting), wanted.run.name, None))
                return None if job is None or job not in self.ledgers else self._left(job, job, whole)

            for run, mask in TensorsRead(self.contents, setting, demand, unknown, left).cells().items():
                self.whole[id(setting), run] = mask

    def begin(self, job: Job, results: RunResults) -> None:
        """Fill in what is known of a job; `left` says what is still to be made of it."""
        ledger = self.ledgers.get(job)
        if ledger is None:
            return
        ledger.receipts = {
            e: np.full((*job.made.shape, RECEIPT), np.nan, np.float32)
            for v in job.run.variants
            for e in v.edits
        }
        for (_, what), (cells, items, numbers) in ledger.found.items():
            if isinstance(what, Tap):
                self._fill(ledger, what, results, cells, items, numbers)
            else:
                ledger.receipts[what][cells, items] = fitted(numbers, RECEIPT)
        ledger.found = dict.fromkeys(ledger.found, NOTHING)

    def left(self, job: Job, plain: Job) -> Mask:
        """Which cells [cell, item] are still to be made; `plain` is the job without an answer behind its prompt."""
        if plain not in self.ledgers:
            return job.made
        return self._left(job, plain, self.whole.get((id(job.setting), job.run.name)))

    def _left(self, job: Job, plain: Job, whole: Mask | None) -> Mask:
        """Those of which a number is not known, and those of which whole tensors are read (None: of all)."""
        known = self.ledgers[plain].known
        if job.wanted.layers:
            known = known & ~whole if whole is not None else np.zeros_like(known)
        left: Mask = job.made & ~known
        return left

    def _match(self, name: str, wanted: Keys) -> tuple[Mask, Floats]:
        """Which keys [n, 2] are known, and the numbers [hit, width] of those; of equal ones the newest counts."""
        hit = np.zeros(len(wanted), dtype=np.bool_)
        numbers: Floats = np.zeros((len(wanted), 0), dtype=np.float32)
        for readings in self.found.get(name, ()):
            order = np.argsort(readings.keys[:, 0], kind="stable")
            first = readings.keys[order, 0]
            at = np.searchsorted(first, wanted[:, 0]).clip(max=max(len(first) - 1, 0))
            there = (readings.keys[order[at]] == wanted).all(1) if len(first) else hit & False
            if there.any():
                width = max(numbers.shape[1], readings.numbers.shape[1])
                numbers = fitted(numbers, width)
                numbers[there] = fitted(readings.numbers[order[at[there]]], width)
                hit |= there
        return hit, numbers[hit]

    @staticmethod
    def _fill(
        ledger: Ledger, tap: Tap, results: RunResults, cells: Integers, items: Integers, numbers: Floats
    ) -> None:
        data = results.taps[tap].data
        if scored_apart(ledger.job, tap):
            mask, kept = Known._combined(ledger, tap)
            mask[cells, items], kept[cells, items] = True, fitted(numbers, 1)[:, 0]
            return
        width = data[0, 0].numel()
        shaped = torch.from_numpy(fitted(numbers, width)).reshape(-1, *data.shape[2:])
        data[torch.from_numpy(cells), torch.from_numpy(items)] = shaped

    # ------------------------------------------------------------ what a pack adds

    def note(self, pack: Pack, writes: Mapping[EditKey, Writes]) -> None:
        """Keep what a pack gave, and what its edits wrote."""
        self._count(pack, writes)
        self._evaluate(pack)
        shares = [(self.ledgers[s.job], s) for s in pack.shares if s.job in self.ledgers]
        self.shelf.put([r for ledger, s in shares for r in self._readings(ledger, s.cells, s.items)])

    @staticmethod
    def _evaluate(pack: Pack) -> None:
        """Keep the values of those items of which this pack made the last run."""
        contexts = {id(share.job.setting): share.job.setting for share in pack.shares}
        for context in contexts.values():
            assert isinstance(context, Context)
            for kept in context.kept.values():
                if kept.layout.early:
                    kept.make(_ready(context, kept.layout.runs))

    def _count(self, pack: Pack, writes: Mapping[EditKey, Writes]) -> None:
        """The receipts of a pack's cells; one that was made before is counted anew."""
        ledgers = {s.job: self.ledgers[s.job] for s in pack.shares if s.job in self.ledgers}
        for share in pack.shares:
            for table in ledgers[share.job].receipts.values() if share.job in ledgers else ():
                table[share.cells, share.items] = 0
        for key, done in writes.items():
            if key[0] in ledgers:
                table, at = ledgers[key[0]].receipts[edit_of(key)], (done.cells, done.items)
                amounts = (np.ones_like(done.far), done.share > MOVED, done.far, done.share)
                for column, amount in enumerate(amounts):
                    np.add.at(table[..., column], at, amount)
                np.maximum.at(table[..., 4], at, done.far)
        for key, cells, items in pack.proven:
            if key[0] in ledgers:
                ledgers[key[0]].receipts[edit_of(key)][cells, items, -1] = 1

    def _readings(self, ledger: Ledger, cells: Integers, items: Integers) -> Iterator[Readings]:
        context = ledger.job.setting
        assert isinstance(context, Context)
        results = context.results[ledger.job.key]
        variants = ledger.keys.variants[cells]
        for (number, what), name in ledger.keys.names.items():
            mine = variants == number
            where = cells[mine], items[mine]
            if not mine.any() or (isinstance(what, Tap) and scored_apart(ledger.job, what)):
                continue
            if isinstance(what, Tap):
                numbers = (
                    results.taps[what].data[torch.from_numpy(where[0]), torch.from_numpy(where[1])].numpy()
                )
            else:
                numbers = np.nan_to_num(ledger.receipts[what][where])
            yield Readings(
                name, ledger.keys.of(number, what, *where), numbers.reshape(len(where[0]), -1).copy()
            )

    def answered(self, job: Job, tap: Tap, cells: Integers, items: Integers, numbers: Floats) -> None:
        """Keep a metric of answers of several tokens in some cells [n] where it is whole; those known stay."""
        ledger = self.ledgers.get(job)
        if ledger is None or not scored_apart(job, tap):
            return
        mask, kept = self._combined(ledger, tap)
        new = ~mask[cells, items]
        cells, items, numbers = cells[new], items[new], numbers[new]
        mask[cells, items], kept[cells, items] = True, numbers
        found = []
        for number in range(len(job.run.variants)):
            mine = ledger.keys.variants[cells] == number
            if mine.any():
                keys = ledger.keys.of(number, tap, cells[mine], items[mine])
                found.append(Readings(ledger.keys.names[number, tap], keys, numbers[mine][:, None]))
        self.shelf.put(found)

    def put_back(self, job: Job, tap: Tap, results: RunResults) -> None:
        """Let a metric of answers of several tokens be what is kept of it, in cells that were not made again."""
        ledger = self.ledgers.get(job)
        if ledger is None or not scored_apart(job, tap):
            return
        mask, kept = self._combined(ledger, tap)
        value = results.taps[tap]
        data = value.data.float().clone()
        data[torch.from_numpy(mask)] = torch.from_numpy(kept[mask])
        results.taps[tap] = replace(value, data=data)

    @staticmethod
    def _combined(ledger: Ledger, tap: Tap) -> tuple[Mask, Floats]:
        """In which cells [cell, item] a metric of answers of several tokens is known, and what it is there."""
        shape = ledger.job.made.shape
        return ledger.combined.setdefault(
            tap, (np.zeros(shape, np.bool_), np.full(shape, np.nan, np.float32))
        )

    # ------------------------------------------------------------ receipts

    def receipts_of(self, job: Job) -> dict[Edit, Receipt] | None:
        """The receipts of a job over all its cells, known and new; None where none were kept by cell."""
        ledger = self.ledgers.get(job)
        if ledger is None:
            return None
        return {edit: summed(edit, table[job.made]) for edit, table in ledger.receipts.items()}


def _ready(context: Context, runs: Set[str]) -> Mask:
    """The items [item] of which no cell of some runs waits to be made."""
    found = np.ones(context.data.n_items, dtype=np.bool_)
    for run in runs:
        results = context.results.get((run, None))
        waiting = None if results is None else results.waiting
        found &= False if waiting is None else ~waiting.any(0)
    return found


def summed(edit: Edit, rows: Floats) -> Receipt:
    """The receipt of an edit from its numbers in each cell [n, RECEIPT]."""
    numbers = np.nan_to_num(rows.astype(np.float64))
    writes, moved, total, relative, largest, proven = numbers.T
    return Receipt(
        edit,
        fired=int(writes.sum()),
        fired_rows=int((writes > 0).sum()),
        moved=int(moved.sum()),
        proven=int(proven.sum()),
        largest=float(largest.max(initial=0.0)),
        total=float(total.sum()),
        relative=float(relative.sum()),
    )


def scored_apart(job: Job, tap: Tap) -> bool:
    """Whether a metric is put together from passes with the answer behind the prompt, after all packs."""
    if tap.answer is None or not metrics()[tap.metric].several_tokens:
        return False
    return bool((job.setting.data.token_counts(tap.answer) > 1).any())


def fitted(numbers: Floats, width: int) -> Floats:
    """Rows [n, any width] in another width: positions that a longer data set has are missing, NaN."""
    found: Floats = np.full((len(numbers), width), np.nan, dtype=np.float32)
    found[:, : numbers.shape[1]] = numbers[:, :width]
    return found
