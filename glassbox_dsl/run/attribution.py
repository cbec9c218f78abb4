"""Direct logit attribution: what a part of the residual stream adds to a logit through the run's own, frozen norms.

Elhage et al. 2021, "A Mathematical Framework for Transformer Circuits". A norm with a frozen divisor is linear, a
post-norm too, so the parts add up: over embedding, blocks (or heads, neurons, experts times their router weights) and
biases they sum to the logit. A cap on logits is shared out in proportion: each part is scaled by the capped logit over
the one before the cap.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from glassbox_dsl.language.indices import is_point
from glassbox_dsl.language.program import Index
from glassbox_dsl.language.technique_nodes import Attribution
from glassbox_dsl.plan import named as indices
from glassbox_dsl.plan.indexing import Env
from glassbox_dsl.run.context import Context, own_context
from glassbox_dsl.run.modules import NormModule
from glassbox_dsl.run.named import Named, both, combine, take_named, union
from glassbox_dsl.run.site_values import by_prompt
from glassbox_dsl.vocabulary.sites import sites

if TYPE_CHECKING:
    from glassbox_dsl.run.evaluate import Evaluator

SMALL = 1e-20
"""A product with the unembedding below this is taken as this when a cap is shared out: the cap is linear there."""


@dataclass(frozen=True)
class Attributions:
    """Evaluates attributions in one context."""

    evaluator: Evaluator

    @property
    def context(self) -> Context:
        """Where they are evaluated."""
        return self.evaluator.context

    def attribution(self, expr: Attribution, env: Env) -> Named:
        """The part of a logit that a site adds; 0 at other positions than the logit's."""
        run = self.context.run(expr.body.run.run)
        home, env = own_context(self.context, run, env)
        if home is not self.context:
            return self.evaluator.at(home).value(expr, env)
        direction = self.direction(expr, env)
        x = self.evaluator.value(expr.body, env)
        if expr.body.site == "mlp.post":
            direction = self.through_down_projection(direction, expr, env)
            found = combine(torch.mul, x, direction)
        else:
            found = combine(lambda a, b: (a * b).sum(-1), x, direction, drops_feature=True)
        if expr.weight is not None:
            found = combine(torch.mul, found, self.evaluator.value(expr.weight, env))
        here = self.at_the_logit(expr, env)
        return combine(lambda a, b: a * b, found, here)

    def direction(self, expr: Attribution, env: Env) -> Named:
        """What one unit along each coordinate of what x becomes part of adds to the logit (feature: dim)."""
        ids, valid = self.evaluator.metrics.scored(expr.call, env)
        normed, scale = self.evaluator.value(expr.normed, env), self.evaluator.value(expr.scale, env)
        dims = union([normed, ids])
        (n, there), (tokens, also), (counted, _) = (v.spread(dims) for v in (normed, ids, valid))
        columns, biases = self._unembedding(tokens)
        raw = (n[..., None, :] * columns).sum(-1) + biases
        raw = torch.where(raw.abs() < SMALL, SMALL, raw)
        share = self.context.instrument.finished(raw).float().cpu() / raw
        weight = share * counted / counted.sum(-1, keepdim=True)
        columns = adjoint(self.context.instrument.modules.final_norm, columns)
        summed = Named((weight[..., None] * columns).sum(-2), dims, True, both(there, also))
        found = combine(torch.div, summed, scale)
        if expr.raw is None or expr.out is None:
            return found
        before, after = self.evaluator.value(expr.raw, env), self.evaluator.value(expr.out, env)
        # With its divisor frozen a post-norm (without a mean or bias) or a multiplier scales each coordinate.
        return combine(lambda d, a, b: d * torch.where(b == 0, 0.0, a / b), found, after, before)

    def _unembedding(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """The unembedding of tokens [...]: columns [..., dim] and biases [...], float32."""
        instrument = self.context.instrument
        columns = instrument.unembedding_columns(tokens.reshape(-1)).float().cpu()
        bias = getattr(instrument.modules.unembed, "bias", None)
        biases = torch.zeros(tokens.shape) if bias is None else bias.detach().float().cpu()[tokens]
        return columns.reshape(*tokens.shape, -1), biases

    def through_down_projection(self, direction: Named, expr: Attribution, env: Env) -> Named:
        """Directions of what the MLP puts out as directions of what its down-projection reads, at x's neurons."""
        layer, neuron = self._coordinates(expr, "layer", env), self._coordinates(expr, "neuron", env)
        instrument = self.context.instrument

        def through(number: int, part: Named) -> Named:
            weight = instrument.down_rows(number, torch.arange(instrument.facts.n_neurons))
            wide = Named(part.data @ weight.t(), (*part.dims, "#neuron"))
            return take_named(wide, {"#neuron": neuron})

        return by_layer(layer, direction, through)

    def _coordinates(self, expr: Attribution, axis: str, env: Env) -> indices.Named:
        """The coordinates of x on an axis that is no position."""
        prompt = self.context.run(expr.body.run.run).variants[0].prompt
        axes = sites()[expr.body.site].axes
        return self.evaluator.places.coordinates(expr.body, axes, env, prompt)[axis]

    def at_the_logit(self, expr: Attribution, env: Env) -> Named:
        """1 where x lies at the logit's position, 0 elsewhere."""
        run, places = self.context.run(expr.body.run.run), self.evaluator.places
        axes = sites()[expr.body.site].axes
        assert expr.call.at is not None
        parts = []
        for prompt in dict.fromkeys(v.prompt for v in run.variants):
            own = places.coordinates(expr.body, axes, env, prompt)["pos"]
            same = indices.combine(np.equal, own, self._position(expr.call.at, env, prompt))
            parts.append(Named(torch.from_numpy(np.array(same.data)).float(), same.dims))
        return by_prompt(places, run, places.run_cell(run, expr.body.run.where, env), parts)

    def _position(self, at: Index, env: Env, prompt: str) -> indices.Named:
        if is_point(at):
            return self.context.indexer.point(at, "pos", env, prompt)
        return self.evaluator.places.natural("pos", env, prompt)


def adjoint(norm: NormModule, columns: Tensor) -> Tensor:
    """Directions behind a norm [..., dim] as directions before it, its divisor frozen and taken out.

    With it n(x) . u = x . adjoint(u) / divisor + the norm's bias . u.
    """
    module = copy.deepcopy(norm.module).float().cpu()
    probe = torch.ones(columns.shape[-1])
    probe[1::2] = -1.0
    bias = getattr(module, "bias", None)
    with torch.no_grad():
        output = module(probe) - (0.0 if bias is None else bias)
        centred = probe - probe.mean() if norm.kind == "ln" else probe
        found: Tensor = columns * (output * norm.divisor(probe) / centred)
        return found - found.mean(-1, keepdim=True) if norm.kind == "ln" else found


def by_layer(layer: indices.Named, value: Named, make: Callable[[int, Named], Named]) -> Named:
    """A value made layer by layer from another; `layer`, of one dimension at most, says which layer each cell lies in.

    `make` keeps the dimension of layers where there is one. Which cells there are, is left to x.
    """
    if not layer.dims:
        return make(int(layer.data), value)
    [dim] = layer.dims
    if dim not in value.dims:
        value = combine(lambda x, z: x + z, value, Named(torch.zeros(len(layer.data)), (dim,)))
    axis, order = value.dims.index(dim), np.argsort(layer.data, kind="stable")
    parts = []
    for number in np.unique(layer.data).tolist():
        mine = torch.from_numpy(np.flatnonzero(layer.data == number))
        part = make(number, Named(value.data.index_select(axis, mine), value.dims, value.feature))
        parts.append(Named(part.data.movedim(part.dims.index(dim), 0), _first(part.dims, dim), part.feature))
    back = torch.from_numpy(order.argsort())
    return Named(torch.cat([p.data for p in parts])[back], parts[0].dims, parts[0].feature)


def _first(dims: tuple[str, ...], dim: str) -> tuple[str, ...]:
    return (dim, *(d for d in dims if d != dim))
