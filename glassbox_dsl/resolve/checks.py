"""What a model does not have: sites, layers and widths are checked against its config before weights are loaded."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import product

from glassbox_dsl.diagnostics import Diagnostic
from glassbox_dsl.language.indices import swept_variables
from glassbox_dsl.language.program import (
    AllCells,
    AnyOf,
    Arithmetic,
    At,
    Between,
    Covered,
    Depth,
    Edit,
    Experiment,
    Expr,
    Index,
    Not,
    Operation,
    OverDimension,
    Reduce,
    Reference,
    Run,
    ScrubNode,
    SiteRead,
    Swept,
    Tuples,
    Unembed,
)
from glassbox_dsl.language.set_nodes import SetIndex
from glassbox_dsl.language.technique_nodes import CodeChange, CodeRead, FitValue, FitVariant, Grad
from glassbox_dsl.library.value import value_functions
from glassbox_dsl.resolve import errors
from glassbox_dsl.resolve.cells import Cell, Row, Sizes, resolve_dimension
from glassbox_dsl.resolve.facts import ModelFacts
from glassbox_dsl.resolve.set_checks import check_sets
from glassbox_dsl.resolve.written_cells import WrittenCells
from glassbox_dsl.source import Span
from glassbox_dsl.syntax import nodes
from glassbox_dsl.vocabulary.axes import MODEL, POSITION_AXES
from glassbox_dsl.vocabulary.sites import sites

LONGEST = 64
"""Positions assumed where only a config is known: enough to tell that a domain is not empty."""


def check_experiment(
    experiment: Experiment,
    facts: ModelFacts,
    model: str,
    others: Sequence[Experiment] = (),
    items: Mapping[str, int] | None = None,
) -> tuple[Diagnostic, ...]:
    """Everything in an experiment that does not fit one model.

    `others` are experiments it may read measures of, `items` how many items data sets have, where that is known.
    """
    sizes = Sizes(facts, n_items=2, longest=LONGEST, model=model, latents=experiment.latents)
    found = list(_absent(experiment, facts, model))
    found += _dictionaries(experiment, sizes)
    found += _domains(experiment, sizes)
    for run in experiment.runs:
        if run.model in (None, model):
            found += _run(run, experiment, sizes)
    for value in experiment.values:
        for variant in value.variants:
            found += _expression(variant.value, experiment, sizes)
    for fit in experiment.fits:
        found += _expression(fit, experiment, sizes)
    named = {e.name: e for e in (*others, experiment)}
    found += WrittenCells(experiment, named, sizes, items or {}).check()
    found += check_sets(experiment, facts, model)
    return tuple(dict.fromkeys(found))


def check_across(experiment: Experiment, facts: Mapping[str, ModelFacts]) -> Iterator[Diagnostic]:
    """What one model lacks that another one needs of it."""
    yield from _widths_across(experiment, facts)
    for run in experiment.runs:
        for model in facts if run.model is None else (run.model,):
            if model in facts:
                yield from _layers_across(run, experiment, model, facts)


def _layers_across(
    run: Run, experiment: Experiment, model: str, facts: Mapping[str, ModelFacts]
) -> Iterator[Diagnostic]:
    """Layers that the edits of a run on one model take from another model, which lacks them."""
    sizes = Sizes(facts[model], n_items=2, longest=LONGEST, model=model, latents=experiment.latents)
    for variant in run.variants:
        for read in (n for edit in variant.edits for n in nodes.every(edit.value, SiteRead)):
            if not sites()[read.site].has_layer:
                continue
            other = experiment.run(read.run.run).model
            if other in (None, model) or other not in facts:
                continue
            there = replace(sizes, facts=facts[other], model=other)
            cells = _cells_of(read.index[0], run, sizes)
            numbers = {index_number(read.index[0], "layer", one, there) for one in cells}
            gone = {n for n in numbers if n is not None and n >= 0} - {*facts[other].layers_with(read.site)}
            if gone:
                yield errors.outside(read.span, "layer", str(min(gone)), other, there.of("layer"))


def _cells_of(index: Index, run: Run, sizes: Sizes) -> Iterator[dict[str, Cell]]:
    """What the variables of an index take in the cells of a run; the run's other variables do not count."""
    used = set(swept_variables(index))
    known = [d for d in run.dimensions if d.members_from is None and used & {v.name for v in d.variables}]
    for rows in product(*(resolve_dimension(d, sizes)[0] for d in known)):
        yield {
            v.name: cell
            for d, row in zip(known, rows, strict=True)
            for v, cell in zip(d.variables, row, strict=True)
        }


def _widths_across(experiment: Experiment, facts: Mapping[str, ModelFacts]) -> Iterator[Diagnostic]:
    """Vectors that a reduction over `model` would have to put together although models differ in their width."""
    for node in nodes.every(experiment, Reduce, OverDimension):
        if MODEL not in node.contexts:
            continue
        for value in (node.body,) if isinstance(node, Reduce) else node.operands:
            widths = (
                {m: width_of(value, experiment, one) for m, one in facts.items()} if value.feature else {}
            )
            if len(set(widths.values())) > 1:
                yield errors.models_differ(node.span, widths)


def _absent(experiment: Experiment, facts: ModelFacts, model: str) -> Iterator[Diagnostic]:
    """Sites that the family lacks, with its reason."""
    for node in nodes.every(experiment, Grad, FitVariant, SiteRead, Edit, ScrubNode):
        if isinstance(node, Grad) and (reason := facts.read_only.get(node.read.site)) is not None:
            place = _site_place(node.read.span, node.read.site)
            yield errors.no_gradient(place, node.read.site, facts.family, reason)
        if isinstance(node, FitVariant) and isinstance(node.body, SiteRead) and node.scored is not None:
            site = node.body.site
            if site in facts.read_only:  # what is exchanged is written
                place = _site_place(node.body.span, site)
                yield errors.read_only_site(place, site, facts.family, facts.read_only[site])
        if not isinstance(node, SiteRead | Edit | ScrubNode):
            continue
        place = _site_place(node.span, node.site)
        if node.site in facts.absent:
            yield errors.absent_site(place, node.site, facts.family, facts.absent[node.site])
        elif isinstance(node, Edit) and node.site in facts.read_only:
            yield errors.read_only_site(place, node.site, facts.family, facts.read_only[node.site])


def _dictionaries(experiment: Experiment, sizes: Sizes) -> Iterator[Diagnostic]:
    """Dictionaries of another width than the model's, or above its layers."""
    for one in experiment.dictionaries:
        if one.site in sizes.facts.absent:
            continue
        width = sizes.facts.feature_size(one.site)
        if one.layer not in sizes.facts.layers_with(one.site):
            yield errors.no_such_layer(one.span, one.site, sizes.facts.layers_with(one.site), sizes.model)
        elif width is not None and width != one.width:
            yield errors.widths_differ(one.span, one.width, width, sizes.model)


def _site_place(span: Span, site: str) -> Span:
    """Where a site is named in the text of what reads or writes it; all of that where a variable stands for it."""
    at = span.text.find(site)
    return span if at < 0 else Span(span.source, span.start + at, span.start + at + len(site))


def _domains(experiment: Experiment, sizes: Sizes) -> Iterator[Diagnostic]:
    families = [*(r.dimensions for r in experiment.runs), *(v.dimensions for v in experiment.values)]
    families += [f.dimensions for f in experiment.fits]
    for dimensions in families:
        for dimension in dimensions:
            if dimension.members_from is not None:
                continue
            rows, warnings = resolve_dimension(dimension, sizes)
            if rows:
                yield from warnings
            else:
                yield errors.no_cells(dimension.span, dimension.name, sizes.model)


# ---------------------------------------------------------------- edits


def _run(run: Run, experiment: Experiment, sizes: Sizes) -> Iterator[Diagnostic]:
    families = [(d, resolve_dimension(d, sizes)[0]) for d in run.dimensions if d.members_from is None]
    if any(not rows for _, rows in families):
        return  # said already: the family has no cell
    for variant in run.variants:
        for edit in variant.edits:
            if edit.site in sizes.facts.absent or edit.site in sizes.facts.read_only:
                continue
            if not _touches(edit, families, sizes):
                yield errors.touches_nothing(edit.span, sizes.model)
            yield from _edit_width(edit, experiment, sizes)
            yield from _expression(edit.value, experiment, sizes)
            for index in edit.index:
                yield from _expression(index, experiment, sizes)


def _touches(edit: Edit, families: Sequence[tuple[object, tuple[Row, ...]]], sizes: Sizes) -> bool:
    """Whether the indices of an edit select something in some cell; positions are left to the run."""
    axes = sites()[edit.site].axes
    for choice in product(*(rows for _, rows in families)):
        cells = {
            v.name: cell
            for (dimension, _), row in zip(families, choice, strict=True)
            for v, cell in zip(dimension.variables, row, strict=True)  # type: ignore[attr-defined]
        }
        chosen = [
            _some(index, axis, cells, sizes, edit.site)
            for index, axis in zip(edit.index, axes, strict=True)
            if axis not in POSITION_AXES
        ]
        if all(chosen):
            return True
    return False


def _some(index: Index, axis: str, cells: dict[str, Cell], sizes: Sizes, site: str) -> bool:
    """Whether an index selects any cell of an axis that is not a position; sets from results may.

    Layers count that have the site: dense layers have no experts.
    """
    if isinstance(index, AllCells | Covered | SetIndex):
        return True
    if isinstance(index, Tuples):
        return index.complement or any(_some(row[0], axis, cells, sizes, site) for row in index.items)
    there = sizes.facts.layers_with(site) if axis == "layer" else range(sizes.of(axis, site))
    return any(chosen_by(index, i, axis, cells, sizes) for i in there)


def chosen_by(index: Index, coordinate: int, axis: str, cells: dict[str, Cell], sizes: Sizes) -> bool:
    """Whether an index selects one coordinate, given the cells of the variables."""
    match index:
        case AllCells() | Covered() | SetIndex():
            return True
        case Not(inner=SetIndex()):
            return True
        case Not():
            return not chosen_by(index.inner, coordinate, axis, cells, sizes)
        case AnyOf():
            return any(chosen_by(i, coordinate, axis, cells, sizes) for i in index.items)
        case Between():
            low, high = (index_number(i, axis, cells, sizes) for i in (index.low, index.high))
            return low is not None and high is not None and low <= coordinate <= high
        case Swept(variable=name) if name in cells and cells[name].whole:
            inner = cells[name].index
            return inner is not None and chosen_by(inner, coordinate, axis, cells, sizes)
        case Swept(variable=name) if name not in cells:
            return True
    return index_number(index, axis, cells, sizes) == coordinate


def index_number(index: Index, axis: str, cells: Mapping[str, Cell], sizes: Sizes) -> int | None:
    """The number of the cell that a point index names; None where that depends on more than the given cells."""
    match index:
        case At(value=value):
            return value + sizes.of(axis) if value < 0 else value
        case Depth(value=percent):
            return int(percent / 100 * (sizes.of(axis) - 1) + 0.5)
        case Swept(variable=name) if name in cells:
            cell = cells[name]
            return cell.at if cell.at is not None else (int(cell.number) if cell.number is not None else None)
        case Arithmetic(op=op):
            left, right = (
                index_number(index.left, axis, cells, sizes),
                index_number(index.right, axis, cells, sizes),
            )
            if left is None or right is None:
                return None
            return {"+": left + right, "-": left - right, "*": left * right}[op]
    return None


# ---------------------------------------------------------------- expressions


def _expression(root: nodes.Node, experiment: Experiment, sizes: Sizes) -> Iterator[Diagnostic]:
    """Written indices outside their axes, and values of the wrong width, anywhere in an expression."""
    for node in nodes.every(root, SiteRead, CodeRead, CodeChange, Unembed, Operation, FitVariant, FitValue):
        yield from _at(node, experiment, sizes)


def _at(node: nodes.Node, experiment: Experiment, sizes: Sizes) -> Iterator[Diagnostic]:
    if isinstance(node, SiteRead) and not node.copied and node.site not in sizes.facts.absent:
        yield from _outside(node, sizes)
    if isinstance(node, CodeRead | CodeChange):
        yield from _latents(node, experiment, sizes)
    if isinstance(node, Unembed):
        width = width_of(node.body, experiment, sizes.facts)
        if width is not None and width != sizes.facts.d_model:
            yield errors.not_residual(node.span, width, sizes.facts.d_model, sizes.model)
    widths = {
        w for value in _meeting(node, experiment)
        if (w := width_of(value, experiment, sizes.facts)) is not None
    }  # fmt: skip
    if len(widths) > 1:
        low, high = sorted(widths)[:2]
        yield errors.widths_differ(node.span, low, high, sizes.model)


def _meeting(node: nodes.Node, experiment: Experiment) -> tuple[Expr, ...]:
    """The values whose vectors meet in a node."""
    if isinstance(node, Operation):
        return node.operands
    if isinstance(node, FitVariant) and node.scored is not None and node.target is not None:
        return node.body, node.target
    if isinstance(node, FitValue) and node.body is not None:
        variants = experiment.fit(node.use.fit).variants
        taken = variants[0].body if node.use.rank is None else variants[0].target
        return (node.body, taken) if len(variants) == 1 and taken is not None else ()
    return ()


def _outside(read: SiteRead, sizes: Sizes) -> Iterator[Diagnostic]:
    """Written indices that select nothing on this model: there is no such cell, so the value is empty."""
    for index, axis in zip(read.index, sites()[read.site].axes, strict=True):
        if axis in POSITION_AXES or isinstance(index, Tuples) or swept_variables(index):
            continue
        if not _some(index, axis, {}, sizes, read.site):
            text = " ".join(index.span.text.split())
            if axis == "layer" and _some(index, axis, {}, sizes, "resid_pre"):
                yield errors.no_such_layer(
                    index.span, read.site, sizes.facts.layers_with(read.site), sizes.model
                )
            else:
                yield errors.outside(index.span, axis, text, sizes.model, sizes.of(axis, read.site))


def _latents(node: CodeRead | CodeChange, experiment: Experiment, sizes: Sizes) -> Iterator[Diagnostic]:
    """Written indices of latents that a dictionary does not have."""
    own = replace(sizes, latents=experiment.dictionary(node.dictionary).latents)
    for one in (node,) if isinstance(node, CodeRead) else node.changes:
        if one.latent is None or swept_variables(one.latent) or _some(one.latent, "latent", {}, own, ""):
            continue
        text = " ".join(one.latent.span.text.split())
        yield errors.outside(one.latent.span, "latent", text, node.dictionary, own.latents)


def _edit_width(edit: Edit, experiment: Experiment, sizes: Sizes) -> Iterator[Diagnostic]:
    width = width_of(edit.value, experiment, sizes.facts)
    wanted = sizes.facts.feature_size(edit.site)
    if width is not None and wanted is not None and width != wanted:
        yield errors.widths_differ(edit.span, width, wanted, sizes.model)


def width_of(value: Expr, experiment: Experiment, facts: ModelFacts) -> int | None:
    """The width of a value's vectors on a model; None for numbers, and where only the file tells."""
    if value.feature is None:
        return None
    if isinstance(value, SiteRead):
        return facts.feature_size(value.site)
    if value.feature == "vocab":
        return facts.vocab_size
    if (
        isinstance(value, Operation)
        and value.op in value_functions()
        and value_functions()[value.op].feature == "drop"
    ):
        return None
    if isinstance(value, FitValue):
        if value.part == "direction":
            return width_of(experiment.fit(value.use.fit).variants[0].body, experiment, facts)
        if value.part == "apply" and value.feature == "dim":
            fit = experiment.fit(value.use.fit).variants[0]
            given = fit.target if value.use.rank is None else fit.body
            return None if given is None else width_of(given, experiment, facts)
        return (
            None if value.body is None or value.part == "apply" else width_of(value.body, experiment, facts)
        )
    if isinstance(value, Reference):
        if value.experiment != experiment.name:
            return None
        return width_of(experiment.value(value.kind, value.name).variants[0].value, experiment, facts)
    widths = [width_of(c, experiment, facts) for c in nodes.children(value) if isinstance(c, Expr)]
    return next((w for w in widths if w is not None), None)
