"""Makes runs: batches of passes with edits, keeping the sites and metrics that are wanted of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from glassbox_dsl.language.program import Depth, Edit, Run, RunVariant
from glassbox_dsl.library.metric import Metric, metrics
from glassbox_dsl.plan.demand import Demand, Wanted, run_uses
from glassbox_dsl.plan.progress import Progress
from glassbox_dsl.plan.taps import Tap
from glassbox_dsl.run.context import Context, Extension, RunResults, Stored
from glassbox_dsl.run.edits import EditBatch, Receipt
from glassbox_dsl.run.evaluate import Evaluator, answer_table
from glassbox_dsl.run.indexing import Binding, Env
from glassbox_dsl.run.instrument import SiteKey
from glassbox_dsl.run.memory import allocate
from glassbox_dsl.run.named import Named
from glassbox_dsl.vocabulary.axes import ITEM, POSITION_AXES
from glassbox_dsl.vocabulary.sites import sites

BATCH_TOKENS = 2048
BATCH_LOGITS = 2**26
"""At most about this many tokens, and this many logits (256 MiB), in one pass."""


@dataclass(frozen=True)
class Rows:
    """A batch: which cell and item each row is; all have one variant, one length and one first layer."""

    cells: Tensor
    items: Tensor
    variant: int
    length: int
    start: int


@dataclass
class RunMaker:
    """Makes the runs of one context in the order of its demand."""

    context: Context
    demand: Demand
    progress: Progress
    receipts: dict[str, dict[Edit, Receipt]] = field(default_factory=dict)
    base: dict[tuple[str, Extension], Tensor] = field(default_factory=dict)
    steps: dict[tuple[str, str], tuple[Tensor, Tensor]] = field(default_factory=dict)

    def make_all(self) -> None:
        """Every demanded run, and the passes behind which answers of several tokens are scored."""
        for wanted in self._own():
            self.make(wanted, None)
            for answer in dict.fromkeys(wanted.extensions):
                self._extend(wanted, answer)

    def rows_wanted(self) -> int:
        """How many passes there are to make, extensions not counted."""
        return sum(int(self._made(w.run, None).sum()) for w in self._own())

    def _own(self) -> list[Wanted]:
        """The runs that belong to this model and data set."""
        context = self.context
        return [
            w for w in self.demand.ordered()
            if w.run.model in (None, context.model) and w.run.data in (None, context.data_name)
            and all(v.prompt in context.data.items[0].prompts for v in w.run.variants)
        ]  # fmt: skip

    # ------------------------------------------------------------ one run

    def make(self, wanted: Wanted, extension: Extension) -> None:
        """One run on every cell and item it exists on."""
        run = wanted.run
        key = (run.name, extension)
        if key in self.context.results:
            return
        made = self._made(run, extension)
        results = RunResults(made)
        self.context.results[key] = results
        self.receipts.setdefault(run.name, {e: Receipt(e) for v in run.variants for e in v.edits})
        self._prepare(results, wanted, extension)
        for rows in self._batches(wanted, made, extension):
            self._pass(wanted, results, rows, extension)
            if extension is None:
                self.progress.advance(len(rows.cells))
        self._finish(results, wanted)

    def _extend(self, wanted: Wanted, answer: str) -> None:
        """Passes with the alternatives of an answer behind the prompt, where they have several tokens."""
        found = [item.answers[answer].alternatives for item in self.context.data.items]
        for which in range(max(map(len, found))):
            if any(which < len(a) and len(a[which]) > 1 for a in found):
                for source in self._sources(wanted):
                    self.make(self.demand.steps[source], (answer, which))
                self.make(wanted, (answer, which))
        taps = self.context.results[(wanted.run.name, None)].taps
        for tap in wanted.taps:
            if tap.answer == answer and metrics()[tap.metric].several_tokens:
                taps[tap] = self._combined(wanted.run, tap, answer)

    def _sources(self, wanted: Wanted) -> list[str]:
        """The runs that a run's edits read, those they read first."""
        found: dict[str, None] = {}
        for variant in wanted.run.variants:
            for edit in variant.edits:
                for use in run_uses(edit.value, self.demand.experiment):
                    for earlier in self._sources(self.demand.steps[use.run]):
                        found[earlier] = None
                    found[use.run] = None
        return list(found)

    def _shape(self, run: Run) -> tuple[int, ...]:
        return self.context.shape(run)

    def _member_ids(self, run: Run, cells: Tensor) -> dict[str, Tensor]:
        """The member of each dimension at each cell number."""
        shape = self._shape(run)
        if not shape:
            return {}
        return dict(zip((d.name for d in run.dimensions), torch.unravel_index(cells, shape), strict=True))

    def _row_env(self, run: Run, cells: Tensor, items: Tensor, extension: Extension) -> Env:
        """The environment of a batch's rows."""
        variables: dict[str, Binding] = {}
        full = self.context.bindings(run.dimensions)
        ids = {name: Named(member, ("row",)) for name, member in self._member_ids(run, cells).items()}
        for name, binding in full.items():
            variables[name] = Binding(ids[binding.dimension], binding.dimension, binding.cells)
        return Env(item=Named(items, ("row",)), variables=variables, extension=extension)

    def _made(self, run: Run, extension: Extension) -> Tensor:
        """Which cells exist for which items: swept positions must lie in the item's prompt."""
        n_cells = int(torch.tensor(self._shape(run)).prod()) if run.dimensions else 1
        n_items = self.context.data.n_items
        cells = torch.arange(n_cells).repeat_interleave(n_items)
        items = torch.arange(n_items).repeat(n_cells)
        exists = torch.ones(n_cells * n_items, dtype=torch.bool)
        env = self._row_env(run, cells, items, extension)
        variants = self.context.cell_variants(run).reshape(-1)[cells]
        for number, variant in enumerate(run.variants):
            exists &= (variants != number) | self._inside(run, variant, env)
        if extension is not None:
            name, which = extension
            answers = [item.answers[name].alternatives for item in self.context.data.items]
            has = torch.tensor([which < len(a) and len(a[which]) > 1 for a in answers])
            exists &= has[items]
        return exists.reshape(n_cells, n_items)

    def _inside(self, run: Run, variant: RunVariant, env: Env) -> Tensor:
        """Whether the swept positions of each row lie in its prompt, [row]."""
        inside = torch.ones(len(env.item.data), dtype=torch.bool)
        for dimension in run.dimensions:
            for variable in dimension.variables:
                binding = env.variables[variable.name]
                if variable.axis not in POSITION_AXES or (binding.cells and any(c.whole for c in binding.cells)):
                    continue
                at = self.context.indexer.variable(variable.name, variable.axis, env, variant.prompt)
                end = self.context.indexer.length(variable.axis, env, variant.prompt)
                inside &= (at.data >= 0) & (at.data < end.data) & at.full_presence()
        return inside

    def _lengths(self, run: Run, extension: Extension) -> Tensor:
        """Tokens of each variant's prompt with what stands behind it, [variant, item]."""
        extra = torch.zeros(self.context.data.n_items, dtype=torch.long)
        if extension is not None:
            env = Env(item=self.context.all_items(), extension=extension)
            extra = Evaluator(self.context).extra_tokens(env).data
        return torch.stack([self.context.data.prompt(v.prompt).length + extra for v in run.variants])

    def _batches(self, wanted: Wanted, made: Tensor, extension: Extension) -> Iterator[Rows]:
        """Rows of one variant, length and first layer together, as many as a pass takes."""
        run = wanted.run
        cells, items = made.nonzero(as_tuple=True)
        if not len(cells):
            return
        variants = self.context.cell_variants(run).reshape(-1)[cells]
        lengths = self._lengths(run, extension)[variants, items]
        starts = self._starts(wanted, cells, items, variants, extension)
        keys = torch.stack([variants, lengths, starts], 1)
        for key in keys.unique(dim=0).tolist():
            mine = (keys == torch.tensor(key)).all(1).nonzero().flatten()
            for part in mine.split(self._batch_rows(wanted, key[1])):
                yield Rows(cells[part], items[part], key[0], key[1], key[2])

    def _batch_rows(self, wanted: Wanted, length: int) -> int:
        rows = max(1, BATCH_TOKENS // length)
        if any(t.at is None for t in wanted.taps):
            rows = min(rows, max(1, BATCH_LOGITS // (length * self.context.sizes.facts.vocab_size)))
        return min(rows, max(1, BATCH_LOGITS // self.context.sizes.facts.vocab_size))

    def _starts(self, wanted: Wanted, cells: Tensor, items: Tensor, variants: Tensor, extension: Extension) -> Tensor:
        """The first layer that each row has to run: below its first edit it equals the unedited pass."""
        starts = torch.zeros_like(cells)
        if len(cells) < 4 * self.context.data.n_items or not self._may_skip(wanted):
            return starts
        for number, variant in enumerate(wanted.run.variants):
            mine = variants == number
            env = self._row_env(wanted.run, cells[mine], items[mine], extension)
            if variant.edits:
                starts[mine] = EditBatch(self.context, variant, env, {}).first_layers()
        return starts

    def _may_skip(self, wanted: Wanted) -> bool:
        """Whether everything read of the run lies at its end, so that lower layers need not run."""
        return not wanted.layers and all(metrics()[t.metric].shape != "pattern" for t in wanted.taps)

    def _base(self, prompt: str, extension: Extension) -> Tensor:
        """The inputs of all layers in the unedited pass, [item, layer (n_layers + 1), pos, dim]."""
        key = (prompt, extension)
        if key not in self.base:
            self.base[key] = self._base_pass(prompt, extension)
        return self.base[key]

    def _base_pass(self, prompt: str, extension: Extension) -> Tensor:
        facts, n_items = self.context.sizes.facts, self.context.data.n_items
        variant = RunVariant(span=self.demand.experiment.span, when=(), prompt=prompt, edits=())
        run = Run(span=variant.span, name=f"#base {prompt}", dimensions=(), variants=(variant,))
        lengths = self._lengths(run, extension)[0]
        out = allocate("base", (n_items, facts.n_layers + 1, int(lengths.max()), facts.d_model), self.context.instrument.dtype)
        keys = [SiteKey("resid_pre", layer) for layer in range(facts.n_layers)] + [SiteKey("resid_post", facts.n_layers - 1)]
        for length in lengths.unique().tolist():
            for part in (lengths == length).nonzero().flatten().split(max(1, BATCH_TOKENS // length)):
                got = self.context.instrument.forward(self._ids(prompt, part, length, extension), reads=keys)
                for place, one in enumerate(keys):
                    out[part, place, :length] = got[one].cpu()
        return out

    def _ids(self, prompt: str, items: Tensor, length: int, extension: Extension) -> Tensor:
        """Token ids [row, pos] of a prompt with what stands behind it."""
        arrays = self.context.data.prompt(prompt)
        if extension is None:
            return arrays.ids[items, :length]
        name, which = extension
        rows = []
        for item in items.tolist():
            prompt_ids = arrays.ids[item, : arrays.length[item]].tolist()
            rows.append([*prompt_ids, *self.context.data.items[item].answers[name].alternatives[which][:-1]])
        return torch.tensor(rows)

    # ------------------------------------------------------------ one pass

    def _pass(self, wanted: Wanted, results: RunResults, rows: Rows, extension: Extension) -> None:
        variant = wanted.run.variants[rows.variant]
        env = self._row_env(wanted.run, rows.cells, rows.items, extension)
        batch = EditBatch(self.context, variant, env, self.receipts[wanted.run.name])
        keys = self._keys(results)
        taps = self._taps(wanted, extension)
        positions = self._logit_positions(taps, results, env, variant, rows)
        if positions is not None or "logits" in results.sites:
            keys = [*keys, SiteKey("logits")]
        start = None
        if rows.start > 0:
            start = (rows.start, self._base(variant.prompt, extension)[rows.items, rows.start, : rows.length])
        if any(metrics()[t.metric].shape == "pattern" for t in taps):
            keys += [SiteKey("attn.pattern", layer) for layer in range(self.context.sizes.facts.n_layers)]
        ids = self._ids(variant.prompt, rows.items, rows.length, extension)
        got = self.context.instrument.forward(
            ids, reads=set(keys), writes=batch.writes(), logit_positions=positions, start=start
        )
        batch.count_rows()
        self._keep_sites(results, got, rows, positions, env, variant)
        self._take_taps(taps, results, got, rows, positions, env, variant, ids, extension)

    def _keys(self, results: RunResults) -> list[SiteKey]:
        keys = []
        for name, stored in results.sites.items():
            if name != "logits":
                keys += [SiteKey(name, layer) for layer in stored.layers] if stored.layers is not None else [SiteKey(name)]
        return keys

    @staticmethod
    def _taps(wanted: Wanted, extension: Extension) -> list[Tap]:
        """The taps to take in a pass: behind an answer, only those that score it."""
        if extension is None:
            return wanted.taps
        return [t for t in wanted.taps if t.answer == extension[0] and metrics()[t.metric].several_tokens]

    def _logit_positions(self, taps: Sequence[Tap], results: RunResults, env: Env, variant: RunVariant, rows: Rows) -> list[int] | None:
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

    # ------------------------------------------------------------ keeping

    def _prepare(self, results: RunResults, wanted: Wanted, extension: Extension) -> None:
        """Room for everything that is kept of a run."""
        facts = self.context.sizes.facts
        n_cells, n_items = results.made.shape
        longest = int(self._lengths(wanted.run, extension).max())
        for name, layers in wanted.layers.items():
            site = sites()[name]
            kept = None
            if site.has_layer:
                kept = tuple(range(facts.n_layers)) if layers is None else tuple(sorted(self._layer_numbers(layers)))
            position = wanted.positions.get(name)
            sizes = []
            for axis in site.axes:
                if axis == "layer":
                    sizes.append(len(kept or ()))
                elif axis in POSITION_AXES:
                    sizes.append(1 if axis == "pos" and position is not None else longest)
                else:
                    sizes.append(self.context.sizes.of(axis))
            width = (facts.feature_size(name),) if site.feature else ()
            data = allocate(f"{wanted.run.name}.{name}", (n_cells, n_items, *sizes, *width), torch.float32, wanted.run.span)
            results.sites[name] = Stored(data, site.axes, site.feature is not None, kept, position)
        if extension is None:
            for tap in wanted.taps:
                results.taps[tap] = self._empty_tap(tap, n_cells, n_items, longest)

    def _layer_numbers(self, layers: set[int | Depth]) -> set[int]:
        n = self.context.sizes.facts.n_layers
        numbers = {
            (layer + n if layer < 0 else layer) if isinstance(layer, int) else int(layer.value / 100 * (n - 1) + 0.5)
            for layer in layers
        }
        return {layer for layer in numbers if 0 <= layer < n}

    def _empty_tap(self, tap: Tap, n_cells: int, n_items: int, longest: int) -> Named:
        shape = metrics()[tap.metric].shape
        facts = self.context.sizes.facts
        if shape == "pattern":
            return Named(torch.full((n_cells, n_items, facts.n_layers, facts.n_heads), torch.nan), ("#run", "#item", "#layer", "#head"))
        if shape == "sequence" and tap.at is None and "mean" in dict(tap.options):
            return Named(torch.full((n_cells, n_items), torch.nan), ("#run", "#item"))
        if tap.at is None:
            return Named(torch.full((n_cells, n_items, longest), torch.nan), ("#run", "#item", "#pos"))
        return Named(torch.full((n_cells, n_items), torch.nan), ("#run", "#item"))

    def _keep_sites(
        self, results: RunResults, got: dict[SiteKey, Tensor], rows: Rows, positions: list[int] | None, env: Env, variant: RunVariant
    ) -> None:
        """Put what a pass gave where it belongs."""
        for name, stored in results.sites.items():
            layers = stored.layers if stored.layers is not None else (None,)
            for place, layer in enumerate(layers):
                value = got[SiteKey(name, layer)].float().cpu()
                if stored.position is not None:
                    at = self.context.indexer.point(stored.position, "pos", env, variant.prompt).data.expand(len(rows.cells))
                    if name == "logits" and positions is not None:
                        at = torch.tensor([positions.index(p) for p in at.tolist()])
                    axis = 1 + [a for a in stored.axes if a != "layer"].index("pos")
                    value = value.movedim(axis, 1)[torch.arange(len(at)), at].unsqueeze(1).movedim(1, axis)
                where: list[Tensor | int | slice] = [rows.cells, rows.items]
                if stored.layers is not None:
                    where.append(place)
                where += [slice(0, n) for n in value.shape[1:]]
                stored.data[tuple(where)] = value

    def _take_taps(
        self, taps: Sequence[Tap], results: RunResults, got: dict[SiteKey, Tensor], rows: Rows, positions: list[int] | None,
        env: Env, variant: RunVariant, ids: Tensor, extension: Extension,
    ) -> None:  # fmt: skip
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
            elif entry.several_tokens and tap.answer is not None and self._several(tap.answer):
                self._take_steps(tap, results, logits, rows, positions, env, variant, extension)
            else:
                self._take_metric(tap, entry, results, logits, rows, positions, env, variant)

    def _rows_at(self, tap: Tap, logits: Tensor, positions: list[int], env: Env, variant: RunVariant, n: int) -> Tensor:
        """The logits [row, vocab] at the tap's position."""
        assert tap.at is not None
        at = self.context.indexer.point(tap.at, "pos", env, variant.prompt).data.expand(n)
        lookup = {p: i for i, p in enumerate(positions)}
        return logits[torch.arange(n), torch.tensor([lookup.get(p, 0) for p in at.tolist()])]

    def _take_metric(
        self, tap: Tap, entry: Metric, results: RunResults, logits: Tensor, rows: Rows, positions: list[int], env: Env, variant: RunVariant
    ) -> None:
        x = self._rows_at(tap, logits, positions, env, variant, len(rows.cells)) if tap.at is not None else logits
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
        self, tap: Tap, entry: Metric, results: RunResults, logits: Tensor, rows: Rows, ids: Tensor, env: Env, variant: RunVariant
    ) -> None:
        losses = entry.compute(logits, ids.to(logits.device)).cpu()
        if "mean" in dict(tap.options):
            self._put(tap, results, rows, losses[:, :-1].mean(1))
        elif tap.at is not None:
            at = self.context.indexer.point(tap.at, "pos", env, variant.prompt).data.expand(len(rows.cells))
            self._put(tap, results, rows, losses[torch.arange(len(at)), at.clamp(0, losses.shape[1] - 1)])
        else:
            self._put(tap, results, rows, losses)

    def _take_pattern(self, tap: Tap, entry: Metric, results: RunResults, got: dict[SiteKey, Tensor], rows: Rows, ids: Tensor) -> None:
        data = results.taps[tap].data
        for layer in range(self.context.sizes.facts.n_layers):
            pattern = got[SiteKey("attn.pattern", layer)].float()
            reach = self.context.sizes.facts.windows[layer]
            value = entry.compute(pattern, ids.to(pattern.device), reach, dict(tap.options)["kind"])
            data[rows.cells, rows.items, layer] = value.cpu()

    # ------------------------------------------------------------ answers of several tokens

    def _several(self, answer: str) -> bool:
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
        self, tap: Tap, results: RunResults, logits: Tensor, rows: Rows, positions: list[int], env: Env, variant: RunVariant, extension: Extension
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
                if (len(tokens) == 1 and extension is None) or (extension is not None and extension[1] == which):
                    first = int(lengths[item]) - 1
                    at = logits[row, [place[first + k] for k in range(len(tokens))]]
                    chosen = torch.tensor(tokens, device=at.device)[:, None]
                    log_probs[cell, item, which] = at.log_softmax(-1).gather(1, chosen).sum().cpu()
                    greedy[cell, item, which] = bool((at.gather(1, chosen) == at.amax(1, keepdim=True)).all())

    def _combined(self, run: Run, tap: Tap, answer: str) -> Named:
        """The metric of an answer from its alternatives."""
        results = self.context.results[(run.name, None)]
        if not self._several(answer):
            return results.taps[tap]
        log_probs, greedy = self._steps(run.name, answer)
        counts = torch.tensor([len(item.answers[answer].alternatives) for item in self.context.data.items])
        valid = (torch.arange(log_probs.shape[-1]) < counts[:, None])[None].expand(log_probs.shape)
        combine = metrics()[tap.metric].combine
        assert combine is not None
        return Named(combine(log_probs, greedy, valid), ("#run", "#item"))

    def _finish(self, results: RunResults, wanted: Wanted) -> None:
        """Metrics that some positions or heads do not have are missing there, not NaN."""
        for tap, value in results.taps.items():
            if metrics()[tap.metric].shape in ("sequence", "pattern") or tap.at is None:
                results.taps[tap] = Named(value.data, value.dims, False, ~torch.isnan(value.data))


__all__ = ["ITEM", "RunMaker"]
