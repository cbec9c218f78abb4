"""`report NAME "title" { ... }`: items checked against the measures they show."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from glassbox_dsl.diagnostics import Diagnostic, did_you_mean
from glassbox_dsl.language import errors
from glassbox_dsl.language.errors import Poisoned, Problem
from glassbox_dsl.language.program import FigureSpec, ReportSpec, Value
from glassbox_dsl.language.unbuilt import CHARTS
from glassbox_dsl.syntax import nodes

if TYPE_CHECKING:
    from glassbox_dsl.language.experiment import ExperimentReader

KINDS = ("markdown", "heatmap", "line", "bar", "table", "lens", "attention", "sql")
PLACES = ("x", "y", "color", "facet", "row", "value")
OPTIONS = (*PLACES, "over", "title")


def read_report(
    node: nodes.Report, experiments: Mapping[str, ExperimentReader], data: Mapping[str, Any]
) -> tuple[ReportSpec, list[Diagnostic]]:
    """The page a report block describes, and what is wrong with it."""
    figures: list[FigureSpec] = []
    diagnostics: list[Diagnostic] = []
    for item in node.items:
        try:
            figures.append(figure(item, experiments, data))
        except Poisoned:
            continue
        except Problem as problem:
            diagnostics.append(problem.diagnostic)
    return ReportSpec(span=node.span, name=node.name, title=node.title, figures=tuple(figures)), diagnostics


def figure(
    item: nodes.ReportItem, experiments: Mapping[str, ExperimentReader], data: Mapping[str, Any]
) -> FigureSpec:
    """One item of a report."""
    if item.kind in CHARTS:
        raise Problem(errors.not_built(item.span, f"the figure `{item.kind}`"))
    if item.kind not in KINDS:
        raise Problem(
            errors.bad_report(
                item.span,
                f"unknown figure `{item.kind}`",
                "no figure of this name",
                did_you_mean(item.kind, KINDS),
            )
        )
    is_text = isinstance(item.source, str)
    if is_text != (item.kind in ("markdown", "sql")):
        wanted = (
            "a text: `" + item.kind + ' "..."`'
            if not is_text
            else f"a measure: `{item.kind} experiment.measure`"
        )
        raise Problem(
            errors.bad_report(
                item.span,
                f"`{item.kind}` shows {'a text' if not is_text else 'a measure'}",
                "wrong source",
                f"write {wanted}",
            )
        )
    if is_text:
        return FigureSpec(
            span=item.span, kind=item.kind, source=str(item.source), options=plain_options(item)
        )
    value = source(item, experiments)
    known = known_places(value, experiments[item.source[0]], data)
    for option in item.options:
        check_option(option, known)
    return FigureSpec(
        span=item.span, kind=item.kind, source=(item.source[0], item.source[1]), options=plain_options(item)
    )


def source(item: nodes.ReportItem, experiments: Mapping[str, ExperimentReader]) -> Value:
    """The measure or record that an item shows."""
    path = item.source
    assert isinstance(path, tuple)
    if len(path) != 2:
        raise Problem(
            errors.bad_report(
                item.span, "a figure shows `experiment.measure`", f"`{'.'.join(path)}` is not of that form"
            )
        )
    if path[0] not in experiments:
        raise Problem(errors.unknown_name(item.span, path[0], experiments, "experiment"))
    reader = experiments[path[0]]
    if path[1] in reader.broken:
        raise Poisoned
    families = {n: v for n, v in reader.families.items() if v.kind in ("measure", "record")}
    if path[1] not in families:
        raise Problem(errors.unknown_name(item.span, path[1], families, "measure"))
    return families[path[1]]


def known_places(value: Value, reader: ExperimentReader, data: Mapping[str, Any]) -> list[str]:
    """What the options of a figure may name."""
    variables = [v.name for d in value.dimensions for v in d.variables]
    columns = [n for d in reader.data if d in data for n in (*data[d].variables, *data[d].features)]
    return [*variables, "model", "data", "item", "template", *columns, *reader.families]


def check_option(option: nodes.Option, known: list[str]) -> None:
    """One option names something that the figure has."""
    if option.key not in OPTIONS and option.key not in known:
        raise Problem(errors.bad_report(option.span, f"unknown option `{option.key}`", "no option or axis of this name",
                                        did_you_mean(option.key, [*OPTIONS, *known])))  # fmt: skip
    names = (
        [option.value] if isinstance(option.value, nodes.Name) else list(getattr(option.value, "items", ()))
    )
    if option.key in (*PLACES, "over"):
        for name in names:
            if isinstance(name, nodes.Name) and name.id not in known:
                raise Problem(errors.unknown_name(name.span, name.id, known, "axis"))


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
