"""`largest(x, k:)`, `sample(SET, k:, seed:)`, `size(SET)`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from glassbox_dsl.language import errors
from glassbox_dsl.language.arguments import Arguments
from glassbox_dsl.language.errors import Problem
from glassbox_dsl.language.program import Constant, Expr
from glassbox_dsl.language.scope import Scope, pass_on
from glassbox_dsl.language.set_axes import axes_of, names_positions
from glassbox_dsl.language.set_nodes import Largest, Sample, SetSize
from glassbox_dsl.syntax import nodes

if TYPE_CHECKING:
    from glassbox_dsl.language.experiment import ExperimentReader


class SetCalls:
    """Turns the calls that make or count sets into values."""

    def __init__(self, names: ExperimentReader) -> None:
        self.names = names
        self.functions: dict[str, Callable[[Arguments, Scope], Expr]] = {
            "largest": self.largest,
            "sample": self.sample,
            "size": self.size,
        }

    def largest(self, arguments: Arguments, scope: Scope) -> Expr:
        """`largest(x, k: 10)`: the k cells in which x is largest, along all that no binder binds."""
        arguments = replace(arguments, usage="largest(x, k: 10)")
        arguments.expect(1, 1, ("k",))
        node, inner = arguments.positional[0], scope.inner()
        body = self.names.values.value(node, inner)
        over = self.names.sets.own_dimensions(body, node, inner)
        bound = tuple(d for d in body.dims if d not in {o.name for o in over})
        pass_on(bound, inner, scope)
        k = self.count(arguments, scope)
        dims = tuple(dict.fromkeys((*bound, *k.dims)))
        return Largest(
            span=arguments.span, body=body, k=k, over=over, axes=axes_of(over), dims=dims,
            by_name=names_positions(over),
        )  # fmt: skip

    def sample(self, arguments: Arguments, scope: Scope) -> Expr:
        """`sample(SET, k: 10, seed: 0)`: k of its cells."""
        arguments = replace(arguments, usage="sample(SET, k: 10, seed: 0)")
        arguments.expect(1, 1, ("k", "seed"))
        body = self.names.sets.read(arguments.positional[0], scope)
        k = self.count(arguments, scope)
        dims = tuple(dict.fromkeys((*body.dims, *k.dims)))
        seed = arguments.integer("seed", 0)
        return Sample(
            span=arguments.span, body=body, k=k, seed=seed, axes=body.axes, dims=dims, by_name=body.by_name
        )

    def count(self, arguments: Arguments, scope: Scope) -> Expr:
        """`k:`, a whole number above 0 or a number that is the same for all items and cells of the set."""
        node = arguments.named.get("k")
        if node is None:
            raise arguments.problem("`k:` says how many cells")
        k = self.names.values.value(node, scope)
        if isinstance(k, Constant) and (k.value < 1 or k.value != int(k.value)):
            raise arguments.problem("`k:` is a whole number from 1 on")
        bound = {d.name for d in scope.binders.values()}
        loose = [d for d in k.dims if d not in bound]
        if isinstance(node, nodes.Unary) or k.feature is not None or loose:
            why = f"it has one value for each `{loose[0]}`" if loose else "this is something else"
            raise arguments.problem(f"`k:` is one whole number from 1 on; {why}")
        return k

    def size(self, arguments: Arguments, scope: Scope) -> Expr:
        """`size(SET)`: how many members it has."""
        arguments = replace(arguments, usage="size(SET)")
        arguments.expect(1, 1, ())
        node = arguments.positional[0]
        if self.names.sets.is_written(node, scope):
            return self._written_size(node, scope)
        members = self.names.sets.read(node, scope)
        return SetSize(span=arguments.span, members=members, dims=members.dims)

    def _written_size(self, node: nodes.Expr, scope: Scope) -> Expr:
        """The size of a set whose members stand in the file: counted here, where all of them are numbers."""
        span = node.span
        while isinstance(node, nodes.Name):
            node = scope.words.get(node.id) or self.names.named_set(node.id) or nodes.Set(span=span, items=())
        items = node.items if isinstance(node, nodes.Set | nodes.List) else ()
        parts = [p for i in items for p in (i.items if isinstance(i, nodes.Tuple) else (i,))]
        if not items or not all(isinstance(p, nodes.Number) for p in parts):
            raise Problem(errors.axes_unknown(span))
        return Constant(span=span, value=float(len(set(items))))
