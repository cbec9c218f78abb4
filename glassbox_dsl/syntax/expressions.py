"""Expressions, indices, binders and targets as the parser recognises them, made into nodes."""

from __future__ import annotations

from math import inf
from typing import Any

from lark import Token

from glassbox_dsl.source import Span
from glassbox_dsl.syntax import nodes
from glassbox_dsl.syntax.literals import string_value
from glassbox_dsl.syntax.rules import node, part, without_tokens, word_of

# Atoms


@node
def _integer(span: Span, token: Token) -> nodes.Number:
    return nodes.Number(span=span, value=int(token))


@node
def _decimal(span: Span, token: Token) -> nodes.Number:
    return nodes.Number(span=span, value=float(token))


@node
def _percent(span: Span, token: Token) -> nodes.Percent:
    return nodes.Percent(span=span, value=float(token[:-1]))


@node
def _string(span: Span, token: Token) -> nodes.String:
    return nodes.String(span=span, value=string_value(token.value))


@node
def _name(span: Span, token: Token) -> nodes.Expr:
    if token.value == "inf":
        return nodes.Number(span=span, value=inf)
    return nodes.Name(span=span, id=token.value)


@node
def _variable(span: Span, token: Token) -> nodes.Name:
    return nodes.Name(span=span, id=token.value)


@node
def _list(span: Span, *children: Any) -> nodes.List:
    return nodes.List(span=span, items=without_tokens(children))


@node
def _set(span: Span, *children: Any) -> nodes.Set:
    return nodes.Set(span=span, items=without_tokens(children))


@node
def _tuple(span: Span, *children: Any) -> nodes.Tuple:
    return nodes.Tuple(span=span, items=without_tokens(children))


@part
def _brackets(_open: Token, value: nodes.Expr, *_: Token) -> nodes.Expr:
    return value


@node
def _record_literal(span: Span, *children: Any) -> nodes.Record:
    return nodes.Record(span=span, pairs=without_tokens(children))


@node
def _pair(span: Span, key: Token, _colon: Token, value: nodes.Expr) -> nodes.Pair:
    return nodes.Pair(span=span, key=key.value, value=value)


# Operators


@node
def _negated(span: Span, op: Token, operand: nodes.Expr) -> nodes.Unary:
    return nodes.Unary(span=span, op=op.value, operand=operand)


@node
def _binary(span: Span, left: nodes.Expr, op: Token, right: nodes.Expr) -> nodes.Binary:
    return nodes.Binary(span=span, op=op.value, left=left, right=right)


@node
def _compare(span: Span, left: nodes.Expr, op: Token, right: nodes.Expr) -> nodes.Compare:
    return nodes.Compare(span=span, op=op.value, left=left, right=right)


@node
def _range(span: Span, low: nodes.Expr, _dots: Token, high: nodes.Expr) -> nodes.Range:
    return nodes.Range(span=span, low=low, high=high)


@node
def _attribute(span: Span, base: nodes.Expr, _dot: Token, name: Token) -> nodes.Attribute:
    return nodes.Attribute(span=span, base=base, name=name.value)


# Indices and calls


@node
def _index(
    span: Span, base: nodes.Expr, _open: Token, items: tuple[nodes.IndexItem, ...], _close: Token
) -> nodes.Index:
    return nodes.Index(span=span, base=base, items=items)


@part
def _indices(*children: Any) -> tuple[nodes.IndexItem, ...]:
    return without_tokens(children)


@node
def _named_index(span: Span, name: Token, _colon: Token, value: nodes.Expr) -> nodes.IndexItem:
    return nodes.IndexItem(span=span, name=name.value, value=value)


@node
def _bare_index(span: Span, value: nodes.Expr) -> nodes.IndexItem:
    return nodes.IndexItem(span=span, name=None, value=value)


@node
def _every_index(span: Span, _colon: Token) -> nodes.IndexItem:
    return nodes.IndexItem(span=span, name=None, value=nodes.All(span=span))


@node
def _call(
    span: Span,
    function: nodes.Expr,
    _open: Token,
    arguments: tuple[nodes.Argument, ...] | None,
    _close: Token,
) -> nodes.Call:
    return nodes.Call(span=span, function=function, arguments=arguments or ())


@node
def _named_call(
    span: Span, function: Token, _open: Token, arguments: tuple[nodes.Argument, ...] | None, _close: Token
) -> nodes.Call:
    place = Span(span.source, function.start_pos or 0, function.end_pos or 0)
    name = nodes.Name(span=place, id=function.value)
    return nodes.Call(span=span, function=name, arguments=arguments or ())


@part
def _arguments(*children: Any) -> tuple[nodes.Argument, ...]:
    return without_tokens(children)


@node
def _named_argument(span: Span, name: Token, _colon: Token, value: nodes.Expr) -> nodes.Argument:
    return nodes.Argument(span=span, name=name.value, value=value)


@node
def _bare_argument(span: Span, value: nodes.Expr) -> nodes.Argument:
    return nodes.Argument(span=span, name=None, value=value)


# Binders and targets


@part
def _binders(*children: Any) -> tuple[nodes.Binder, ...]:
    return without_tokens(children)


@node
def _binder(span: Span, axis: nodes.Axis, _in: Token | None, domain: nodes.Expr | None) -> nodes.Binder:
    return nodes.Binder(span=span, axes=(axis,), domain=domain)


@node
def _zipped_binder(span: Span, *children: Any) -> nodes.Binder:
    *axes, domain = without_tokens(children)
    return nodes.Binder(span=span, axes=tuple(axes), domain=domain)


@node
def _axis(span: Span, name: Token, _colon: Token | None, axis: Token | None) -> nodes.Axis:
    return nodes.Axis(span=span, name=name.value, axis=word_of(axis))


@node
def _target(
    span: Span,
    path: tuple[str, ...],
    _open: Token | None,
    indices: tuple[nodes.IndexItem, ...] | None,
    _close: Token | None,
) -> nodes.Target:
    return nodes.Target(span=span, path=path, indices=indices or ())


@part
def _dotted(*words: Token) -> tuple[str, ...]:
    return tuple(word.value for word in words[::2])
