"""Brackets behind a value: `[model: smol]`, `[item: 3]`, `[layer: 2]`, `[movers]`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from glassbox_dsl.language import errors
from glassbox_dsl.language.chains import Brackets, Dot, Step
from glassbox_dsl.language.errors import Poisoned, Problem
from glassbox_dsl.language.indices import is_point, swept_variables
from glassbox_dsl.language.program import Expr, InContext, Index
from glassbox_dsl.language.scope import Scope
from glassbox_dsl.language.set_nodes import SetExpr
from glassbox_dsl.syntax import nodes
from glassbox_dsl.vocabulary.axes import CONTEXT_AXES, ITEM

if TYPE_CHECKING:
    from glassbox_dsl.language.experiment import ExperimentReader


class ContextReader:
    """Turns the brackets behind a value into the value elsewhere, at given cells, or at the cells of a set."""

    names: ExperimentReader

    def in_context(self, value: Expr, steps: Sequence[Step], scope: Scope) -> Expr:
        """Brackets behind a value: `[model: smol]`, `[item: 3]`, `[layer: 2]`."""
        for step in steps:
            if not isinstance(step, Brackets):
                what = f".{step.name}" if isinstance(step, Dot) else "(...)"
                raise Problem(errors.wrong_kind(step.span, what, "no part of a value", "an index"))
            if isinstance(value, SetExpr):
                help_ = "index the value that the set is made of, or write the set as an index: `resid_post[SET, pos]`"
                raise Problem(
                    errors.wrong_kind(
                        step.span, step.span.text, "an index of a set", "an index of a value", help_
                    )
                )
            value = self.one_context(value, step, scope)
        return value

    def one_context(self, value: Expr, step: Brackets, scope: Scope) -> Expr:
        """One pair of brackets behind a value."""
        fields: dict[str, Any] = {}
        where: list[tuple[str, Index]] = []
        free = [d for d in value.dims if d != ITEM]
        axes = [(d, self.axis_of(d, scope)) for d in free]
        items, only = self.names.sets.restrictions(step.items, axes, scope, "the value")
        value = self.names.sets.restricted(value, only)
        if not items:
            return value
        for item in items:
            name = item.name or (free[len(where)] if len(where) < len(free) else None)
            if name is None:
                raise Problem(errors.too_many_indices(item.span, "the value", free, len(step.items)))
            if name in fields or name in dict(where):
                raise Problem(errors.index_twice(item.span, name, "the value"))
            if name in CONTEXT_AXES:
                fields[name] = self.context_name(name, item)
            elif name in value.dims and not isinstance(item.value, nodes.All):
                where.append(
                    (
                        name,
                        self.names.reader.read(
                            item.value, self.axis_of(name, scope), scope, [name], "the value"
                        ),
                    )
                )
            elif name not in value.dims:
                raise Problem(
                    errors.unknown_axis(item.span, name, "the value", [*value.dims, "model", "data"])
                )
        left = {name: self.left_by(name, index, scope) for name, index in where}
        dims = [n for d in value.dims if not (d == ITEM and "item" in fields) for n in left.get(d, (d,))]
        over = tuple(scope.met.merged(name) for name, _ in where)
        return InContext(
            span=step.span,
            body=value,
            where=tuple(where),
            over=over,
            dims=tuple(dict.fromkeys(dims)),
            feature=value.feature,
            **fields,
        )

    @staticmethod
    def left_by(name: str, index: Index, scope: Scope) -> tuple[str, ...]:
        """The dimensions in the place of an indexed one: none for a cell, its variables', or its own for several."""
        if not is_point(index):
            return (name,)
        return tuple(scope.sweep(index.span, variable) for variable in swept_variables(index))

    @staticmethod
    def axis_of(dimension: str, scope: Scope) -> str | None:
        """The axis of a dimension's variable."""
        for known in scope.met.found.get(dimension, []):
            return known.variables[0].axis
        return dimension

    def context_name(self, axis: str, item: nodes.IndexItem) -> object:
        """The model, data set or item number of a context index."""
        if axis == ITEM:
            if isinstance(item.value, nodes.Number) and isinstance(item.value.value, int):
                return item.value.value
            raise Problem(errors.bad_index(item.span, "an item is named by its number"))
        if not isinstance(item.value, nodes.Name):
            raise Problem(errors.bad_index(item.span, f"a {axis} is named by its name"))
        known = self.names.models if axis == "model" else self.names.data
        if item.value.id in self.names.file.broken and item.value.id not in known:
            raise Poisoned
        if item.value.id not in known:
            raise Problem(errors.unknown_name(item.value.span, item.value.id, known, axis))
        return item.value.id
