"""The plan of a whole file, without its weights: what would be run, what of it is proven, and what it would cost."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from glassbox_dsl.diagnostics import Findings
from glassbox_dsl.language.data.spec import FEWEST_ITEMS
from glassbox_dsl.language.program import Experiment, Program
from glassbox_dsl.plan import errors
from glassbox_dsl.plan.asked import demand_of, experiment_groups, values_read
from glassbox_dsl.plan.beside import Beside, beside
from glassbox_dsl.plan.copies import by_full_passes
from glassbox_dsl.plan.cost import ModelCost
from glassbox_dsl.plan.data_arrays import DataArrays
from glassbox_dsl.plan.demand import Demand
from glassbox_dsl.plan.executor import executor_of
from glassbox_dsl.plan.fit import Fit
from glassbox_dsl.plan.jobs import Job
from glassbox_dsl.plan.room import SPARE_BYTES, budget_bytes, kept_bytes, more_spare, spare_bytes
from glassbox_dsl.plan.rows import RowMaker
from glassbox_dsl.plan.setting import Setting
from glassbox_dsl.plan.speed import Speed, device_of, speed_of
from glassbox_dsl.plan.supposed import SUPPOSED, supposed_setting, supposes
from glassbox_dsl.plan.tally import Naive, Tally, noops_of
from glassbox_dsl.plan.walking import CONDITIONS
from glassbox_dsl.plan.work import Work
from glassbox_dsl.resolve.data import DataTable
from glassbox_dsl.resolve.facts import ModelFacts
from glassbox_dsl.vocabulary.models import ModelSource

EXACT_PACKS = 6
"""Packs of a stage that are planned row by row; what is behind them is reckoned from them."""


@dataclass
class RunPlan:
    """A run on a model and a data set. `shape` goes by dimension; `noops` are proven to change nothing."""

    experiment: str
    run: str
    data: str
    stage: int
    shape: dict[str, int]
    items: int
    cells: int
    noops: int
    executor: str
    reason: str


@dataclass
class ModelPlan:
    """Everything on one model. `prompts` are distinct base runs; `exact`: no pack was reckoned from others."""

    model: str
    source: str
    facts: ModelFacts
    cost: ModelCost
    speed: Speed
    runs: list[RunPlan] = field(default_factory=list)
    beside: list[Beside] = field(default_factory=list)
    prompts: int = 0
    planned: Tally = field(default_factory=Tally)
    naive: Naive = field(default_factory=Naive)
    kept_bytes: int = 0
    spare_bytes: int = 0
    budget_rows: int | None = None
    exact: bool = True

    @property
    def seconds(self) -> float:
        """How long the climbs will take at the speed of this machine."""
        return self.planned.flops / self.speed.flops_per_second

    @property
    def seconds_beside(self) -> float:
        """How long what is made beside the packs will take."""
        return sum(one.flops for one in self.beside) / self.speed.flops_per_second

    @property
    def peak_bytes(self) -> int:
        """Weights, everything that is kept, the largest pack, and what is freed but still held."""
        return self.cost.weight_bytes + self.kept_bytes + self.planned.peak_bytes + self.spare_bytes


@dataclass
class ProgramPlan:
    """The plan of a file within a budget; `notes` say what the figures leave open."""

    models: list[ModelPlan]
    budget_bytes: int
    budget_chosen: bool
    notes: tuple[str, ...] = ()

    def budget_rows(self, model: str) -> int | None:
        """About how many rows of a model may climb together; None where the budget does not decide."""
        return next((m.budget_rows for m in self.models if m.model == model), None)

    def spare_bytes(self, model: str) -> int:
        """How much freed memory may be held while a model runs."""
        return next((m.spare_bytes for m in self.models if m.model == model), SPARE_BYTES)

    @property
    def planned(self) -> Tally:
        """All models together."""
        total = Tally()
        for model in self.models:
            total.merge(model.planned)
        return total


def plan_program(
    program: Program,
    facts: Mapping[str, ModelFacts],
    tables: Mapping[tuple[str, str], DataTable],
    memory: int | None = None,
    exact_packs: int = EXACT_PACKS,
) -> ProgramPlan:
    """The plan of a program. `memory` in bytes; None: most of what is free. Raises Findings where a cell needs more."""
    budget = budget_bytes(memory)
    arrays = {key: DataArrays(table) for key, table in tables.items() if table.problem is None}
    plans, left_out, unsure = [], [], supposes(program)
    for source in program.models:
        if source.name not in facts:
            continue
        planner = _Planner(program, source, facts[source.name], arrays, exact_packs)
        try:
            plans.append(planner.plan(budget, memory is not None))
        except Findings as findings:
            # What is wrong with supposed members need not be wrong with the real ones.
            if not unsure or any(d.code == errors.BUDGET for d in findings.diagnostics):
                raise
            left_out.append(
                f"`{source.name}` is not counted: {findings.diagnostics[0].headline}, as far as is known"
            )
    filtered = [e.name.removeprefix(CONDITIONS) for e in program.experiments if e.name.startswith(CONDITIONS)]
    notes = [f"all items of `{name}` are counted: the model decides which are kept" for name in filtered]
    notes += [*([SUPPOSED] if unsure else []), *left_out]
    return ProgramPlan(plans, budget, memory is not None, tuple(notes))


@dataclass
class _Planner:
    """Plans one model."""

    program: Program
    source: ModelSource
    facts: ModelFacts
    arrays: Mapping[tuple[str, str], DataArrays]
    exact_packs: int

    def plan(self, budget: int, chosen: bool) -> ModelPlan:
        """The model's part of the plan."""
        name, dtype = self.source.name, self.source.dtype
        shown = self.source.span.text if self.source.span is not None else self.source.target
        speed = speed_of(device_of(self.source), dtype)
        plan = ModelPlan(name, shown, self.facts, ModelCost(self.facts, dtype), speed)
        works = [self._work(settings) for settings in self._groups()]
        jobs = [job for work in works for stage in work.stages for job in stage]
        plan.beside = [
            one for work in works for s, read in work.settings for one in self._beside(s, read, plan.cost)
        ]
        plan.kept_bytes = sum(kept_bytes(job) for job in jobs)
        plan.spare_bytes = spare_bytes(budget, plan.cost, plan.kept_bytes)
        plan.prompts = len({ids for job in jobs for ids in _prompts(job)})
        if chosen or speed.device == "cpu":
            plan.budget_rows = Fit(plan.cost, budget, plan.kept_bytes).rows(works)
        for work in works:
            for number, stage in enumerate(work.stages):
                self._stage(work, number, stage, plan)
        plan.spare_bytes += more_spare(budget - plan.peak_bytes, plan.planned.peak_bytes, plan.spare_bytes)
        return plan

    def _work(self, settings: list[Setting]) -> Work:
        return Work([(s, demand_of(self.program, s.experiment, s.data_name, s)) for s in settings])

    def _beside(self, setting: Setting, read: Demand, cost: ModelCost) -> list[Beside]:
        values = values_read(self.program, setting.experiment, setting.data_name)
        return beside(setting, read, list(values), cost)

    def _groups(self) -> list[list[Setting]]:
        """Settings that are made together, in the order of a session."""
        model, every = self.source.name, self.program.experiments
        first = [[e] for e in every if e.name.startswith(CONDITIONS) and model in e.models]
        read = [
            [e] for e in every if not e.wanted and not e.name.startswith(CONDITIONS) and model in e.models
        ]
        groups = [*first, *experiment_groups(self.program, model), *read]
        found = [[s for e in group for s in self._settings(e)] for group in groups]
        return [settings for settings in found if settings]

    def _settings(self, experiment: Experiment) -> list[Setting]:
        model, found = self.source.name, []
        for data in experiment.data:
            arrays = self.arrays.get((data, model))
            if arrays is None or arrays.n_items < FEWEST_ITEMS:
                continue
            if values_read(self.program, experiment, data):
                found.append(supposed_setting(self.program, experiment, model, data, arrays, self.facts))
        return found

    # ------------------------------------------------------------ packs

    def _stage(self, work: Work, number: int, jobs: list[Job], plan: ModelPlan) -> None:
        for job in jobs:
            plan.naive.add(job, plan.cost)
        by_data: dict[int, list[Job]] = {}
        for job in [job for job in jobs if by_full_passes(job.run)]:
            self._passes(job, number, plan)
        for job in [job for job in jobs if not by_full_passes(job.run)]:
            by_data.setdefault(id(job.setting.data), []).append(job)
        for some in by_data.values():
            noops = self._packs(work, some, plan)
            plan.runs += [_run_plan(job, number, noops[job]) for job in some if job.extension is None]

    def _passes(self, job: Job, number: int, plan: ModelPlan) -> None:
        """Count the full passes of a run that no pack makes, with those of the run that its edges carry."""
        variants = job.setting.cell_variants(job.run).reshape(-1)
        lengths = RowMaker(job.setting).lengths(job.run, job.extension)
        for place in range(len(job.run.variants)):
            for length, times in zip(
                lengths[place].tolist(), job.made[variants == place].sum(0).tolist(), strict=True
            ):
                plan.planned.add_pass(int(times), length, self.facts.n_layers, int(times), plan.cost)
        plan.planned.cells += int(job.made.sum()) if job.extension is None else 0
        if job.extension is None:
            plan.runs.append(_run_plan(job, number, 0))

    def _packs(self, work: Work, jobs: list[Job], plan: ModelPlan) -> dict[Job, int]:
        """Count the packs of the jobs on one data set: the first ones exactly, the rest from those."""
        wanted = {job: int(job.made.sum()) for job in jobs}
        covered, noops = dict.fromkeys(jobs, 0), dict.fromkeys(jobs, 0)
        first, rest = Tally(), Tally()
        for pack in work.packing(jobs, plan.budget_rows).packs():
            # The first pack holds one item whatever fits: it says nothing about those behind it.
            (first if first.packs == 0 else rest).add(pack, plan.cost)
            for share in pack.shares:
                covered[share.job] += len(share.cells)
                noops[share.job] += noops_of(pack, share)
            if first.packs + rest.packs >= self.exact_packs:
                break
        left = sum(wanted.values()) - sum(covered.values())
        plan.planned.merge(first)
        plan.planned.merge(rest, (rest.passes + left) / max(rest.passes, 1))
        if left:
            plan.exact = False
            noops = {job: round(n * wanted[job] / max(covered[job], 1)) for job, n in noops.items()}
        return noops


def _prompts(job: Job) -> list[bytes]:
    """The token ids of every prompt of a job, as it is run."""
    rows = RowMaker(job.setting)
    lengths = rows.lengths(job.run, job.extension)
    found = []
    for number, variant in enumerate(job.run.variants):
        items = np.flatnonzero(job.made[job.setting.cell_variants(job.run).reshape(-1) == number].any(0))
        for item in items.tolist():
            ids = rows.ids(variant.prompt, np.array([item]), int(lengths[number, item]), job.extension)
            found.append(ids.tobytes())
    return found


def _run_plan(job: Job, stage: int, noops: int) -> RunPlan:
    setting, run = job.setting, job.run
    shape = dict(zip((d.name for d in run.dimensions), setting.shape(run), strict=True))
    return RunPlan(
        setting.experiment.name, run.name, setting.data_name, stage, shape, setting.data.n_items,
        int(job.made.sum()), noops, *executor_of(job, stage),
    )  # fmt: skip
