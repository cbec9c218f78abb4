"""Expressions to numbers: every kind of value of the language, over all items and cells of a sweep at once."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from glassbox_dsl.diagnostics import Findings, InternalError
from glassbox_dsl.language.indices import is_point
from glassbox_dsl.language.program import (
    AnswerUse,
    ByValue,
    Constant,
    Covered,
    Dimension,
    Direction,
    Expr,
    InContext,
    Index,
    Load,
    MetricCall,
    Noise,
    Operation,
    OverDimension,
    OwnValue,
    Position,
    Reduce,
    Reference,
    Resample,
    Run,
    RunUse,
    SiteRead,
    Swept,
    TokenAt,
    Tuples,
    Unembed,
    Value,
    VariableValue,
)
from glassbox_dsl.library.metric import metrics
from glassbox_dsl.library.value import value_functions
from glassbox_dsl.plan.demand import run_uses
from glassbox_dsl.plan.taps import Tap, cells_of, constant, logits_of, tap_of
from glassbox_dsl.resolve.cells import Row, fixed
from glassbox_dsl.run import errors, random
from glassbox_dsl.run.context import Context, RunResults
from glassbox_dsl.run.indexing import Binding, Env
from glassbox_dsl.run.named import Named, along, both, combine, concatenate, scalar, take
from glassbox_dsl.run.pairing import paired_positions
from glassbox_dsl.run.reduce import correlate, reduce_dims
from glassbox_dsl.syntax import nodes
from glassbox_dsl.vocabulary.axes import ITEM, POSITION_AXES
from glassbox_dsl.vocabulary.sites import sites

WIDE_BYTES = 256 * 2**20
"""About how many bytes of logits are made at once."""
NEAR_ZERO = 1e-6
"""A denominator below this, or below this share of the typical one, gives no quotient for the item."""

OPERATIONS: dict[str, Callable[..., Tensor]] = {
    "+": torch.add,
    "-": torch.sub,
    "*": torch.mul,
    "/": torch.div,
    "neg": torch.neg,
    "not": lambda x: 1.0 - x,
    "==": lambda a, b: known(a, b, a == b),
    "!=": lambda a, b: known(a, b, a != b),
    "<": lambda a, b: known(a, b, a < b),
    "<=": lambda a, b: known(a, b, a <= b),
    ">": lambda a, b: known(a, b, a > b),
    ">=": lambda a, b: known(a, b, a >= b),
    "max": lambda *xs: pairwise(torch.maximum, xs),
    "min": lambda *xs: pairwise(torch.minimum, xs),
}


def known(a: Tensor, b: Tensor, truth: Tensor) -> Tensor:
    """1 and 0, or NaN where one of the sides has no value."""
    return torch.where(torch.isnan(a) | torch.isnan(b), torch.nan, truth.to(torch.float32))


def pairwise(function: Callable[[Tensor, Tensor], Tensor], values: Sequence[Tensor]) -> Tensor:
    """A function of two applied to many."""
    result = values[0]
    for value in values[1:]:
        result = function(result, value)
    return result


class Evaluator:
    """Evaluates values in one context; sites and taps of runs must have been made before."""

    def __init__(self, context: Context) -> None:
        self.context = context
        self.kinds: dict[type[Expr], Callable[[Any, Env], Named]] = {
            Constant: lambda e, env: scalar(float(e.value)),
            VariableValue: self.variable,
            SiteRead: self.site,
            MetricCall: self.metric,
            Operation: self.operation,
            Reduce: self.reduction,
            OverDimension: self.over_dimension,
            Resample: self.resample,
            Noise: self.noise,
            Unembed: self.unembed,
            Direction: self.direction,
            Load: self.load,
            OwnValue: self.own,
            Reference: self.reference,
            InContext: self.in_context,
            TokenAt: self.token,
        }

    # ------------------------------------------------------------ entry points

    def value(self, expr: Expr, env: Env) -> Named:
        """The value of an expression in an environment."""
        if (elsewhere := self.elsewhere_data(expr)) is not None:
            other = self.context.other(self.context.experiment.name, self.context.model, elsewhere)
            return Evaluator(other).value(expr, replace(env, item=other.all_items()))
        wide = [c for c in nodes.children(expr) if isinstance(c, Expr) and c.feature == "vocab"]
        if wide and expr.feature != "vocab":
            return self.in_pieces(expr, wide[0], env)
        return self.kinds[type(expr)](expr, env)

    def elsewhere_data(self, expr: Expr) -> str | None:
        """The other data set that a reduction over items is about, if all its runs are fixed to one."""
        if not isinstance(expr, Reduce) or ITEM in expr.dims:
            return None
        fixed_to = {self.context.run(u.run).data for u in run_uses(expr.body, self.context.experiment)}
        return next(iter(fixed_to - {self.context.data_name})) if len(fixed_to) == 1 and None not in fixed_to and self.context.data_name not in fixed_to else None

    def own_context(self, run: Run, env: Env) -> tuple[Context, Env]:
        """Where a run is made: its own model's context, with this one's items found there by number."""
        context = self.context
        if run.model in (None, context.model):
            return context, env
        other = context.other(context.experiment.name, str(run.model), context.data_name)
        places = {number: place for place, number in enumerate(other.data.numbers.tolist())}
        table = torch.tensor([places.get(n, -1) for n in context.data.numbers.tolist()])
        return other, replace(env, item=take(Named(table, (ITEM,)), {ITEM: env.item}))

    def family(self, value: Value) -> Named:
        """A let, measure or claim over all its cells and items."""
        return self._cached(("family", value.kind, value.name), lambda: self._variants(value, lambda e, env: self.value(e, env)))

    def parts(self, value: Value) -> tuple[Named, Named]:
        """Numerator and denominator of a ratio."""
        def part(place: int) -> Callable[[Expr, Env], Named]:
            return lambda e, env: self.value(e.operands[place], env)  # type: ignore[attr-defined]

        first, second = (
            self._cached(("part", i, value.name), lambda i=i: self._variants(value, part(i)))  # type: ignore[misc]
            for i in (0, 1)
        )
        return first, second

    def measure(self, value: Value) -> Named:
        """A measure; a ratio has no value (NaN) for the items whose denominator is near 0."""
        if not value.ratio:
            return self.family(value)
        return combine(quotient, *self.parts(value))

    def _cached(self, key: object, make: Callable[[], Named]) -> Named:
        if key not in self.context.cache:
            self.context.cache[key] = make()
        return self.context.cache[key]

    def _variants(self, value: Value, evaluate: Callable[[Expr, Env], Named]) -> Named:
        """All readings of a declaration put together: each fills the cells whose names it stands for."""
        env = self.context.env(value.dimensions)
        if len(value.variants) == 1:
            return self.complete(evaluate(value.variants[0].value, env), value)
        chosen = Named(self.context.cell_variants(value), tuple(d.name for d in value.dimensions))
        parts = [self.complete(evaluate(v.value, env), value) for v in value.variants]
        dims = tuple(dict.fromkeys((*chosen.dims, *(d for p in parts for d in p.dims))))
        result = parts[0]
        for number, part in enumerate(parts[1:], start=1):
            result = choose(chosen, number, part, result, dims)
        return result

    def complete(self, found: Named, value: Value) -> Named:
        """A value with all dimensions of its declaration, also those that it is the same along."""
        sizes = {d.name: len(self.context.rows(d)) for d in value.dimensions}
        if value.has_item:
            sizes[ITEM] = self.context.data.n_items
        missing = [d for d in sizes if d not in found.dims]
        if not missing:
            return found
        ones = Named(torch.zeros([sizes[d] for d in missing]), tuple(missing))
        return combine(lambda x, z: x + z, found, ones)

    def in_pieces(self, expr: Expr, wide: Expr, env: Env) -> Named:
        """Evaluate something that passes through logits in pieces that fit into memory."""
        sizes = {ITEM: len(env.item.data)} if env.item.dims == (ITEM,) else {}
        for binding in env.variables.values():
            if binding.ids.dims == (binding.dimension,):
                sizes[binding.dimension] = len(binding.ids.data)
        cells = [sizes[d] for d in wide.dims if d in sizes]
        total = 4 * self.context.sizes.facts.vocab_size * math.prod(cells)
        splits = {d: sizes[d] for d in expr.dims if d in sizes and sizes[d] > 1 and d in wide.dims}
        if total <= WIDE_BYTES or not splits:
            return self.kinds[type(expr)](expr, env)
        dim = max(splits, key=lambda d: splits[d])
        pieces = min(splits[dim], math.ceil(total / WIDE_BYTES))
        parts = [self.value_piece(expr, wide, narrowed(env, dim, piece)) for piece in torch.arange(splits[dim]).chunk(pieces)]
        return concatenate(parts, dim) if dim in parts[0].dims else parts[0]

    def value_piece(self, expr: Expr, wide: Expr, env: Env) -> Named:
        """One piece, cut further along another dimension where it is still too large."""
        return self.in_pieces(expr, wide, env)

    # ------------------------------------------------------------ simple values

    def variable(self, expr: VariableValue, env: Env) -> Named:
        binding = env.variables[expr.variable]
        if binding.cells is not None and all(c.number is not None for c in binding.cells):
            table = Named(torch.tensor([float(c.number or 0) for c in binding.cells]), ("#cell",))
            return take(table, {"#cell": binding.ids})
        axis = "pos" if binding.cells and any(c.index is not None for c in binding.cells) else "layer"
        found = self.context.indexer.variable(expr.variable, axis, env, self.default_prompt())
        return Named(found.data.to(torch.float32), found.dims, False, found.present)

    def default_prompt(self) -> str:
        """The prompt that positions mean where no run says which: the first of the data set."""
        return next(iter(self.context.data.items[0].prompts))

    def operation(self, expr: Operation, env: Env) -> Named:
        values = [self.value(o, env) for o in expr.operands]
        if expr.op in OPERATIONS:
            return combine(OPERATIONS[expr.op], *values)
        entry = value_functions()[expr.op]
        return combine(entry.compute, *values, drops_feature=entry.feature == "drop")

    def own(self, expr: OwnValue, env: Env) -> Named:
        assert env.own is not None
        return env.own

    def token(self, expr: TokenAt, env: Env) -> Named:
        arrays = self.context.data.prompt(expr.prompt)
        at = self.context.indexer.point(expr.at, "pos", env, expr.prompt) if is_point(expr.at) else self.natural("pos", env, expr.prompt)
        ids = take(Named(arrays.ids, (ITEM, "#pos")), {ITEM: env.item, "#pos": at})
        inside = combine(torch.lt, at, self.context.indexer.length("pos", env, expr.prompt))
        kept = combine(lambda i, _: i.to(torch.float32), ids, Named(inside.data, inside.dims))
        return kept.where(Named(inside.data, inside.dims).spread(kept.dims)[0])

    def load(self, expr: Load, env: Env) -> Named:
        from safetensors import safe_open

        with safe_open(expr.path, framework="pt") as file:
            data = file.get_tensor(expr.key).to(torch.float32)
        named = Named(data, ("layer",) if data.ndim == 2 else (), data.ndim > 0)
        return self.pick(named, env)

    def direction(self, expr: Direction, env: Env) -> Named:
        ids, valid = self.answer_ids(expr.answer, self.default_prompt())
        columns = self.context.instrument.unembedding_columns(ids.reshape(-1)).float().cpu()
        columns = columns.reshape(*ids.shape, -1)
        mean = (columns * valid[..., None]).sum(1) / valid.sum(1)[:, None]
        return take(Named(mean, (ITEM,), True), {ITEM: env.item})

    def unembed(self, expr: Unembed, env: Env) -> Named:
        value = self.value(expr.body, env)
        instrument = self.context.instrument
        if expr.scale is None:
            logits = instrument.unembed(value.data, norm="none" if expr.norm == "none" else "final")
            return Named(logits.float().cpu(), value.dims, True, value.present)
        scale = self.value(expr.scale, env)
        dims = tuple(dict.fromkeys((*value.dims, *scale.dims)))
        (x, there), (s, also) = value.spread(dims), scale.spread(dims)
        shape = torch.broadcast_shapes(x.shape[:-1], s.shape)
        logits = instrument.unembed(x.expand(*shape, x.shape[-1]), scale=s.expand(shape))
        return Named(logits.float().cpu(), dims, True, both(there, also))

    def noise(self, expr: Noise, env: Env) -> Named:
        scale = self.value(expr.scale, env)
        if expr.like is not None:
            like = self.value(expr.like, env)
            numbers = self.context.data.numbers
            drawn = random.noise_like(like, expr.seed, numbers, env.item)
        else:
            drawn = random.site_noise(env, expr.seed, self.context)
        return combine(torch.mul, scale, drawn)

    def resample(self, expr: Resample, env: Env) -> Named:
        groups = self.context.data.groups(expr.within) if expr.within else torch.zeros(self.context.data.n_items, dtype=torch.long)
        numbers = self.context.data.numbers.tolist()
        partner = random.partners(numbers, groups.tolist(), expr.seed)
        if partner is None:
            raise Findings([errors.group_of_one(expr.span, expr.within)])
        other = take(Named(torch.tensor(partner), (ITEM,)), {ITEM: env.item})
        return self.value(expr.body, replace(env, item=other))

    # ------------------------------------------------------------ sites

    def natural(self, axis: str, env: Env, prompt: str) -> Named:
        """The coordinate along an axis that stays a dimension."""
        return self.context.indexer.variable(axis, axis, env, prompt)

    def run_cell(self, run: Run, where: Sequence[tuple[str, Index]], env: Env) -> Named:
        """The number of the run's cell (dimensions multiplied out) that indices name."""
        prompt = run.variants[0].prompt
        number: Named = scalar(0)
        for dimension in run.dimensions:
            size = len(self.context.rows(dimension))
            cell = self.cell_index(dimension, dict(where), env, prompt)
            number = combine(lambda n, c, size=size: n * size + c, number, cell)
        return number

    def cell_index(self, dimension: Dimension, where: dict[str, Index], env: Env, prompt: str) -> Named:
        """Which cell of a dimension the indices of its variables name; no cell is absent."""
        rows = self.context.rows(dimension)
        same = self._same_cells(dimension, where, env, rows)
        if same is not None:
            return same
        hits: Named = Named(torch.ones(len(rows), dtype=torch.bool), ("#cell",))
        for place, variable in enumerate(dimension.variables):
            hits = combine(torch.logical_and, hits, self._matches(where[variable.name], variable, place, rows, env, prompt))
        data, there = hits.spread((*[d for d in hits.dims if d != "#cell"], "#cell"))
        dims = tuple(d for d in hits.dims if d != "#cell")
        found = data.any(-1)
        present = found if there is None else found & there.squeeze(-1)
        return Named(data.long().argmax(-1), dims, False, present)

    def _same_cells(self, dimension: Dimension, where: dict[str, Index], env: Env, rows: Sequence[Row]) -> Named | None:
        """The shortcut for a variable that sweeps the very cells of the dimension."""
        bindings = []
        for place, variable in enumerate(dimension.variables):
            index = where[variable.name]
            if not isinstance(index, Swept) or index.variable not in env.variables:
                return None
            binding = env.variables[index.variable]
            own = tuple(row[place].key for row in rows)
            if binding.cells is None:
                if own != tuple(map(str, range(len(own)))):
                    return None
            elif binding.codes() != own:
                return None
            bindings.append(binding)
        if any(b.ids is not bindings[0].ids for b in bindings[1:]):
            return None
        ids = bindings[0].ids
        return ids.where((ids.data >= 0) & (ids.data < len(rows)))

    def _matches(self, index: Index, variable: Any, place: int, rows: Sequence[Row], env: Env, prompt: str) -> Named:
        """Whether each cell of a dimension (along #cell) is the one that an index names."""
        cells = [row[place] for row in rows]
        keys = [c.key for c in cells]
        if isinstance(index, ByValue):
            same = [c.number == index.number if index.number is not None and c.number is not None else c.text == index.text for c in cells]
            return Named(torch.tensor(same), ("#cell",))
        if isinstance(index, Swept) and (binding := env.variables[index.variable]).cells is not None:
            codes = {key: i for i, key in enumerate(keys)}
            table = torch.tensor([codes.get(c.key, -1) for c in binding.cells])
            ids = take(Named(table, ("#own",)), {"#own": binding.ids})
            return combine(torch.eq, ids, along("#cell", len(rows)))
        if isinstance(index, Position) and any(c.index == index for c in cells):
            return Named(torch.tensor([c.index == index for c in cells]), ("#cell",))
        axis = str(variable.axis)
        table = [c.at if c.at is not None else -1 for c in cells]
        point = self.context.indexer.point(index, axis, env, prompt) if is_point(index) else self.context.indexer.variable(variable.name, axis, env, prompt)
        inside = combine(torch.eq, point, Named(torch.tensor(table), ("#cell",)))
        if is_point(index):
            return inside
        chosen = self.context.indexer.member(index, point, axis, env, prompt)
        return combine(torch.logical_and, inside, chosen)

    def results(self, run: str, env: Env) -> RunResults:
        """What was kept of a run."""
        found = self.context.results.get((run, env.extension))
        if found is None:
            raise InternalError(f"run {run} was not made before it is read")
        return found

    def site(self, expr: SiteRead, env: Env) -> Named:
        run = self.context.run(expr.run.run)
        home, env = self.own_context(run, env)
        if home is not self.context:
            return Evaluator(home).site(expr, env)
        results = self.results(run.name, env)
        stored = results.sites[expr.site]
        cell = self.run_cell(run, expr.run.where, env)
        prompts = list(dict.fromkeys(v.prompt for v in run.variants))
        parts = [self._site_at(expr, env, stored, results, cell, prompt) for prompt in prompts]
        if len(parts) == 1:
            return parts[0]
        # The prompt differs between cells: each reads at the positions of its own.
        variants = self.context.cell_variants(run).reshape(-1)
        owners = torch.tensor([prompts.index(v.prompt) for v in run.variants])[variants]
        chosen = take(Named(owners, ("#run",)), {"#run": cell})
        result = parts[0]
        for number, part in enumerate(parts[1:], start=1):
            result = choose(chosen, number, part, result, tuple(dict.fromkeys((*chosen.dims, *result.dims, *part.dims))))
        return result

    def _site_at(self, expr: SiteRead, env: Env, stored: Any, results: RunResults, cell: Named, prompt: str) -> Named:
        axes = sites()[expr.site].axes
        coordinates = self.coordinates(expr, axes, env, prompt)
        value = Named(stored.data, ("#run", "#item", *(f"#{a}" for a in stored.axes)), stored.feature)
        picks = {"#run": cell, "#item": env.item}
        for axis in axes:
            picks[f"#{axis}"] = self._kept(coordinates[axis], axis, stored)
        found = take_named(value, picks)
        found = self._only_existing(found, expr, axes, coordinates, env, prompt)
        made = take(Named(results.made, ("#run", "#item")), {"#run": cell, "#item": env.item})
        there = both(made.data.reshape(made.data.shape), made.present)
        found = found.where(Named(there, made.dims).spread(found.dims)[0]) if there is not None else found
        if expr.feature_index is not None:
            place = fixed(expr.feature_index, found.data.shape[-1])
            if place is None:
                raise Findings([errors.no_such_feature(expr.span, found.data.shape[-1])])
            found = Named(found.data[..., place], found.dims, False, found.present)
        return found

    @staticmethod
    def _kept(coordinate: Named, axis: str, stored: Any) -> Named:
        """Where a coordinate lies in what was kept of the axis."""
        if axis == "layer" and stored.layers is not None:
            table = {layer: i for i, layer in enumerate(stored.layers)}
            if list(table) == list(range(len(table))) and len(table) > int(coordinate.data.max()):
                return coordinate
            size = int(max(coordinate.data.max(), max(table))) + 1
            lookup = torch.tensor([table.get(i, -1) for i in range(size)])
            found = lookup[coordinate.data.clamp(0, size - 1)]
            return Named(found, coordinate.dims, False, both(coordinate.present, found >= 0))
        if axis == "pos" and stored.position is not None:
            return Named(torch.zeros_like(coordinate.data), coordinate.dims, False, coordinate.present)
        return coordinate

    def coordinates(self, expr: SiteRead, axes: Sequence[str], env: Env, prompt: str) -> dict[str, Named]:
        """The coordinate on each axis of a site that a read takes."""
        found: dict[str, Named] = {}
        for index, axis in zip(expr.index, axes, strict=True):
            if is_point(index) and not isinstance(index, Covered):
                found[axis] = self.context.indexer.point(index, axis, env, prompt)
            elif expr.copied and axis in env.coordinates:
                found[axis] = env.coordinates[axis]
                if axis in POSITION_AXES and env.prompt is not None:
                    found[axis] = paired_positions(index, axis, env, prompt, self.context.indexer)
            else:
                found[axis] = self.natural(axis, env, prompt)
        return found

    def _only_existing(self, found: Named, expr: SiteRead, axes: Sequence[str], coordinates: dict[str, Named], env: Env, prompt: str) -> Named:
        """Mark as missing what the indices leave out, and positions behind the end of an item's prompt."""
        indexer = self.context.indexer
        chosen = Named(torch.tensor(True))
        if not expr.copied and any(not is_point(i) for i in expr.index):
            chosen = indexer.selection(
                [i if not is_point(i) else Covered(span=i.span) for i in expr.index], axes, coordinates, env, prompt
            )
        for axis in axes:
            if axis in POSITION_AXES:
                end = indexer.length(axis, env, prompt)
                more = self.extra_tokens(env)
                inside = combine(lambda c, n, m: c < n + m, coordinates[axis], end, more)
                chosen = combine(torch.logical_and, chosen, Named(inside.data, inside.dims))
        if not chosen.dims and bool(chosen.data):
            return found
        if set(chosen.dims) <= set(found.dims):
            return found if bool(chosen.data.all()) else found.where(chosen.spread(found.dims)[0])
        dims = tuple(dict.fromkeys((*found.dims, *chosen.dims)))
        wide = combine(lambda x, z: x + z, found, Named(torch.zeros(chosen.data.shape), chosen.dims))
        return wide.where(chosen.spread(dims)[0])

    def extra_tokens(self, env: Env) -> Named:
        """How many answer tokens stand behind each item's prompt in this pass."""
        if env.extension is None:
            return scalar(0)
        name, which = env.extension
        counts = []
        for item in self.context.data.items:
            alternatives = item.answers[name].alternatives
            counts.append(max(len(alternatives[which]) - 1, 0) if which < len(alternatives) else 0)
        return take(Named(torch.tensor(counts), (ITEM,)), {ITEM: env.item})

    # ------------------------------------------------------------ metrics

    def metric(self, call: MetricCall, env: Env) -> Named:
        entry = metrics()[call.metric]
        tapped = tap_of(call, {r.name: cells_of(r) for r in self.context.experiment.runs})
        if tapped is not None:
            return self.tapped(tapped[0], tapped[1], call, env)
        logits = self.distribution(call.value, call.run, call.at, call, env)
        if entry.shape == "pair":
            other = self.distribution(call.other_value, call.other, call.other_at, call, env)
            return combine(entry.compute, logits, other, drops_feature=True)
        if entry.shape == "distribution":
            return combine(entry.compute, logits, drops_feature=True)
        ids, valid = self.scored(call, env)
        return score(entry.compute, logits, ids, valid)

    def distribution(self, value: Expr | None, run: RunUse | None, at: Index | None, call: MetricCall, env: Env) -> Named:
        """The logits that a metric reads."""
        if value is not None:
            return self.value(value, env)
        assert run is not None
        return self.value(logits_of(run, at, call), env)

    def scored(self, call: MetricCall, env: Env) -> tuple[Named, Named]:
        """Token ids [..., n] that a metric scores and which of them count."""
        if call.token is not None:
            ids = self.value(call.token, env)
            data = ids.data.long()[..., None]
            return Named(data, ids.dims, True, ids.present), Named(torch.ones_like(data, dtype=torch.bool), ids.dims, True)
        assert call.answer is not None
        prompt = self.context.run(call.run.run).variants[0].prompt if call.run is not None else self.default_prompt()
        ids_table, valid_table = self.answer_ids(call.answer, prompt)
        picks = {ITEM: env.item}
        return take(Named(ids_table, (ITEM,), True), picks), take(Named(valid_table, (ITEM,), True), picks)

    def answer_ids(self, answer: AnswerUse, prompt: str) -> tuple[Tensor, Tensor]:
        """First tokens of every item's alternatives [item, n], and which exist."""
        return answer_table(self.context, answer.name, prompt)

    def tapped(self, host: RunUse, tap: Tap, call: MetricCall, env: Env) -> Named:
        """A metric that was taken when its run was made."""
        run = self.context.run(host.run)
        home, env = self.own_context(run, env)
        if home is not self.context:
            return Evaluator(home).tapped(host, tap, call, env)
        results = self.results(run.name, replace(env, extension=None))
        value = results.taps[tap]
        picks = {"#run": self.run_cell(run, host.where, env), "#item": env.item}
        prompt = run.variants[0].prompt
        if "#pos" in value.dims:
            assert call.at is not None
            picks["#pos"] = self.context.indexer.point(call.at, "pos", env, prompt) if is_point(call.at) else self.natural("pos", env, prompt)
        for axis in ("layer", "head"):
            if f"#{axis}" in value.dims:
                picks[f"#{axis}"] = self.natural(axis, env, prompt)
        found = take_named(value, picks)
        if call.at is not None and not is_point(call.at):
            inside = self.context.indexer.member(call.at, picks["#pos"], "pos", env, prompt)
            found = found.where(inside.spread(found.dims)[0])
        made = take(Named(results.made, ("#run", "#item")), {k: picks[k] for k in ("#run", "#item")})
        there = both(made.data, made.present)
        return found if there is None else found.where(Named(there, made.dims).spread(found.dims)[0])

    def top(self, call: MetricCall, env: Env) -> dict[str, Named]:
        """The rows of `top`: `token_id`, `logit`, `prob`, each with the ranks as feature axis."""
        k = dict(call.options)["k"]
        at = call.at
        read = call.value if call.value is not None else logits_of(call.run, at, call)  # type: ignore[arg-type]
        entry = metrics()["top"]
        pieces: dict[str, Named] = {}
        for name in ("token_id", "logit", "prob"):
            probe = Operation(span=call.span, op="#top", operands=(read,), dims=read.dims)
            pieces[name] = self._top_part(probe, name, lambda x, n=name: entry.compute(x, k)[n], env)
        return pieces

    def _top_part(self, probe: Operation, name: str, compute: Callable[[Tensor], Tensor], env: Env) -> Named:
        evaluator = Evaluator(self.context)
        evaluator.kinds[Operation] = lambda e, inner: (
            combine(compute, self.value(e.operands[0], inner)) if e.op == "#top" else self.operation(e, inner)
        )
        return evaluator.value(probe, env)

    # ------------------------------------------------------------ reductions

    def reduction(self, expr: Reduce, env: Env) -> Named:
        if env.item.dims == ("row",):
            # In an edit the rows of a batch ask for a few cells of it: made once over everything, then picked.
            full = self._cached((expr, env.extension), lambda: self._reduce(expr, self.full_env(expr.dims, env)))
            return self.pick(full, env)
        return self._reduce(expr, env)

    def full_env(self, dims: Sequence[str], env: Env) -> Env:
        """Every cell of some dimensions of an environment, and every item."""
        bindings: dict[str, Binding] = {}
        for name, binding in env.variables.items():
            if binding.dimension in dims:
                size = len(binding.cells) if binding.cells is not None else self.context.sizes.of(binding.dimension)
                bindings[name] = Binding(along(binding.dimension, size), binding.dimension, binding.cells)
        return Env(item=self.context.all_items(), variables=bindings, extension=env.extension)

    def pick(self, value: Named, env: Env) -> Named:
        """The cells that an environment stands for, of a value over all of them."""
        picks = {b.dimension: b.ids for b in env.variables.values() if b.dimension in value.dims}
        if ITEM in value.dims:
            picks[ITEM] = env.item
        return take_named(value, picks)

    def _reduce(self, expr: Reduce, env: Env) -> Named:
        gone = [d for d in expr.over if d.name != ITEM]
        inner = env.with_variables(self.context.bindings(gone))
        over = [d.name for d in expr.over]
        if ITEM in over:
            inner = replace(inner, item=self.context.all_items())
            self._check_alignment(expr, env)
        if expr.op == "mean" and ITEM in over and expr.within is None and (ratio := self._ratio(expr.body)) is not None:
            return self._ratio_of_means(ratio, expr, inner, over)
        body = self.value(expr.body, inner)
        groups = self.context.data.groups(expr.within) if expr.within is not None else None
        coordinate = self._coordinates_of(expr, inner) if expr.op == "argmax" else None
        found = reduce_dims(expr.op, body, over, expr.feature_over, groups, coordinate)
        if expr.within is not None:
            found = take(found, {ITEM: env.item})
        return found

    def _coordinates_of(self, expr: Reduce, env: Env) -> Tensor | None:
        """The index on its axis of every cell of the one dimension that argmax runs over."""
        if expr.feature_over:
            return None
        variable = expr.over[0].variables[0].name
        return self.context.indexer.variable(variable, str(expr.over[0].variables[0].axis), env, self.default_prompt()).data

    def _ratio(self, body: Expr) -> Reference | None:
        """The measure that a mean is taken of, if it is a ratio."""
        if isinstance(body, Reference) and body.kind == "measure" and self._home(body).experiment.value("measure", body.name).ratio:
            return body
        return None

    def _ratio_of_means(self, ratio: Reference, expr: Reduce, env: Env, over: list[str]) -> Named:
        """Mean of the numerators over mean of the denominators."""
        home = self._home(ratio)
        value = home.experiment.value("measure", ratio.name)
        parts = Evaluator(home).parts(value)
        shared = combine(lambda a, b: a + 0 * b, *parts), combine(lambda a, b: b + 0 * a, *parts)
        sums = [reduce_dims("sum", self._at(p, value, ratio, env), over, False, None, None) for p in shared]
        return combine(torch.div, *sums)

    def _check_alignment(self, expr: Reduce, env: Env) -> None:
        """Over items alone, positions must mean the same in every item."""
        if len(expr.over) > 1:
            return
        free = [d for d in expr.dims if d in POSITION_AXES]
        swept = [b for b in env.variables.values() if b.dimension in free and (b.cells is None or any(c.at is not None for c in b.cells))]
        if not swept:
            return
        for prompt in prompts_read(expr.body, self.context):
            if not self.context.data.aligned(prompt):
                raise Findings([errors.not_aligned(expr.span, prompt)])

    def over_dimension(self, expr: OverDimension, env: Env) -> Named:
        gone = [d for d in expr.over if d.name != ITEM]
        over = [d.name for d in expr.over]
        inner = env.with_variables(self.context.bindings(gone))
        if ITEM in over:
            inner = replace(inner, item=self.context.all_items())
        values = [self.value(o, inner) for o in expr.operands]
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
        picks: dict[str, Named] = {b.dimension: b.ids for b in env.variables.values() if b.dimension in over}
        if ITEM in over:
            picks[ITEM] = env.item
        return take_named(found, picks)

    # ------------------------------------------------------------ references

    def _home(self, expr: Reference) -> Context:
        """The context of the experiment that a name belongs to."""
        if expr.experiment == self.context.experiment.name:
            return self.context
        return self.context.other(expr.experiment, self.context.model, self.context.data_name)

    def reference(self, expr: Reference, env: Env) -> Named:
        home = self._home(expr)
        value = home.experiment.value(expr.kind, expr.name)
        if value.feature == "vocab" and home is self.context and len(value.variants) == 1:
            # Logits are too wide to keep: the value is made where it is used, at the cells asked for.
            bindings = {
                v.name: Binding(self.cell_index(d, dict(expr.where), env, self.default_prompt()), d.name,
                                tuple(r[i] for r in self.context.rows(d)))
                for d in value.dimensions for i, v in enumerate(d.variables)
            }  # fmt: skip
            return self.value(value.variants[0].value, env.with_variables(bindings))
        evaluator = self if home is self.context else Evaluator(home)
        found = evaluator.measure(value) if expr.kind == "measure" else evaluator.family(value)
        return self._at(found, value, expr, env)

    def _at(self, found: Named, value: Value, expr: Reference, env: Env) -> Named:
        """The cells of a family that a reference names."""
        prompts = prompts_read(value.variants[0].value, self.context)
        prompt = prompts[0] if prompts else self.default_prompt()
        picks = {d.name: self.cell_index(d, dict(expr.where), env, prompt) for d in value.dimensions if d.name in found.dims}
        if ITEM in found.dims:
            picks[ITEM] = env.item
        return take_named(found, picks)

    def in_context(self, expr: InContext, env: Env) -> Named:
        if expr.model is not None or expr.data is not None:
            return self._elsewhere(expr, env)
        if expr.item is not None:
            numbers = self.context.data.numbers.tolist()
            if expr.item not in numbers:
                raise Findings([errors.no_such_item(expr.span, expr.item, len(numbers))])
            env = replace(env, item=scalar(numbers.index(expr.item)))
        bindings = {}
        for name, index in expr.where:
            binding = env.variables.get(name)
            if isinstance(index, ByValue) and binding is not None and binding.cells is not None:
                place = next((i for i, c in enumerate(binding.cells) if c.text == index.text or (c.number is not None and c.number == index.number)), -1)
                bindings[name] = Binding(scalar(place), name, binding.cells)
            else:
                bindings[name] = Binding(self.context.indexer.point(index, name, env, self.default_prompt()), name)
        return self.value(expr.body, env.with_variables(bindings))

    def _elsewhere(self, expr: InContext, env: Env) -> Named:
        """The value on another model or data set; items meet by their numbers."""
        context = self.context
        other = context.other(context.experiment.name, expr.model or context.model, expr.data or context.data_name)
        inner = expr.model_copy(update={"model": None, "data": None})
        found = Evaluator(other).value(inner, replace(env, item=other.all_items()))
        if ITEM not in found.dims:
            return found
        if other.data_name != context.data_name:
            raise Findings([errors.items_never_meet(expr.span, other.data_name, context.data_name)])
        places = {number: place for place, number in enumerate(other.data.numbers.tolist())}
        table = torch.tensor([places.get(n, -1) for n in context.data.numbers.tolist()])
        return take(found, {ITEM: take(Named(table, (ITEM,)), {ITEM: env.item})})


# ---------------------------------------------------------------- parts without state


def narrowed(env: Env, dim: str, piece: Tensor) -> Env:
    """An environment with only a piece of one dimension."""
    def cut(ids: Named) -> Named:
        return Named(ids.data[piece], ids.dims, False, None if ids.present is None else ids.present[piece])

    if dim == ITEM:
        return replace(env, item=cut(env.item))
    return env.with_variables({n: replace(b, ids=cut(b.ids)) for n, b in env.variables.items() if b.dimension == dim})


def take_named(value: Named, picks: dict[str, Named]) -> Named:
    """`take`, where a pick that is a whole dimension of another name renames it."""
    picks, renames = dict(picks), {}
    for dim, pick in list(picks.items()):
        if dim in value.dims and len(pick.dims) == 1 and pick.present is None and pick.dims[0] not in value.dims:
            whole = len(pick.data) == value.sizes[dim] and bool((pick.data == torch.arange(len(pick.data))).all())
            if whole and sum(pick.dims[0] in p.dims for p in picks.values()) == 1:
                renames[dim] = pick.dims[0]
                del picks[dim]
    if renames:
        value = Named(value.data, tuple(renames.get(d, d) for d in value.dims), value.feature, value.present)
    return take(value, picks)


def choose(chosen: Named, number: int, part: Named, rest: Named, dims: Sequence[str]) -> Named:
    """`part` where `chosen` is a number, `rest` elsewhere; presence goes with the values."""
    feature = part.feature or rest.feature
    pick = chosen.spread(dims)[0] == number
    (a, a_there), (b, b_there) = part.spread(dims), rest.spread(dims)
    data = torch.where(pick[..., None] if feature else pick, a, b)
    ones = torch.ones([1] * len(dims), dtype=torch.bool)
    present = torch.where(pick, a_there if a_there is not None else ones, b_there if b_there is not None else ones)
    return Named(data, tuple(dims), feature, None if bool(present.all()) else present)


def score(compute: Callable[..., Tensor], logits: Named, ids: Named, valid: Named) -> Named:
    """An answer metric of logits [..., vocab] and ids [..., n] whose dimensions meet by name."""
    dims = tuple(dict.fromkeys((*logits.dims, *ids.dims)))
    (x, there), (i, also), (v, _) = logits.spread(dims), ids.spread(dims), valid.spread(dims)
    shape = torch.broadcast_shapes(x.shape[:-1], i.shape[:-1])
    result = compute(x.expand(*shape, x.shape[-1]), i.expand(*shape, i.shape[-1]), v.expand(*shape, v.shape[-1]))
    return Named(result, dims, False, both(there, also))


def quotient(numerator: Tensor, denominator: Tensor) -> Tensor:
    """num / den, NaN where the denominator is near 0 (absolutely, or beside its typical size)."""
    size = denominator.abs()
    typical = size[torch.isfinite(size)].mean() if size.numel() else size.new_tensor(0.0)
    return torch.where(size < NEAR_ZERO * torch.clamp(typical, min=1.0), torch.nan, numerator / denominator)


def answer_table(context: Context, name: str, prompt: str) -> tuple[Tensor, Tensor]:
    """First tokens of every item's alternatives [item, n] (0 where there are fewer), and which exist."""
    found = context.data.answers(name, prompt)
    n = max(len(a) for a in found)
    ids = torch.tensor([[*(a[0] for a in alternatives), *[0] * (n - len(alternatives))] for alternatives in found])
    valid = torch.tensor([[i < len(alternatives) for i in range(n)] for alternatives in found])
    return ids, valid


def prompts_read(expr: nodes.Node, context: Context) -> list[str]:
    """The prompts of the runs that an expression reads, in order."""
    if isinstance(expr, RunUse):
        return [v.prompt for v in context.run(expr.run).variants]
    if isinstance(expr, TokenAt):
        return [expr.prompt]
    if isinstance(expr, Reference) and expr.experiment == context.experiment.name:
        value = context.experiment.value(expr.kind, expr.name)
        return [p for v in value.variants for p in prompts_read(v.value, context)]
    return list(dict.fromkeys(p for child in nodes.children(expr) for p in prompts_read(child, context)))


__all__ = ["Evaluator", "Tuples", "constant"]
