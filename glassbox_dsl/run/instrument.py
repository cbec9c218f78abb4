"""A loaded model whose sites can be read and written: the hooked executor.

One call of `forward` is one full pass over a batch of prompts of equal length, with hooks only where a read
or a write needs one, removed again afterwards. It is the reference that every faster executor is tested
against, so it stays close to the model: it calls the model's own code, and without edits its logits are
bitwise those of the untouched `eager` model.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, Literal

import torch
from torch import nn

from glassbox_dsl.diagnostics import InternalError
from glassbox_dsl.resolve.facts import ModelFacts
from glassbox_dsl.resolve.families import Family
from glassbox_dsl.run.attention import Tap, tapped
from glassbox_dsl.run.keys import CORE, HEAD, ORDER, STREAM, SiteKey
from glassbox_dsl.run.modules import ModelModules, NormModule, OutProjection, find_modules
from glassbox_dsl.vocabulary.sites import sites

Write = Callable[[torch.Tensor], torch.Tensor]
Step = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""(the module's input, the value so far) -> the value to go on with."""


class Instrument:
    """A model with its facts. Values have the axes: batch, those of the site without `layer`, its feature."""

    def __init__(self, model: nn.Module, facts: ModelFacts, family: Family) -> None:
        self.model = model
        self.facts = facts
        self.family = family
        self.modules: ModelModules = find_modules(model, family, facts)

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
    ) -> dict[SiteKey, torch.Tensor]:
        """Run int64 ids [batch, pos] and return the values of `reads`, each after all writes at its site.

        A write gets the value in the layout of the site and returns one of the same shape, without changing
        the one it got; it is called once. `logits` has only `logit_positions` (default: all).
        `start = (l, hidden)` takes hidden [batch, pos, dim] as the input of layer l (l = n_layers: of the
        final norm) and runs nothing below. ValueError for keys that do not exist or lie below the start.
        """
        run = _Pass(self, reads, writes or {}, start)
        for key in (*run.reads, *run.writes):
            self._check(key, run.first)
        return run.run(ids, logit_positions)

    def unembed(
        self, x: torch.Tensor, *, norm: Literal["final", "none"] = "final", scale: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Logits of residual-width values: x [..., dim] to [..., vocab], through the model's own head.

        `final` runs the final norm on x; with `scale` [...] it divides by that instead of x's own spread;
        `none` takes x as if it came out of the final norm.
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
        got = self.forward(ids, reads={logits}, writes=writes, start=(self.facts.n_layers, rows))
        return got[logits].reshape(*x.shape[:-1], -1)

    def unembedding_columns(self, token_ids: torch.Tensor) -> torch.Tensor:
        """The directions that the logits of tokens [n] read from the normed stream: [n, dim]."""
        weight = self.modules.unembed.weight
        assert isinstance(weight, torch.Tensor)
        return weight.detach()[token_ids.to(weight.device)]

    def _check(self, key: SiteKey, first: int) -> None:
        site = sites().get(key.site)
        if site is None or not site.built or key.site in self.facts.absent:
            raise ValueError(f"no site {key.site} in family {self.family.name}")
        if site.has_layer != (key.layer is not None):
            raise ValueError(f"{key.site} {'needs a' if site.has_layer else 'has no'} layer")
        if key.layer is not None and not 0 <= key.layer < self.facts.n_layers:
            raise ValueError(f"{key.site} has no layer {key.layer}")
        below = _boundary(key, self.facts.n_layers) if key.site in STREAM else key.layer
        if below is not None and below < first:
            raise ValueError(f"{key.site} of layer {key.layer} lies below the start, layer {first}")


def _boundary(key: SiteKey, n_layers: int) -> int:
    """Stream sites by the layer whose input they are (n_layers: the final norm's)."""
    return (key.layer or 0) + (key.site == "resid_post")


class _Pass:
    """One forward pass: turns reads and writes into steps at inputs and outputs of modules, and runs them."""

    def __init__(
        self,
        instrument: Instrument,
        reads: Collection[SiteKey],
        writes: Mapping[SiteKey, Write],
        start: tuple[int, torch.Tensor] | None,
    ) -> None:
        self.instrument = instrument
        self.modules = instrument.modules
        self.n_layers = instrument.facts.n_layers
        self.reads = frozenset(SiteKey(*key) for key in reads)
        self.writes = {SiteKey(*key): write for key, write in writes.items()}
        self.start = start
        self.values: dict[SiteKey, torch.Tensor] = {}
        self.written: list[SiteKey] = []
        self.before: defaultdict[nn.Module, list[Step]] = defaultdict(list)
        self.after: defaultdict[nn.Module, list[Step]] = defaultdict(list)

    @property
    def first(self) -> int:
        """The lowest layer that runs."""
        return 0 if self.start is None else self.start[0]

    @property
    def keys(self) -> list[SiteKey]:
        """What is read or written, in forward order."""
        return sorted(
            self.reads | self.writes.keys(), key=lambda key: (key.layer or 0, ORDER.index(key.site))
        )

    def run(self, ids: torch.Tensor, logit_positions: Sequence[int] | None) -> dict[SiteKey, torch.Tensor]:
        """The pass itself."""
        wants_logits = any(key.site == "logits" for key in self.keys)
        keep: int | torch.Tensor = 0
        if not wants_logits or logit_positions is not None:
            keep = torch.tensor(list(logit_positions or ()) if wants_logits else [], dtype=torch.long)
            keep = keep.to(ids.device)
        taps = self._plan()
        with ExitStack() as stack:
            stack.enter_context(torch.inference_mode())
            stack.enter_context(tapped(taps))
            stack.enter_context(_skipped([*self._skipped_layers()]))
            for module, steps in self.before.items():
                stack.callback(module.register_forward_pre_hook(_pre_hook(steps), with_kwargs=True).remove)
            for module, steps in self.after.items():
                stack.callback(module.register_forward_hook(_hook(steps), with_kwargs=True).remove)
            output = self.instrument.model(
                ids.to(self.instrument.device), use_cache=False, return_dict=True, logits_to_keep=keep
            )
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
        tops = [
            _boundary(k, self.n_layers) - 1 if k.site in STREAM else k.layer
            for k in self.keys
            if k.site not in HEAD
        ]
        last = (
            self.n_layers - 1
            if any(k.site in HEAD for k in self.keys)
            else max((t for t in tops if t is not None), default=-1)
        )
        for index, layer in enumerate(self.modules.layers):
            if not self.first <= index <= last:
                yield layer.layer

    def _plan(self) -> dict[nn.Module, Tap]:
        """Steps for every key; what happens inside the attention function is returned by attention module."""
        if self.start is not None:
            self._plan_start(*self.start)
        mids = [key for key in self.writes if key.site == "resid_mid"]
        for key in self.keys:
            if key.site in HEAD:
                self._plan_head(key)
            elif key.site not in STREAM | CORE and key not in mids:
                self._plan_layer(key)
        for key in mids:
            self._plan_written_mid(key)
        for boundary in {_boundary(key, self.n_layers) for key in self.keys if key.site in STREAM}:
            self._plan_stream(boundary)
        core = {key.layer for key in self.keys if key.site in CORE and key.layer is not None}
        return {self.modules.layers[layer].attention: self._tap(layer) for layer in core}

    def _tap(self, layer: int) -> Tap:
        wanted = frozenset(key.site for key in self.keys if key.layer == layer)
        return Tap(layer, wanted, lambda site, value: self.visit(SiteKey(site, layer), value))

    def _at_boundary(self, boundary: int) -> list[Step]:
        """The steps on the stream that enters a layer, or that leaves the last one."""
        if boundary < self.n_layers:
            return self.before[self.modules.layers[boundary].layer]
        return self.after[self.modules.layers[-1].layer]

    def _plan_start(self, layer: int, hidden: torch.Tensor) -> None:
        self._at_boundary(layer).append(lambda _, stream: hidden.to(stream))

    def _plan_stream(self, boundary: int) -> None:
        """One tensor under up to three names: all are written, then all are read."""
        names = [SiteKey("embed")] if boundary == 0 else [SiteKey("resid_post", boundary - 1)]
        if boundary < self.n_layers:
            names.append(SiteKey("resid_pre", boundary))

        def step(_: torch.Tensor, stream: torch.Tensor) -> torch.Tensor:
            for name in names:
                stream = self._write(name, stream)
            return self._read(names, stream)

        self._at_boundary(boundary).append(step)

    def _plan_head(self, key: SiteKey) -> None:
        norm = self.modules.final_norm
        if key.site == "final_norm_scale":
            self.after[norm.module].append(self._scale_step(key, norm))
        elif key.site == "final_norm":
            self.after[norm.module].append(lambda _, output: self.visit(key, output))

    def _plan_layer(self, key: SiteKey) -> None:
        assert key.layer is not None
        layer = self.modules.layers[key.layer]
        if key.site in layer.norms:
            norm = layer.norms[key.site]
            self.after[norm.module].append(self._scale_step(key, norm))
        elif key.site == "attn.result":
            self.after[layer.out_proj.module].append(self._result_step(key, layer.out_proj))
        else:
            self._steps_at(key).append(self._spot_step(key))

    def _steps_at(self, key: SiteKey) -> list[Step]:
        """The steps where the family file says the site stands."""
        assert key.layer is not None
        spot = self.instrument.family.sites[key.site]
        module = self.modules.layers[key.layer].at[spot.module]
        return self.before[module] if spot.side == "in" else self.after[module]

    def _spot_step(self, key: SiteKey) -> Step:
        if "neuron" not in sites()[key.site].axes:
            return lambda _, value: self.visit(key, value)
        return lambda _, value: self.visit(key, value.transpose(1, 2)).transpose(1, 2)

    def _scale_step(self, key: SiteKey, norm: NormModule) -> Step:
        def step(entered: torch.Tensor, output: torch.Tensor) -> torch.Tensor:
            own = norm.divisor(entered)
            other = self.visit(key, own)
            return output if other is own else norm.divided_by(output, own, other)

        return step

    def _result_step(self, key: SiteKey, projection: OutProjection) -> Step:
        """A written result adds its change to the output, which keeps its bits where nothing changed."""

        def step(entered: torch.Tensor, output: torch.Tensor) -> torch.Tensor:
            own = projection.results(entered)
            other = self.visit(key, own)
            if other is own:
                return output
            change = (other - own).sum(1)
            return torch.where(change == 0, output, output + change)

        return step

    def _plan_written_mid(self, key: SiteKey) -> None:
        """`resid_mid := v`: the MLP reads v, and the layer puts out v + mlp.out.

        This is attn.out := v - resid_pre without the rounding of the difference, which is coarse where the
        stream is large. attn.out is read as it was, and the model's own sum stands where v is the old value.
        """
        assert key.layer is not None
        held: dict[str, torch.Tensor] = {}

        def write_mid(_: torch.Tensor, old: torch.Tensor) -> torch.Tensor:
            held["old"], held["new"] = old, self.visit(key, old)
            return held["new"]

        def keep_added(_: torch.Tensor, added: torch.Tensor) -> torch.Tensor:
            held["added"] = added
            return added

        def replace_sum(_: torch.Tensor, stream: torch.Tensor) -> torch.Tensor:
            return torch.where(held["new"] == held["old"], stream, held["new"] + held["added"])

        self._steps_at(key).insert(0, write_mid)
        self._steps_at(SiteKey("mlp.out", key.layer)).append(keep_added)
        self.after[self.modules.layers[key.layer].layer].append(replace_sum)


def _laid_out_as(old: torch.Tensor, new: torch.Tensor, key: SiteKey) -> torch.Tensor:
    """The written value with dtype, device and strides of the old one: kernels, so bits, depend on them."""
    if new is old:
        return old
    if new.shape != old.shape:
        raise InternalError(f"a write at {key} turned shape {tuple(old.shape)} into {tuple(new.shape)}")
    if new.stride() == old.stride() and new.dtype == old.dtype and new.device == old.device:
        return new
    return old.new_empty_strided(old.shape, old.stride()).copy_(new)


def _hook(steps: list[Step]) -> Callable[..., Any]:
    """A forward hook that runs steps on the output, or on its first item."""

    def hook(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> Any:
        value = output[0] if isinstance(output, tuple) else output
        entered = _argument(args, kwargs)
        for step in steps:
            value = step(entered, value)
        return (value, *output[1:]) if isinstance(output, tuple) else value

    return hook


def _pre_hook(steps: list[Step]) -> Callable[..., Any]:
    """A forward pre-hook that runs steps on the first argument."""

    def hook(
        _: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        value = entered = _argument(args, kwargs)
        for step in steps:
            value = step(entered, value)
        return ((value, *args[1:]), kwargs) if args else (args, {**kwargs, "hidden_states": value})

    return hook


def _argument(args: tuple[Any, ...], kwargs: dict[str, Any]) -> torch.Tensor:
    value = args[0] if args else kwargs["hidden_states"]
    assert isinstance(value, torch.Tensor)
    return value


@contextmanager
def _skipped(layers: Sequence[nn.Module]) -> Iterator[None]:
    """Let layers hand on their input; a `forward` that someone else put on them comes back afterwards."""
    own = {layer: layer.__dict__.get("forward") for layer in layers}
    try:
        for layer in layers:
            layer.forward = _identity
        yield
    finally:
        for layer, forward in own.items():
            if forward is None:
                del layer.__dict__["forward"]
            else:
                layer.__dict__["forward"] = forward


def _identity(hidden_states: torch.Tensor, *_: Any, **__: Any) -> torch.Tensor:
    return hidden_states
