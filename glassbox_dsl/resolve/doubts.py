"""What can be run and is likely a mistake all the same: published ones, told from the program and its models' configs.

Each doubt is a function of a few lines that yields warnings with a place; none of them reads tokens or weights.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from glassbox_dsl.diagnostics import Diagnostic
from glassbox_dsl.language.circuit_nodes import Found
from glassbox_dsl.language.program import (
    AllCells,
    At,
    Dimension,
    Edit,
    Experiment,
    Expr,
    Index,
    MetricCall,
    Operation,
    Program,
    Reduce,
    Reference,
    RunUse,
    SiteRead,
    Swept,
    Value,
)
from glassbox_dsl.language.technique_nodes import FitValue, Grad
from glassbox_dsl.resolve import doubt_errors as errors
from glassbox_dsl.resolve.facts import ModelFacts
from glassbox_dsl.resolve.families import family
from glassbox_dsl.resolve.traits import TraitKey, traits_of
from glassbox_dsl.source import Span
from glassbox_dsl.syntax.nodes import every
from glassbox_dsl.vocabulary.axes import ITEM, POSITION_AXES
from glassbox_dsl.vocabulary.sites import sites

MANY_EDGES = 50_000
"""GPT-2 small, on which such searches were published, has 32,491."""
TURNED = frozenset({"attn.q", "attn.k"})
GROUPED = frozenset({"attn.k", "attn.v", "attn.k_pre"})
NO_SINK = frozenset({"embed", "pos_embed"})
PROBES = frozenset({"logistic", "ridge"})


def doubts(program: Program, facts: Mapping[str, ModelFacts]) -> Iterator[Diagnostic]:
    """Every doubt about the experiments that a file declares itself."""
    for experiment in program.experiments:
        if not experiment.wanted:
            continue
        models = {name: facts[name] for name in experiment.models if name in facts}
        for node in every(experiment, Reduce, Grad, Edit, Found, SiteRead):
            if isinstance(node, Reduce):
                yield from _first_positions(node)
            elif isinstance(node, Grad):
                yield from _flat_gradients(node, experiment)
            elif isinstance(node, Edit) and node.site in TURNED:
                yield from _turned(node, models)
            elif isinstance(node, Found) and node.threshold is not None:
                yield from _many_edges(node, models)
            if isinstance(node, Edit | SiteRead) and node.site in GROUPED:
                yield from _shared_heads(node, models)
        for value in experiment.values:
            yield from _small_denominators(value)
        yield from _without_control(experiment)
        yield from _coarse(program, experiment)


# ---------------------------------------------------------------- means


def _first_positions(mean: Reduce) -> Iterator[Diagnostic]:
    """Means over positions of vectors of the stream, or of their norms, with position 0 among them."""
    whole = {d.name for d in mean.over if d.members is None and _on_positions(d)}
    if mean.op not in ("mean", "std") or not whole:
        return
    for read in every(mean.body, SiteRead):
        if read.feature != "dim" or read.site in NO_SINK:
            continue
        axes = zip(read.index, sites()[read.site].axes, strict=True)
        if any(axis in POSITION_AXES and _every(index, whole) for index, axis in axes):
            yield errors.first_position(mean.span, read.site)
            return


def _on_positions(dimension: Dimension) -> bool:
    return any(v.axis in POSITION_AXES for v in dimension.variables)


def _every(index: Index, swept: set[str]) -> bool:
    """Whether an index takes every position, the first too."""
    return isinstance(index, AllCells) or (isinstance(index, Swept) and index.variable in swept)


# ---------------------------------------------------------------- circuits


def _many_edges(search: Found, models: Mapping[str, ModelFacts]) -> Iterator[Diagnostic]:
    """Edges tried one by one on a model that has very many."""
    for name, facts in models.items():
        if facts.n_edges > MANY_EDGES:
            yield errors.many_edges(search.span, name, facts.n_edges)


# ---------------------------------------------------------------- queries, keys, values


def _turned(edit: Edit, models: Mapping[str, ModelFacts]) -> Iterator[Diagnostic]:
    """Queries and keys that come from another position, on models with rotary positions."""
    here = _position(edit)
    for read in every(edit.value, SiteRead):
        if read.site in TURNED and not read.copied and not _alike(here, _position(read)):
            if any(_rotary(one) for one in models.values()):
                yield errors.turned(edit.span, edit.site)
            return


def _position(place: Edit | SiteRead) -> Index:
    axes = sites()[place.site].axes
    return next(i for i, axis in zip(place.index, axes, strict=True) if axis in POSITION_AXES)


def _alike(one: Index, other: Index) -> bool:
    """Whether two indices name the same position; where they stand in the text does not count."""
    return type(one) is type(other) and all(
        getattr(one, name) == getattr(other, name) for name in one._fields if name != "span"
    )


def _rotary(facts: ModelFacts) -> bool:
    traits = traits_of(family(facts.family))
    said = traits.root.get("positions") if traits is not None else None
    return (said.default if isinstance(said, TraitKey) else said) == "rotary"


def _shared_heads(place: Edit | SiteRead, models: Mapping[str, ModelFacts]) -> Iterator[Diagnostic]:
    """Bare numbers on the axis of key-value heads, on models whose query heads share them."""
    number = place.index[sites()[place.site].axes.index("kv_head")]
    if not isinstance(number, At) or (isinstance(place, SiteRead) and place.copied) or _by_name(number.span):
        return
    for name, facts in models.items():
        size = facts.n_heads // facts.n_kv_heads
        if facts.n_kv_heads < facts.n_heads:
            first = number.value % facts.n_kv_heads * size
            yield errors.shared(number.span, place.site, number.value, first, first + size - 1, name)
            return


def _by_name(index: Span) -> bool:
    """Whether an index is written with the name of its axis."""
    return index.source.text[: index.start].rstrip().endswith(":")


# ---------------------------------------------------------------- gradients and quotients


def _flat_gradients(gradient: Grad, experiment: Experiment) -> Iterator[Diagnostic]:
    """Divergences of a pass from itself."""
    for call in every(gradient.scalar, MetricCall):
        if call.metric == "kl" and call.run and call.other:
            passes = [_pass(use, experiment) for use in (call.run, call.other)]
            if passes[0] is not None and passes[0] == passes[1]:
                yield errors.flat(call.span)


def _pass(use: RunUse, experiment: Experiment) -> tuple[str, str | None, str | None] | None:
    """The prompt, data set and model of a pass without edits."""
    run = experiment.run(use.run)
    if len(run.variants) != 1 or run.variants[0].edits or run.generates:
        return None
    return run.variants[0].prompt, run.data, run.model


def _small_denominators(value: Value) -> Iterator[Diagnostic]:
    """Quotients below a mean over items: written in one, or below the outermost operator of a measure."""
    for variant in value.variants:
        if value.kind == "measure" and value.has_item and not value.ratio:
            yield from _quotients(variant.value)
        for mean in every(variant.value, Reduce):
            if mean.op == "mean" and any(d.name == ITEM for d in mean.over):
                yield from _quotients(mean.body)


def _quotients(value: Expr) -> Iterator[Diagnostic]:
    """Quotients of each item that are added up or averaged: those under `log` or a comparison are not."""
    if isinstance(value, Operation):
        if value.op == "/" and _may_vanish(value.operands[1]):
            yield errors.small_denominator(value.span)
        elif value.op in ("+", "-", "*", "/", "negate"):
            for operand in value.operands:
                yield from _quotients(operand)


def _may_vanish(value: Expr) -> bool:
    """Whether a denominator differs between items and is a metric or a difference."""
    if ITEM not in value.dims:
        return False
    if isinstance(value, Operation) and value.op == "-":
        return True
    return isinstance(value, MetricCall) and value.metric in ("logit", "prob", "kl")


# ---------------------------------------------------------------- probes and precision


def _without_control(experiment: Experiment) -> Iterator[Diagnostic]:
    """Probes whose score is read in an experiment that has no control."""
    if any(v.control is not None for fit in experiment.fits for v in fit.variants):
        return
    scored = {n.use.fit for n in every(experiment, FitValue) if n.part in ("accuracy", "score")}
    for fit in experiment.fits:
        if fit.name in scored and any(v.kind in PROBES for v in fit.variants):
            yield errors.no_control(fit.span, fit.name)


def _coarse(program: Program, experiment: Experiment) -> Iterator[Diagnostic]:
    """Differences between runs on models in bfloat16 or float16, where some run has edits."""
    edited = any(variant.edits for run in experiment.runs for variant in run.variants)
    compared = (n for n in every(experiment, Operation) if n.op in ("-", "/"))
    if not edited or not any(_of_runs(n) for n in compared):
        return
    for model in program.models:
        if model.name in experiment.models and model.dtype != "float32":
            yield errors.coarse(model.span, model.name, model.dtype)


def _of_runs(operation: Operation) -> bool:
    """Whether an operation compares metrics of different runs."""
    return len({use.run for use in every(operation, RunUse)}) > 1 or any(
        isinstance(n, Reference) for n in operation.operands
    )
