"""Expressions to numbers: every kind of value of the language, over all items and cells of a sweep at once."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from glassbox_dsl.diagnostics import Findings
from glassbox_dsl.language.program import (
    Constant,
    Direction,
    Expr,
    InContext,
    Load,
    MetricCall,
    Noise,
    Operation,
    OverDimension,
    OwnValue,
    Reduce,
    Reference,
    Resample,
    Scrubbed,
    SiteRead,
    TokenAt,
    Unembed,
    Value,
    VariableValue,
)
from glassbox_dsl.language.set_nodes import Only, SetSize
from glassbox_dsl.language.technique_nodes import (
    Attribution,
    Auroc,
    CodeChange,
    CodeRead,
    Expansion,
    FitValue,
    Grad,
)
from glassbox_dsl.library.value import value_functions
from glassbox_dsl.plan import named as indices
from glassbox_dsl.plan.demand import run_uses
from glassbox_dsl.plan.errors import places_differ
from glassbox_dsl.plan.indexing import Binding, Env, narrowed
from glassbox_dsl.plan.kept_values import pieces
from glassbox_dsl.plan.places import Places, items_elsewhere
from glassbox_dsl.run import errors, random
from glassbox_dsl.run.attribution import Attributions
from glassbox_dsl.run.codes import Codes
from glassbox_dsl.run.context import Context
from glassbox_dsl.run.elementwise import OPERATIONS, choose, quotient
from glassbox_dsl.run.fits import Fits
from glassbox_dsl.run.given_values import GivenValues
from glassbox_dsl.run.metric_values import MetricValues
from glassbox_dsl.run.named import Named, both, combine, concatenate, scalar, take, take_named, valued
from glassbox_dsl.run.reductions import Reductions
from glassbox_dsl.run.scrub import scrubbed
from glassbox_dsl.run.set_values import only, size_of
from glassbox_dsl.run.site_values import SiteValues
from glassbox_dsl.syntax import nodes
from glassbox_dsl.vocabulary.axes import ITEM
from glassbox_dsl.vocabulary.sites import sites

WIDE_BYTES = 256 * 2**20
"""About how many bytes of logits are made at once."""


class Evaluator:
    """Evaluates values in one context; sites and taps of runs must have been made before."""

    def __init__(self, context: Context) -> None:
        self.context = context
        self.places = Places(context)
        self.sites = SiteValues(context)
        self.metrics = MetricValues(self)
        self.reductions = Reductions(self)
        self.fits = Fits(self)
        self.given = GivenValues(self)
        self.kinds: dict[type[Expr], Callable[[Any, Env], Named]] = {
            Constant: lambda e, env: scalar(float(e.value)),
            VariableValue: self.variable,
            SiteRead: self.sites.site,
            MetricCall: self.metrics.metric,
            Operation: self.operation,
            Reduce: self.reductions.reduction,
            OverDimension: self.reductions.over_dimension,
            Resample: self.resample,
            Noise: self.noise,
            Unembed: self.unembed,
            Direction: self.given.direction,
            Load: self.given.load,
            Attribution: Attributions(self).attribution,
            FitValue: self.fits.value,
            Grad: self.grad,
            Expansion: self.expansion,
            Auroc: self.fits.auroc,
            CodeRead: Codes(self).value,
            CodeChange: Codes(self).change,
            OwnValue: self.own,
            Reference: self.reference,
            InContext: self.in_context,
            TokenAt: self.given.token,
            Scrubbed: lambda e, env: scrubbed(e, env, self.context),
            SetSize: lambda e, env: size_of(e, self, env),
            Only: lambda e, env: only(e, self, env),
        }

    def at(self, context: Context) -> Evaluator:
        """An evaluator in another context."""
        return Evaluator(context)

    def value(self, expr: Expr, env: Env) -> Named:
        """The value of an expression in an environment."""
        if (elsewhere := self.elsewhere_data(expr)) is not None:
            other = self.context.other(self.context.experiment.name, self.context.model, elsewhere)
            return Evaluator(other).value(expr, replace(env, item=other.all_items(), extension=None))
        wide = [c for c in nodes.children(expr) if isinstance(c, Expr) and _is_wide(c)]
        if wide and expr.feature != wide[0].feature:
            return self.in_pieces(expr.dims, wide[0], env, lambda e: self.kinds[type(expr)](expr, e))
        return self.kinds[type(expr)](expr, env)

    def held_out(self, expr: Expr, env: Env, over: Sequence[str]) -> Named:
        """What is reduced over some dimensions; where items go, without those that a fit in it was made from."""
        found = self.value(expr, env)
        return self.fits.held_out(found, expr) if ITEM in over else found

    def elsewhere_data(self, expr: Expr) -> str | None:
        """The other data set that a reduction over items is about, if all its runs are fixed to one."""
        if not isinstance(expr, Reduce) or ITEM in expr.dims:
            return None
        fixed_to = {
            self.context.run(u.run).data for u in run_uses(expr.body, self.context.experiment, sets=False)
        }
        return (
            next(iter(fixed_to - {self.context.data_name}))
            if len(fixed_to) == 1 and None not in fixed_to and self.context.data_name not in fixed_to
            else None
        )

    def family(self, value: Value) -> Named:
        """A let, record or claim over all its cells and items; a measure too, unless it has several pieces."""
        return self.piece(value, 0)

    def parts(self, value: Value) -> tuple[Named, Named]:
        """Numerator and denominator of a measure that is a ratio."""
        return self.piece(value, 0), self.piece(value, 1)

    def measure(self, value: Value) -> Named:
        """A measure; a ratio has no value (NaN) for the items whose denominator is near 0."""
        if not value.ratio:
            return self.family(value)
        return combine(quotient, *self.parts(value))

    def piece(self, value: Value, number: int) -> Named:
        """A piece of a declaration over all its cells, of which those that a results file knows are not made."""
        key = (value.kind, value.name)
        if (kept := self.context.kept.get(key)) is not None:
            return self.cached((key, number), kept.pieces[number].value)
        return self.cached((key, number, self.context.partly), lambda: self.made(value, number))

    def made(self, value: Value, number: int, env: Env | None = None) -> Named:
        """A piece of a declaration in some cells; None: in all of them."""
        if value.table == "top":
            evaluate: Callable[[Any, Env], Named] = self.metrics.top
        elif pieces(value) > 1:
            evaluate = partial(self._operand, number)
        else:
            evaluate = self.value
        return self.variants(value, evaluate, env)

    def _operand(self, number: int, expr: Operation, env: Env) -> Named:
        return self.value(expr.operands[number], env)

    def cached(self, key: object, make: Callable[[], Named]) -> Named:
        """A value that is made once in this context."""
        if key not in self.context.cache:
            self.context.cache[key] = make()
        return self.context.cache[key]

    def variants(self, value: Value, evaluate: Callable[[Expr, Env], Named], env: Env | None = None) -> Named:
        """All readings of a declaration put together: each fills the cells whose names it stands for.

        `env` has the cells that are wanted; None: all of them.
        """
        found = self._variants(value, evaluate, env or self.context.env(value.dimensions))
        if value.kind in ("measure", "expect"):
            # What a fit has learnt from an item says nothing about others like it.
            return self.fits.held_out(found, value)
        return found

    def _variants(self, value: Value, evaluate: Callable[[Expr, Env], Named], env: Env) -> Named:
        def evaluate_in(expr: Expr) -> Named:
            return evaluate(expr, replace(env, around=expr))

        if len(value.variants) == 1:
            return self.complete(evaluate_in(value.variants[0].value), value, env)
        chosen = indices.Named(self.context.cell_variants(value), tuple(d.name for d in value.dimensions))
        chosen = indices.take(chosen, {b.dimension: b.ids for b in env.variables.values()})
        parts = [self.complete(evaluate_in(v.value), value, env) for v in value.variants]
        dims = tuple(dict.fromkeys((*chosen.dims, *(d for p in parts for d in p.dims))))
        result = parts[0]
        for number, part in enumerate(parts[1:], start=1):
            result = choose(chosen, number, part, result, dims)
        return result

    def complete(self, found: Named, value: Value, env: Env | None = None) -> Named:
        """A value with all dimensions of its declaration, also those that it is the same along."""
        env = env or self.context.env(value.dimensions)
        sizes = {b.dimension: len(b.ids.data) for b in env.variables.values()}
        if value.has_item:
            sizes[ITEM] = len(env.item.data)
        missing = [d for d in sizes if d not in found.dims]
        if not missing:
            return found
        ones = Named(torch.zeros([sizes[d] for d in missing]), tuple(missing))
        return combine(lambda x, z: x + z, found, ones)

    def in_pieces(self, dims: Sequence[str], wide: Expr, env: Env, make: Callable[[Env], Named]) -> Named:
        """Make a value with some dimensions that passes through wide vectors in pieces that fit into memory."""
        sizes = {ITEM: len(env.item.data)} if env.item.dims == (ITEM,) else {}
        for binding in env.variables.values():
            if binding.ids.dims == (binding.dimension,):
                sizes[binding.dimension] = len(binding.ids.data)
        facts = self.context.sizes.facts
        width = facts.vocab_size if wide.feature == "vocab" else facts.d_model
        total = 4 * width * math.prod(sizes[d] for d in wide.dims if d in sizes)
        splits = {d: sizes[d] for d in dims if sizes.get(d, 1) > 1 and d in wide.dims}
        if total <= WIDE_BYTES or not splits:
            return make(env)
        dim = max(splits, key=lambda d: splits[d])
        n_pieces = min(splits[dim], math.ceil(total / WIDE_BYTES))
        pieces = np.array_split(np.arange(splits[dim]), n_pieces)
        parts = [self.in_pieces(dims, wide, narrowed(env, dim, piece), make) for piece in pieces]
        return concatenate(parts, dim) if dim in parts[0].dims else parts[0]

    def variable(self, expr: VariableValue, env: Env) -> Named:
        """A bound variable as a number."""
        binding = env.variables[expr.variable]
        if binding.cells is not None and all(c.number is not None for c in binding.cells):
            table = Named(torch.tensor([float(c.number or 0) for c in binding.cells]), ("#cell",))
            return take(table, {"#cell": binding.ids})
        axis = "pos" if binding.cells and any(c.index is not None for c in binding.cells) else "layer"
        found, clash = self.places.variable(expr.variable, axis, env, env.around)
        if clash.data.any():
            raise Findings([places_differ(expr.span, self.context.prompts_read(env.around or expr))])
        return valued(found)

    def operation(self, expr: Operation, env: Env) -> Named:
        """Arithmetic, comparison or a function, cell by cell."""
        values = [self.value(o, env) for o in expr.operands]
        if expr.op in OPERATIONS:
            return combine(OPERATIONS[expr.op], *values)
        entry = value_functions()[expr.op]
        return combine(entry.compute, *values, drops_feature=entry.feature == "drop")

    def grad(self, expr: Grad, env: Env) -> Named:
        """The gradient of a number."""
        from glassbox_dsl.run.gradients import Gradients  # its passes evaluate edits, which evaluate values

        return Gradients(self).value(expr, env)

    def expansion(self, expr: Expansion, env: Env) -> Named:
        """A metric of an edited run to first order."""
        from glassbox_dsl.run.estimates import Estimates  # likewise

        return Estimates(self).value(expr, env)

    def own(self, expr: OwnValue, env: Env) -> Named:
        """`self` in an edit."""
        assert isinstance(env.own, Named)
        return env.own

    def unembed(self, expr: Unembed, env: Env, tokens: Tensor | None = None) -> Named:
        """Logits through the model's own final norm and head; of some tokens [n] alone where they are given."""
        value = self.value(expr.body, env)
        instrument = self.context.instrument
        if expr.scale is None:
            norm: Literal["none", "final"] = "none" if expr.norm == "none" else "final"
            logits = instrument.unembed(value.data, norm=norm, tokens=tokens)
            return Named(logits.float().cpu(), value.dims, True, value.present)
        scale = self.value(expr.scale, env)
        dims = tuple(dict.fromkeys((*value.dims, *scale.dims)))
        (x, there), (s, also) = value.spread(dims), scale.spread(dims)
        shape = torch.broadcast_shapes(x.shape[:-1], s.shape)
        logits = instrument.unembed(x.expand(*shape, x.shape[-1]), scale=s.expand(shape), tokens=tokens)
        return Named(logits.float().cpu(), dims, True, both(there, also))

    def noise(self, expr: Noise, env: Env) -> Named:
        """Gaussian noise, drawn from what it is for."""
        scale = self.value(expr.scale, env)
        if expr.like is not None:
            like = self.value(expr.like, env)
            numbers = self.context.data.numbers
            drawn = random.noise_like(like, expr.seed, numbers, env.item)
        else:
            drawn = random.site_noise(env, expr.seed, self.context)
        return combine(torch.mul, scale, drawn)

    def resample(self, expr: Resample, env: Env) -> Named:
        """The value on each item's partner."""
        groups = (
            self.context.data.groups(expr.within)
            if expr.within
            else np.zeros(self.context.data.n_items, dtype=np.int64)
        )
        numbers = self.context.data.numbers.tolist()
        partner = random.partners(numbers, groups.tolist(), expr.seed)
        if partner is None:
            raise Findings([errors.group_of_one(expr.span, expr.within)])
        other = indices.take(indices.Named(np.array(partner), (ITEM,)), {ITEM: env.item})
        return self.value(expr.body, replace(env, item=other))

    def home_of(self, expr: Reference) -> Context:
        """The context of the experiment that a name belongs to."""
        if expr.experiment == self.context.experiment.name:
            return self.context
        return self.context.other(expr.experiment, self.context.model, self.context.data_name)

    def reference(self, expr: Reference, env: Env) -> Named:
        """A let or measure at the cells that a reference names."""
        home = self.home_of(expr)
        value = home.experiment.value(expr.kind, expr.name)
        if value.feature == "vocab" and home is self.context and len(value.variants) == 1:
            # Logits are too wide to keep: the value is made where it is used, at the cells asked for.
            body = value.variants[0].value
            cells = self.places.family_cells(body, value.dimensions, dict(expr.where), env)
            inner = env.with_variables(self.places.bound(value.dimensions, cells))
            return self.value(body, replace(inner, around=body))
        evaluator = self if home is self.context else Evaluator(home)
        found = evaluator.measure(value) if expr.kind == "measure" else evaluator.family(value)
        return self.at_cells(found, value, expr, env)

    def at_cells(self, found: Named, value: Value, expr: Reference, env: Env) -> Named:
        """The cells of a family that a reference names."""
        home = self.home_of(expr)
        cells = self.places.family_cells(value, value.dimensions, dict(expr.where), env, home)
        picks = {name: cell for name, cell in cells.items() if name in found.dims}
        if ITEM in found.dims:
            picks[ITEM] = env.item
        return take_named(found, picks)

    def in_context(self, expr: InContext, env: Env) -> Named:
        """A value on another model, data set or item, or at given cells."""
        if expr.model is not None or expr.data is not None:
            return self._elsewhere(expr, env)
        if expr.item is not None:
            numbers = self.context.data.numbers.tolist()
            if expr.item not in numbers:
                raise Findings([errors.no_such_item(expr.span, expr.item, len(numbers))])
            env = replace(env, item=indices.scalar(numbers.index(expr.item)))
        where = {d.variables[0].name: index for (_, index), d in zip(expr.where, expr.over, strict=True)}
        cells = self.places.family_cells(expr.body, expr.over, where, env)
        bindings = {}
        for (name, _), dimension in zip(expr.where, expr.over, strict=True):
            [variable] = dimension.variables
            own = self.context.bindings([dimension])[variable.name].cells
            bindings[variable.name] = Binding(cells[dimension.name], name, own)
        return self.value(expr.body, env.with_variables(bindings))

    def _elsewhere(self, expr: InContext, env: Env) -> Named:
        """The value on another model or data set; items meet by their numbers."""
        context = self.context
        other = context.other(
            context.experiment.name, expr.model or context.model, expr.data or context.data_name
        )
        inner = expr.changed(model=None, data=None)
        found = Evaluator(other).value(inner, replace(env, item=other.all_items()))
        if ITEM not in found.dims:
            return found
        if other.data_name != context.data_name:
            raise Findings([errors.items_never_meet(expr.span, other.data_name, context.data_name)])
        return take(found, {ITEM: items_elsewhere(context, other, env.item)})


def _is_wide(value: Expr) -> bool:
    """Whether a value is not to be made whole where it need not: logits, and vectors made of a number for each cell."""
    return value.feature == "vocab" or (isinstance(value, SiteRead) and sites()[value.site].of is not None)
