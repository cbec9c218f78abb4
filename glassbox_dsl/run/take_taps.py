"""Takes metrics where a run is made: from the logits or patterns of each pass."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from glassbox_dsl.language.program import Run, RunVariant
from glassbox_dsl.library.metric import metrics
from glassbox_dsl.plan.indexing import Env
from glassbox_dsl.plan.named import Integers
from glassbox_dsl.plan.taps import Tap
from glassbox_dsl.run.context import Context, RunResults
from glassbox_dsl.run.evaluate import Evaluator
from glassbox_dsl.run.named import Named, tensor
from glassbox_dsl.run.rows import Pass, Rows
from glassbox_dsl.vocabulary.keys import SiteKey


@dataclass
class TapTaker:
    """Takes the taps of one context. `steps` collects the alternatives of answers of several tokens."""

    context: Context
    steps: dict[tuple[str, str], tuple[Tensor, Tensor]] = field(default_factory=dict)

    def positions(
        self, taps: Sequence[Tap], results: RunResults, env: Env, variant: RunVariant, rows: Rows
    ) -> list[int] | None:
        """The positions whose logits are needed in a batch; None when no logits are."""
        needed = [t for t in taps if metrics()[t.metric].shape != "pattern"]
        stored = results.sites.get("logits")
        if not needed and stored is None:
            return None
        indices = [t.at for t in needed] + ([stored.position] if stored is not None else [])
        whole = any(
            metrics()[t.metric].shape == "sequence" for t in needed
        )  # a loss is made of whole prompts
        if whole or env.extension is not None or any(i is None for i in indices):
            return list(range(rows.length))
        found: set[int] = set()
        for index in dict.fromkeys(indices):
            assert index is not None
            point = self.context.indexer.point(index, "pos", env, variant.prompt)
            found |= set(point.data.reshape(-1).tolist())
        return sorted(p for p in found if 0 <= p < rows.length) or [rows.length - 1]

    def take(self, taps: Sequence[Tap], results: RunResults, done: Pass) -> None:
        """Compute the metrics of a batch."""
        for tap in taps:
            shape = metrics()[tap.metric].shape
            if shape == "pattern":
                self._take_pattern(tap, results, done)
            elif shape == "sequence":
                self._take_sequence(tap, results, done)
            elif metrics()[tap.metric].several_tokens and tap.answer is not None and self.several(tap.answer):
                self._take_steps(tap.answer, done)
            else:
                self._take_metric(tap, results, done)

    def _at(self, tap: Tap, done: Pass) -> Tensor:
        """The tap's position in each row."""
        assert tap.at is not None
        found = self.context.indexer.point(tap.at, "pos", done.env, done.variant.prompt)
        return tensor(np.broadcast_to(found.data, len(done.rows.cells)))

    def _take_metric(self, tap: Tap, results: RunResults, done: Pass) -> None:
        compute = metrics()[tap.metric].compute
        logits = done.logits if tap.at is None else done.logits_at(self._at(tap, done))
        if tap.other is not None:
            guest = Evaluator(self.context).value(tap.other, done.env)
            other = guest.spread(("row",))[0].to(logits).expand(logits.shape)
            value = compute(other, logits) if tap.swapped else compute(logits, other)
        elif metrics()[tap.metric].shape == "distribution":
            value = compute(logits)
        else:
            chosen, valid = (t.to(logits.device) for t in self._scored(tap, done))
            if tap.at is None:
                chosen, valid = (t[:, None].expand(*logits.shape[:-1], -1) for t in (chosen, valid))
            value = compute(logits, chosen, valid)
        put(tap, results, done.rows, value)

    def _scored(self, tap: Tap, done: Pass) -> tuple[Tensor, Tensor]:
        """The token ids [row, n] that a tap scores, and which of them count."""
        if tap.token is not None:
            found = Evaluator(self.context).value(tap.token, done.env)
            chosen = found.spread(("row",))[0].expand(len(done.rows.cells)).long()[:, None]
            return chosen, torch.ones_like(chosen, dtype=torch.bool)
        assert tap.answer is not None
        table, valid = self.context.answer_table(tap.answer)
        return tensor(table[done.rows.items]), tensor(valid[done.rows.items])

    def _take_sequence(self, tap: Tap, results: RunResults, done: Pass) -> None:
        compute = metrics()[tap.metric].compute
        if tap.at is not None:
            put(tap, results, done.rows, self._sequence_at(compute, self._at(tap, done), done))
            return
        losses = compute(done.logits, done.ids.to(done.logits.device)).cpu()
        if "mean" in dict(tap.options):
            losses = losses[:, :-1].mean(1)
        put(tap, results, done.rows, losses)

    @staticmethod
    def _sequence_at(compute: Callable[..., Tensor], at: Tensor, done: Pass) -> Tensor:
        """A metric of the next token at one position of each row: a sequence of two, of which the first counts."""
        rows, last = torch.arange(len(at)), done.ids.shape[1] - 1
        logits = done.logits_at(at)[:, None].expand(-1, 2, -1)
        pair = torch.stack([done.ids[rows, at.clamp(0, last)], done.ids[rows, (at + 1).clamp(0, last)]], 1)
        return torch.where(
            (at >= 0) & (at < last), compute(logits, pair.to(logits.device))[:, 0].cpu(), torch.nan
        )

    def _take_pattern(self, tap: Tap, results: RunResults, done: Pass) -> None:
        compute, kind = metrics()[tap.metric].compute, dict(tap.options)["kind"]
        for layer, reach in enumerate(self.context.sizes.facts.windows):
            pattern = done.got[SiteKey("attn.pattern", layer)].float()
            value = compute(pattern, done.ids.to(pattern.device), reach, kind)
            results.taps[tap].data[*done.rows.places, layer] = value.cpu()

    # ------------------------------------------------------------ answers of several tokens

    def several(self, answer: str) -> bool:
        """Whether any item's answer has an alternative of several tokens."""
        return bool((self.context.data.token_counts(answer) > 1).any())

    def table(self, run: str, answer: str) -> tuple[Tensor, Tensor]:
        """Log-probability (NaN until it is scored) and greediness of every alternative, [cell, item, alternative]."""
        key = (run, answer)
        if key not in self.steps:
            n = self.context.data.token_counts(answer).shape[1]
            shape = (*self.context.results[(run, None)].made.shape, n)
            self.steps[key] = (torch.full(shape, torch.nan), torch.zeros(shape, dtype=torch.bool))
        return self.steps[key]

    def _take_steps(self, answer: str, done: Pass) -> None:
        """Score the alternatives of one token in the plain pass, one of several tokens in its own."""
        log_probs, greedy = self.table(done.run, answer)
        lengths = self.context.data.prompt(done.variant.prompt).length
        own = done.env.extension
        for row, (cell, item) in enumerate(
            zip(done.rows.cells.tolist(), done.rows.items.tolist(), strict=True)
        ):
            alternatives = self.context.data.items[item].answers[answer].alternatives
            for which, tokens in enumerate(alternatives):
                if (len(tokens) == 1 and own is None) or (own is not None and own[1] == which):
                    first = int(lengths[item]) - 1
                    steps = done.steps(row, range(first, first + len(tokens)))
                    chosen = torch.tensor(tokens, device=steps.device)[:, None]
                    log_probs[cell, item, which] = steps.log_softmax(-1).gather(1, chosen).sum().cpu()
                    best = steps.amax(1, keepdim=True)
                    greedy[cell, item, which] = bool((steps.gather(1, chosen) == best).all())

    def combined(self, run: Run, tap: Tap, answer: str) -> Named:
        """The metric of an answer from its alternatives."""
        results = self.context.results[(run.name, None)]
        if not self.several(answer):
            return results.taps[tap]
        log_probs, greedy = self.table(run.name, answer)
        valid = tensor(self.context.data.token_counts(answer) > 0).expand(log_probs.shape)
        return Named(_of_alternatives(tap, log_probs, greedy, valid), ("#run", "#item"))

    def scored(self, run: Run, tap: Tap, cells: Integers, items: Integers) -> Tensor:
        """The metric of an answer of several tokens in some cells [n]; NaN where an alternative is not scored yet."""
        assert tap.answer is not None
        log_probs, greedy = (
            table[tensor(cells), tensor(items)] for table in self.table(run.name, tap.answer)
        )
        valid = tensor(self.context.data.token_counts(tap.answer) > 0)[tensor(items)]
        missing = (log_probs.isnan() & valid).any(-1)
        return _of_alternatives(tap, log_probs, greedy, valid).float().masked_fill(missing, torch.nan)


def _of_alternatives(tap: Tap, log_probs: Tensor, greedy: Tensor, valid: Tensor) -> Tensor:
    """The metric of alternatives [..., alternative]."""
    combine = metrics()[tap.metric].combine
    assert combine is not None
    found: Tensor = combine(log_probs, greedy, valid)
    return found


def put(tap: Tap, results: RunResults, rows: Rows, value: Tensor) -> None:
    """Store a batch's metric [row] or [row, pos]."""
    data, value = results.taps[tap].data, value.float().cpu()
    if value.ndim == 2:
        data[*rows.places, : value.shape[1]] = value
    else:
        data[rows.places] = value
