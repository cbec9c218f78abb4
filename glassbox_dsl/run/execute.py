"""Makes runs: batches of passes with edits, keeping the sites and metrics that are wanted of them."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from torch import Tensor

from glassbox_dsl.language.program import Edit, Run, RunVariant
from glassbox_dsl.library.metric import metrics
from glassbox_dsl.plan.cost import ModelCost
from glassbox_dsl.plan.demand import Demand, Wanted, run_uses
from glassbox_dsl.plan.named import Integers, Mask
from glassbox_dsl.plan.progress import Progress
from glassbox_dsl.plan.proofs import Proofs, may_prove
from glassbox_dsl.plan.rows import RowMaker
from glassbox_dsl.plan.setting import Extension
from glassbox_dsl.plan.tally import Tally
from glassbox_dsl.plan.taps import Tap
from glassbox_dsl.run.context import Context, RunResults
from glassbox_dsl.run.edits import EditBatch
from glassbox_dsl.run.evaluate import Evaluator
from glassbox_dsl.run.keeping import Keeping
from glassbox_dsl.run.memory import allocate
from glassbox_dsl.run.named import tensor
from glassbox_dsl.run.receipts import Line, Receipt, joined
from glassbox_dsl.run.rows import BATCH_TOKENS, Batches, Pass, Rows, portions
from glassbox_dsl.run.scrub import prepare
from glassbox_dsl.run.take_taps import TapTaker
from glassbox_dsl.vocabulary.keys import SiteKey


@dataclass(eq=False)
class RunMaker:
    """Makes the runs of one context in the order of its demand."""

    context: Context
    demand: Demand
    progress: Progress
    receipts: dict[str, dict[Edit, Receipt]] = field(default_factory=dict)
    base: dict[tuple[str, Extension], Tensor] = field(default_factory=dict)
    tally: Tally = field(default_factory=Tally)

    def __post_init__(self) -> None:
        self.rows = RowMaker(self.context)
        self.batches = Batches(self.context)
        self.keeping = Keeping(self.context, self.rows)
        self.taps = TapTaker(self.context)

    def make_all(self) -> None:
        """Every demanded run, and the passes behind which answers of several tokens are scored."""
        for wanted in self._own():
            self._whole(wanted)

    def make_named(self, run: str) -> None:
        """A run that another experiment reads before its turn."""
        self._whole(self.demand.steps[run])

    def _whole(self, wanted: Wanted) -> None:
        self.make(wanted, None)
        for answer in dict.fromkeys(wanted.extensions):
            self._extend(wanted, answer)

    def receipts_of(self, context: Context) -> dict[str, dict[Edit, Receipt]]:
        """The receipts of a context, by run."""
        return self.receipts if context is self.context else {}

    def rows_wanted(self) -> int | None:
        """How many passes there are to make, extensions not counted; None where sets from results decide."""
        if any(d.members_from is not None for w in self._own() for d in w.run.dimensions):
            return None
        return sum(int(self.rows.made(w.run, None).sum()) for w in self._own())

    def _own(self) -> list[Wanted]:
        """The runs that belong to this model and data set."""
        context = self.context
        return [
            w for w in self.demand.ordered()
            if w.run.model in (None, context.model) and w.run.data in (None, context.data_name)
            and all(v.prompt in context.data.items[0].prompts for v in w.run.variants)
        ]  # fmt: skip

    def make(self, wanted: Wanted, extension: Extension) -> None:
        """One run on every cell and item it exists on."""
        run = wanted.run
        key = (run.name, extension)
        if key in self.context.results:
            return
        self.context.sets.check_edits(run)
        made = self.rows.made(run, extension)
        results = RunResults(made)
        self.context.results[key] = results
        self.receipts.setdefault(run.name, {e: Receipt(e) for v in run.variants for e in v.edits})
        self.keeping.prepare(results, wanted, extension)
        Evaluator(self.context).fits.before(run)
        left_out, instead = self._proven(wanted, made, extension)
        if extension is None:
            self.progress.advance(int(left_out.sum()))
            self.tally.cells += int(made.sum())
            self.tally.noops += int(left_out.sum())
        for rows in self.batches.of(wanted, made & ~left_out, extension):
            self._pass(wanted, results, rows, extension)
            if extension is None:
                self.progress.advance(len(rows.cells))
        self.context.sent = None
        self.keeping.fill(results, left_out, instead)
        self.keeping.finish(results, wanted)

    def _proven(self, wanted: Wanted, made: Mask, extension: Extension) -> tuple[Mask, Integers]:
        """Which cells need no pass, and whose results they take; counted in the receipts."""
        nothing = np.zeros_like(made), np.zeros_like(made, dtype=np.int64)
        if extension is not None or wanted.extensions or not may_prove(wanted.run):
            return nothing
        proven = np.zeros_like(made)
        cells, items = made.nonzero()
        by_cell = self.context.cell_variants(wanted.run).reshape(-1)
        for number, variant in enumerate(wanted.run.variants):
            mine = by_cell[cells] == number
            env = self.rows.env(wanted.run, cells[mine], items[mine], extension)
            proven[cells[mine], items[mine]] = Proofs(self.context).no_effect(variant, env)
        left_out, instead = Proofs.stand_ins(proven, by_cell)
        for number, variant in enumerate(wanted.run.variants):
            for edit in variant.edits:
                self.receipts[wanted.run.name][edit].proven += int(left_out[by_cell == number].sum())
        return left_out, instead

    def _extend(self, wanted: Wanted, answer: str) -> None:
        """Passes with the alternatives of an answer behind the prompt, where they have several tokens."""
        for which, counts in enumerate(self.context.data.token_counts(answer).T):
            if (counts > 1).any():
                for source in self._sources(wanted):
                    self.make(self.demand.steps[source], (answer, which))
                self.make(wanted, (answer, which))
        taps = self.context.results[(wanted.run.name, None)].taps
        for tap in wanted.taps:
            if tap.answer == answer and metrics()[tap.metric].several_tokens:
                taps[tap] = self.taps.combined(wanted.run, tap, answer)

    def _sources(self, wanted: Wanted) -> list[str]:
        """The runs that a run's edits read, those they read first."""
        found: dict[str, None] = {}
        for variant in wanted.run.variants:
            for edit in variant.edits:
                for use in run_uses(edit.value, self.demand.experiment, sets=False):
                    for earlier in self._sources(self.demand.steps[use.run]):
                        found[earlier] = None
                    found[use.run] = None
        own = {w.run.name for w in self._own()}
        return [run for run in found if run in own]

    def _base(self, prompt: str, extension: Extension) -> Tensor:
        """The inputs of all layers in the unedited pass, [item, layer (n_layers + 1), pos, dim]."""
        key = (prompt, extension)
        if key not in self.base:
            self.base[key] = self._base_pass(prompt, extension)
        return self.base[key]

    def _base_pass(self, prompt: str, extension: Extension) -> Tensor:
        facts, n_items = self.context.sizes.facts, self.context.data.n_items
        variant = RunVariant(span=self.demand.experiment.span, when=(), prompt=prompt, edits=())
        run = Run(span=variant.span, name=f"#base {prompt}", dimensions=(), variants=(variant,))
        lengths = self.rows.lengths(run, extension)[0]
        out = allocate(
            "base",
            (n_items, facts.n_layers + 1, int(lengths.max()), facts.d_model),
            self.context.instrument.dtype,
        )
        keys = [SiteKey("resid_pre", layer) for layer in range(facts.n_layers)] + [
            SiteKey("resid_post", facts.n_layers - 1)
        ]
        for length in np.unique(lengths).tolist():
            for part in portions(np.flatnonzero(lengths == length), max(1, BATCH_TOKENS // length)):
                ids = tensor(self.rows.ids(prompt, part, length, extension))
                got = self.context.instrument.forward(ids, reads=keys)
                self._count(len(part), length, 0, 0)
                for place, one in enumerate(keys):
                    out[tensor(part), place, :length] = got[one].cpu()
        return out

    def _pass(self, wanted: Wanted, results: RunResults, rows: Rows, extension: Extension) -> None:
        variant = wanted.run.variants[rows.variant]
        env = self.rows.env(wanted.run, rows.cells, rows.items, extension)
        keys = self._keys(results)
        taps = self._taps(wanted, extension)
        positions = self.taps.positions(taps, results, env, variant, rows)
        lines = {e: Line([], rows.cells, rows.items) for e in variant.edits} if extension is None else {}
        batch = EditBatch(self.context, variant, env, positions, receipts=lines)
        if positions is not None or "logits" in results.sites:
            keys = [*keys, SiteKey("logits")]
        start = None
        if rows.start > 0:
            start = (
                rows.start,
                self._base(variant.prompt, extension)[rows.places[1], rows.start, : rows.length],
            )
        if any(metrics()[t.metric].shape == "pattern" for t in taps):
            keys += [SiteKey("attn.pattern", layer) for layer in range(self.context.sizes.facts.n_layers)]
        ids = tensor(self.rows.ids(variant.prompt, rows.items, rows.length, extension))
        prepare((edit, self.context, env) for edit in variant.edits)
        got = self.context.instrument.forward(
            ids, reads=set(keys), writes=batch.writes(), logit_positions=positions, start=start
        )
        for edit, line in lines.items():
            if line.into:
                self.receipts[wanted.run.name][edit].count(joined(line.into))
        self._count(len(rows.cells), rows.length, rows.start, len(positions or ()))
        done = Pass(wanted.run.name, rows, env, variant, ids, positions, got)
        self.keeping.keep(results, done)
        self.taps.take(taps, results, done)

    def _count(self, n: int, length: int, start: int, positions: int) -> None:
        """Count a batch of passes as the plan counts packs."""
        facts = self.context.sizes.facts
        cost = ModelCost(facts, str(self.context.instrument.dtype).removeprefix("torch."))
        self.tally.add_pass(n, length, facts.n_layers - start, n * positions, cost)

    def _keys(self, results: RunResults) -> list[SiteKey]:
        keys = []
        for name, stored in results.sites.items():
            if name != "logits":
                keys += (
                    [SiteKey(name, layer) for layer in stored.layers]
                    if stored.layers is not None
                    else [SiteKey(name)]
                )
        return keys

    @staticmethod
    def _taps(wanted: Wanted, extension: Extension) -> list[Tap]:
        """The taps to take in a pass: behind an answer, only those that score it."""
        if extension is None:
            return wanted.taps
        return [t for t in wanted.taps if t.answer == extension[0] and metrics()[t.metric].several_tokens]
