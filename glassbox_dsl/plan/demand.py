"""What a context has to run: walks the wanted values and lists runs, reads and taps in the order they are needed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from glassbox_dsl.language.circuit_nodes import Exchanged, Found
from glassbox_dsl.language.program import (
    At,
    Depth,
    Edit,
    Experiment,
    Expr,
    Index,
    MetricCall,
    Reference,
    Run,
    RunUse,
    SiteRead,
    Value,
)
from glassbox_dsl.language.set_nodes import SetExpr, SetReference
from glassbox_dsl.language.technique_nodes import Expansion, FitUse, GeneratedText, Grad
from glassbox_dsl.library.metric import metrics
from glassbox_dsl.plan.copies import by_full_passes, copied_read, is_here
from glassbox_dsl.plan.setting import Setting
from glassbox_dsl.plan.taps import Tap, constant, host_order, logits_of, tap_of
from glassbox_dsl.syntax import nodes
from glassbox_dsl.vocabulary.sites import sites


@dataclass
class Wanted:
    """What is read of one run.

    `layers[site]` is None for all layers; `positions[site]` the one position that is read everywhere, or None.
    """

    run: Run
    layers: dict[str, set[int | Depth] | None] = field(default_factory=dict)
    positions: dict[str, Index | None] = field(default_factory=dict)
    taps: list[Tap] = field(default_factory=list)
    extensions: list[str] = field(default_factory=list)


@dataclass
class Demand:
    """The runs of one experiment in an order in which each comes after those it reads.

    They are read by `values` of it, and by `more` expressions that other data sets ask for.
    """

    experiment: Experiment
    setting: Setting | None = None
    values: Sequence[Value] = ()
    more: Sequence[Expr] = ()
    steps: dict[str, Wanted] = field(default_factory=dict)

    def computed_with(self, wanted: Wanted) -> list[str]:
        """The runs that a run's edits compute with, directly or through runs that they copy, in order."""
        found: dict[str, None] = {}
        for variant in wanted.run.variants:
            for edit in variant.edits:
                copied = self.copied(edit, wanted.run)
                uses = (
                    [copied.run] if copied is not None else run_uses(edit.value, self.experiment, sets=False)
                )
                for use in uses:
                    found |= dict.fromkeys(self.computed_with(self.steps[use.run]))
                    if copied is None:
                        found[use.run] = None
        return list(found)

    def copied(self, edit: Edit, run: Run) -> SiteRead | None:
        """The read of an edit whose rows are copied where the run is made, so that nothing need be kept for it."""
        return None if self.setting is None else copied_read(edit, run, self.setting)

    def beside(self, read: SiteRead | None, host: Run) -> bool:
        """Whether what a metric of two runs compares with is at hand where its host is made."""
        if self.setting is None or read is None or by_full_passes(host):
            return False
        return is_here(self.experiment.run(read.run.run), self.setting)

    def ordered(self) -> list[Wanted]:
        """Runs after the runs they need."""
        done: dict[str, Wanted] = {}
        for name in self.steps:
            self._place(name, done)
        return list(done.values())

    def _place(self, name: str, done: dict[str, Wanted]) -> None:
        if name in done:
            return
        for source in dict.fromkeys(self._sources(self.steps[name])):
            self._place(source, done)
        done[name] = self.steps[name]

    def _sources(self, wanted: Wanted) -> Iterator[str]:
        """The runs that a run's edits, the sets they write to and the domains of its binders read."""
        for node in (*wanted.run.dimensions, *(e for v in wanted.run.variants for e in v.edits)):
            yield from (use.run for use in run_uses(node, self.experiment))
        for tap in wanted.taps:
            if tap.other is not None:
                yield tap.other.run.run


def demand(
    experiment: Experiment,
    wanted: list[Value],
    setting: Setting | None = None,
    more: Sequence[Expr] = (),
) -> Demand:
    """Everything that the wanted values of an experiment read, directly or through edits, sets and lets.

    With a setting, rows that edits copy there and logits that are compared there are not asked for. `more`:
    expressions that are evaluated here on behalf of another data set.
    """
    found = Demand(experiment, setting, wanted, more)
    for value in wanted:
        _walk_value(value, found, set())
    for expr in more:
        _walk(expr, found, set())
    return found


def _walk_value(value: Value, found: Demand, seen: set[tuple[str, str]]) -> None:
    """What a declaration reads, and what the domains of its binders read."""
    for node in (*value.dimensions, *(v.value for v in value.variants)):
        _walk(node, found, seen)


def _walk(node: nodes.Node, found: Demand, seen: set[tuple[str, str]]) -> None:
    match node:
        case SiteRead():
            _want_site(node, found)
        case MetricCall():
            _want_metric(node, found)
            for part in (node.run, node.other, node.value, node.other_value, node.token, node.at):
                if part is not None:
                    _walk(part, found, seen)
            return
        case GeneratedText():
            for variant in found.experiment.run(node.run.run).variants:
                for edit in (*variant.edits, *variant.generated):
                    _walk(edit, found, seen)
        case Grad() | Expansion():
            want_both_logits(node, found)
        case Found() | Exchanged():
            if isinstance(node, Found):
                want_both_logits(node.metric, found)
            for use in nodes.children(node):
                if isinstance(use, RunUse):
                    _want_passes(use, found, seen)
        case FitUse() if ("fit", node.fit) not in seen:
            seen.add(("fit", node.fit))
            _walk(found.experiment.fit(node.fit), found, seen)
        case Reference() | SetReference() if node.experiment == found.experiment.name:
            if (node.kind, node.name) not in seen:
                seen.add((node.kind, node.name))
                _walk_value(found.experiment.value(node.kind, node.name), found, seen)
    for child in nodes.children(node):
        _walk(child, found, seen)


def _step(use: RunUse, found: Demand) -> Wanted:
    """The step of a run, with what its edits, their sets and its binders' domains read."""
    if use.run not in found.steps:
        run = found.experiment.run(use.run)
        found.steps[use.run] = Wanted(run)
        for node in sets_of(run):
            _walk(node, found, set())
        for variant in run.variants:
            for edit in variant.edits:
                copied = found.copied(edit, run)
                if copied is not None:
                    _step(copied.run, found)
                else:
                    _walk(edit.value, found, set())
    return found.steps[use.run]


def _want_passes(use: RunUse, found: Demand, seen: set[tuple[str, str]]) -> None:
    """All that it takes to pass through a run again, by itself: everything that its edits read is kept."""
    _step(use, found)
    if ("passes", use.run) not in seen:
        seen.add(("passes", use.run))
        for variant in found.experiment.run(use.run).variants:
            for edit in variant.edits:
                _walk(edit, found, seen)


def _want_site(read: SiteRead, found: Demand) -> None:
    step = _step(read.run, found)
    site, axes = sites()[read.site].kept, sites()[read.site].axes
    first = read.index[0] if axes[:1] == ("layer",) else None
    if isinstance(first, At | Depth):
        layers = step.layers.setdefault(site, set())
        if layers is not None:
            layers.add(first.value if isinstance(first, At) else first)
    else:
        step.layers[site] = None
    place = axes.index("pos") if "pos" in axes else None
    at = read.index[place] if place is not None and constant(read.index[place]) and not read.copied else None
    if site not in step.positions:
        step.positions[site] = at
    elif step.positions[site] != at:
        step.positions[site] = None


def want_both_logits(node: nodes.Node, found: Demand) -> None:
    """The logits of both runs of every metric of two: where its gradient is taken it is made from them."""
    for call in nodes.everything(node):
        if isinstance(call, MetricCall):
            for use, at in ((call.run, call.at), (call.other, call.other_at)):
                if use is not None and call.other is not None:
                    _want_site(logits_of(use, at, call), found)


def _want_metric(call: MetricCall, found: Demand) -> None:
    tapped = tap_of(call, host_order(found.experiment.runs))
    if tapped is None:
        for use, at in ((call.run, call.at), (call.other, call.other_at)):
            if use is not None:
                _want_site(logits_of(use, at, call), found)
        return
    host, tap = tapped
    step = _step(host, found)
    if tap not in step.taps:
        step.taps.append(tap)
    if tap.other is not None:
        if found.beside(tap.other, step.run):
            _step(tap.other.run, found)
        else:
            _want_site(tap.other, found)
    if call.answer is not None and metrics()[call.metric].several_tokens:
        step.extensions.append(call.answer.name)


def run_uses(
    node: nodes.Node, experiment: Experiment, *, sets: bool = True, fits: bool = True
) -> Iterator[RunUse]:
    """The runs that a value reads, through lets and measures too, and (unless told not to) the sets and fits in it."""
    own = {experiment.name: experiment}
    yield from (use for _, use in uses_in(node, experiment, own, sets=sets, fits=fits))


def uses_in(
    node: nodes.Node,
    experiment: Experiment,
    known: Mapping[str, Experiment],
    *,
    sets: bool = True,
    fits: bool = True,
) -> Iterator[tuple[Experiment, RunUse]]:
    """The runs that a value of an experiment reads, each with its own; declarations of `known` ones are followed."""
    if isinstance(node, SetExpr) and not sets:
        return
    if isinstance(node, RunUse):
        yield experiment, node
    if isinstance(node, FitUse) and fits:
        yield from uses_in(experiment.fit(node.fit), experiment, known, sets=sets, fits=fits)
    if isinstance(node, Reference | SetReference) and node.experiment in known:
        home = known[node.experiment]
        value = home.value(node.kind, node.name)
        for part in (*value.dimensions, *(v.value for v in value.variants)):
            yield from uses_in(part, home, known, sets=sets, fits=fits)
    for child in nodes.children(node):
        yield from uses_in(child, experiment, known, sets=sets, fits=fits)


def sets_of(run: Run) -> Iterator[SetExpr]:
    """The sets that decide which cells a run has and which its edits write: what they read is run before it."""
    for node in (*run.dimensions, *(e for v in run.variants for e in v.edits)):
        yield from _sets_in(node)


def _sets_in(node: nodes.Node) -> Iterator[SetExpr]:
    if isinstance(node, SetExpr):
        yield node
        return
    for child in nodes.children(node):
        yield from _sets_in(child)


def answers_used(experiment: Experiment, wanted: list[Value]) -> Iterator[tuple[str, str | None, bool]]:
    """(answer, run or None, whether one token is needed) for every metric call."""
    for value in wanted:
        for variant in value.variants:
            yield from _answers(variant.value)
    for run in experiment.runs:
        for run_variant in run.variants:
            for edit in run_variant.edits:
                yield from _answers(edit.value)


def _answers(node: nodes.Node) -> Iterator[tuple[str, str | None, bool]]:
    from glassbox_dsl.language.program import AnswerUse

    if isinstance(node, MetricCall) and node.answer is not None:
        one = not metrics()[node.metric].several_tokens or node.run is None
        yield node.answer.name, node.run.run if node.run is not None else None, one
    elif isinstance(node, AnswerUse):
        yield node.name, None, True
    for child in nodes.children(node):
        if not (isinstance(node, MetricCall) and isinstance(child, AnswerUse)):
            yield from _answers(child)


__all__ = ["Demand", "Expr", "Wanted", "answers_used", "demand", "run_uses", "sets_of", "uses_in"]
