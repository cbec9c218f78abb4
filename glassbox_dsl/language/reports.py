"""`report NAME "title" { ... }`: items checked against the measures they show."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from glassbox_dsl.diagnostics import Diagnostic
from glassbox_dsl.language import report_errors as errors
from glassbox_dsl.language.errors import Poisoned, Problem, unknown_name
from glassbox_dsl.language.indices import dotted
from glassbox_dsl.language.program import FigureSpec, ReportSpec, Value
from glassbox_dsl.language.report_options import FigureOptions
from glassbox_dsl.source import Span
from glassbox_dsl.syntax import nodes

if TYPE_CHECKING:
    from glassbox_dsl.language.experiment import ExperimentReader

KINDS = (
    "markdown",
    "heatmap",
    "line",
    "bar",
    "scatter",
    "histogram",
    "table",
    "lens",
    "attention",
    "text",
    "graph",
    "sql",
)
SHOWN = (nodes.Measure, nodes.RecordTensor, nodes.Circuit)
OF_TEXT = {"markdown": (), "sql": ("title",)}


def read_report(
    node: nodes.Report, experiments: Mapping[str, ExperimentReader], data: Mapping[str, Any]
) -> tuple[ReportSpec, list[Diagnostic]]:
    """The page a report block describes, and what is wrong with it."""
    figures: list[FigureSpec] = []
    diagnostics: list[Diagnostic] = []
    for item in node.items:
        try:
            figures.append(figure(item, experiments, data, diagnostics))
        except Poisoned:
            continue
        except Problem as problem:
            diagnostics.append(problem.diagnostic)
    return ReportSpec(span=node.span, name=node.name, title=node.title, figures=tuple(figures)), diagnostics


def figure(
    item: nodes.ReportItem,
    experiments: Mapping[str, ExperimentReader],
    data: Mapping[str, Any],
    found: list[Diagnostic],
) -> FigureSpec:
    """One item of a report; what is wrong with its options is added to `found`."""
    if item.kind not in KINDS:
        raise Problem(errors.unknown_figure(item.span, item.kind, KINDS))
    if isinstance(item.source, str) != (item.kind in OF_TEXT):
        wanted, example = ("a text", '"..."') if item.kind in OF_TEXT else ("a measure", "experiment.measure")
        raise Problem(errors.wrong_source(item.span, item.kind, wanted, f"{item.kind} {example}"))
    if isinstance(item.source, str):
        known = OF_TEXT[item.kind]
        found += [errors.no_options(o.span, item.kind, known) for o in item.options if o.key not in known]
        return FigureSpec(span=item.span, kind=item.kind, source=item.source, options=plain_options(item))
    value = source(item, experiments)
    fits(item, value)
    found += FigureOptions(item.kind, value, experiments[item.source[0]], data).check(item.options)
    if item.kind == "scatter":
        found += across(item, value, experiments)
    return FigureSpec(
        span=item.span, kind=item.kind, source=(item.source[0], item.source[1]), options=plain_options(item)
    )


def fits(item: nodes.ReportItem, value: Value) -> None:
    """The figure can show what it names: records of patterns, tokens, or numbers."""
    variables = [v.name for d in value.dimensions for v in d.variables]
    if item.kind == "attention":
        if value.kind != "record" or not {"query", "key"} <= set(variables):
            wanted = "a record with the axes `query` and `key`"
            raise Problem(errors.wrong_source(item.span, item.kind, wanted, "record NAME = RUN.attn.pattern"))
        return
    if value.kind == "record":
        help_ = f"attention {'.'.join(item.source)}"
        raise Problem(errors.wrong_source(item.span, item.kind, "a measure, not a record", help_))
    if item.kind == "lens" and value.table != "top":
        raise Problem(errors.wrong_source(item.span, item.kind, "tokens", "measure NAME = top(..., k: 5)"))
    if (item.kind == "graph") != (value.kind == "circuit") and item.kind != "table":
        wanted = "a circuit" if item.kind == "graph" else "a measure, not a circuit"
        raise Problem(errors.wrong_source(item.span, item.kind, wanted, "graph EXPERIMENT.CIRCUIT"))
    if item.kind == "text" and value.table != "text":
        raise Problem(errors.wrong_source(item.span, item.kind, "texts", "measure NAME = text(...)"))
    if value.table is not None and item.kind in ("scatter", "histogram"):
        help_ = f"table {'.'.join(item.source)}"
        raise Problem(errors.wrong_source(item.span, item.kind, "numbers, not rows of tokens", help_))
    keys = {o.key for o in item.options}
    if item.kind == "heatmap" and not ({"over", "x", "y"} & keys) and not set(variables) - keys:
        raise Problem(errors.too_few_axes(item.span, item.kind, ".".join(item.source)))


def across(
    item: nodes.ReportItem, value: Value, experiments: Mapping[str, ExperimentReader]
) -> list[Diagnostic]:
    """What is wrong with the measure that a `scatter` sets against its source."""
    assert isinstance(item.source, tuple)
    option = next((option for option in item.options if option.key == "x"), None)
    if option is None:
        example = f"{item.kind} {'.'.join(item.source)} {{ x: MEASURE }}"
        return [errors.wrong_source(item.span, item.kind, "two measures, one against the other", example)]
    if not isinstance(option.value, nodes.Name | nodes.Attribute):
        return [errors.wrong_value(option.value.span, "x", "the name of a measure", "as in `x: heads.looks`")]
    names = dotted(option.value).split(".")
    path = (item.source[0], *names) if len(names) == 1 else tuple(names)
    try:
        other = measure_at(path, option.value.span, experiments)
    except Poisoned:
        return []
    except Problem as problem:
        return [problem.diagnostic]
    if other.kind != "measure" or other.table is not None:
        return [errors.wrong_value(option.value.span, "x", "a measure of numbers", "name another measure")]
    mine, axes = ({v.name for d in one.dimensions for v in d.variables} for one in (value, other))
    return [] if mine == axes else [errors.other_axes(option.value.span, ".".join(path), sorted(axes))]


def source(item: nodes.ReportItem, experiments: Mapping[str, ExperimentReader]) -> Value:
    """The measure or record that an item shows."""
    assert isinstance(item.source, tuple)
    return measure_at(item.source, item.span, experiments)


def measure_at(path: tuple[str, ...], span: Span, experiments: Mapping[str, ExperimentReader]) -> Value:
    """The measure or record of that name: `(experiment, measure)`."""
    if len(path) != 2:
        raise Problem(errors.not_a_source(span, ".".join(path)))
    broken = next((r.file.broken for r in experiments.values()), set())
    if path[0] in broken:
        raise Poisoned
    if path[0] not in experiments:
        raise Problem(unknown_name(span, path[0], experiments, "experiment"))
    reader = experiments[path[0]]
    if path[1] in reader.broken:
        raise Poisoned
    families = {n: v for n, v in reader.families.items() if v.kind in ("measure", "record", "circuit")}
    if path[1] not in families:
        known = [n for n, d in reader.declared.items() if isinstance(d, SHOWN)]
        raise Problem(unknown_name(span, path[1], known, "measure"))
    return families[path[1]]


def plain_options(item: nodes.ReportItem) -> tuple[tuple[str, Any], ...]:
    """The options as plain values."""
    return tuple((option.key, plain(option.value)) for option in item.options)


def plain(node: nodes.Expr) -> Any:
    """A name or text as text, a number as number, a collection as a tuple."""
    match node:
        case nodes.Name():
            return {"true": True, "false": False}.get(node.id, node.id)
        case nodes.Number() | nodes.String():
            return node.value
        case nodes.Unary(op="-", operand=nodes.Number(value=value)):
            return -value
        case nodes.Set() | nodes.List() | nodes.Tuple():
            return tuple(plain(item) for item in node.items)
    return node.span.text
