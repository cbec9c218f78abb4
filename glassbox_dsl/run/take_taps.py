"""Takes metrics where a run is made: from the logits or patterns of each pass."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from glassbox_dsl.language.program import Run, RunVariant
from glassbox_dsl.library.metric import Metric, metrics
from glassbox_dsl.plan.demand import Demand
from glassbox_dsl.plan.taps import Tap
from glassbox_dsl.run.context import Context, Extension, RunResults, answer_table
from glassbox_dsl.run.evaluate import Evaluator
from glassbox_dsl.run.indexing import Env
from glassbox_dsl.run.instrument import SiteKey
from glassbox_dsl.run.named import Named
from glassbox_dsl.run.rows import Rows


@dataclass
class TapTaker:
    """Takes the taps of one context. `steps` collects the alternatives of answers of several tokens."""

    context: Context
    demand: Demand
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
        if env.extension is not None or any(i is None for i in indices):
            return list(range(rows.length))
        found: set[int] = set()
        for index in dict.fromkeys(indices):
            assert index is not None
            point = self.context.indexer.point(index, "pos", env, variant.prompt)
            found |= set(point.data.reshape(-1).tolist())
        return sorted(p for p in found if 0 <= p < rows.length) or [rows.length - 1]

    def take(
        self,
        taps: Sequence[Tap],
        results: RunResults,
        got: dict[SiteKey, Tensor],
        rows: Rows,
        positions: list[int] | None,
        env: Env,
        variant: RunVariant,
        ids: Tensor,
        extension: Extension,
    ) -> None:
        """Compute the metrics of a batch."""
        for tap in taps:
            entry = metrics()[tap.metric]
            if entry.shape == "pattern":
                self._take_pattern(tap, entry, results, got, rows, ids)
                continue
            logits = got[SiteKey("logits")].float()
            assert positions is not None
            if entry.shape == "sequence":
                self._take_sequence(tap, entry, results, logits, rows, ids, env, variant)
            elif entry.several_tokens and tap.answer is not None and self.several(tap.answer):
                self._take_steps(tap, results, logits, rows, positions, env, variant, extension)
            else:
                self._take_metric(tap, entry, results, logits, rows, positions, env, variant)

    def _rows_at(
        self, tap: Tap, logits: Tensor, positions: list[int], env: Env, variant: RunVariant, n: int
    ) -> Tensor:
        """The logits [row, vocab] at the tap's position."""
        assert tap.at is not None
        at = self.context.indexer.point(tap.at, "pos", env, variant.prompt).data.expand(n)
        lookup = {p: i for i, p in enumerate(positions)}
        return logits[torch.arange(n), torch.tensor([lookup.get(p, 0) for p in at.tolist()])]

    def _take_metric(
        self,
        tap: Tap,
        entry: Metric,
        results: RunResults,
        logits: Tensor,
        rows: Rows,
        positions: list[int],
        env: Env,
        variant: RunVariant,
    ) -> None:
        x = (
            self._rows_at(tap, logits, positions, env, variant, len(rows.cells))
            if tap.at is not None
            else logits
        )
        if entry.shape == "pair":
            assert tap.other is not None
            guest = Evaluator(self.context).value(tap.other, env)
            other = guest.spread(("row",))[0].to(x).expand(x.shape)
            value = entry.compute(other, x) if tap.swapped else entry.compute(x, other)
        elif entry.shape == "distribution":
            value = entry.compute(x)
        else:
            chosen, valid = self._scored(tap, env, variant, rows)
            if tap.at is None:
                chosen, valid = (t[:, None].expand(*x.shape[:-1], -1) for t in (chosen, valid))
            value = entry.compute(x, chosen.to(x.device), valid.to(x.device))
        self._put(tap, results, rows, value)

    def _put(self, tap: Tap, results: RunResults, rows: Rows, value: Tensor) -> None:
        data = results.taps[tap].data
        if value.ndim == 2:
            data[rows.cells, rows.items, : value.shape[1]] = value.float().cpu()
        else:
            data[rows.cells, rows.items] = value.float().cpu()

    def _scored(self, tap: Tap, env: Env, variant: RunVariant, rows: Rows) -> tuple[Tensor, Tensor]:
        """The token ids [row, n] that a tap scores."""
        if tap.token is not None:
            found = Evaluator(self.context).value(tap.token, env)
            chosen = found.spread(("row",))[0].expand(len(rows.cells)).long()[:, None]
            return chosen, torch.ones_like(chosen, dtype=torch.bool)
        assert tap.answer is not None
        table, valid = answer_table(self.context, tap.answer, variant.prompt)
        return table[rows.items], valid[rows.items]

    def _take_sequence(
        self,
        tap: Tap,
        entry: Metric,
        results: RunResults,
        logits: Tensor,
        rows: Rows,
        ids: Tensor,
        env: Env,
        variant: RunVariant,
    ) -> None:
        losses = entry.compute(logits, ids.to(logits.device)).cpu()
        if "mean" in dict(tap.options):
            self._put(tap, results, rows, losses[:, :-1].mean(1))
        elif tap.at is not None:
            at = self.context.indexer.point(tap.at, "pos", env, variant.prompt).data.expand(len(rows.cells))
            self._put(tap, results, rows, losses[torch.arange(len(at)), at.clamp(0, losses.shape[1] - 1)])
        else:
            self._put(tap, results, rows, losses)

    def _take_pattern(
        self,
        tap: Tap,
        entry: Metric,
        results: RunResults,
        got: dict[SiteKey, Tensor],
        rows: Rows,
        ids: Tensor,
    ) -> None:
        data = results.taps[tap].data
        for layer in range(self.context.sizes.facts.n_layers):
            pattern = got[SiteKey("attn.pattern", layer)].float()
            reach = self.context.sizes.facts.windows[layer]
            value = entry.compute(pattern, ids.to(pattern.device), reach, dict(tap.options)["kind"])
            data[rows.cells, rows.items, layer] = value.cpu()

    def several(self, answer: str) -> bool:
        """Whether any item's answer has an alternative of several tokens."""
        return any(len(a) > 1 for item in self.context.data.items for a in item.answers[answer].alternatives)

    def _steps(self, run: str, answer: str) -> tuple[Tensor, Tensor]:
        """Log-probability and greediness of every alternative, [cell, item, alternative]."""
        key = (run, answer)
        if key not in self.steps:
            n = max(len(item.answers[answer].alternatives) for item in self.context.data.items)
            shape = (*self.context.results[(run, None)].made.shape, n)
            self.steps[key] = (torch.full(shape, -torch.inf), torch.zeros(shape, dtype=torch.bool))
        return self.steps[key]

    def _take_steps(
        self,
        tap: Tap,
        results: RunResults,
        logits: Tensor,
        rows: Rows,
        positions: list[int],
        env: Env,
        variant: RunVariant,
        extension: Extension,
    ) -> None:
        """Score the alternatives of one token in the plain pass, one of several tokens in its own."""
        assert tap.answer is not None
        run = next(w.run.name for w in self.demand.steps.values() if variant in w.run.variants)
        log_probs, greedy = self._steps(run, tap.answer)
        lengths = self.context.data.prompt(variant.prompt).length
        place = {p: i for i, p in enumerate(positions)}
        for row, (cell, item) in enumerate(zip(rows.cells.tolist(), rows.items.tolist(), strict=True)):
            alternatives = self.context.data.items[item].answers[tap.answer].alternatives
            for which, tokens in enumerate(alternatives):
                if (len(tokens) == 1 and extension is None) or (
                    extension is not None and extension[1] == which
                ):
                    first = int(lengths[item]) - 1
                    at = logits[row, [place[first + k] for k in range(len(tokens))]]
                    chosen = torch.tensor(tokens, device=at.device)[:, None]
                    log_probs[cell, item, which] = at.log_softmax(-1).gather(1, chosen).sum().cpu()
                    greedy[cell, item, which] = bool((at.gather(1, chosen) == at.amax(1, keepdim=True)).all())

    def combined(self, run: Run, tap: Tap, answer: str) -> Named:
        """The metric of an answer from its alternatives."""
        results = self.context.results[(run.name, None)]
        if not self.several(answer):
            return results.taps[tap]
        log_probs, greedy = self._steps(run.name, answer)
        counts = torch.tensor([len(item.answers[answer].alternatives) for item in self.context.data.items])
        valid = (torch.arange(log_probs.shape[-1]) < counts[:, None])[None].expand(log_probs.shape)
        combine = metrics()[tap.metric].combine
        assert combine is not None
        return Named(combine(log_probs, greedy, valid), ("#run", "#item"))
