"""What the experiments of a file ask of each data set: answers of one token, prompts of equal length."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from glassbox_dsl.language.circuit_nodes import Exchanged, Found
from glassbox_dsl.language.indices import is_point
from glassbox_dsl.language.program import (
    AllCells,
    AnyOf,
    Arithmetic,
    At,
    Between,
    Covered,
    Dimension,
    Direction,
    Experiment,
    Index,
    MetricCall,
    Not,
    OverDimension,
    Position,
    Reduce,
    Reference,
    SiteRead,
    Swept,
    Tuples,
)
from glassbox_dsl.language.prompts_read import prompts_read
from glassbox_dsl.language.set_nodes import Largest, SetExpr, SetIndex, SetReference, Where
from glassbox_dsl.language.technique_nodes import Expansion, FitVariant, Grad
from glassbox_dsl.library.metric import metrics
from glassbox_dsl.resolve.data import DataNeeds
from glassbox_dsl.syntax import nodes
from glassbox_dsl.vocabulary.axes import POSITION_AXES
from glassbox_dsl.vocabulary.sites import sites


def data_needs(experiments: Sequence[Experiment], data: str) -> DataNeeds:
    """Everything that the experiments ask of one data set."""
    one_token: set[str] = set()
    aligned: set[tuple[str, str]] = set()
    after: set[tuple[str, str]] = set()
    extra: dict[str, nodes.Expr] = {}
    behind: set[tuple[str, int]] = set()
    for experiment in experiments:
        if data not in experiment.data:
            continue
        extra.update(experiment.inline_answers)
        reads = _Reads(experiment, {e.name: e for e in experiments}, data)
        for node, around in _roots(experiment, data, reads):
            for answer, prompts, one in _answers(node, around, reads):
                one_token |= {answer} if one else set()
                after |= {(answer, prompt) for prompt in prompts}
        aligned |= set(_aligned(experiment, data, reads))
        behind |= {
            (variant.prompt, variant.generation.max_new_tokens)
            for run in experiment.runs
            if _over(experiment, run.name, data)
            for variant in run.variants
            if variant.generation is not None
        }
    return DataNeeds(
        one_token=frozenset(one_token), aligned=frozenset(aligned), answers_after=frozenset(after),
        extra_answers=tuple(extra.items()), behind=tuple(sorted(behind)),
    )  # fmt: skip


def _over(experiment: Experiment, run: str, data: str) -> bool:
    return experiment.run(run).data in (None, data)


@dataclass(frozen=True)
class _Reads:
    """The prompts of one data set that values of an experiment read."""

    experiment: Experiment
    others: Mapping[str, Experiment]
    data: str

    def __call__(self, node: nodes.Node) -> list[str]:
        return prompts_read(node, self.experiment, self.others.get, self.data)


def _roots(experiment: Experiment, data: str, reads: _Reads) -> Iterator[tuple[nodes.Node, list[str]]]:
    """Every value of an experiment, right sides of edits included, with the prompts it is about."""
    for value in experiment.values:
        around = reads(value)
        yield from ((node, around) for node in (*(v.value for v in value.variants), *value.dimensions))
    yield from ((fit, reads(fit)) for fit in experiment.fits)
    for run in experiment.runs:
        if _over(experiment, run.name, data):
            for variant in run.variants:
                for edit in variant.edits:
                    around = list(dict.fromkeys([variant.prompt, *reads(edit.value)]))
                    yield from ((node, around) for node in (edit.value, *edit.index))
            yield from ((node, []) for node in run.dimensions)


def _answers(
    node: nodes.Node, around: list[str], reads: _Reads, sloped: bool = False
) -> Iterator[tuple[str, list[str], bool]]:
    """(answer, prompts it follows, whether it must be one token) of every metric call and direction below a node.

    An answer is what it adds to a prompt: to those that the metric reads, through lets and measures too, or where it
    reads none, to those of the value `around` it. Where slopes are taken (`sloped`) it has to be one token.
    """
    if isinstance(node, MetricCall) and node.answer is not None:
        at_end = isinstance(node.at, Position) and node.at.label is None and node.at.part == "last"
        one = not metrics()[node.metric].several_tokens or node.run is None or not at_end
        yield node.answer.name, reads(node) or around, one or sloped
    if isinstance(node, Direction):
        yield node.answer.name, around, True
    sloped = sloped or isinstance(node, Found | Grad | Expansion)
    for child in nodes.children(node):
        trained = isinstance(node, FitVariant) and child is node.scored
        yield from _answers(child, around, reads, sloped or trained)


# ---------------------------------------------------------------- prompts compared position by position


def _aligned(experiment: Experiment, data: str, reads: _Reads) -> Iterator[tuple[str, str]]:
    for run in experiment.runs:
        if not _over(experiment, run.name, data):
            continue
        for variant in run.variants:
            by_number: set[str] = set()
            for edit in variant.edits:
                by_number |= set(_numbered(edit.value, reads, run.dimensions))
            yield from ((variant.prompt, other) for other in sorted(by_number) if other != variant.prompt)
    for value in experiment.values:
        for reading in value.variants:
            found = _numbered(reading.value, reads, value.dimensions)
            yield from combinations(sorted(set(found)), 2)


def _numbered(node: nodes.Node, reads: _Reads, dimensions: tuple[Dimension, ...]) -> Iterator[str]:
    """The prompts that a value reads at positions given by number; `dimensions` are those its variables sweep.

    What a set reads stays inside it, unless its members are positions.
    """
    if isinstance(node, Found | Exchanged):
        for use in (node.clean, node.corrupt) if isinstance(node, Found) else (node.other,):
            yield from () if use is None else reads(use)
        return
    if isinstance(node, SetExpr) and not set(node.axes) & set(POSITION_AXES):
        return
    if isinstance(node, SiteRead):
        named = _named_variables(dimensions)
        indices = [
            i for i, axis in zip(node.index, sites()[node.site].axes, strict=True) if axis in POSITION_AXES
        ]
        if any(by_number(i, named) for i in indices):
            yield from reads(node.run)
    elif isinstance(node, MetricCall) and node.run is not None and node.at is not None:
        if by_number(node.at, _named_variables(dimensions)):
            yield from reads(node.run)
    elif isinstance(node, Reference | SetReference) and node.experiment == reads.experiment.name:
        value = reads.experiment.value(node.kind, node.name)
        for variant in value.variants:
            yield from _numbered(variant.value, reads, value.dimensions)
    inner = (
        (*dimensions, *node.over)
        if isinstance(node, Reduce | OverDimension | Where | Largest)
        else dimensions
    )
    for child in nodes.children(node):
        yield from _numbered(child, reads, inner)


def _named_variables(dimensions: Sequence[Dimension]) -> frozenset[str]:
    """The variables that stand for named positions only."""
    named: dict[str, list[bool]] = defaultdict(list)
    for dimension in dimensions:
        for place, variable in enumerate(dimension.variables):
            members = [row[place].index for row in dimension.members or ()]
            named[variable.name].append(
                bool(members) and not any(m is None or by_number(m, frozenset()) for m in members)
            )
    return frozenset(name for name, known in named.items() if all(known))


def by_number(index: Index, named: frozenset[str]) -> bool:
    """Whether an index gives positions by number rather than by name."""
    match index:
        case Position():
            return False
        case At(value=value):
            return value >= 0
        case Swept(variable=name):
            return name not in named
        case Arithmetic():
            return (
                by_number(index.left, named)
                if not isinstance(index.left, At)
                else by_number(index.right, named)
            )
        case Between():
            return by_number(index.low, named) or by_number(index.high, named)
        case AnyOf():
            return any(by_number(i, named) for i in index.items)
        case Not():
            return True
        case Tuples():
            return any(by_number(i, named) for row in index.items for i in row)
        case SetIndex():
            return True
        case AllCells() | Covered():
            return True
    return not is_point(index)
