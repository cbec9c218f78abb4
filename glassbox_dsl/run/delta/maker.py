"""Makes the runs of several contexts of one model together: stage by stage, pack by pack."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from time import perf_counter

import numpy as np
import torch

from glassbox_dsl.diagnostics import Findings
from glassbox_dsl.language.program import Edit
from glassbox_dsl.library.metric import metrics
from glassbox_dsl.plan.copies import by_full_passes
from glassbox_dsl.plan.cost import ModelCost
from glassbox_dsl.plan.demand import Demand, Wanted
from glassbox_dsl.plan.jobs import Job
from glassbox_dsl.plan.named import Mask
from glassbox_dsl.plan.pack import EditKey, Pack, Share, edit_of
from glassbox_dsl.plan.packing import Packing
from glassbox_dsl.plan.progress import Progress
from glassbox_dsl.plan.room import kept_bytes
from glassbox_dsl.plan.rows import RowMaker
from glassbox_dsl.plan.tally import Tally, pack_bytes
from glassbox_dsl.plan.work import Work
from glassbox_dsl.run import errors
from glassbox_dsl.run.context import Context, RunResults
from glassbox_dsl.run.delta.calls import calls_of
from glassbox_dsl.run.delta.climb import Climb
from glassbox_dsl.run.delta.tap_rows import TapRows
from glassbox_dsl.run.delta.visits import Kept, Visits
from glassbox_dsl.run.evaluate import Evaluator
from glassbox_dsl.run.execute import RunMaker
from glassbox_dsl.run.keeping import Keeping
from glassbox_dsl.run.known import Known, scored_apart
from glassbox_dsl.run.memory import Heap, out_of_memory, release
from glassbox_dsl.run.receipts import Receipt, Writes
from glassbox_dsl.run.take_taps import TapTaker


@dataclass(eq=False)
class DeltaMaker:
    """Makes everything that some contexts of one model demand."""

    contexts: Sequence[tuple[Context, Demand]]
    progress: Progress
    budget_rows: int | None = None
    tally: Tally = field(default_factory=Tally)
    known: Known | None = None
    heap: Heap = field(default_factory=Heap)
    kept: int = 0
    receipts: dict[tuple[int, str], dict[Edit, Receipt]] = field(default_factory=dict)
    takers: dict[int, TapTaker] = field(default_factory=dict)
    apart: dict[int, RunMaker] = field(default_factory=dict)
    work: Work = field(init=False)

    def __post_init__(self) -> None:
        self.work = Work(self.contexts)

    def make_all(self) -> None:
        """Every run, stage by stage."""
        if self.known is not None:
            self.known.read(self.work)
        for jobs in self.work.stages:
            self._stage(jobs)

    def rows_wanted(self) -> int | None:
        """How many cells there are to make, extensions not counted; None where sets from results decide."""
        return self.work.cells_wanted()

    # ------------------------------------------------------------ stages

    def _stage(self, jobs: Sequence[Job]) -> None:
        packed = [job for job in jobs if not by_full_passes(job.run)]
        for job in packed:
            self._prepare(job)
            self.kept += kept_bytes(job)
        if self.known is not None:
            self.known.look_up(packed)
            for job in packed:
                self.known.begin(job, _context(job).results[job.key])
        left = self._left(packed)
        for job in packed:
            results = _context(job).results[job.key]
            results.whole, results.waiting = left.get(job), left.get(job, job.made).copy()
        for job in jobs:
            if left.get(job, job.made).any():
                Evaluator(_context(job)).fits.before(job.run)
        context = self.contexts[0][0]
        if packed:
            packing = self.work.packing(packed, self.budget_rows, left)
            for pack in packing.packs():
                self._climb(context, packing, pack)
                self.progress.advance(sum(len(s.cells) for s in pack.shares if s.job.extension is None))
        for job in packed:
            self._keeping(job).finish(_context(job).results[job.key], job.wanted)
        for job in jobs:
            if job not in packed:
                self._full_passes(job)
        for job in jobs:
            if job.extension is None:
                self._combine(_context(job), job.wanted)

    def _full_passes(self, job: Job) -> None:
        """Make a run that no pack can hold, with plain hooks."""
        context = _context(job)
        if id(context) not in self.apart:
            demand = next(d for c, d in self.contexts if c is context)
            self.apart[id(context)] = RunMaker(context, demand, self.progress)
            self.apart[id(context)].taps = self.takers.setdefault(id(context), TapTaker(context))
        maker = self.apart[id(context)]
        maker.make(job.wanted, job.extension)
        self.receipts[id(context), job.run.name] = maker.receipts[job.run.name]
        self.tally.merge(maker.tally)
        maker.tally = Tally()

    def _climb(self, context: Context, packing: Packing, pack: Pack) -> None:
        """Run one pack; in halves where memory does not suffice."""
        kept = [self._kept(share) for share in pack.shares]
        began = perf_counter()
        try:
            visits = Visits(pack, kept, context.instrument.device)
            visits.prepare()
            cost = ModelCost(context.sizes.facts, str(context.instrument.dtype).removeprefix("torch."))
            climb = Climb(context.instrument, calls_of(context.instrument, pack.longest), pack, visits)
            if context.instrument.device.type == "cpu":
                climb.between_layers = partial(self.heap.keep_to, pack_bytes(pack, cost), self.kept)
            stream = climb.run()
            with torch.inference_mode():
                TapRows(context.instrument, visits, self.takers).take(stream)
            writes = visits.settle()
            for one in kept:
                assert one.results.waiting is not None
                one.results.waiting[one.share.cells, one.share.items] = False
            self._count(pack, writes)
            self.tally.add(pack, cost, perf_counter() - began)
            if self.known is not None:
                self.known.note(pack, writes)
                self._note_answers(self.known, pack)
            return
        except (RuntimeError, MemoryError) as problem:
            if not out_of_memory(problem):
                raise
            reason = str(problem)
        # Outside of the handler: while an exception lives, so do the tensors of its frames.
        release(context.instrument.device)
        halves = packing.halves(pack)
        if not halves:
            share = pack.shares[0]
            raise Findings(
                [errors.one_cell_too_large(share.job.run.span, share.job.run.name, pack.n_rows, reason)]
            )
        for half in halves:
            self._climb(context, packing, half)

    @staticmethod
    def _kept(share: Share) -> Kept:
        context = _context(share.job)
        return Kept(share, context, context.results[share.job.key])

    @staticmethod
    def _keeping(job: Job) -> Keeping:
        return Keeping(_context(job), RowMaker(job.setting))

    def _prepare(self, job: Job) -> None:
        context = _context(job)
        context.sets.check_edits(job.run)
        results = RunResults(job.made)
        context.results[job.key] = results
        self.receipts.setdefault(
            (id(context), job.run.name), {e: Receipt(e) for v in job.run.variants for e in v.edits}
        )
        self._keeping(job).prepare(results, job.wanted, job.extension)

    def _left(self, jobs: Sequence[Job]) -> dict[Job, Mask]:
        """Which cells of each job are still to be made; those that are known already are counted as done."""
        if self.known is None:
            return {}
        plain = {job: self.work.jobs[(id(job.setting), job.run.name, None)] for job in jobs}
        left = {job: self.known.left(job, plain[job]) for job in jobs}
        self.progress.advance(sum(int((j.made & ~m).sum()) for j, m in left.items() if j.extension is None))
        return left

    def _count(self, pack: Pack, writes: Mapping[EditKey, Writes]) -> None:
        """Count what a pack wrote, and what of it was proven to change nothing."""
        for key, done in writes.items():
            if key[0].extension is None:
                self._receipt(key).count(done)
        for key, cells, _ in pack.proven:
            if key[0].extension is None:
                self._receipt(key).proven += len(cells)

    def _receipt(self, key: EditKey) -> Receipt:
        job, *_ = key
        return self.receipts[id(job.setting), job.run.name][edit_of(key)]

    def receipts_of(self, context: Context) -> dict[str, dict[Edit, Receipt]]:
        """The receipts of a context, by run."""
        found = {run: receipts for (home, run), receipts in self.receipts.items() if home == id(context)}
        for run in found if self.known is not None else ():
            by_cell = self.known.receipts_of(self.work.jobs[(id(context), run, None)]) if self.known else None
            found[run] = by_cell or found[run]
        return found

    def _combine(self, context: Context, wanted: Wanted) -> None:
        """Metrics of answers of several tokens from their alternatives."""
        taps = context.results[(wanted.run.name, None)].taps
        for tap in wanted.taps:
            if tap.answer in wanted.extensions and metrics()[tap.metric].several_tokens:
                taker = self.takers.setdefault(id(context), TapTaker(context))
                taps[tap] = taker.combined(wanted.run, tap, str(tap.answer))
                if self.known is not None:
                    job = self.work.jobs[(id(context), wanted.run.name, None)]
                    cells, items = job.made.nonzero()
                    self.known.answered(job, tap, cells, items, taps[tap].data.float().numpy()[cells, items])
                    self.known.put_back(job, tap, context.results[job.key])

    def _note_answers(self, known: Known, pack: Pack) -> None:
        """Keep metrics of answers of several tokens in the cells whose last alternative this pack scored."""
        for share in pack.shares:
            context = _context(share.job)
            job = self.work.jobs[(id(context), share.job.run.name, None)]
            for tap in (t for t in job.wanted.taps if scored_apart(job, t)):
                numbers = self.takers[id(context)].scored(job.run, tap, share.cells, share.items).numpy()
                whole = ~np.isnan(numbers)
                known.answered(job, tap, share.cells[whole], share.items[whole], numbers[whole])


def _context(job: Job) -> Context:
    assert isinstance(job.setting, Context)
    return job.setting
