"""Which runs a value reads whole tensors of, and whether at its own cells."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from glassbox_dsl.language.circuit_nodes import Found
from glassbox_dsl.language.program import (
    Constant,
    Direction,
    Experiment,
    Expr,
    InContext,
    Index,
    Load,
    MetricCall,
    Noise,
    Operation,
    OverDimension,
    OwnValue,
    Reduce,
    Reference,
    Resample,
    RunUse,
    SiteRead,
    TokenAt,
    Unembed,
    VariableValue,
)
from glassbox_dsl.language.set_nodes import Only, SetExpr, SetReference, SetSize
from glassbox_dsl.language.technique_nodes import CodeChange, CodeRead, FitUse
from glassbox_dsl.plan.taps import host_order, tap_of
from glassbox_dsl.syntax import nodes

PLAIN = (
    *(SiteRead, MetricCall, Operation, Unembed, Direction, Load, Constant, VariableValue, TokenAt),
    *(Reduce, OverDimension, InContext, Reference, CodeRead),
)  # fmt: skip
"""Values that read runs where their tensors are kept, and no others."""
READING = (*PLAIN, OwnValue, Noise, Resample, CodeChange, SetSize, Only, SetExpr)
"""What edits and sets are made of as well."""


class Unsure(Exception):
    """Runs are read in a way that is not looked into: by passes of their own."""


def uses(
    node: nodes.Node, experiment: Experiment, kept: Collection[tuple[str, str]], direct: bool = True
) -> Iterator[tuple[RunUse, bool]]:
    """The runs of which whole tensors are read, through lets and measures too, but not through those that are `kept`.

    With each, whether it is read at the cells of the value itself (else the value may read any cell). Raises `Unsure`.
    """
    match node:
        case SiteRead():
            yield node.run, direct
            for index in node.index:
                yield from uses(index, experiment, kept, False)
            return
        case MetricCall():
            if tap_of(node, host_order(experiment.runs)) is None:
                yield from ((use, direct) for use in (node.run, node.other) if use is not None)
            for part in (node.value, node.other_value, node.token, node.at, node.other_at):
                if part is not None:
                    yield from uses(part, experiment, kept, direct)
            return
        case Reference() | SetReference():
            key = (node.kind, node.name)
            if node.experiment == experiment.name and key not in kept:
                yield from uses(experiment.value(*key), experiment, kept, False)
        case RunUse() | FitUse() | Found():
            raise Unsure
        case Expr() if not isinstance(node, READING):
            raise Unsure
    inner = direct and not isinstance(node, Reduce | OverDimension | InContext | SetExpr | Index)
    for child in nodes.children(node):
        yield from uses(child, experiment, kept, inner)
