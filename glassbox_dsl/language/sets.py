"""Sets from results: which expressions are sets, what axes their members have, and where they may stand.

A truth value is the set of the cells in which it holds. Written in place it takes the variables in scope, as any
value does; under a name it keeps its axes: binders of the same name do not bind them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from glassbox_dsl.language import errors
from glassbox_dsl.language.chains import Dot, graft, take_apart
from glassbox_dsl.language.errors import Problem
from glassbox_dsl.language.indices import swept_variables
from glassbox_dsl.language.program import (
    Dimension,
    Expr,
    Value,
    Variable,
)
from glassbox_dsl.language.scope import Met, Scope, pass_on
from glassbox_dsl.language.set_axes import (
    OPERATORS,
    axes_meet,
    axes_of,
    in_order_of_sites,
    is_truth,
    leading_axes,
    named_position,
    names_positions,
)
from glassbox_dsl.language.set_nodes import LiteralSet, Only, SetExpr, SetIndex, SetOperation, Where
from glassbox_dsl.source import Span
from glassbox_dsl.syntax import nodes
from glassbox_dsl.vocabulary.axes import ITEM, POSITION_AXES, POSITION_WORDS

if TYPE_CHECKING:
    from glassbox_dsl.language.experiment import ExperimentReader


class SetReader:
    """Turns expressions that stand in the place of a set into sets."""

    def __init__(self, names: ExperimentReader) -> None:
        self.names = names

    # ------------------------------------------------------------ telling sets from other things

    def is_written(self, node: nodes.Expr, scope: Scope) -> bool:
        """Whether a set is nothing but written members, so that its axes come from what stands beside it."""
        match node:
            case nodes.Set() | nodes.List() | nodes.Range():
                return True
            case nodes.Unary(op="not"):
                return self.is_written(node.operand, scope)
            case nodes.Binary(op="+" | "-" | "*"):
                return self.is_written(node.left, scope) and self.is_written(node.right, scope)
            case nodes.Name() if node.id in scope.words:
                return self.is_written(scope.words[node.id], scope)
            case nodes.Name() if node.id not in scope.binders and node.id not in scope.parameters:
                return isinstance(self.names.named_set(node.id), nodes.Set | nodes.List | nodes.Range)
        return False

    def stands_for_set(self, node: nodes.Expr, scope: Scope, axis: str | None) -> bool:
        """Whether an index on an axis is to be read as a set from results, by its form and the names in it."""
        match node:
            case nodes.Compare() | nodes.Call():
                return True
            case nodes.Unary(op="not"):
                return self.stands_for_set(node.operand, scope, axis)
            case nodes.Binary(op="+" | "-" | "*"):
                parts = (node.left, node.right)
                return any(self.stands_for_set(p, scope, axis) or self.is_written(p, scope) for p in parts)
        base, steps = take_apart(node)
        if not isinstance(base, nodes.Name) or base.id in scope.binders:
            return False
        if base.id in scope.words:
            return self.stands_for_set(graft(scope.words[base.id], node), scope, axis)
        if base.id in scope.parameters:
            bound = scope.parameters[base.id]
            return self.stands_for_set(bound.node, scope.of_argument(bound), axis)
        if axis in POSITION_AXES and base.id in (*POSITION_WORDS, *self.names.labels(scope)):
            return False
        if self.names.named_set(base.id) is not None:
            return False
        named = isinstance(self.names.declared.get(base.id), nodes.Let | nodes.Measure | nodes.Circuit)
        foreign = bool(steps) and isinstance(steps[0], Dot) and self.names.is_experiment(base.id)
        return named or foreign or base.id in self.names.file.lets

    # ------------------------------------------------------------ reading

    def read(self, node: nodes.Expr, scope: Scope, axes: Sequence[str] = ()) -> SetExpr:
        """The set that an expression is. `axes`: what written members are about where nothing else says."""
        if self.is_written(node, scope):
            return self.written(node, scope, axes)
        inner = self._own_scope(node, scope)
        found = self.as_set(self.names.values.reading(node, inner), node, inner)
        pass_on(found.dims, inner, scope)
        return found

    def _own_scope(self, node: nodes.Expr, scope: Scope) -> Scope:
        """A scope of the set's own; the axes that a named truth value has are not bound in it."""
        inner = replace(scope, met=Met(), target=None)
        family = self._named_truth(node, scope)
        if family is None:
            return inner
        own = {v.name for d in family.dimensions if d.name in family.inferred for v in d.variables}
        return replace(inner, binders={n: d for n, d in inner.binders.items() if n not in own})

    def _named_truth(self, node: nodes.Expr, scope: Scope) -> Value | None:
        """The let or measure that an expression names, where it is a truth value."""
        base, steps = take_apart(node)
        if not isinstance(base, nodes.Name) or base.id in scope.parameters:
            return None
        if base.id in scope.words:
            return self._named_truth(graft(scope.words[base.id], node), scope)
        family = self.names.value_named(base.id, base.span)
        if family is None and steps and isinstance(steps[0], Dot) and self.names.is_experiment(base.id):
            family = self.names.foreign_measure(base.id, steps[0].name, steps[0].span)
        return family if family is not None and family.truth else None

    def as_set(self, value: Expr, node: nodes.Expr, scope: Scope) -> SetExpr:
        """A value that was read in a scope, as a set."""
        if isinstance(value, SetExpr):
            return value
        if not is_truth(value):
            raise Problem(errors.number_as_set(node.span, node.span.text))
        over = self.own_dimensions(value, node, scope)
        dims = tuple(d for d in value.dims if d not in {o.name for o in over})
        return Where(
            span=node.span,
            body=value,
            over=over,
            axes=axes_of(over),
            dims=dims,
            by_name=names_positions(over),
        )

    def own_dimensions(self, value: Expr, node: nodes.Expr, scope: Scope) -> tuple[Dimension, ...]:
        """The dimensions of a value that make up the members of a set of its cells: all that no binder binds."""
        if value.feature is not None:
            what = f"a vector over `{value.feature}`"
            raise Problem(errors.wrong_kind(node.span, node.span.text[:40], what, "a number"))
        if ITEM in value.dims:
            raise Problem(errors.set_of_items(node.span, node.span.text))
        bound = {d.name for d in scope.binders.values()}
        own = tuple(scope.met.merged(n) for n in value.dims if n not in bound)
        plain = [v.name for d in own for v in d.variables if v.axis is None]
        if plain or not own:
            raise Problem(errors.no_set_axis(node.span, plain, sorted(bound)))
        return in_order_of_sites(own)

    # ------------------------------------------------------------ written members and operators

    def written(self, node: nodes.Expr, scope: Scope, axes: Sequence[str]) -> SetExpr:
        """A set of written members over given axes."""
        match node:
            case nodes.Name():
                meant = scope.words.get(node.id) or self.names.named_set(node.id)
                assert meant is not None
                return self.written(meant, scope, axes)
            case nodes.Unary():
                return self.joined(node.span, "not", [self.written(node.operand, scope, axes)])
            case nodes.Binary():
                return self.joined(
                    node.span, node.op, [self.written(o, scope, axes) for o in (node.left, node.right)]
                )
        if not axes:
            raise Problem(errors.axes_unknown(node.span))
        items = self.names.reader.rows(node, axes, scope)
        dims = [scope.sweep(i.span, v) for row in items for i in row for v in swept_variables(i)]
        by_name = any(named_position(i, a, scope) for row in items for i, a in zip(row, axes, strict=True))
        return LiteralSet(
            span=node.span, items=items, axes=tuple(axes), dims=tuple(dict.fromkeys(dims)), by_name=by_name
        )

    def operation(
        self,
        span: Span,
        op: str,
        operands: Sequence[nodes.Expr],
        values: Sequence[Expr | None],
        scope: Scope,
    ) -> SetExpr:
        """An operator between sets. `values`: what the operands were read as; None for written members."""
        if op not in OPERATORS:
            wrong = next(n for n, v in zip(operands, values, strict=True) if isinstance(v, SetExpr))
            raise Problem(errors.set_as_number(wrong.span, wrong.span.text))
        known = [
            value if value is None or isinstance(value, SetExpr) else self.read(node, scope)
            for node, value in zip(operands, values, strict=True)
        ]
        axes = next((s.axes for s in known if s is not None), ())
        return self.joined(
            span,
            op,
            [
                s if s is not None else self.written(node, scope, axes)
                for node, s in zip(operands, known, strict=True)
            ],
        )

    @staticmethod
    def joined(span: Span, op: str, operands: Sequence[SetExpr]) -> SetExpr:
        """Sets over the same axes under one operator."""
        for one in operands[1:]:
            if one.axes != operands[0].axes:
                raise Problem(errors.sets_differ(span, operands[0].axes, one.axes))
        named = [o.by_name for o in operands]
        if (op == "not" and any(named)) or (op in "-*" and len(set(named)) > 1):
            raise Problem(errors.no_complement(span))
        dims = tuple(dict.fromkeys(d for o in operands for d in o.dims))
        return SetOperation(
            span=span, op=op, operands=tuple(operands), axes=operands[0].axes, dims=dims, by_name=any(named)
        )

    # ------------------------------------------------------------ where sets stand

    def index(self, node: nodes.Expr, axes: Sequence[str], scope: Scope, of: str) -> SetIndex | None:
        """The set that an index is, over the first of some axes; None for an index of another kind."""
        if not self.stands_for_set(node, scope, axes[0]):
            return None
        members = self.read(node, scope, axes[: self._width(node, scope)])
        own, place = members.axes, axes[: len(members.axes)]
        if len(place) < len(own) or not all(map(axes_meet, own, place)):
            raise Problem(errors.set_on_other_axes(node.span, own, axes, of))
        return SetIndex(span=node.span, members=members, width=len(own))

    def _width(self, node: nodes.Expr, scope: Scope) -> int:
        """How many axes written members are about."""
        match node:
            case nodes.Set() | nodes.List() if node.items and isinstance(node.items[0], nodes.Tuple):
                return len(node.items[0].items)
            case nodes.Binary():
                return self._width(node.left, scope)
            case nodes.Unary():
                return self._width(node.operand, scope)
            case nodes.Name() if meant := scope.words.get(node.id) or self.names.named_set(node.id):
                return self._width(meant, scope)
        return 1

    def domain(self, node: nodes.Expr, variables: Sequence[Variable], scope: Scope) -> SetExpr | None:
        """The set whose members some variables take; None for a domain of another kind.

        A variable without an axis is on that of the set.
        """
        if not self.stands_for_set(node, scope, variables[0].axis):
            return None
        wanted = tuple(v.axis for v in variables)
        members = self.read(node, scope, tuple(a for a in wanted if a is not None))
        if len(members.axes) != len(wanted) or any(
            axis not in (None, own) for axis, own in zip(wanted, members.axes, strict=True)
        ):
            raise Problem(errors.set_of_other_axes(node.span, members.axes, [v.name for v in variables]))
        if members.dims:
            why = f"the set depends on `{members.dims[0]}`; a domain is the same in every cell"
            raise Problem(errors.bad_domain(node.span, why))
        return members

    def restrictions(
        self,
        items: Sequence[nodes.IndexItem],
        variables: Sequence[tuple[str, str | None]],
        scope: Scope,
        of: str,
    ) -> tuple[tuple[nodes.IndexItem, ...], list[SetIndexOn]]:
        """Indices of a value (variables with their axes) without the sets among them, and those sets."""
        names = [name for name, _ in variables]
        rest: list[nodes.IndexItem] = []
        found: list[SetIndexOn] = []
        place = 0
        for item in items:
            start = (
                place if item.name is None else names.index(item.name) if item.name in names else len(names)
            )
            index = None
            if start < len(names) and not isinstance(item.value, nodes.All):
                axes = leading_axes(variables[start:])
                index = self.index(item.value, axes, scope, of) if axes else None
            width = index.width if index is not None else 1
            place += width if item.name is None else 0
            if index is not None:
                found.append((index.members, tuple(names[start : start + width])))
            else:
                rest.append(item.changed(name=names[start]) if start < len(names) and found else item)
        return tuple(rest), found

    @staticmethod
    def restricted(value: Expr, found: Sequence[SetIndexOn]) -> Expr:
        """A value at the members of some sets only."""
        for members, variables in found:
            value = Only(
                span=value.span, body=value, members=members, variables=variables, feature=value.feature,
                dims=tuple(dict.fromkeys((*value.dims, *members.dims))),
            )  # fmt: skip
        return value


SetIndexOn = tuple[SetExpr, tuple[str, ...]]
"""A set, and the variables of a value that its axes are."""
