"""The syntax tree: what stands in a file, before any name has a meaning.

Every node carries the span of its text; spans do not count when nodes are compared, so a tree printed
and parsed again equals itself.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema

from glassbox_dsl.source import Span

T = TypeVar("T")


class _Instance:
    """Check that a child is of its class and no more: its own fields were checked when it was made."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.is_instance_schema(source)


# A child node. Without it pydantic would build the validators of a child's class again for each parent's.
Is = Annotated[T, _Instance()]


class Node(BaseModel):
    """Anything in the tree."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True, arbitrary_types_allowed=True)
    span: Is[Span] = Field(repr=False)

    def __eq__(self, other: object) -> bool:
        """Equal kind and equal fields, the place apart."""
        if type(self) is not type(other):
            return False
        return all(getattr(self, f) == getattr(other, f) for f in type(self).model_fields if f != "span")

    def __hash__(self) -> int:
        return hash((type(self), *(getattr(self, f) for f in type(self).model_fields if f != "span")))


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

    items: tuple[Is[Expr], ...]


class Set(Expr):
    """`{a, b}` (`{}` too)."""

    items: tuple[Is[Expr], ...]


class Tuple(Expr):
    """`(a, b)`: two or more; one in brackets is the expression itself."""

    items: tuple[Is[Expr], ...]


class Pair(Node):
    """`key: value` of a record."""

    key: str
    value: Is[Expr]


class Record(Expr):
    """`{key: value}`: at least one pair."""

    pairs: tuple[Is[Pair], ...]


class Unary(Expr):
    """`-x` or `not x`."""

    op: Literal["-", "not"]
    operand: Is[Expr]


class Binary(Expr):
    """`+ - * /`."""

    op: Literal["+", "-", "*", "/"]
    left: Is[Expr]
    right: Is[Expr]


class Compare(Expr):
    """`== != < <= > >=`."""

    op: Literal["==", "!=", "<", "<=", ">", ">="]
    left: Is[Expr]
    right: Is[Expr]


class Range(Expr):
    """`low..high`, both ends included."""

    low: Is[Expr]
    high: Is[Expr]


class Attribute(Expr):
    """`base.name`."""

    base: Is[Expr]
    name: str


class All(Node):
    """A bare `:` as an index: every cell of the axis."""


class IndexItem(Node):
    """One index: `value`, `name: value`, or `:`."""

    name: str | None
    value: Is[Expr | All]


class Index(Expr):
    """`base[i, j]`."""

    base: Is[Expr]
    items: tuple[Is[IndexItem], ...]


class Argument(Node):
    """One argument: `value` or `name: value`."""

    name: str | None
    value: Is[Expr]


class Call(Expr):
    """`function(arguments)`."""

    function: Is[Expr]
    arguments: tuple[Is[Argument], ...]


class Axis(Node):
    """`layer` (`axis` is None), or `src: layer`: the variable `src` on the axis `layer`."""

    name: str
    axis: str | None


class Binder(Node):
    """`axis`, `axis in domain`, or `(a, b) in domain` (`axes` has two or more)."""

    axes: tuple[Is[Axis], ...]
    domain: Is[Expr] | None


class Target(Node):
    """A site with its indices, as an edit, path or hypothesis node names it: `attn.z[layer, head]`."""

    path: tuple[str, ...]
    indices: tuple[Is[IndexItem], ...]


class Statement(Node):
    """A declaration or anything that stands in a block."""


class Import(Statement):
    """`import "path.gbx"`."""

    path: str


class Model(Statement):
    """`model NAME = SOURCE(...)`."""

    name: str
    call: Is[Call]


class Metric(Statement):
    """`metric NAME(r, ...) = EXPR`."""

    name: str
    parameters: tuple[str, ...]
    value: Is[Expr]


class Let(Statement):
    """`let NAME[binders] = EXPR`."""

    name: str
    binders: tuple[Is[Binder], ...]
    value: Is[Expr]


class From(Statement):
    """`from "file.csv"` in a data block."""

    path: str


class Rows(Statement):
    """`rows [{...}, ...]`."""

    rows: Is[List]


class SlotLine(Node):
    """`a, b from SOURCE`: names drawn distinct from one source."""

    names: tuple[str, ...]
    source: Is[List | Name | String]


class Slots(Statement):
    """`slots { ... }`."""

    lines: tuple[Is[SlotLine], ...]


class Draw(Statement):
    """`draw N, seed: S` (seed None: not written, 0)."""

    count: int
    seed: int | None


class Prompt(Statement):
    """`prompt NAME = EXPR`."""

    name: str
    value: Is[Expr]


class Answer(Statement):
    """`answer NAME = EXPR`."""

    name: str
    value: Is[Expr]


class Feature(Statement):
    """`feature NAME[binders] = EXPR`."""

    name: str
    binders: tuple[Is[Binder], ...]
    value: Is[Expr]


class Keep(Statement):
    """`keep where EXPR`."""

    condition: Is[Expr]


class Data(Statement):
    """`data NAME { ... }`."""

    name: str
    items: tuple[Is[Statement], ...]


class UseModels(Statement):
    """`models a, b` in an experiment."""

    names: tuple[Is[Name], ...]


class UseData(Statement):
    """`data d, e` in an experiment."""

    names: tuple[Is[Name], ...]


class Edit(Statement):
    """Anything in a run's block."""


class Write(Edit):
    """`SITE[...] := EXPR` and `+= -= *=`; `during` is `prompt`, `generated` or None."""

    target: Is[Target]
    op: Literal[":=", "+=", "-=", "*="]
    value: Is[Expr]
    during: str | None


class PathEdit(Edit):
    """`path A -> B -> C := run`."""

    targets: tuple[Is[Target], ...]
    value: Is[Expr]


class KeepEdit(Edit):
    """`keep CIRCUIT, else RUN`."""

    circuit: Is[Expr]
    otherwise: Is[Expr] | None


class Run(Statement):
    """`run NAME[binders] = forward(...) { edits }`."""

    name: str
    binders: tuple[Is[Binder], ...]
    call: Is[Call]
    edits: tuple[Is[Edit], ...]


class Measure(Statement):
    """`measure NAME[binders] = EXPR`."""

    name: str
    binders: tuple[Is[Binder], ...]
    value: Is[Expr]


class RecordTensor(Statement):
    """`record NAME[binders] = EXPR`."""

    name: str
    binders: tuple[Is[Binder], ...]
    value: Is[Expr]


class Fit(Statement):
    """`fit NAME[binders] = KIND(...)`."""

    name: str
    binders: tuple[Is[Binder], ...]
    call: Is[Call]


class Circuit(Statement):
    """`circuit NAME[binders] = KIND(...)`."""

    name: str
    binders: tuple[Is[Binder], ...]
    call: Is[Call]


class Expect(Statement):
    """`expect EXPR`."""

    claim: Is[Expr]


class HypothesisNode(Statement):
    """`node NAME = TARGET -> READER.PORT agree EXPR`."""

    name: str
    target: Is[Target]
    reader: str | None
    port: str | None
    agree: Is[Expr] | None


class Hypothesis(Statement):
    """`hypothesis NAME { node ... }`."""

    name: str
    nodes: tuple[Is[HypothesisNode], ...]


class Experiment(Statement):
    """`experiment NAME "title" { ... }`."""

    name: str
    title: str | None
    items: tuple[Is[Statement], ...]


class Option(Node):
    """`key: value` of a report item."""

    key: str
    value: Is[Expr]


class ReportItem(Node):
    """`heatmap experiment.measure { x: pos }` or `markdown "..."`: `source` is a dotted name or a text."""

    kind: str
    source: tuple[str, ...] | str
    options: tuple[Is[Option], ...]


class Report(Statement):
    """`report NAME "title" { ... }`."""

    name: str
    title: str | None
    items: tuple[Is[ReportItem], ...]


class File(Node):
    """A whole file: version of the language and its declarations in order."""

    version: int
    declarations: tuple[Is[Statement], ...]


def children(node: Node) -> list[Node]:
    """The nodes directly below a node, in the order of their fields."""
    found: list[Node] = []
    for name in type(node).model_fields:
        found += _nodes_in(getattr(node, name))
    return found


def _nodes_in(value: Any) -> list[Node]:
    if isinstance(value, Node):
        return [value]
    if isinstance(value, tuple):
        return [node for item in value for node in _nodes_in(item)]
    return []
