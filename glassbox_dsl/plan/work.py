"""The jobs of several settings of one model, stage by stage: what a run makes, and what a plan of it counts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from glassbox_dsl.plan.demand import Demand, Wanted
from glassbox_dsl.plan.jobs import Job
from glassbox_dsl.plan.named import Mask
from glassbox_dsl.plan.packing import Packing
from glassbox_dsl.plan.setting import Extension, Setting
from glassbox_dsl.plan.stages import Stages


@dataclass(eq=False)
class Work:
    """Everything that some settings of one model demand.

    `jobs` finds any job by setting (its id), run and what stands behind the prompt; `stages` are those to be made,
    in order: the runs of a stage are made together, after all that their edits compute with.
    """

    settings: Sequence[tuple[Setting, Demand]]
    jobs: dict[tuple[int, str, object], Job] = field(default_factory=dict)
    recorded: dict[int, list[Job]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        rank, stages = 0, Stages(self.settings)
        for place, (setting, demand) in enumerate(self.settings):
            for wanted in own_runs(setting, demand):
                for extension in (None, *_extensions(setting, demand)):
                    key = (id(setting), wanted.run.name, extension)
                    self.jobs[key] = Job(setting, wanted, extension, rank)
                self._record(setting, wanted, None, stages.of(place, wanted.run.name))
                rank += 1
            for wanted, extension in self._extended(setting, demand):
                self._record(setting, wanted, extension, stages.of(place, wanted.run.name))

    @property
    def stages(self) -> list[list[Job]]:
        """The jobs to be made, by stage."""
        return [self.recorded[stage] for stage in sorted(self.recorded)]

    def packing(
        self, jobs: Sequence[Job], budget_rows: int | None = None, left: Mapping[Job, Mask] | None = None
    ) -> Packing:
        """How the jobs of a stage are put into packs; `left` says which cells are still to be made, if not all."""
        return Packing(jobs[0].setting.sizes.facts, jobs, self.jobs, budget_rows, left or {})

    def cells_wanted(self) -> int | None:
        """How many cells there are to make, extensions not counted; None where sets from results decide."""
        jobs = [job for stage in self.stages for job in stage]
        if any(d.members_from is not None for job in jobs for d in job.run.dimensions):
            return None
        return sum(int(job.made.sum()) for job in jobs if job.extension is None)

    def _record(self, setting: Setting, wanted: Wanted, extension: Extension, stage: int) -> None:
        job = self.jobs[(id(setting), wanted.run.name, extension)]
        jobs = self.recorded.setdefault(stage, [])
        if job not in jobs:
            jobs.append(job)

    def _extended(self, setting: Setting, demand: Demand) -> Iterator[tuple[Wanted, tuple[str, int]]]:
        """Runs to be made with an answer behind the prompt, and those that their edits compute with."""
        for wanted in own_runs(setting, demand):
            for extension in _extensions(setting, demand):
                if extension[0] in wanted.extensions:
                    for name in demand.computed_with(wanted):
                        if (id(setting), name, extension) in self.jobs:
                            yield demand.steps[name], extension
                    yield wanted, extension


def own_runs(setting: Setting, demand: Demand) -> list[Wanted]:
    """The demanded runs that belong to a setting's model and data set."""
    return [
        w for w in demand.ordered()
        if w.run.model in (None, setting.model) and w.run.data in (None, setting.data_name)
        and all(v.prompt in setting.data.items[0].prompts for v in w.run.variants)
    ]  # fmt: skip


def _extensions(setting: Setting, demand: Demand) -> list[tuple[str, int]]:
    """Every answer and alternative that is scored behind a prompt."""
    answers = dict.fromkeys(a for w in demand.steps.values() for a in w.extensions)
    counts = {answer: setting.data.token_counts(answer) for answer in answers}
    return [(a, which) for a, n in counts.items() for which in range(n.shape[1]) if (n[:, which] > 1).any()]
