"""Vectors whose coordinates are the neurons of an MLP: `norm(clean.mlp.post[layer, :, last])`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from glassbox_dsl.language.arguments import Arguments
from glassbox_dsl.language.program import Constant, Expr, Reduce
from glassbox_dsl.language.scope import Scope, pass_on

if TYPE_CHECKING:
    from glassbox_dsl.language.values import ValueReader

NEURON = "neuron"
OVER_NEURONS = ("norm", "unit", "dot", "cos")
"""Functions of vectors that take the numbers of all neurons of an MLP for one, where there is no axis `dim`."""


def of_neurons(value: Expr, scope: Scope) -> bool:
    """Whether a value is a number for each neuron of an MLP, and neurons are not swept."""
    return value.feature is None and NEURON in value.dims and NEURON not in scope.binders


def over_neurons(arguments: Arguments, scope: Scope, values: ValueReader) -> Expr:
    """`norm`, `unit`, `dot` or `cos` of such values, as sums over neurons."""
    inner, span = scope.inner(), arguments.span
    vectors = [values.value(a, inner) for a in arguments.positional]

    def product(one: Expr, other: Expr) -> Expr:
        body = values.combine(span, "*", [one, other])
        stays = tuple(d for d in body.dims if d != NEURON)
        over = (inner.met.merged(NEURON),)
        return Reduce(span=span, op="sum", body=body, over=over, within=None, dims=stays)

    def norm(vector: Expr) -> Expr:
        return values.combine(span, "sqrt", [product(vector, vector)])

    def unit(vector: Expr) -> Expr:
        inverse = values.combine(span, "/", [Constant(span=span, value=1.0), norm(vector)])
        return values.combine(span, "*", [vector, inverse])

    match arguments.function:
        case "norm":
            found = norm(*vectors)
        case "unit":
            found = unit(*vectors)
        case "cos":
            found = product(*(unit(v) for v in vectors))
        case _:
            found = product(*vectors)
    pass_on(found.dims, inner, scope)
    return found
