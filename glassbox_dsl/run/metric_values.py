"""Metrics: those taken where a run was made, and those of logits that are values themselves."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from glassbox_dsl.language.indices import is_point
from glassbox_dsl.language.program import AnswerUse, Expr, Index, MetricCall, RunUse, Unembed
from glassbox_dsl.library.metric import metrics
from glassbox_dsl.plan import named as indices
from glassbox_dsl.plan.indexing import Env
from glassbox_dsl.plan.places import Places
from glassbox_dsl.plan.taps import Tap, host_order, logits_of, tap_of
from glassbox_dsl.run.context import Context, RunResults, own_context
from glassbox_dsl.run.elementwise import score
from glassbox_dsl.run.named import Named, combine, take, take_named, tensor
from glassbox_dsl.run.site_values import by_prompt, made_at
from glassbox_dsl.vocabulary.axes import ITEM

if TYPE_CHECKING:
    from glassbox_dsl.run.evaluate import Evaluator


@dataclass(frozen=True)
class MetricValues:
    """Evaluates metric calls."""

    evaluator: Evaluator

    @property
    def context(self) -> Context:
        """Where metrics are evaluated."""
        return self.evaluator.context

    @property
    def places(self) -> Places:
        """Finds cells and coordinates."""
        return self.evaluator.places

    def metric(self, call: MetricCall, env: Env) -> Named:
        """A metric call."""
        entry = metrics()[call.metric]
        tapped = tap_of(call, host_order(self.context.experiment.runs))
        if tapped is not None and not (self.context.direct and call.other is not None):
            return self.tapped(tapped[0], tapped[1], call, env)
        if entry.few_tokens and isinstance(call.value, Unembed):
            ids, valid = self.scored(call, env)
            tokens, places = ids.data.unique(return_inverse=True)
            some = self.evaluator.unembed(call.value, env, tokens)
            return score(entry.compute, some, Named(places, ids.dims, True, ids.present), valid)
        logits = self.distribution(call.value, call.run, call.at, call, env)
        if entry.shape == "pair":
            other = self.distribution(call.other_value, call.other, call.other_at, call, env)
            return combine(entry.compute, logits, other, drops_feature=True)
        if entry.shape == "distribution":
            return combine(entry.compute, logits, drops_feature=True)
        ids, valid = self.scored(call, env)
        return score(entry.compute, logits, ids, valid)

    def distribution(
        self, value: Expr | None, run: RunUse | None, at: Index | None, call: MetricCall, env: Env
    ) -> Named:
        """The logits that a metric reads."""
        if value is not None:
            return self.evaluator.value(value, env)
        assert run is not None
        return self.evaluator.value(logits_of(run, at, call), env)

    def scored(self, call: MetricCall, env: Env) -> tuple[Named, Named]:
        """Token ids [..., n] that a metric scores and which of them count."""
        if call.token is not None:
            ids = self.evaluator.value(call.token, env)
            data = ids.data.long()[..., None]
            return Named(data, ids.dims, True, ids.present), Named(
                torch.ones_like(data, dtype=torch.bool), ids.dims, True
            )
        assert call.answer is not None
        ids_table, valid_table = self.answer_ids(call.answer)
        picks = {ITEM: env.item}
        return take(Named(ids_table, (ITEM,), True), picks), take(Named(valid_table, (ITEM,), True), picks)

    def answer_ids(self, answer: AnswerUse) -> tuple[Tensor, Tensor]:
        """First tokens of every item's alternatives [item, n], and which exist."""
        ids, valid = self.context.answer_table(answer.name)
        return tensor(ids), tensor(valid)

    def tapped(self, host: RunUse, tap: Tap, call: MetricCall, env: Env) -> Named:
        """A metric that was taken when its run was made."""
        run = self.context.run(host.run)
        home, env = own_context(self.context, run, env)
        if home is not self.context:
            return self.evaluator.at(home).metrics.tapped(host, tap, call, env)
        results = self.evaluator.sites.results(run.name, replace(env, extension=None))
        cell = self.places.run_cell(run, host.where, env)
        prompts = list(dict.fromkeys(v.prompt for v in run.variants))
        parts = [self._tapped_at(results, tap, call, cell, env, prompt) for prompt in prompts]
        return by_prompt(self.places, run, cell, parts)

    def _tapped_at(
        self, results: RunResults, tap: Tap, call: MetricCall, cell: indices.Named, env: Env, prompt: str
    ) -> Named:
        """A tap at the positions of one prompt; a position that is not in it has no value."""
        value = results.taps[tap]
        picks = {"#run": cell, "#item": env.item}
        indexer = self.context.indexer
        at = None
        if call.at is not None:
            point = is_point(call.at)
            at = (
                indexer.point(call.at, "pos", env, prompt)
                if point
                else self.places.natural("pos", env, prompt)
            )
            if "#pos" in value.dims:
                picks["#pos"] = at
        for axis in ("layer", "head"):
            if f"#{axis}" in value.dims:
                picks[f"#{axis}"] = self.places.natural(axis, env, prompt)
        found = take_named(value, picks)
        if at is not None:
            inside = indices.combine(np.less, at, indexer.length("pos", env, prompt))
            if call.at is not None and not is_point(call.at):
                inside = indices.combine(
                    np.logical_and, inside, indexer.member(call.at, at, "pos", env, prompt)
                )
            found = found.where(indices.both(*inside.spread(found.dims)))
        return found.where(made_at(results, cell, env.item).spread(found.dims)[0])

    def top(self, call: MetricCall, env: Env) -> Named:
        """The rows of `top`: `token_id`, `logit`, `prob`, each with the ranks, side by side as feature axis."""
        k = dict(call.options)["k"]
        assert call.value is not None or call.run is not None
        read = call.value if call.value is not None else logits_of(call.run, call.at, call)  # type: ignore[arg-type]

        def rows(piece: Env) -> Named:
            # Token ids are exact in float32 (below 2^24), so that the three go through as one value.
            found = self.evaluator.value(read, piece)
            return combine(lambda x: torch.cat([*metrics()["top"].compute(x, k).values()], -1), found)

        return self.evaluator.in_pieces(read.dims, read, env, rows)
