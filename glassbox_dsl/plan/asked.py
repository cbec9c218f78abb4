"""What a file asks of its experiments: which values, on which data, and what can be made together."""

from __future__ import annotations

from glassbox_dsl.language.program import Experiment, Expr, Program, Reduce, Run, Value
from glassbox_dsl.plan.demand import Demand, demand, run_uses
from glassbox_dsl.plan.setting import Setting
from glassbox_dsl.plan.walking import CONDITIONS, references
from glassbox_dsl.syntax.nodes import everything
from glassbox_dsl.vocabulary.axes import ITEM


def experiment_groups(program: Program, model: str) -> list[list[Experiment]]:
    """The wanted experiments of a model: those that read none of the others are made together, then the rest."""
    wanted = [e for e in program.experiments if e.wanted and model in e.models]
    names = {e.name for e in wanted}
    reads = {e.name: {r.experiment for r in references(e)} & names - {e.name} for e in wanted}
    groups: list[list[Experiment]] = []
    done: set[str] = set()
    while len(done) < len(wanted):
        ready = [e for e in wanted if e.name not in done and reads[e.name] <= done]
        groups.append(ready or [e for e in wanted if e.name not in done])
        done |= {e.name for e in groups[-1]}
    return groups


def values_asked(program: Program, experiment: Experiment, data: str) -> list[Value]:
    """What is asked of an experiment on a data set: all of it, or what others read."""
    return [v for v in _asked(program, experiment) if _applies(program, v, experiment, data)]


def values_read(program: Program, experiment: Experiment, data: str) -> list[Value]:
    """What needs runs on a data set: values about it, and those about another that read a run fixed to it."""
    return [
        v
        for v in _asked(program, experiment)
        if _applies(program, v, experiment, data) or any(run.data == data for run in _runs(v, experiment))
    ]


def demand_of(program: Program, experiment: Experiment, data: str, setting: Setting | None) -> Demand:
    """What has to be run of an experiment on a data set."""
    return demand(experiment, values_read(program, experiment, data), setting, _for_others(experiment, data))


def _for_others(experiment: Experiment, data: str) -> list[Expr]:
    """Reductions over runs that are all fixed to a data set, and fits to them: other data sets read them."""
    if len(experiment.data) < 2:
        return []

    def data_of(reduce: Reduce) -> set[str | None]:
        return {experiment.run(u.run).data for u in run_uses(reduce.body, experiment, sets=False)}

    found = [n for n in everything(experiment) if isinstance(n, Reduce) and ITEM not in n.dims]
    fitted = [
        part
        for fit in experiment.fits if fit.data == data
        for v in fit.variants
        for part in (v.body, v.target, v.scored) if part is not None
    ]  # fmt: skip
    return [*(reduce for reduce in found if data_of(reduce) == {data}), *fitted]


def _asked(program: Program, experiment: Experiment) -> list[Value]:
    """What is asked of an experiment on any data set."""
    if experiment.wanted or experiment.name.startswith(CONDITIONS):
        chosen = [v for v in experiment.values if v.kind != "let"]
    else:
        read = _read_of(program, experiment, wanted_only=True)
        chosen = [v for v in experiment.values if v.name in read]
    if experiment.wanted:
        others = _read_of(program, experiment, wanted_only=False)
        lets = [v for v in experiment.values if v.kind == "let" and v.name in others]
        chosen += [v for v in lets if all(v is not c for c in chosen)]
    return chosen


def _runs(value: Value, experiment: Experiment) -> list[Run]:
    """The runs that a value reads; those that fits are made from only where it reads no others."""
    own, fitted = (
        [experiment.run(u.run) for v in value.variants for u in run_uses(v.value, experiment, fits=fits)]
        for fits in (False, True)
    )
    return own or fitted


def _read_of(program: Program, experiment: Experiment, *, wanted_only: bool) -> set[str]:
    """The names of an experiment's values that some experiment reads."""
    readers = [e for e in program.experiments if e.wanted or not wanted_only]
    return {r.name for e in readers for r in references(e) if r.experiment == experiment.name}


def _applies(program: Program, value: Value, experiment: Experiment, data: str) -> bool:
    """Whether a value is about this data set: its runs have their prompts there."""
    runs = _runs(value, experiment)
    fixed = [r.data for r in runs if r.data is not None]
    if fixed and all(r.data is not None for r in runs):
        return fixed[0] == data
    spec = next(d for d in program.data if d.name == data)
    return all(v.prompt in spec.prompts for r in runs if r.data is None for v in r.variants)
