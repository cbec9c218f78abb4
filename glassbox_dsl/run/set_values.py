"""What sets read, evaluated; and the values that sets give: their size, and other values at their members only."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from glassbox_dsl.diagnostics import Findings
from glassbox_dsl.language.circuit_nodes import Found
from glassbox_dsl.language.program import Expr, Operation, Reference
from glassbox_dsl.language.set_axes import OPERATORS, is_truth
from glassbox_dsl.language.set_nodes import Only, SetSize
from glassbox_dsl.plan import named as indices
from glassbox_dsl.plan.errors import places_differ
from glassbox_dsl.plan.indexing import Env
from glassbox_dsl.plan.named import Mask
from glassbox_dsl.plan.places import agreed
from glassbox_dsl.plan.set_maker import Searched
from glassbox_dsl.plan.setting import Setting
from glassbox_dsl.run.named import Named, combine, tensor, valued

if TYPE_CHECKING:
    from glassbox_dsl.run.evaluate import Evaluator


@dataclass(frozen=True)
class RunValues:
    """The values that sets are made from (`plan.set_maker.SetValues`), on what was run."""

    evaluator: Evaluator

    def numbers(self, expr: Expr, dims: Sequence[str], env: Env) -> NDArray[np.float64]:
        """A value over all cells of some dimensions; NaN where there is no cell."""
        return spread_out(self.evaluator.value(expr, env), dims, env)

    def truth(self, expr: Expr, dims: Sequence[str], env: Env) -> Mask:
        """Where a truth value holds, over all cells of some dimensions."""
        return spread_out(self.holds(expr, env), dims, env) > 0

    def search(self, expr: Found, dims: Sequence[str], env: Env) -> Searched:
        """What a search for a circuit finds, over all cells of some dimensions."""
        from glassbox_dsl.run.circuits import Circuits  # its passes evaluate edits, which write to sets

        return Circuits(self.evaluator).search(expr, dims, env)

    def elsewhere(self, experiment: str) -> Setting:
        """Another experiment on the same model and data set."""
        context = self.evaluator.context
        return context.other(experiment, context.model, context.data_name)

    def holds(self, expr: Expr, env: Env) -> Named:
        """1 where a truth value holds and 0 elsewhere, where it has no value or there is no cell too."""
        match expr:
            case Operation(op=op) if op in OPERATORS:
                return combine(LOGICAL[op], *(self.holds(o, env) for o in expr.operands))
            case Reference() if is_truth(expr):
                return filled(self._named(expr, env))
        return filled(self.evaluator.value(expr, env))

    def _named(self, expr: Reference, env: Env) -> Named:
        """Where a let or measure holds, at the cells that a reference names."""
        home = self.evaluator.home_of(expr)
        value = home.experiment.value(expr.kind, expr.name)
        there = RunValues(self.evaluator.at(home))
        found = there.evaluator.cached(
            ("holds", expr.kind, expr.name), lambda: there.evaluator.variants(value, there.holds)
        )
        return self.evaluator.at_cells(found, value, expr, env)


LOGICAL: dict[str, Callable[..., Tensor]] = {
    "+": torch.maximum,
    "-": lambda a, b: a * (1 - b),
    "*": torch.mul,
    "not": lambda a: 1 - a,
}


def filled(found: Named) -> Named:
    """0 where a value is missing or has no number."""
    data = torch.nan_to_num(found.data, nan=0.0)
    return Named(torch.where(found.full_presence(), data, 0.0), found.dims)


def spread_out(found: Named, dims: Sequence[str], env: Env) -> NDArray[np.float64]:
    """A value as an array with an axis for each of some dimensions, NaN where there is no cell."""
    sizes = {b.dimension: len(b.ids.data) for b in env.variables.values()}
    data, present = found.spread(dims)
    data = data.double() if present is None else torch.where(present, data.double(), torch.nan)
    return np.broadcast_to(data.numpy(), [sizes[d] for d in dims])


def size_of(expr: SetSize, evaluator: Evaluator, env: Env) -> Named:
    """How many members a set has."""
    return valued(evaluator.context.sets.sizes(expr.members, env))


def only(expr: Only, evaluator: Evaluator, env: Env) -> Named:
    """A value at the members of a set; other cells are missing."""
    body = evaluator.value(expr.body, env)
    if expr.members.by_name:
        inside = evaluator.context.sets.has_cells(expr.members, expr.variables, env)
    else:
        reads = evaluator.places.prompts_at(expr.body, env)
        prompts = [*reads] or [evaluator.places.default_prompt()]
        inside, clash = agreed(
            {prompt: _contained(expr, evaluator, env, prompt) for prompt in prompts}, reads
        )
        if clash.data.any():
            raise Findings([places_differ(expr.span, prompts)])
        inside = indices.Named(inside.data.astype(np.bool_), inside.dims)
    there = Named(tensor(inside.data), inside.dims)
    dims = tuple(dict.fromkeys((*body.dims, *there.dims)))
    wide = combine(lambda x, _: x + torch.zeros(()), body, there) if dims != body.dims else body
    return wide.where(there.spread(wide.dims)[0])


def _contained(expr: Only, evaluator: Evaluator, env: Env, prompt: str) -> indices.Named:
    """Whether the cells of an environment belong to a set, positions found in one prompt."""
    axes = zip(expr.variables, expr.members.axes, strict=True)
    coordinates = [evaluator.context.indexer.variable(name, axis, env, prompt) for name, axis in axes]
    return evaluator.context.sets.contains(expr.members, coordinates, env, prompt)
