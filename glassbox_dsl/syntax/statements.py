"""Declarations and what stands in their blocks, as the parser recognises them, made into nodes."""

from __future__ import annotations

from typing import Any

from lark import Token

from glassbox_dsl.source import Span
from glassbox_dsl.syntax import nodes
from glassbox_dsl.syntax.literals import string_value
from glassbox_dsl.syntax.rules import node, part, text_of, without_tokens, word_of

Binders = tuple[nodes.Binder, ...]


# Declarations


@node
def _start(span: Span, _gbx: Token, version: Token, *declarations: nodes.Statement) -> nodes.File:
    return nodes.File(span=span, version=int(version), declarations=declarations)


@node
def _import(span: Span, _word: Token, path: Token) -> nodes.Import:
    return nodes.Import(span=span, path=string_value(path.value))


@node
def _model(span: Span, _word: Token, name: Token, _equal: Token, call: nodes.Call) -> nodes.Model:
    return nodes.Model(span=span, name=name.value, call=call)


@node
def _metric(
    span: Span, _word: Token, name: Token, parameters: tuple[str, ...], _equal: Token, value: nodes.Expr
) -> nodes.Metric:
    return nodes.Metric(span=span, name=name.value, parameters=parameters, value=value)


@part
def _parameters(_open: Token, *words: Token) -> tuple[str, ...]:
    return tuple(word.value for word in words[:-1:2])


@node
def _let(
    span: Span, _word: Token, name: Token, binders: Binders | None, _equal: Token, value: nodes.Expr
) -> nodes.Let:
    return nodes.Let(span=span, name=name.value, binders=binders or (), value=value)


@part
def _names(*words: Token) -> tuple[Token, ...]:
    return words[::2]


# Data


@node
def _data(span: Span, _word: Token, name: Token, *items: Any) -> nodes.Data:
    return nodes.Data(span=span, name=name.value, items=without_tokens(items))


@node
def _from(span: Span, _word: Token, path: Token) -> nodes.From:
    return nodes.From(span=span, path=string_value(path.value))


@node
def _rows(span: Span, _word: Token, rows: nodes.List) -> nodes.Rows:
    return nodes.Rows(span=span, rows=rows)


@node
def _slots(span: Span, *children: Any) -> nodes.Slots:
    return nodes.Slots(span=span, lines=without_tokens(children))


@node
def _slot_line(
    span: Span, names: tuple[Token, ...], _from: Token, source: nodes.List | nodes.Name | nodes.String
) -> nodes.SlotLine:
    return nodes.SlotLine(span=span, names=tuple(name.value for name in names), source=source)


@node
def _draw(
    span: Span,
    _word: Token,
    count: Token,
    _comma: Token | None,
    _seed: Token | None,
    _colon: Token | None,
    seed: Token | None,
) -> nodes.Draw:
    return nodes.Draw(span=span, count=int(count), seed=None if seed is None else int(seed))


@node
def _prompt(span: Span, _word: Token, name: Token, _equal: Token, value: nodes.Expr) -> nodes.Prompt:
    return nodes.Prompt(span=span, name=name.value, value=value)


@node
def _answer(span: Span, _word: Token, name: Token, _equal: Token, value: nodes.Expr) -> nodes.Answer:
    return nodes.Answer(span=span, name=name.value, value=value)


@node
def _feature(
    span: Span, _word: Token, name: Token, binders: Binders | None, _equal: Token, value: nodes.Expr
) -> nodes.Feature:
    return nodes.Feature(span=span, name=name.value, binders=binders or (), value=value)


@node
def _keep(span: Span, _keep: Token, _where: Token, condition: nodes.Expr) -> nodes.Keep:
    return nodes.Keep(span=span, condition=condition)


# Experiments


@node
def _experiment(span: Span, _word: Token, name: Token, title: Token | None, *items: Any) -> nodes.Experiment:
    return nodes.Experiment(span=span, name=name.value, title=text_of(title), items=without_tokens(items))


def _used(span: Span, names: tuple[Token, ...]) -> tuple[nodes.Name, ...]:
    return tuple(
        nodes.Name(span=Span(span.source, name.start_pos or 0, name.end_pos or 0), id=name.value)
        for name in names
    )


@node
def _use_models(span: Span, _word: Token, names: tuple[Token, ...]) -> nodes.UseModels:
    return nodes.UseModels(span=span, names=_used(span, names))


@node
def _use_data(span: Span, _word: Token, names: tuple[Token, ...]) -> nodes.UseData:
    return nodes.UseData(span=span, names=_used(span, names))


@node
def _run(
    span: Span,
    _word: Token,
    name: Token,
    binders: Binders | None,
    _equal: Token,
    call: nodes.Call,
    edits: tuple[nodes.Edit, ...] | None,
) -> nodes.Run:
    return nodes.Run(span=span, name=name.value, binders=binders or (), call=call, edits=edits or ())


@part
def _edits(*children: Any) -> tuple[nodes.Edit, ...]:
    return without_tokens(children)


@node
def _measure(
    span: Span, _word: Token, name: Token, binders: Binders | None, _equal: Token, value: nodes.Expr
) -> nodes.Measure:
    return nodes.Measure(span=span, name=name.value, binders=binders or (), value=value)


@node
def _record(
    span: Span, _word: Token, name: Token, binders: Binders | None, _equal: Token, value: nodes.Expr
) -> nodes.RecordTensor:
    return nodes.RecordTensor(span=span, name=name.value, binders=binders or (), value=value)


@node
def _fit(
    span: Span, _word: Token, name: Token, binders: Binders | None, _equal: Token, call: nodes.Call
) -> nodes.Fit:
    return nodes.Fit(span=span, name=name.value, binders=binders or (), call=call)


@node
def _circuit(
    span: Span, _word: Token, name: Token, binders: Binders | None, _equal: Token, call: nodes.Call
) -> nodes.Circuit:
    return nodes.Circuit(span=span, name=name.value, binders=binders or (), call=call)


@node
def _expect(span: Span, _word: Token, claim: nodes.Expr) -> nodes.Expect:
    return nodes.Expect(span=span, claim=claim)


# Edits


@node
def _write(
    span: Span,
    target: nodes.Target,
    op: Token,
    value: nodes.Expr,
    _during: Token | None,
    during: Token | None,
) -> nodes.Write:
    return nodes.Write(span=span, target=target, op=op.value, value=value, during=word_of(during))


@node
def _path(span: Span, *children: Any) -> nodes.PathEdit:
    *targets, value = without_tokens(children)
    return nodes.PathEdit(span=span, targets=tuple(targets), value=value)


@node
def _keep_edit(
    span: Span,
    _keep: Token,
    circuit: nodes.Expr,
    _comma: Token | None,
    _else: Token | None,
    otherwise: nodes.Expr | None,
) -> nodes.KeepEdit:
    return nodes.KeepEdit(span=span, circuit=circuit, otherwise=otherwise)


# Hypotheses


@node
def _hypothesis(span: Span, _word: Token, name: Token, *children: Any) -> nodes.Hypothesis:
    return nodes.Hypothesis(span=span, name=name.value, nodes=without_tokens(children))


@node
def _node(
    span: Span,
    _word: Token,
    name: Token,
    _equal: Token,
    target: nodes.Target,
    _arrow: Token | None,
    reader: Token | None,
    _dot: Token | None,
    port: Token | None,
    _agree: Token | None,
    agree: nodes.Expr | None,
) -> nodes.HypothesisNode:
    return nodes.HypothesisNode(
        span=span, name=name.value, target=target, reader=word_of(reader), port=word_of(port), agree=agree
    )


# Reports


@node
def _report(span: Span, _word: Token, name: Token, title: Token | None, *items: Any) -> nodes.Report:
    return nodes.Report(span=span, name=name.value, title=text_of(title), items=without_tokens(items))


@node
def _item(
    span: Span, kind: Token, source: tuple[str, ...] | Token, options: tuple[nodes.Option, ...] | None
) -> nodes.ReportItem:
    shown = string_value(source.value) if isinstance(source, Token) else source
    return nodes.ReportItem(span=span, kind=kind.value, source=shown, options=options or ())


@part
def _options(*children: Any) -> tuple[nodes.Option, ...]:
    return without_tokens(children)


@node
def _option(span: Span, key: Token, _colon: Token, value: nodes.Expr) -> nodes.Option:
    return nodes.Option(span=span, key=key.value, value=value)
