"""The syntax tree: what stands in a file, before any name has a meaning.

Every node carries the span of its text; spans do not count when nodes are compared, so a tree printed
and parsed again equals itself.
"""

from __future__ import annotations

from typing import Any, Literal, TypeVar, overload

from glassbox_dsl.source import Span
from glassbox_dsl.vocabulary.plain import Plain


class Frozen(Plain):
    """Anything in a tree of the syntax or of a program."""


class Node(Frozen):
    """Anything in the tree, with the place it stands at."""

    span: Span


class Expr(Node):
    """An expression."""


class Number(Expr):
    """`3`, `0.5`, `1e-3`, `inf`. Integers keep their type; the sign is an operator."""

    value: int | float


class Percent(Expr):
    """A depth, `50%`: value is the number before the sign."""

    value: float


class String(Expr):
    """A string with its escapes resolved."""

    value: str


class Name(Expr):
    """A bare name (`true`, `false` and `last` included)."""

    id: str


class List(Expr):
    """`[a, b]`."""

    items: tuple[Expr, ...]


class Set(Expr):
    """`{a, b}` (`{}` too)."""

    items: tuple[Expr, ...]


class Tuple(Expr):
    """`(a, b)`: two or more; one in brackets is the expression itself."""

    items: tuple[Expr, ...]


class Pair(Node):
    """`key: value` of a record."""

    key: str
    value: Expr


class Record(Expr):
    """`{key: value}`: at least one pair."""

    pairs: tuple[Pair, ...]


class Unary(Expr):
    """`-x` or `not x`."""

    op: Literal["-", "not"]
    operand: Expr


class Binary(Expr):
    """`+ - * /`."""

    op: Literal["+", "-", "*", "/"]
    left: Expr
    right: Expr


class Compare(Expr):
    """`== != < <= > >=`."""

    op: Literal["==", "!=", "<", "<=", ">", ">="]
    left: Expr
    right: Expr


class Range(Expr):
    """`low..high`, both ends included."""

    low: Expr
    high: Expr


class Attribute(Expr):
    """`base.name`."""

    base: Expr
    name: str


class All(Node):
    """A bare `:` as an index: every cell of the axis."""


class IndexItem(Node):
    """One index: `value`, `name: value`, or `:`."""

    name: str | None
    value: Expr | All


class Index(Expr):
    """`base[i, j]`."""

    base: Expr
    items: tuple[IndexItem, ...]


class Argument(Node):
    """One argument: `value` or `name: value`."""

    name: str | None
    value: Expr


class Call(Expr):
    """`function(arguments)`."""

    function: Expr
    arguments: tuple[Argument, ...]


class Axis(Node):
    """`layer` (`axis` is None), or `src: layer`: the variable `src` on the axis `layer`."""

    name: str
    axis: str | None


class Binder(Node):
    """`axis`, `axis in domain`, or `(a, b) in domain` (`axes` has two or more)."""

    axes: tuple[Axis, ...]
    domain: Expr | None


class Target(Node):
    """A site with its indices, as an edit, path or hypothesis node names it: `attn.z[layer, head]`."""

    path: tuple[str, ...]
    indices: tuple[IndexItem, ...]


class Statement(Node):
    """A declaration or anything that stands in a block."""


class Import(Statement):
    """`import "path.gbx"`."""

    path: str


class Model(Statement):
    """`model NAME = SOURCE(...)`."""

    name: str
    call: Call


class Metric(Statement):
    """`metric NAME(r, ...) = EXPR`."""

    name: str
    parameters: tuple[str, ...]
    value: Expr


class Let(Statement):
    """`let NAME[binders] = EXPR`."""

    name: str
    binders: tuple[Binder, ...]
    value: Expr


class From(Statement):
    """`from "file.csv"` in a data block."""

    path: str


class Rows(Statement):
    """`rows [{...}, ...]`."""

    rows: List


class SlotLine(Node):
    """`a, b from SOURCE`: names drawn distinct from one source."""

    names: tuple[str, ...]
    source: List | Name | String


class Slots(Statement):
    """`slots { ... }`."""

    lines: tuple[SlotLine, ...]


class Draw(Statement):
    """`draw N, seed: S` (seed None: not written, 0)."""

    count: int
    seed: int | None


class Prompt(Statement):
    """`prompt NAME = EXPR`."""

    name: str
    value: Expr


class Answer(Statement):
    """`answer NAME = EXPR`."""

    name: str
    value: Expr


class Feature(Statement):
    """`feature NAME[binders] = EXPR`."""

    name: str
    binders: tuple[Binder, ...]
    value: Expr


class Keep(Statement):
    """`keep where EXPR`."""

    condition: Expr


class Data(Statement):
    """`data NAME { ... }`."""

    name: str
    items: tuple[Statement, ...]


class UseModels(Statement):
    """`models a, b` in an experiment."""

    names: tuple[Name, ...]


class UseData(Statement):
    """`data d, e` in an experiment."""

    names: tuple[Name, ...]


class Edit(Statement):
    """Anything in a run's block."""


class Write(Edit):
    """`SITE[...] := EXPR` and `+= -= *=`; `during` is `prompt`, `generated` or None."""

    target: Target
    op: Literal[":=", "+=", "-=", "*="]
    value: Expr
    during: str | None


class PathEdit(Edit):
    """`path A -> B -> C := run`."""

    targets: tuple[Target, ...]
    value: Expr


class KeepEdit(Edit):
    """`keep CIRCUIT, else RUN`."""

    circuit: Expr
    otherwise: Expr | None


class Run(Statement):
    """`run NAME[binders] = forward(...) { edits }`."""

    name: str
    binders: tuple[Binder, ...]
    call: Call
    edits: tuple[Edit, ...]


class Measure(Statement):
    """`measure NAME[binders] = EXPR`."""

    name: str
    binders: tuple[Binder, ...]
    value: Expr


class RecordTensor(Statement):
    """`record NAME[binders] = EXPR`."""

    name: str
    binders: tuple[Binder, ...]
    value: Expr


class Fit(Statement):
    """`fit NAME[binders] = KIND(...)`."""

    name: str
    binders: tuple[Binder, ...]
    call: Call


class Circuit(Statement):
    """`circuit NAME[binders] = KIND(...)`."""

    name: str
    binders: tuple[Binder, ...]
    call: Call


class Expect(Statement):
    """`expect EXPR`."""

    claim: Expr


class HypothesisNode(Statement):
    """`node NAME = TARGET -> READER.PORT agree EXPR`."""

    name: str
    target: Target
    reader: str | None
    port: str | None
    agree: Expr | None


class Hypothesis(Statement):
    """`hypothesis NAME { node ... }`."""

    name: str
    nodes: tuple[HypothesisNode, ...]


class Experiment(Statement):
    """`experiment NAME "title" { ... }`."""

    name: str
    title: str | None
    items: tuple[Statement, ...]


class Option(Node):
    """`key: value` of a report item."""

    key: str
    value: Expr


class ReportItem(Node):
    """`heatmap experiment.measure { x: pos }` or `markdown "..."`: `source` is a dotted name or a text."""

    kind: str
    source: tuple[str, ...] | str
    options: tuple[Option, ...]


class Report(Statement):
    """`report NAME "title" { ... }`."""

    name: str
    title: str | None
    items: tuple[ReportItem, ...]


class File(Node):
    """A whole file: version of the language and its declarations in order."""

    version: int
    declarations: tuple[Statement, ...]


def children(node: Node) -> tuple[Node, ...]:
    """The nodes directly below a node, in the order of their fields; found once, since a node never changes."""
    known: tuple[Node, ...] | None = node.__dict__.get(_BELOW)
    if known is None:
        own, found = node.__dict__, list[Node]()
        for name in node._fields:
            value = own[name]
            if isinstance(value, Node):
                found.append(value)
            elif isinstance(value, tuple):
                _add_nodes(value, found)
        known = own[_BELOW] = tuple(found)
    return known


def everything(node: Node) -> tuple[Node, ...]:
    """A node and all nodes below it, each before those below it; found once, as stages ask again and again."""
    known: tuple[Node, ...] | None = node.__dict__.get(_EVERY)
    if known is None:
        waiting, found = [node], []
        while waiting:
            one = waiting.pop()
            found.append(one)
            waiting += reversed(children(one))
        known = node.__dict__[_EVERY] = tuple(found)
    return known


A = TypeVar("A", bound=Node)
B = TypeVar("B", bound=Node)
C = TypeVar("C", bound=Node)


@overload
def every(node: Node, one: type[A], /) -> tuple[A, ...]: ...
@overload
def every(node: Node, one: type[A], two: type[B], /) -> tuple[A | B, ...]: ...
@overload
def every(node: Node, one: type[A], two: type[B], three: type[C], /) -> tuple[A | B | C, ...]: ...
@overload
def every(node: Node, /, *kinds: type[Node]) -> tuple[Node, ...]: ...
def every(node: Node, /, *kinds: type[Node]) -> tuple[Node, ...]:
    """The nodes of some kinds among `everything(node)`, in its order; found once, as each model asks again."""
    known: dict[object, tuple[Node, ...]] = node.__dict__.setdefault(_KINDS, {})
    if kinds not in known:
        known[kinds] = tuple(one for one in everything(node) if isinstance(one, kinds))
    return known[kinds]


_BELOW, _EVERY, _KINDS = "_below", "_every", "_kinds"  # no fields: they are neither compared nor copied


def _add_nodes(values: tuple[Any, ...], found: list[Node]) -> None:
    """Add the nodes of a tuple, and of tuples in it."""
    for value in values:
        if isinstance(value, Node):
            found.append(value)
        elif isinstance(value, tuple):
            _add_nodes(value, found)
