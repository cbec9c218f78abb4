"""Gradients of values: full passes with plain hooks and autograd, through the same expressions that give the values.

The weights are frozen. Each site of interest gets a leaf of zeros added to it; the number is evaluated as ever, on
results that carry the graph of the pass, and its gradient is taken with respect to the leaves.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from glassbox_dsl.diagnostics import Findings
from glassbox_dsl.language.program import Expr, MetricCall, Run
from glassbox_dsl.language.technique_nodes import Grad
from glassbox_dsl.library.metric import metrics
from glassbox_dsl.plan.demand import Wanted, demand, want_both_logits
from glassbox_dsl.plan.indexing import Env
from glassbox_dsl.plan.named import Mask
from glassbox_dsl.plan.rows import RowMaker
from glassbox_dsl.plan.setting import Extension
from glassbox_dsl.run import errors
from glassbox_dsl.run.context import Context, RunResults, Stored, own_context
from glassbox_dsl.run.edits import EditBatch
from glassbox_dsl.run.entered import WHOLE, Entered, behind, part_of
from glassbox_dsl.run.keeping import Keeping
from glassbox_dsl.run.named import Named, tensor
from glassbox_dsl.run.rows import Batches, Pass, Rows
from glassbox_dsl.run.site_values import SiteValues
from glassbox_dsl.run.take_taps import TapTaker
from glassbox_dsl.syntax import nodes
from glassbox_dsl.vocabulary.axes import ITEM
from glassbox_dsl.vocabulary.keys import SiteKey
from glassbox_dsl.vocabulary.sites import sites

if TYPE_CHECKING:
    from glassbox_dsl.run.evaluate import Evaluator

GRADIENT_TOKENS = 512
"""At most about this many tokens in one pass: the graph of every layer is kept until its gradient is taken."""


@dataclass
class Gradient:
    """For each site: its gradient and its value, [cell, item, the site's axes without `layer`, feature].

    `numbers` [cell, item]: what the gradient was taken of.
    """

    slopes: dict[SiteKey, Tensor] = field(default_factory=dict)
    values: dict[SiteKey, Tensor] = field(default_factory=dict)
    numbers: Tensor | None = None


Write = Callable[[Tensor], Tensor]
Shift = Callable[[Rows], Tensor]
"""What is added to a site in the rows of a batch, [row, the site's axes, feature]."""


class Noted(torch.autograd.Function):
    """A value as it is; the way back shows its slope, so that no leaf has to be added to it and no slope kept."""

    @staticmethod
    def forward(ctx: Any, value: Tensor, note: Callable[[Tensor], None]) -> Tensor:
        """`note` is given the slope when it is known."""
        ctx.note = note
        return value.view_as(value)

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor, None]:
        """The slope, noted."""
        ctx.note(slope)
        return slope, None


@dataclass(frozen=True)
class Gradients:
    """Takes gradients in one context."""

    evaluator: Evaluator

    @property
    def context(self) -> Context:
        """Where numbers are evaluated."""
        return self.evaluator.context

    def value(self, expr: Grad, env: Env) -> Named:
        """The gradient at the cells and coordinates of a read."""
        run = self.context.run(expr.read.run.run)
        home, env = own_context(self.context, run, env)
        if home is not self.context:
            return self.evaluator.at(home).value(expr, env)
        keys = self.keys(expr.read.site)
        found = self.of(expr.scalar, run.name, keys)
        site = sites()[expr.read.site]
        slopes = [found.slopes[key] for key in keys]
        data = torch.stack(slopes, 2) if site.has_layer else slopes[0]
        layers = tuple(range(len(keys))) if site.has_layer else None
        stored = Stored(data, site.axes, site.feature is not None, layers, None)
        results = RunResults(self.context.results[run.name, None].made, {expr.read.site: stored})
        return SiteValues(self.shadow({(run.name, None): results})).site(expr.read, env)

    def keys(self, site: str) -> list[SiteKey]:
        """A site in every layer."""
        n_layers = self.context.sizes.facts.n_layers
        return (
            [SiteKey(site, layer) for layer in range(n_layers)]
            if sites()[site].has_layer
            else [SiteKey(site)]
        )

    def shadow(self, results: Mapping[tuple[str, Extension], RunResults]) -> Context:
        """The context with other results of some runs, and nothing remembered of the old ones."""
        merged: dict[tuple[str, Extension], RunResults] = dict(self.context.results)
        merged.update(results)
        found = replace(self.context, results=merged, cache={}, gradients={}, direct=True)
        found.sets.values = self.context.sets.values
        return found

    def of(
        self,
        scalar: Expr,
        run: str,
        keys: Sequence[SiteKey],
        shifts: Mapping[SiteKey, Shift] | None = None,
        only: Mask | None = None,
    ) -> Gradient:
        """The gradient of a number with respect to sites of a run, in all cells and items; made once without shifts.

        Without keys there are only the numbers; with `only` [cell, item] nothing is made of other cells and items.
        """
        name = (scalar, run, tuple(keys))
        if shifts is None and name in self.context.gradients:
            return self.context.gradients[name]
        found, longest = Gradient(), self.context.data.longest
        shape = self.context.results[run, None].made.shape
        for rows, part in self.slopes(scalar, run, keys, shifts, only):
            for table, new in ((found.slopes, part.slopes), (found.values, part.values)):
                for key, value in new.items():
                    put(table, key, rows, value.float().cpu(), shape, longest)
            if part.numbers is not None:
                if found.numbers is None:
                    found.numbers = torch.full(shape, torch.nan)
                found.numbers[rows.places] = part.numbers
        if shifts is None:
            self.context.gradients[name] = found
        return found

    def slopes(
        self,
        scalar: Expr,
        run: str,
        keys: Sequence[SiteKey],
        shifts: Mapping[SiteKey, Shift] | None = None,
        only: Mask | None = None,
        tokens: int = GRADIENT_TOKENS,
    ) -> Iterator[tuple[Rows, Gradient]]:
        """The same batch by batch, of about so many tokens: [row, the site's axes, feature], where the pass made it."""
        self.check(scalar)
        wanted = self.wanted(scalar, run)
        known = self.known(wanted)
        for rows in self.batches(wanted, only, tokens):
            yield rows, self.batch(scalar, wanted, rows, keys, shifts or {}, known)

    def wanted(self, scalar: Expr, run: str) -> Wanted:
        """What a number reads of a run."""
        asked = demand(self.context.experiment, [], None, [scalar])
        want_both_logits(scalar, asked)
        wanted = asked.steps.get(run, Wanted(self.context.run(run)))
        wanted.taps = [tap for tap in wanted.taps if tap.other is None]
        return wanted

    def check(self, scalar: Expr) -> None:
        """No answer is scored in passes of its own, one for each of its tokens."""
        counts = self.context.data.token_counts
        for node in nodes.everything(scalar):
            if isinstance(node, MetricCall) and node.run is not None and node.answer is not None:
                several = metrics()[node.metric].several_tokens and (counts(node.answer.name) > 1).any()
                if several:
                    raise Findings(
                        [errors.no_gradient(node.span, "an answer of several tokens is scored in parts")]
                    )

    def batches(self, wanted: Wanted, only: Mask | None = None, tokens: int = GRADIENT_TOKENS) -> list[Rows]:
        """The rows of a run, or those of some cells and items [cell, item], a pass each."""
        made = self.context.results[wanted.run.name, None].made
        made = made if only is None else made & only
        found = []
        for rows in Batches(self.context).of(wanted, made, None):
            size = max(1, tokens // rows.length)
            for i in range(0, len(rows.cells), size):
                found.append(
                    replace(rows, cells=rows.cells[i : i + size], items=rows.items[i : i + size], start=0)
                )
        return found

    def batch(
        self,
        scalar: Expr,
        wanted: Wanted,
        rows: Rows,
        keys: Sequence[SiteKey],
        shifts: Mapping[SiteKey, Shift],
        known: RunResults,
        noted: Mapping[SiteKey, Callable[[Tensor], None]] | None = None,
        entered: Entered = WHOLE,
    ) -> Gradient:
        """One pass and its gradient; `noted` are shown the slopes of more sites."""
        results, found = copied(known), Gradient()
        with torch.enable_grad():
            leaves, values = self.opened_pass(wanted, rows, keys, shifts, results, noted, entered)
            number = self.number(scalar, wanted.run, results)
            found.numbers = self._numbers(number, wanted, rows, known)
            if not leaves:
                return found
            data = number.data if number.present is None else number.data[number.full_presence()]
            whole = data.sum()
            if not whole.requires_grad:
                raise Findings(
                    [errors.no_gradient(scalar.span, "it does not depend on what the run computes")]
                )
            slopes = torch.autograd.grad(whole, list(leaves.values()), allow_unused=True)
        for key, slope in zip(leaves, slopes, strict=True):
            found.values[key] = values[key].detach()
            found.slopes[key] = torch.zeros_like(found.values[key]) if slope is None else slope
        return found

    def number(self, scalar: Expr, run: Run, results: RunResults) -> Named:
        """A number on other results of a run that it reads."""
        shadow = self.shadow({(run.name, None): results})
        return self.evaluator.at(shadow).value(scalar, shadow.env(run.dimensions))

    def _numbers(self, number: Named, wanted: Wanted, rows: Rows, known: RunResults) -> Tensor | None:
        """What a number is in the cells and items of a batch [row], where it has one for each."""
        order = (*(d.name for d in wanted.run.dimensions), ITEM)
        if not set(number.dims) <= set(order):
            return None
        sizes = (*self.context.shape(wanted.run), self.context.data.n_items)
        data = number.spread(order)[0].detach().float().cpu().expand(sizes).reshape(known.made.shape)
        return data[rows.places]

    def known(self, wanted: Wanted) -> RunResults:
        """What the number reads of the run, in all cells and items: it may depend on more than its own."""
        own = self.context.results[wanted.run.name, None]
        results = RunResults(own.made)
        Keeping(self.context, RowMaker(self.context)).prepare(results, wanted, None)
        for tap in wanted.taps:
            if tap in own.taps:
                results.taps[tap] = own.taps[tap]
        if results.sites:
            for rows in self.batches(wanted):
                self.opened_pass(wanted, rows, (), {}, results)
        return results

    def opened_pass(
        self,
        wanted: Wanted,
        rows: Rows,
        keys: Sequence[SiteKey],
        shifts: Mapping[SiteKey, Shift],
        results: RunResults,
        noted: Mapping[SiteKey, Callable[[Tensor], None]] | None = None,
        entered: Entered = WHOLE,
    ) -> tuple[dict[SiteKey, Tensor], dict[SiteKey, Tensor]]:
        """A pass whose results carry graphs: the leaves at the sites, and the sites' values without them."""
        noted = noted or {}
        leaves: dict[SiteKey, Tensor] = {}
        values: dict[SiteKey, Tensor] = {}
        # What shifts come to may take passes, and none runs inside another.
        ways = {key: shift(rows) for key, shift in shifts.items()}

        def opened(key: SiteKey, edited: Write | None) -> Write:
            def write(value: Tensor) -> Tensor:
                value = value if edited is None else edited(value)
                if key in ways:
                    value = value + part_of(key, ways[key], value, entered.first)
                if key in noted:
                    if not value.requires_grad:  # what is noted behind it may not depend on anything else
                        leaves[key] = values[key] = value.new_zeros((), requires_grad=True)
                        value = value + leaves[key]
                    return Noted.apply(value, noted[key])  # type: ignore[no-any-return, no-untyped-call]
                if key not in keys:
                    return value
                leaves[key], values[key] = torch.zeros_like(value, requires_grad=True), value
                return value + leaves[key]

            return write

        def around(edits: Mapping[SiteKey, Write]) -> dict[SiteKey, Write]:
            return {key: opened(key, edits.get(key)) for key in (*edits, *ways, *keys, *noted)}

        self.passed(wanted, rows, results, around, gradients=True, entered=entered)
        return leaves, values

    def passed(
        self,
        wanted: Wanted,
        rows: Rows,
        results: RunResults,
        around: Callable[[Mapping[SiteKey, Write]], dict[SiteKey, Write]],
        *,
        gradients: bool,
        entered: Entered = WHOLE,
    ) -> None:
        """A pass whose results, with `gradients`, carry graphs; `around` adds to what the run's edits write.

        Where it begins behind the first position, only taps at later positions may be wanted.
        """
        context, maker = self.context, RowMaker(self.context)
        variant = wanted.run.variants[rows.variant]
        env = maker.env(wanted.run, rows.cells, rows.items, None)
        taker, keeping = TapTaker(context), Keeping(context, maker)
        positions = taker.positions(wanted.taps, results, env, variant, rows)
        reads = {
            SiteKey(name, layer)
            for name, stored in results.sites.items() if name != "logits"
            for layer in (stored.layers if stored.layers is not None else (None,))
        }  # fmt: skip
        if positions is not None or "logits" in results.sites:
            reads.add(SiteKey("logits"))
        if any(metrics()[t.metric].shape == "pattern" for t in wanted.taps):
            reads |= {SiteKey("attn.pattern", layer) for layer in range(context.sizes.facts.n_layers)}
        first = entered.first
        present = range(first, rows.length) if first else None
        batch = EditBatch(context, variant, env, positions, present)
        edits = {key: write for key, write in batch.writes().items() if behind(key, entered.layer)}
        ids = tensor(maker.ids(variant.prompt, rows.items, rows.length, None))
        got = context.instrument.forward(
            ids[:, first:],
            reads=reads,
            writes=around(edits),
            logit_positions=None if positions is None else [place - first for place in positions],
            start=entered.start,
            gradients=gradients,
            cache=entered.own_cache(),
        )
        done = Pass(wanted.run.name, rows, env, variant, ids, positions, got)
        keeping.keep(results, done)
        taker.take(wanted.taps, results, done)
        keeping.finish(results, wanted)


def copied(known: RunResults) -> RunResults:
    """Results that others can be put into."""
    sites = {name: replace(stored, data=stored.data.clone()) for name, stored in known.sites.items()}
    taps = {tap: Named(value.data.clone(), value.dims) for tap, value in known.taps.items()}
    return RunResults(known.made, sites, taps)


def put(
    table: dict[SiteKey, Tensor], key: SiteKey, rows: Rows, part: Tensor, shape: tuple[int, ...], longest: int
) -> None:
    """Put the rows of a batch [row, axes, feature] where they belong, positions padded to the longest prompt."""
    axes = [a for a in sites()[key.site].axes if a != "layer"]
    sizes = [
        longest if a in ("pos", "query", "key") else n for a, n in zip(axes, part.shape[1:], strict=False)
    ]
    whole = (*sizes, *part.shape[1 + len(axes) :])
    if key not in table:
        table[key] = torch.zeros(*shape, *whole)
    wide = torch.zeros(len(part), *whole)
    wide[tuple(slice(0, n) for n in part.shape)] = part
    table[key][rows.places] = wide
