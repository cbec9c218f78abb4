"""Truth values, and the axes of sets: what the cells of dimensions lie on, in what order, and where by name."""

from __future__ import annotations

from collections.abc import Sequence

from glassbox_dsl.language.program import (
    At,
    Between,
    Dimension,
    Expr,
    InContext,
    Index,
    Operation,
    Reference,
    Swept,
)
from glassbox_dsl.language.scope import Scope
from glassbox_dsl.language.set_nodes import Only
from glassbox_dsl.vocabulary.axes import POSITION_AXES

ORDER = ("layer", "expert", "head", "kv_head", "neuron", "pos", "query", "key")
"""Axes in the order in which every site has those that it has."""
OPERATORS = ("+", "-", "*", "not")
COMPARISONS = ("==", "!=", "<", "<=", ">", ">=")


def is_truth(value: Expr) -> bool:
    """Whether a value is a truth value: a comparison, or `*`, `+`, `-`, `not` of truth values."""
    match value:
        case Operation(op=op):
            return op in COMPARISONS or (op in OPERATORS and all(map(is_truth, value.operands)))
        case Reference():
            return value.truth
        case InContext() | Only():
            return is_truth(value.body)
    return False


def axes_of(dimensions: Sequence[Dimension]) -> tuple[str, ...]:
    """The axes that the cells of some dimensions lie on."""
    return tuple(str(v.axis) for d in dimensions for v in d.variables)


def in_order_of_sites(dimensions: Sequence[Dimension]) -> tuple[Dimension, ...]:
    """Dimensions of one axis each in the order that sites have; others as they are."""
    axes = axes_of(dimensions)
    if len(axes) > len(dimensions) or len(set(axes)) < len(axes) or not set(axes) <= set(ORDER):
        return tuple(dimensions)
    return tuple(sorted(dimensions, key=lambda d: ORDER.index(str(d.variables[0].axis))))


def names_positions(dimensions: Sequence[Dimension]) -> bool:
    """Whether some cells of dimensions are positions by name."""
    return any(
        v.axis in POSITION_AXES and m.index is not None and not _numbered(m.index)
        for d in dimensions
        for row in d.members or ()
        for v, m in zip(d.variables, row, strict=True)
    ) or any(d.members_from is not None and d.members_from.by_name for d in dimensions)


def _numbered(index: Index) -> bool:
    match index:
        case At(value=value):
            return value >= 0
        case Between():
            return _numbered(index.low) and _numbered(index.high)
    return False


def named_position(index: Index, axis: str, scope: Scope) -> bool:
    """Whether a written member lies at a position by name."""
    if axis not in POSITION_AXES:
        return False
    if isinstance(index, Swept):
        return index.variable in scope.binders and names_positions([scope.binders[index.variable]])
    return not _numbered(index)


def leading_axes(variables: Sequence[tuple[str, str | None]]) -> list[str]:
    """The axes of the first variables, up to one without an axis."""
    axes: list[str] = []
    for _, axis in variables:
        if axis is None:
            break
        axes.append(axis)
    return axes


def axes_meet(own: str, axis: str) -> bool:
    """Whether members on one axis index another. Heads and their groups are told apart where a model is known."""
    return own == axis or {own, axis} <= set(POSITION_AXES) or {own, axis} == {"head", "kv_head"}
