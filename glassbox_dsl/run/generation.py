"""Tokens generated behind prompts, with edits: passes with plain hooks that go on from a cache of keys and values.

An edit that holds at generated tokens is made when each of them passes, so that the cache holds what it left; the whole
equals a teacher-forced pass over the tokens with the same edits. Draws depend on seed, item, cell and step alone.
"""

from __future__ import annotations

import hashlib
from collections.abc import Generator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from transformers import DynamicCache

from glassbox_dsl.language.program import Generation, Run
from glassbox_dsl.plan.demand import Wanted
from glassbox_dsl.plan.rows import RowMaker
from glassbox_dsl.run.context import Context
from glassbox_dsl.run.edits import EditBatch
from glassbox_dsl.run.named import tensor
from glassbox_dsl.run.rows import Batches, Rows
from glassbox_dsl.vocabulary.keys import SiteKey

if TYPE_CHECKING:
    from glassbox_dsl.run.evaluate import Evaluator

LOGITS = SiteKey("logits")


@dataclass(frozen=True)
class Generations:
    """Generates in one context."""

    evaluator: Evaluator

    @property
    def context(self) -> Context:
        """Where prompts come from."""
        return self.evaluator.context

    def tokens(self, run: Run) -> dict[tuple[int, int], tuple[int, ...]]:
        """The ids of new tokens by cell (dimensions multiplied out) and item; made once. An end token is left out."""
        context = self.context
        if run.name not in context.generated:
            made = RowMaker(context).made(run, None)
            found: dict[tuple[int, int], tuple[int, ...]] = {}
            for rows in Batches(context).of(Wanted(run), made, None):
                found |= self._batch(run, replace(rows, start=0))
            context.generated[run.name] = found
        return context.generated[run.name]

    def _batch(self, run: Run, rows: Rows) -> dict[tuple[int, int], tuple[int, ...]]:
        """One batch of prompts of equal length, until all have ended or are long enough."""
        how = run.variants[rows.variant].generation
        assert how is not None
        ends, done = self._ends(), np.zeros(len(rows.cells), dtype=np.bool_)
        found: list[list[int]] = [[] for _ in rows.cells]
        steps = self._logits(run, rows)
        last = next(steps)
        for step in range(how.max_new_tokens):
            chosen = self._chosen(last, how, rows, step)
            for row, token in enumerate(chosen.tolist()):
                done[row] |= token in ends
                if not done[row]:
                    found[row].append(token)
            if done.all() or step + 1 == how.max_new_tokens:
                break
            last = steps.send(chosen)
        keys = zip(rows.cells.tolist(), rows.items.tolist(), strict=True)
        return {key: tuple(tokens) for key, tokens in zip(keys, found, strict=True)}

    def _logits(self, run: Run, rows: Rows) -> Generator[Tensor, Tensor, None]:
        """Logits [row, vocab] of the next token, step by step; it is sent the tokens [row] that were chosen."""
        context, maker = self.context, RowMaker(self.context)
        instrument, variant = context.instrument, run.variants[rows.variant]
        env = maker.env(run, rows.cells, rows.items, None)
        cache = DynamicCache(config=self._config())
        ids = tensor(maker.ids(variant.prompt, rows.items, rows.length, None))
        places = [rows.length - 1]
        batch = EditBatch(context, variant, env, places)
        behind = variant.changed(edits=variant.generated)
        length = rows.length
        got = instrument.forward(
            ids, reads={LOGITS}, writes=batch.writes(), logit_positions=places, cache=cache
        )
        while True:
            chosen = yield got[LOGITS][:, -1].float().cpu()
            batch = EditBatch(context, behind, env, [length], [length])
            got = instrument.forward(
                chosen[:, None], reads={LOGITS}, writes=batch.writes(), logit_positions=[0], cache=cache
            )
            length += 1

    def _config(self) -> Any:
        """The config of the model."""
        return self.context.instrument.model.config

    def _ends(self) -> set[int]:
        """The tokens at which the model ends."""
        config = getattr(self.context.instrument.model, "generation_config", None)
        end = getattr(config, "eos_token_id", None)
        end = self._config().eos_token_id if end is None else end
        return set() if end is None else set(end) if isinstance(end, list | tuple) else {int(end)}

    def _chosen(self, logits: Tensor, how: Generation, rows: Rows, step: int) -> Tensor:
        """The next token of each row [row]: the lowest of the likeliest, or one that is drawn."""
        if how.temperature == 0:
            return logits.argmax(-1)
        weights = (logits.double() / how.temperature).softmax(-1).cumsum(-1)
        numbers = self.context.data.numbers[rows.items].tolist()
        draws = [_uniform(how.seed, n, c, step) for n, c in zip(numbers, rows.cells.tolist(), strict=True)]
        at = torch.tensor(draws, dtype=torch.float64)[:, None] * weights[:, -1:]
        return torch.searchsorted(weights, at).squeeze(1).clamp(max=weights.shape[1] - 1)


def _uniform(*key: int) -> float:
    """A number from 0 to 1 that a key alone decides."""
    digest = hashlib.sha256(repr(key).encode()).digest()
    return int.from_bytes(digest[:7], "little") / 2**56
