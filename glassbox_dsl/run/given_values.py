"""Values that no run is needed for: tokens of prompts, tensors of files, directions of answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from glassbox_dsl.language.indices import is_point
from glassbox_dsl.language.program import Direction, Load, TokenAt
from glassbox_dsl.plan import named as indices
from glassbox_dsl.plan.indexing import Env
from glassbox_dsl.run.context import Context
from glassbox_dsl.run.named import Named, take, valued
from glassbox_dsl.vocabulary.axes import ITEM

if TYPE_CHECKING:
    from glassbox_dsl.run.evaluate import Evaluator


@dataclass(frozen=True)
class GivenValues:
    """Evaluates them."""

    evaluator: Evaluator

    @property
    def context(self) -> Context:
        """Where they are evaluated."""
        return self.evaluator.context

    def token(self, expr: TokenAt, env: Env) -> Named:
        """The id of the token at a position."""
        arrays = self.context.data.prompt(expr.prompt)
        at = (
            self.context.indexer.point(expr.at, "pos", env, expr.prompt)
            if is_point(expr.at)
            else self.evaluator.places.natural("pos", env, expr.prompt)
        )
        ids = indices.take(indices.Named(arrays.ids, (ITEM, "#pos")), {ITEM: env.item, "#pos": at})
        inside = indices.combine(np.less, at, self.context.indexer.length("pos", env, expr.prompt))
        inside = indices.Named(inside.data, inside.dims)
        kept = indices.combine(lambda i, _: i, ids, inside)
        return valued(kept.where(inside.spread(kept.dims)[0]))

    def load(self, expr: Load, env: Env) -> Named:
        """A tensor of a file."""
        from safetensors import safe_open

        with safe_open(expr.path, framework="pt") as file:
            data = file.get_tensor(expr.key).to(torch.float32)
        named = Named(data, ("layer",) if data.ndim == 2 else (), data.ndim > 0)
        return self.evaluator.reductions.pick(named, env)

    def direction(self, expr: Direction, env: Env) -> Named:
        """The unembedding column of an answer; of a set, the mean."""
        ids, valid = self.evaluator.metrics.answer_ids(expr.answer)
        columns = self.context.instrument.unembedding_columns(ids.reshape(-1)).float().cpu()
        columns = columns.reshape(*ids.shape, -1)
        mean = (columns * valid[..., None]).sum(1) / valid.sum(1)[:, None]
        return take(Named(mean, (ITEM,), True), {ITEM: env.item})
