"""A tree to the text it stands for: one canonical form, which parses to an equal tree."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import singledispatch
from math import isinf

from glassbox_dsl.syntax import nodes
from glassbox_dsl.syntax.literals import quoted

# How tightly an expression binds; an operand that binds looser than its place asks stands in brackets.
_LOOSE, _RANGE, _SUM, _PRODUCT, _UNARY, _POSTFIX = range(6)


def format_file(file: nodes.File) -> str:
    """Print a file; comments and the author's layout are not part of a tree."""
    declarations = [statement(declaration, "") for declaration in file.declarations]
    return "\n\n".join([f"gbx {file.version}", *declarations]) + "\n"


# Expressions


def expression(node: nodes.Expr, place: int = _LOOSE) -> str:
    """Print an expression for a place that asks for a tightness."""
    text, tightness = _expression(node)
    return f"({text})" if tightness < place else text


@singledispatch
def _expression(node: nodes.Expr) -> tuple[str, int]:
    raise TypeError(f"no text for {type(node).__name__}")


@_expression.register
def _(node: nodes.Number) -> tuple[str, int]:
    return ("inf" if isinf(node.value) else repr(node.value)), _POSTFIX


@_expression.register
def _(node: nodes.Percent) -> tuple[str, int]:
    return f"{repr(node.value).removesuffix('.0')}%", _POSTFIX


@_expression.register
def _(node: nodes.String) -> tuple[str, int]:
    return quoted(node.value), _POSTFIX


@_expression.register
def _(node: nodes.Name) -> tuple[str, int]:
    return node.id, _POSTFIX


@_expression.register
def _(node: nodes.List) -> tuple[str, int]:
    return f"[{_all(node.items)}]", _POSTFIX


@_expression.register
def _(node: nodes.Set) -> tuple[str, int]:
    return f"{{{_all(node.items)}}}", _POSTFIX


@_expression.register
def _(node: nodes.Tuple) -> tuple[str, int]:
    return f"({_all(node.items)})", _POSTFIX


@_expression.register
def _(node: nodes.Record) -> tuple[str, int]:
    return "{" + ", ".join(f"{pair.key}: {expression(pair.value)}" for pair in node.pairs) + "}", _POSTFIX


@_expression.register
def _(node: nodes.Unary) -> tuple[str, int]:
    if node.op == "not":
        return f"not {expression(node.operand)}", _LOOSE
    return f"-{expression(node.operand, _UNARY)}", _UNARY


@_expression.register
def _(node: nodes.Binary) -> tuple[str, int]:
    own = _SUM if node.op in "+-" else _PRODUCT
    return f"{expression(node.left, own)} {node.op} {expression(node.right, own + 1)}", own


@_expression.register
def _(node: nodes.Compare) -> tuple[str, int]:
    return f"{expression(node.left, _RANGE)} {node.op} {expression(node.right, _RANGE)}", _LOOSE


@_expression.register
def _(node: nodes.Range) -> tuple[str, int]:
    return f"{expression(node.low, _SUM)}..{expression(node.high, _SUM)}", _RANGE


@_expression.register
def _(node: nodes.Attribute) -> tuple[str, int]:
    return f"{expression(node.base, _POSTFIX)}.{node.name}", _POSTFIX


@_expression.register
def _(node: nodes.Index) -> tuple[str, int]:
    return f"{expression(node.base, _POSTFIX)}{_indices(node.items)}", _POSTFIX


@_expression.register
def _(node: nodes.Call) -> tuple[str, int]:
    arguments = ", ".join(_named(a.name, expression(a.value)) for a in node.arguments)
    return f"{expression(node.function, _POSTFIX)}({arguments})", _POSTFIX


def _all(items: Iterable[nodes.Expr]) -> str:
    return ", ".join(expression(item) for item in items)


def _named(name: str | None, text: str) -> str:
    return text if name is None else f"{name}: {text}"


def _indices(items: Sequence[nodes.IndexItem]) -> str:
    if not items:
        return ""
    shown = (_named(i.name, expression(i.value) if isinstance(i.value, nodes.Expr) else ":") for i in items)
    return f"[{', '.join(shown)}]"


def _binders(binders: Sequence[nodes.Binder]) -> str:
    return f"[{', '.join(_binder(binder) for binder in binders)}]" if binders else ""


def _binder(binder: nodes.Binder) -> str:
    axes = ", ".join(axis.name if axis.axis is None else f"{axis.name}: {axis.axis}" for axis in binder.axes)
    if binder.domain is None:
        return axes
    return f"{axes if len(binder.axes) == 1 else f'({axes})'} in {expression(binder.domain)}"


def _target(target: nodes.Target) -> str:
    return ".".join(target.path) + _indices(target.indices)


# Statements


def statement(node: nodes.Node, indent: str) -> str:
    """Print a declaration or a statement of a block, its first line at `indent`."""
    return indent + _statement(node, indent)


def _block(head: str, items: Iterable[nodes.Node], indent: str) -> str:
    lines = [statement(item, indent + "  ") for item in items]
    return "\n".join([f"{head} {{", *lines, f"{indent}}}"]) if lines else f"{head} {{}}"


def _titled(word: str, name: str, title: str | None) -> str:
    return f"{word} {name}" if title is None else f"{word} {name} {quoted(title)}"


@singledispatch
def _statement(node: nodes.Node, indent: str) -> str:
    raise TypeError(f"no text for {type(node).__name__}")


@_statement.register
def _(node: nodes.Import, indent: str) -> str:
    return f"import {quoted(node.path)}"


@_statement.register
def _(node: nodes.Model, indent: str) -> str:
    return f"model {node.name} = {expression(node.call)}"


@_statement.register
def _(node: nodes.Metric, indent: str) -> str:
    return f"metric {node.name}({', '.join(node.parameters)}) = {expression(node.value)}"


_VALUED = {
    nodes.Let: "let",
    nodes.Feature: "feature",
    nodes.Measure: "measure",
    nodes.RecordTensor: "record",
}
_CALLED = {nodes.Fit: "fit", nodes.Circuit: "circuit"}


@_statement.register(nodes.Let)
@_statement.register(nodes.Feature)
@_statement.register(nodes.Measure)
@_statement.register(nodes.RecordTensor)
def _(node: nodes.Let | nodes.Feature | nodes.Measure | nodes.RecordTensor, indent: str) -> str:
    return f"{_VALUED[type(node)]} {node.name}{_binders(node.binders)} = {expression(node.value)}"


@_statement.register(nodes.Fit)
@_statement.register(nodes.Circuit)
def _(node: nodes.Fit | nodes.Circuit, indent: str) -> str:
    return f"{_CALLED[type(node)]} {node.name}{_binders(node.binders)} = {expression(node.call)}"


@_statement.register
def _(node: nodes.Data, indent: str) -> str:
    return _block(f"data {node.name}", node.items, indent)


@_statement.register
def _(node: nodes.From, indent: str) -> str:
    return f"from {quoted(node.path)}"


@_statement.register
def _(node: nodes.Rows, indent: str) -> str:
    return f"rows {expression(node.rows)}"


@_statement.register
def _(node: nodes.Slots, indent: str) -> str:
    return _block("slots", node.lines, indent)


@_statement.register
def _(node: nodes.SlotLine, indent: str) -> str:
    return f"{', '.join(node.names)} from {expression(node.source)}"


@_statement.register
def _(node: nodes.Draw, indent: str) -> str:
    return f"draw {node.count}" if node.seed is None else f"draw {node.count}, seed: {node.seed}"


@_statement.register(nodes.Prompt)
@_statement.register(nodes.Answer)
def _(node: nodes.Prompt | nodes.Answer, indent: str) -> str:
    word = "prompt" if isinstance(node, nodes.Prompt) else "answer"
    return f"{word} {node.name} = {expression(node.value)}"


@_statement.register
def _(node: nodes.Keep, indent: str) -> str:
    return f"keep where {expression(node.condition)}"


@_statement.register
def _(node: nodes.Experiment, indent: str) -> str:
    return _block(_titled("experiment", node.name, node.title), node.items, indent)


@_statement.register(nodes.UseModels)
@_statement.register(nodes.UseData)
def _(node: nodes.UseModels | nodes.UseData, indent: str) -> str:
    return f"{'models' if isinstance(node, nodes.UseModels) else 'data'} {_all(node.names)}"


@_statement.register
def _(node: nodes.Run, indent: str) -> str:
    head = f"run {node.name}{_binders(node.binders)} = {expression(node.call)}"
    return _block(head, node.edits, indent) if node.edits else head


@_statement.register
def _(node: nodes.Expect, indent: str) -> str:
    return f"expect {expression(node.claim)}"


@_statement.register
def _(node: nodes.Write, indent: str) -> str:
    during = "" if node.during is None else f" during {node.during}"
    return f"{_target(node.target)} {node.op} {expression(node.value)}{during}"


@_statement.register
def _(node: nodes.PathEdit, indent: str) -> str:
    return f"path {' -> '.join(_target(target) for target in node.targets)} := {expression(node.value)}"


@_statement.register
def _(node: nodes.KeepEdit, indent: str) -> str:
    otherwise = "" if node.otherwise is None else f", else {expression(node.otherwise)}"
    return f"keep {expression(node.circuit)}{otherwise}"


@_statement.register
def _(node: nodes.Hypothesis, indent: str) -> str:
    return _block(f"hypothesis {node.name}", node.nodes, indent)


@_statement.register
def _(node: nodes.HypothesisNode, indent: str) -> str:
    port = "" if node.port is None else f".{node.port}"
    reader = "" if node.reader is None else f" -> {node.reader}{port}"
    agree = "" if node.agree is None else f" agree {expression(node.agree)}"
    return f"node {node.name} = {_target(node.target)}{reader}{agree}"


@_statement.register
def _(node: nodes.Report, indent: str) -> str:
    return _block(_titled("report", node.name, node.title), node.items, indent)


@_statement.register
def _(node: nodes.ReportItem, indent: str) -> str:
    source = quoted(node.source) if isinstance(node.source, str) else ".".join(node.source)
    options = ", ".join(f"{option.key}: {expression(option.value)}" for option in node.options)
    return f"{node.kind} {source}{f' {{ {options} }}' if options else ''}"
