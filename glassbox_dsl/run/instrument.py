"""A loaded model whose sites can be read and written: the hooked executor.

One call of `forward` is one full pass over a batch of prompts of equal length, with hooks only where a read
or a write needs one, removed again afterwards. It is the reference that every faster executor is tested
against, so it stays close to the model: it calls the model's own code, and without edits its logits are
bitwise those of the untouched `eager` model.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import nn

from glassbox_dsl.diagnostics import InternalError
from glassbox_dsl.resolve.facts import ModelFacts
from glassbox_dsl.resolve.families import Family
from glassbox_dsl.run.hooks import Step, identity, identity_item, replaced
from glassbox_dsl.run.modules import ModelModules, find_modules, inner_weight, only_tokens
from glassbox_dsl.run.steps import Steps, Visit, boundary, in_order
from glassbox_dsl.vocabulary.keys import HEAD, STREAM, SiteKey
from glassbox_dsl.vocabulary.sites import sites

if TYPE_CHECKING:
    from glassbox_dsl.run.delta.calls import LayerCalls

Write = Callable[[torch.Tensor], torch.Tensor]


class Instrument:
    """A model with its facts. Values have the axes: batch, those of the site without `layer`, its feature."""

    def __init__(self, model: nn.Module, facts: ModelFacts, family: Family) -> None:
        self.model = model
        self.facts = facts
        self.family = family
        self.modules: ModelModules = find_modules(model, family, facts)
        self.layer_calls: LayerCalls | None = None  # for the length that packs asked for last: delta/calls.py
        model.requires_grad_(False)

    @property
    def device(self) -> torch.device:
        """Where token ids go in."""
        return next(self.model.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of the residual stream."""
        return next(self.model.parameters()).dtype

    def forward(
        self,
        ids: torch.Tensor,
        *,
        reads: Collection[SiteKey] = (),
        writes: Mapping[SiteKey, Write] | None = None,
        logit_positions: Sequence[int] | None = None,
        start: tuple[int, torch.Tensor] | None = None,
        gradients: bool = False,
        cache: Any = None,
    ) -> dict[SiteKey, torch.Tensor]:
        """Run int64 ids [batch, pos] and return the values of `reads`, each after all writes at its site.

        A write gets the value in the layout of the site and returns one of the same shape, without changing
        the one it got; it is called once. `logits` has only `logit_positions` (default: all).
        `start = (l, hidden)` takes hidden [batch, pos, dim] as the input of layer l (l = n_layers: of the
        final norm) and runs nothing below. With `gradients` the values carry their graphs (what requires a gradient
        comes in through writes: weights do not). With a `cache` of transformers the ids stand behind those it holds,
        and are added to it. ValueError for keys that do not exist or lie below the start.
        """
        run = _Pass(self, reads, writes or {}, start, gradients)
        run.cache = cache
        for key in (*run.reads, *run.writes):
            self._check(key, run.first)
        return run.run(ids, logit_positions)

    def unembed(
        self,
        x: torch.Tensor,
        *,
        norm: Literal["final", "none"] = "final",
        scale: torch.Tensor | None = None,
        tokens: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Logits of residual-width values: x [..., dim] to [..., vocab], through the model's own head.

        `final` runs the final norm on x; with `scale` [...] it divides by that instead of x's own spread;
        `none` takes x as if it came out of the final norm. With `tokens` [n] only theirs are made: [..., n].
        Logits of an x that requires a gradient carry a graph.
        """
        rows = x.reshape(-1, 1, x.shape[-1]).to(self.device, self.dtype)
        writes: dict[SiteKey, Write] = {}
        if norm == "none":
            writes[SiteKey("final_norm")] = lambda _: rows
        elif scale is not None:
            frozen = scale.expand(x.shape[:-1]).reshape(-1, 1)
            writes[SiteKey("final_norm_scale")] = lambda own: frozen.to(own)
        ids = torch.zeros(rows.shape[0], 1, dtype=torch.long, device=self.device)
        logits = SiteKey("logits")
        head = self.modules.unembed
        with replaced({} if tokens is None else only_tokens(head, tokens)):
            got = self.forward(
                ids,
                reads={logits},
                writes=writes,
                start=(self.facts.n_layers, rows),
                gradients=x.requires_grad,
            )
        return got[logits].reshape(*x.shape[:-1], -1)

    def unembedding_columns(self, token_ids: torch.Tensor) -> torch.Tensor:
        """The directions that the logits of tokens [n] read from the normed stream: [n, dim]."""
        weight = self.modules.unembed.weight
        assert isinstance(weight, torch.Tensor)
        return weight.detach()[token_ids.to(weight.device)]

    def down_rows(self, layer: int, neurons: torch.Tensor) -> torch.Tensor:
        """What one unit of `mlp.post` of neurons [n] of a layer adds to `mlp.out_raw`: [n, dim], float32 on the CPU."""
        weight = inner_weight(self.modules.layers[layer].at[self.family.sites["mlp.post"].module])
        return weight.detach()[neurons.to(weight.device)].float().cpu()

    def steps(
        self, keys: Sequence[SiteKey], written: Collection[SiteKey], visit: Visit, shape: tuple[int, int]
    ) -> Steps:
        """Where a pass on values of (batch, pos) has to be opened for some keys, in forward order."""
        n_kv = self.facts.n_kv_heads
        return Steps(self.modules, self.family, keys, written, visit, shape, self._text_config, n_kv)

    @property
    def _text_config(self) -> Any:
        """The config of the language model."""
        part = self.family.model.config
        return self.model.config if part is None else getattr(self.model.config, part)

    def sums_heads(self, layer: int) -> bool:
        """Whether what attention of a layer adds to the stream is a sum over its heads: no norm stands behind them."""
        sites = self.family.sites
        return sites["attn.out"].module == sites["attn.out_raw"].module

    def added(self, layer: int, raw: torch.Tensor) -> torch.Tensor:
        """What a layer adds to the stream where its attention puts out raw [..., dim]: `attn.out` of `attn.out_raw`."""
        spot = self.family.sites["attn.out"]
        out = raw if self.sums_heads(layer) else self.modules.layers[layer].at[spot.module].forward(raw)
        return out if spot.times is None else out * float(getattr(self._text_config, spot.times))

    def finished(self, raw: torch.Tensor) -> torch.Tensor:
        """What the model makes of products [...] with its unembedding: its cap and scale are put on them."""
        rows = raw.reshape(-1, 1, 1).to(self.device)
        hidden = rows.new_zeros(len(rows), 1, self.facts.d_model, dtype=self.dtype)
        ids = torch.zeros(len(rows), 1, dtype=torch.long, device=self.device)
        logits = SiteKey("logits")
        with replaced({self.modules.unembed: lambda _: rows}):
            got = self.forward(ids, reads={logits}, start=(self.facts.n_layers, hidden))
        return got[logits].reshape(raw.shape)

    def _check(self, key: SiteKey, first: int) -> None:
        site = sites().get(key.site)
        if site is None or not site.passed or key.site in self.facts.absent:
            raise ValueError(f"no site {key.site} in family {self.family.name}")
        if site.has_layer != (key.layer is not None):
            raise ValueError(f"{key.site} {'needs a' if site.has_layer else 'has no'} layer")
        if key.layer is not None and key.layer not in self.facts.layers_with(key.site):
            raise ValueError(f"{key.site} has no layer {key.layer}")
        below = boundary(key) if key.site in STREAM else 0 if key.site == "pos_embed" else key.layer
        if below is not None and below < first:
            raise ValueError(f"{key.site} of layer {key.layer} lies below the start, layer {first}")


class _Pass:
    """One forward pass over prompts of equal length."""

    def __init__(
        self,
        instrument: Instrument,
        reads: Collection[SiteKey],
        writes: Mapping[SiteKey, Write],
        start: tuple[int, torch.Tensor] | None,
        gradients: bool = False,
    ) -> None:
        self.gradients = gradients
        self.cache: Any = None
        self.instrument = instrument
        self.modules = instrument.modules
        self.n_layers = instrument.facts.n_layers
        self.reads = frozenset(SiteKey(*key) for key in reads)
        self.writes = {SiteKey(*key): write for key, write in writes.items()}
        self.start = start
        self.values: dict[SiteKey, torch.Tensor] = {}
        self.written: list[SiteKey] = []

    @cached_property
    def keys(self) -> list[SiteKey]:
        """What is read or written, in forward order."""
        return in_order(self.reads | self.writes.keys())

    @property
    def first(self) -> int:
        """The lowest layer that runs."""
        return 0 if self.start is None else self.start[0]

    def run(self, ids: torch.Tensor, logit_positions: Sequence[int] | None) -> dict[SiteKey, torch.Tensor]:
        """The pass itself."""
        wants_logits = any(key.site == "logits" for key in self.keys)
        keep: int | torch.Tensor = 0
        if not wants_logits or logit_positions is not None:
            keep = torch.tensor(list(logit_positions or ()) if wants_logits else [], dtype=torch.long)
            keep = keep.to(ids.device)
        steps = self.instrument.steps(self.keys, self.writes.keys(), self.visit, (ids.shape[0], ids.shape[1]))
        self._plan_streams(steps)
        stub = identity_item if self.instrument.family.layer.tuple_item else identity
        skipped: dict[nn.Module, Callable[..., Any]] = dict.fromkeys(self._skipped_layers(), stub)
        recording = torch.enable_grad() if self.gradients else torch.inference_mode()
        with recording, replaced(skipped), steps.opened():
            output = self.instrument.model(
                ids.to(self.instrument.device), past_key_values=self.cache, use_cache=self.cache is not None,
                return_dict=True, logits_to_keep=keep,
            )  # fmt: skip
            if wants_logits:
                self.visit(SiteKey("logits"), output.logits)
        if (
            sorted(map(str, self.written)) != sorted(map(str, self.writes))
            or self.values.keys() != self.reads
        ):
            raise InternalError("a pass did not meet each of its sites once")
        return self.values

    def visit(self, key: SiteKey, value: torch.Tensor) -> torch.Tensor:
        """Write, then read, one site."""
        return self._read((key,), self._write(key, value))

    def _write(self, key: SiteKey, value: torch.Tensor) -> torch.Tensor:
        write = self.writes.get(key)
        if write is None:
            return value
        self.written.append(key)
        return _laid_out_as(value, write(value), key)

    def _read(self, keys: Collection[SiteKey], value: torch.Tensor) -> torch.Tensor:
        for key in self.reads.intersection(keys):
            if key in self.values:
                raise InternalError(f"{key} came by twice in one pass")
            self.values[key] = value
        return value

    def _skipped_layers(self) -> Iterator[nn.Module]:
        """Layers below the start, and layers above the last one that a read or write can see."""
        tops = [boundary(k) - 1 if k.site in STREAM else k.layer for k in self.keys if k.site not in HEAD]
        last = (
            self.n_layers - 1
            if any(k.site in HEAD for k in self.keys)
            else max((t for t in tops if t is not None), default=-1)
        )
        for index, layer in enumerate(self.modules.layers):
            if not self.first <= index <= last:
                yield layer.layer

    def _plan_streams(self, steps: Steps) -> None:
        """What enters the first layer that runs, and the sites on the stream between layers."""
        if self.start is not None:
            layer, hidden = self.start
            self._at_boundary(steps, layer).insert(0, lambda _, stream: hidden.to(stream))
        for place in {boundary(key) for key in self.keys if key.site in STREAM}:
            self._plan_stream(steps, place)

    def _at_boundary(self, steps: Steps, place: int) -> list[Step]:
        """The steps on the stream that enters a layer, or that leaves the last one."""
        if place < self.n_layers:
            return steps.before[self.modules.layers[place].layer]
        return steps.after[self.modules.layers[-1].layer]

    def _plan_stream(self, steps: Steps, place: int) -> None:
        """One tensor under up to three names: all are written, then all are read."""
        names = stream_names(place, self.n_layers)

        def step(_: torch.Tensor, stream: torch.Tensor) -> torch.Tensor:
            for name in names:
                stream = self._write(name, stream)
            return self._read(names, stream)

        self._at_boundary(steps, place).append(step)


def stream_names(place: int, n_layers: int) -> list[SiteKey]:
    """The names of the stream that enters a layer (n_layers: the final norm), in the order of their writes."""
    names = [SiteKey("embed")] if place == 0 else [SiteKey("resid_post", place - 1)]
    if place < n_layers:
        names.append(SiteKey("resid_pre", place))
    return names


def _laid_out_as(old: torch.Tensor, new: torch.Tensor, key: SiteKey) -> torch.Tensor:
    """The written value with dtype, device and strides of the old one: kernels, so bits, depend on them."""
    if new is old:
        return old
    if new.shape != old.shape:
        raise InternalError(f"a write at {key} turned shape {tuple(old.shape)} into {tuple(new.shape)}")
    if new.stride() == old.stride() and new.dtype == old.dtype and new.device == old.device:
        return new
    return old.new_empty_strided(old.shape, old.stride()).copy_(new)
