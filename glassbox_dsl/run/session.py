"""A whole file on its models: loads each, checks it, makes the runs of every context and hands out results."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from time import perf_counter

from glassbox_dsl.diagnostics import Diagnostic, Findings
from glassbox_dsl.language.data.spec import FEWEST_ITEMS
from glassbox_dsl.language.file import condition_name
from glassbox_dsl.language.program import Experiment, Program, Scrubbed
from glassbox_dsl.plan.asked import demand_of, experiment_groups, values_asked
from glassbox_dsl.plan.content import Contents
from glassbox_dsl.plan.contexts import Key, without
from glassbox_dsl.plan.data_arrays import DataArrays
from glassbox_dsl.plan.demand import Demand
from glassbox_dsl.plan.program_plan import ProgramPlan
from glassbox_dsl.plan.progress import Progress
from glassbox_dsl.plan.setting import Setting
from glassbox_dsl.plan.shelf import Shelf
from glassbox_dsl.plan.tally import Tally
from glassbox_dsl.resolve.cells import Sizes
from glassbox_dsl.resolve.data import DataTable, Item
from glassbox_dsl.resolve.facts import ModelFacts
from glassbox_dsl.resolve.sources import ModelFiles
from glassbox_dsl.run import errors
from glassbox_dsl.run.context import Context
from glassbox_dsl.run.delta.maker import DeltaMaker
from glassbox_dsl.run.evaluate import Evaluator
from glassbox_dsl.run.execute import RunMaker
from glassbox_dsl.run.instrument import Instrument
from glassbox_dsl.run.known import Known
from glassbox_dsl.run.measured import Claimed, Columns, Measured, Recorded
from glassbox_dsl.run.memory import Heap
from glassbox_dsl.run.receipts import Receipt
from glassbox_dsl.run.set_values import RunValues
from glassbox_dsl.run.trust import Check, verified
from glassbox_dsl.run.weights import load_model
from glassbox_dsl.syntax.nodes import everything
from glassbox_dsl.vocabulary.axes import MODEL
from glassbox_dsl.vocabulary.keys import HEAD

PACK = " pack"
"""How the checks end that only the delta executor has to pass."""


@dataclass
class Results:
    """What one context gave: everything that is stored of it."""

    context: Context
    executor: str
    measured: list[Measured] = field(default_factory=list)
    recorded: list[Recorded] = field(default_factory=list)
    claimed: list[Claimed] = field(default_factory=list)
    receipts: list[tuple[str, Receipt, int]] = field(default_factory=list)
    diagnostics: list[Diagnostic] = field(default_factory=list)


@dataclass
class Session:
    """Evaluates a program. `tables` are keyed by (data, model); contexts are made when first needed.

    `contents` and `shelf` keep single numbers between runs; contexts of `reused` are known whole, and only made where
    another one reads them; `dropped` has the items that conditions dropped, where that is known.
    """

    program: Program
    facts: Mapping[str, ModelFacts]
    files: Mapping[str, ModelFiles]
    tables: dict[tuple[str, str], DataTable]
    progress: Progress
    plan: ProgramPlan | None = None
    instruments: dict[str, Instrument] = field(default_factory=dict)
    checks: dict[str, tuple[Check, ...]] = field(default_factory=dict)
    contexts: dict[tuple[str, str, str], Context] = field(default_factory=dict)
    makers: dict[tuple[str, str, str], RunMaker | DeltaMaker] = field(default_factory=dict)
    pending: dict[tuple[str, str, str], RunMaker] = field(default_factory=dict)
    arrays: dict[tuple[str, str], DataArrays] = field(default_factory=dict)
    problems: list[Diagnostic] = field(default_factory=list)
    tallies: dict[str, Tally] = field(default_factory=dict)
    executor: str = "delta"
    contents: Contents | None = None
    shelf: Shelf | None = None
    reused: Set[Key] = frozenset()
    dropped: Mapping[tuple[str, str], Mapping[int, str]] = field(default_factory=dict)

    # ------------------------------------------------------------ everything

    def results(self) -> Iterator[Results | Key]:
        """Every wanted experiment in every context, one model after the other; only its key where it is reused."""
        for model in [m.name for m in self.program.models]:
            for group in experiment_groups(self.program, model):
                keys = [(e.name, model, d) for e in group for d in e.data if self.items(d, model)]
                self._make([key for key in keys if key not in self.reused])
                for experiment in group:
                    for data in experiment.data:
                        if (key := (experiment.name, model, data)) in self.reused:
                            yield key
                        else:
                            yield from self._context_results(experiment, model, data)
            self._forget(model)

    def _context_results(self, experiment: Experiment, model: str, data: str) -> Iterator[Results]:
        if not self.items(data, model):
            return
        context = self.context(experiment.name, model, data)
        found = Results(context, self.executor_of(model)[0])
        columns = Columns(context)
        for value in values_asked(self.program, experiment, data):
            if value.kind == "measure":
                found.measured.append(columns.measure(value))
            elif value.kind == "circuit":
                found.measured.append(columns.circuit(value))
            elif value.kind == "record":
                found.recorded += columns.record(value)
            elif value.kind == "expect":
                found.claimed.append(columns.claim(value))
        maker = self.makers[(experiment.name, model, data)]
        for run, receipts in maker.receipts_of(context).items():
            if experiment.run(run).part_of is not None:
                continue  # that it moved something shows in the run that it is made for
            results = context.results[run, None]
            rows = int(results.made.sum())
            # Where a pack keeps nothing of a run, only passes of another kind are made of it, as for circuits.
            read = results.sites or results.taps
            for receipt in receipts.values():
                found.receipts.append((run, receipt, rows))
                # The end of the model is visited where it is read, and an edit there may name another place.
                read_there = read and receipt.edit.site not in HEAD
                looked_at = read_there or receipt.fired_rows or receipt.proven
                if looked_at and not receipt.moved and not isinstance(receipt.edit.value, Scrubbed):
                    found.diagnostics.append(errors.never_moved(receipt.edit.span, receipt.edit.text))
        for note in context.sets.notes:
            self._note(note)
        yield found

    def _forget(self, model: str) -> None:
        """Let go of a model that no later context can ask for."""
        across = any(_crosses(e) for e in self.program.experiments)
        if not across:
            self.instruments.pop(model, None)
            for key in [k for k in self.contexts if k[1] == model]:
                del self.contexts[key], self.makers[key]

    # ------------------------------------------------------------ one context

    def context(self, experiment: str, model: str, data: str) -> Context:
        """The context, its runs made."""
        key = (experiment, model, data)
        if key not in self.contexts:
            self._make([key])
        self._make_pending(key)
        return self.contexts[key]

    def _make_pending(self, key: tuple[str, str, str]) -> None:
        """Make the runs of a context that are not made together with those of others, if that is still to do."""
        if (maker := self.pending.pop(key, None)) is not None:
            self.progress.stage(self._shown([self.contexts[key]]), maker.rows_wanted())
            self._timed(key[1], maker)

    def _timed(self, model: str, maker: RunMaker | DeltaMaker) -> None:
        """Make runs, and count what that took."""
        tally = self.tallies.setdefault(model, Tally())
        before, began = tally.seconds, perf_counter()
        maker.make_all()
        tally.merge(maker.tally)
        # Runs of another context that are made meanwhile have counted their part of this time.
        tally.seconds = before + perf_counter() - began

    def _make(self, keys: Sequence[tuple[str, str, str]]) -> None:
        """Make the runs of contexts of one model together, so that they share passes over equal prompts."""
        made = []
        for name, model, data in keys:
            if (name, model, data) in self.contexts:
                continue
            experiment = next(e for e in self.program.experiments if e.name == name)
            arrays = self._arrays(data, model)
            context = Context(
                experiment, model, data, arrays,
                Sizes(self.facts[model], arrays.n_items, arrays.longest, model, experiment.latents),
                instrument=self.instrument(model), other=self.context, usable=lambda d, m: bool(self.items(d, m)),
                progress=self.progress,
            )  # fmt: skip
            context.sets.values = RunValues(Evaluator(context))
            self.contexts[(name, model, data)] = context
            made.append(context)
        if not made:
            return
        if self.executor_of(made[0].model)[0] == "hooked":
            for context in made:
                maker = RunMaker(context, self._demand(context), self.progress)
                self.makers[key_of(context)] = self.pending[key_of(context)] = maker
                context.make = maker.make_named
            for context in made:
                self._make_pending(key_of(context))
            return
        rows = None if self.plan is None else self.plan.budget_rows(made[0].model)
        heap = Heap(None if self.plan is None else self.plan.spare_bytes(made[0].model))
        known = Known(self.contents, self.shelf) if self.contents and self.shelf else None
        demands = [(c, self._demand(c, c)) for c in made]
        together = DeltaMaker(demands, self.progress, rows, known=known, heap=heap)
        self.makers |= dict.fromkeys(map(key_of, made), together)
        self.progress.stage(self._shown(made), together.rows_wanted())
        self._timed(made[0].model, together)

    def _demand(self, context: Context, setting: Setting | None = None) -> Demand:
        return demand_of(self.program, context.experiment, context.data_name, setting)

    @staticmethod
    def _shown(contexts: Sequence[Context]) -> str:
        """What a stage of progress is called."""
        names = list(dict.fromkeys(c.experiment.name for c in contexts))
        several = len({c.data_name for c in contexts}) > 1
        data = ", ".join(dict.fromkeys(c.data_name for c in contexts)) if several else ""
        return f"{', '.join(names)} on {contexts[0].model}" + (f", {data}" if data else "")

    # ------------------------------------------------------------ models and data

    def instrument(self, model: str) -> Instrument:
        """The model, loaded and checked on first use."""
        if model not in self.instruments:
            source = next(m for m in self.program.models if m.name == model)
            self.progress.stage(f"loading {model}", None)
            self.instruments[model] = load_model(self.files[model], source, self.facts[model])
            self.progress.stage(f"checking {model}", None)
            self.checks[model] = verified(self.instruments[model], self.files[model])
            self._trust(model)
        return self.instruments[model]

    def _trust(self, model: str) -> None:
        """Refuse a model, or the sites of it that are used, where a check failed."""
        used = {n.site for e in self.program.experiments for n in everything(e) if hasattr(n, "site")}
        for check in self.checks[model]:
            if not check.ok and not check.name.endswith(PACK) and (not check.site or check.site in used):
                raise Findings(
                    [errors.not_trusted(model, check.name, check.value, check.tolerance, check.detail)]
                )

    def executor_of(self, model: str) -> tuple[str, str]:
        """Which executor runs a model, and why not the other."""
        if self.executor == "hooked":
            return "hooked", "asked for"
        if (why := self.facts[model].own_attention) is not None:
            return "hooked", why
        failed = [c for c in self.checks.get(model, ()) if not c.ok and c.name.endswith(PACK)]
        if failed:
            worst = failed[0]
            return "hooked", f"{worst.name} {worst.site} {worst.value:.3g}: {worst.detail}".replace("  ", " ")
        return "delta", ""

    def _arrays(self, data: str, model: str) -> DataArrays:
        key = (data, model)
        if key not in self.arrays:
            self.arrays[key] = DataArrays(self.tables[key])
            self._filter(data, model)
        return self.arrays[key]

    def items(self, data: str, model: str) -> tuple[Item, ...]:
        """The items that a model keeps; none when too few are left (said once in `problems`)."""
        table = self.tables[(data, model)]
        if table.problem is not None:
            self._note(table.problem)
            return ()
        arrays = self._arrays(data, model)
        if arrays.n_items < FEWEST_ITEMS:
            self._note(
                errors.too_few_items(
                    next(d for d in self.program.data if d.name == data).span, data, model, arrays.n_items
                )
            )
            return ()
        return arrays.items

    def _note(self, problem: Diagnostic) -> None:
        if problem not in self.problems:
            self.problems.append(problem)

    def _filter(self, data: str, model: str) -> None:
        """Apply the conditions of a data set that need the model."""
        conditions = next((e for e in self.program.experiments if e.name == condition_name(data)), None)
        if conditions is None or model not in conditions.models:
            return
        dropped = self.dropped.get((data, model))
        if dropped is None:
            dropped = self._dropped(conditions, model, data)
        self.tables[(data, model)] = without(self.tables[(data, model)], dropped)
        self.arrays[(data, model)] = DataArrays(self.tables[(data, model)])

    def _dropped(self, conditions: Experiment, model: str, data: str) -> dict[int, str]:
        """The items, by number, for which a condition does not hold, with its text."""
        context = self.context(conditions.name, model, data)
        columns = Columns(context)
        dropped: dict[int, str] = {}
        for value in conditions.values:
            if value.kind == "expect":
                for item, holds in zip(context.data.items, columns.truth(value), strict=True):
                    if not holds:
                        dropped.setdefault(item.number, value.text)
        return dropped


def key_of(context: Context) -> tuple[str, str, str]:
    """What a context is found by."""
    return (context.experiment.name, context.model, context.data_name)


def _crosses(experiment: Experiment) -> bool:
    """Whether anything in an experiment is about a model other than its own context's."""
    return any(
        getattr(n, "model", None) is not None or MODEL in getattr(n, "contexts", ())
        for n in everything(experiment)
    )
