"""Sets of cells as values: what a set depends on stands in its node, so that it can be made before it is used.

A set is no number: it indexes, is the domain of a binder, is counted or goes into another set.
"""

from __future__ import annotations

from typing import Literal

from glassbox_dsl.language.program import Dimension, Expr, Index


class SetExpr(Expr):
    """A set of cells, one for each model and data set. `axes`: what its members index, in order.

    `dims` names the variables it depends on, never its own axes. `by_name`: members lie at positions by name
    (`last`, a label), which differ between prompts.
    """

    axes: tuple[str, ...]
    by_name: bool = False


class Where(SetExpr):
    """The cells along the dimensions `over` in which a truth value holds; `+` and `-` in it are those of sets."""

    body: Expr
    over: tuple[Dimension, ...]


class Largest(SetExpr):
    """The `k` cells along the dimensions `over` in which a number is largest, the lowest indices on ties."""

    body: Expr
    k: Expr
    over: tuple[Dimension, ...]


class Sample(SetExpr):
    """`k` cells of a set, drawn from `seed`."""

    body: SetExpr
    k: Expr
    seed: int


class LiteralSet(SetExpr):
    """`{(5, 1), (4, 11)}` in company of another set: one index per axis and member."""

    items: tuple[tuple[Index, ...], ...]


class SetOperation(SetExpr):
    """Union `+`, difference `-`, intersection `*` and complement `not` of sets over the same axes."""

    op: str
    operands: tuple[SetExpr, ...]


class SetReference(SetExpr):
    """A let that is a set, or a circuit, at given values of its binders."""

    kind: Literal["let", "circuit"]
    experiment: str
    name: str
    where: tuple[tuple[str, Index], ...]


class SetSize(Expr):
    """`size(SET)`: how many members it has."""

    members: SetExpr


class Only(Expr):
    """`x[movers]`: a value that keeps its axes; cells outside the set are missing.

    `variables` gives the coordinate on each axis of the set.
    """

    body: Expr
    members: SetExpr
    variables: tuple[str, ...]


class SetIndex(Index):
    """A set from results over `width` leading axes: stands in the place of the first of them."""

    members: SetExpr
    width: int
