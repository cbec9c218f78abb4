"""Reductions: means and their kin over items and swept dimensions, and functions along a dimension."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from glassbox_dsl.diagnostics import Findings
from glassbox_dsl.language.program import Expr, OverDimension, Reduce, Reference
from glassbox_dsl.plan.data_arrays import aligned
from glassbox_dsl.plan.indexing import Binding, Env
from glassbox_dsl.plan.named import Named as Indices
from glassbox_dsl.plan.named import along
from glassbox_dsl.plan.places import Places, items_elsewhere
from glassbox_dsl.run import errors
from glassbox_dsl.run.context import Context
from glassbox_dsl.run.labelled import by_label
from glassbox_dsl.run.named import Named, combine, stack, take, take_named, tensor
from glassbox_dsl.run.reduce import correlate, reduce_dims
from glassbox_dsl.vocabulary.axes import DATA, ITEM, MODEL, POSITION_AXES

if TYPE_CHECKING:
    from glassbox_dsl.run.evaluate import Evaluator


CONTEXT = "#context"
"""The dimension of the models and data sets that a reduction runs over."""

Over = Reduce | OverDimension
"""What runs over dimensions."""


@dataclass(frozen=True)
class Reductions:
    """Evaluates reductions."""

    evaluator: Evaluator

    @property
    def context(self) -> Context:
        """Where they are evaluated."""
        return self.evaluator.context

    @property
    def places(self) -> Places:
        """Finds cells and coordinates."""
        return self.evaluator.places

    def reduction(self, expr: Reduce, env: Env) -> Named:
        """A mean, sum or extreme over dimensions."""
        if (swept := self._unaligned(expr, env)) is not None:
            return by_label(self, expr, env, swept)
        if env.item.dims == ("row",):
            # In an edit the rows of a batch ask for a few cells: made once over everything, then picked.
            full = self.evaluator.cached(
                (expr, env.extension), lambda: self.reduce(expr, self.full_env(expr.dims, env))
            )
            return self.pick(full, env)
        return self.reduce(expr, env)

    def full_env(self, dims: Sequence[str], env: Env) -> Env:
        """Every cell of some dimensions of an environment, and every item."""
        bindings: dict[str, Binding] = {}
        for name, binding in env.variables.items():
            if binding.dimension in dims:
                size = (
                    len(binding.cells)
                    if binding.cells is not None
                    else self.context.sizes.of(binding.dimension)
                )
                bindings[name] = Binding(along(binding.dimension, size), binding.dimension, binding.cells)
        return Env(item=self.context.all_items(), variables=bindings, extension=env.extension)

    def pick(self, value: Named, env: Env) -> Named:
        """The cells that an environment stands for, of a value over all of them."""
        picks = {b.dimension: b.ids for b in env.variables.values() if b.dimension in value.dims}
        if ITEM in value.dims:
            picks[ITEM] = env.item
        return take_named(value, picks)

    def reduce(self, expr: Reduce, env: Env) -> Named:
        """The reduction over every cell and item that its dimensions have."""
        over = [d.name for d in expr.over] + ([CONTEXT] if expr.contexts else [])
        if (
            expr.op == "mean"
            and ITEM in over
            and expr.within is None
            and (ratio := self._ratio(expr.body)) is not None
        ):
            return self._ratio_of_means(ratio, expr, env, over)
        body = self._everywhere(expr, env, lambda at, inner: at.held_out(expr.body, inner, over))
        inner = self._inner(expr, self.context, env)
        groups = tensor(self.context.data.groups(expr.within)) if expr.within is not None else None
        coordinate = self._coordinates_of(expr, inner, body) if expr.op == "argmax" else None
        found = reduce_dims(expr.op, body, over, expr.feature_over, groups, coordinate)
        if expr.within is not None:
            found = take(found, {ITEM: env.item})
        return found

    def _inner(self, expr: Over, context: Context, env: Env) -> Env:
        """The environment in which a context evaluates the body of a reduction."""
        found = env.with_variables(context.bindings([d for d in expr.over if d.name != ITEM]))
        if context is not self.context:
            return replace(found, item=context.all_items(), extension=None)
        return replace(found, item=context.all_items()) if ITEM in [d.name for d in expr.over] else found

    def _everywhere(self, expr: Over, env: Env, make: Callable[[Evaluator, Env], Named]) -> Named:
        """What a reduction reduces: a value here, or in every model or data set it runs over, side by side.

        Cells meet by their indices, items that stay by their numbers.
        """
        parts = []
        for context in self.contexts(expr):
            here = context is self.context
            part = make(
                self.evaluator if here else self.evaluator.at(context), self._inner(expr, context, env)
            )
            if not here and ITEM in part.dims and ITEM not in [d.name for d in expr.over]:
                part = take(part, {ITEM: items_elsewhere(self.context, context, env.item)})
            parts.append(part)
        return stack(parts, CONTEXT) if expr.contexts else parts[0]

    def contexts(self, expr: Over) -> list[Context]:
        """Where the body of a reduction is evaluated: here, or wherever its runs can be made on enough items."""
        here = self.context
        models = here.experiment.models if MODEL in expr.contexts else (here.model,)
        sets = here.experiment.data if DATA in expr.contexts else (here.data_name,)
        found = []
        for model, data in product(models, sets):
            if (model, data) == (here.model, here.data_name):
                found.append(here)
            elif here.usable(data, model):
                context = here.other(here.experiment.name, model, data)
                if set(context.prompts_read(expr)) <= set(context.data.items[0].prompts):
                    found.append(context)
        return found

    def _coordinates_of(self, expr: Reduce, env: Env, body: Named) -> Tensor | None:
        """What argmax gives for each cell of the one dimension it runs over: its index or number.

        It has an axis for each dimension of `body`. A named position that is another token in another item or
        prompt of what a cell is about has no index: NaN.
        """
        if expr.feature_over:
            return None
        [over] = expr.over
        if over.name == ITEM:
            numbers = Named(tensor(self.context.data.numbers).float(), (ITEM,))
            return numbers.spread(body.dims)[0]
        [variable] = over.variables
        cells = env.variables[variable.name].cells
        if cells is not None and all(c.number is not None for c in cells):
            found = Named(torch.tensor([float(c.number or 0) for c in cells]), (over.name,))
            return found.spread(body.dims)[0]
        at, clash = self.places.variable(variable.name, str(variable.axis), env, expr.body)
        at = at.where(~clash.spread(at.dims)[0])
        more = tuple(d for d in at.dims if d not in body.dims)
        data, there = at.spread((*body.dims, *more))
        flat = np.where(True if there is None else there, data, -1).reshape(*data.shape[: len(body.dims)], -1)
        same = (flat == flat[..., :1]).all(-1) & (flat[..., 0] >= 0)
        return tensor(np.where(same, flat[..., 0], np.nan).astype(np.float32))

    def _ratio(self, body: Expr) -> Reference | None:
        """The measure that a mean is taken of, if it is a ratio."""
        if (
            isinstance(body, Reference)
            and body.kind == "measure"
            and self.evaluator.home_of(body).experiment.value("measure", body.name).ratio
        ):
            return body
        return None

    def _ratio_of_means(self, ratio: Reference, expr: Reduce, env: Env, over: list[str]) -> Named:
        """Mean of the numerators over mean of the denominators."""

        def part(which: int) -> Callable[[Evaluator, Env], Named]:
            def make(at: Evaluator, inner: Env) -> Named:
                home = at.home_of(ratio)
                value = home.experiment.value("measure", ratio.name)
                parts = at.at(home).parts(value)
                shared = combine(lambda a, b: a + 0 * b, parts[which], parts[1 - which])
                return at.at_cells(shared, value, ratio, inner)

            return make

        sums = [
            reduce_dims("sum", self._everywhere(expr, env, part(which)), over, False, None, None)
            for which in (0, 1)
        ]
        return combine(torch.div, *sums)

    def _unaligned(self, expr: Reduce, env: Env) -> str | None:
        """The variable that sweeps positions by number where they do not mean the same in every item."""
        if [d.name for d in expr.over] != [ITEM] or expr.within is not None:
            return None
        swept = [
            name
            for name, b in env.variables.items()
            if b.dimension in expr.dims
            and name in POSITION_AXES
            and (b.cells is None or any(c.at is not None for c in b.cells))
        ]
        prompts = self.context.prompts_read(expr.body)
        if not swept or aligned([c.data for c in self.contexts(expr)], prompts):
            return None
        if len(swept) > 1:
            raise Findings([errors.not_aligned(expr.span, prompts[0])])
        return swept[0]

    def over_dimension(self, expr: OverDimension, env: Env) -> Named:
        """A softmax along, or a correlation over, dimensions."""
        over = [d.name for d in expr.over] + ([CONTEXT] if expr.contexts else [])

        def held_out(operand: Expr) -> Callable[[Evaluator, Env], Named]:
            def make(at: Evaluator, inner: Env) -> Named:
                value = at.value(operand, inner)
                return at.fits.held_out(value, expr) if ITEM in over else value

            return make

        values = [self._everywhere(expr, env, held_out(operand)) for operand in expr.operands]
        options = dict(expr.options)
        if expr.op == "correlation":
            return correlate(values[0], values[1], over, bool(options["rank"]), bool(options["feature_over"]))
        [value] = values
        if options["feature_over"]:
            return Named(value.data.softmax(-1), value.dims, True, value.present)
        axes = [value.dims.index(d) for d in over]
        data = value.data.masked_fill(~value.full_presence(), -torch.inf)
        peak = data.amax(axes, keepdim=True)
        weights = (data - peak).exp()
        found = Named(weights / weights.sum(axes, keepdim=True), value.dims, value.feature, value.present)
        picks = {b.dimension: b.ids for b in env.variables.values() if b.dimension in over}
        if ITEM in over:
            picks[ITEM] = env.item
        if expr.contexts:
            here = [context is self.context for context in self.contexts(expr)].index(True)
            found = take(found, {CONTEXT: Indices(np.array(here), ())})
        return take_named(found, picks)
