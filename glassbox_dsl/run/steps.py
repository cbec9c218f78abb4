"""Where a pass can be opened: sites become steps at the inputs and outputs of modules.

Both executors plan their hooks here. A step gets what entered its module and the value so far, and returns the value
to go on with; `visit` is the executor's own: it writes a site, then reads it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from glassbox_dsl.resolve.families import Family, Spot
from glassbox_dsl.run.attention import Tap, tapped
from glassbox_dsl.run.experts import ExpertTap, experts_tapped, opened_router
from glassbox_dsl.run.head_copies import HeadCopies, recorded_by
from glassbox_dsl.run.hooks import Step, hooked, replaced
from glassbox_dsl.run.modules import LayerModules, ModelModules, NormModule, OutProjection, where_changed
from glassbox_dsl.run.own_attention import opened_attention
from glassbox_dsl.run.unturned import seen_unturned
from glassbox_dsl.vocabulary.keys import COPIES, CORE, EXPERTS, HEAD, ORDER, STREAM, UNTURNED, SiteKey
from glassbox_dsl.vocabulary.sites import sites

Visit = Callable[[SiteKey, torch.Tensor], torch.Tensor]
"""Write, then read, one site."""


@dataclass
class Port:
    """What one module reads through a norm that others read too: the norm's input, as this module has it."""

    entered: torch.Tensor


@dataclass
class Steps:
    """The steps for a set of keys, by module; the stream between layers is left to the executor.

    `shape` is (batch, pos) of the values at hand: some modules are given rows [batch * pos, dim].
    """

    modules: ModelModules
    family: Family
    keys: Sequence[SiteKey]
    written: Collection[SiteKey]
    visit: Visit
    shape: tuple[int, int] = (1, 1)
    config: Any = None
    n_kv: int = 1
    before: defaultdict[nn.Module, list[Step]] = field(default_factory=lambda: defaultdict(list))
    after: defaultdict[nn.Module, list[Step]] = field(default_factory=lambda: defaultdict(list))
    taps: dict[nn.Module, Tap] = field(default_factory=dict)
    experts: dict[nn.Module, ExpertTap] = field(default_factory=dict)
    forwards: dict[nn.Module, Callable[..., Any]] = field(default_factory=dict)
    ports: dict[tuple[nn.Module, str], Port] = field(default_factory=dict)
    entering: dict[nn.Module, Step] = field(default_factory=dict)
    copies: dict[int, HeadCopies] = field(default_factory=dict)

    def __post_init__(self) -> None:
        mids = [key for key in self.written if key.site == "resid_mid"]
        for key in self.written:
            if key.site in COPIES and key.layer is not None:
                self.copies[key.layer] = self._copies(key.layer)
        for key in self.keys:
            if key.site in HEAD:
                self._plan_head(key)
            elif key.site not in STREAM | CORE | UNTURNED | EXPERTS and key not in mids:
                self._plan_layer(key)
        for key in mids:
            self._plan_written_mid(key)
        for layer in self._layers_of(CORE | UNTURNED) | self.copies.keys():
            self._plan_attention(layer)
        for layer in self._layers_of(EXPERTS):
            self._plan_experts(layer)

    @contextmanager
    def opened(self) -> Iterator[None]:
        """Keep all steps in place while it is open."""
        with (
            tapped(self.taps),
            experts_tapped(self.experts),
            replaced(self.forwards),
            hooked(self._before(), self.after),
            recorded_by(self.copies.values()),
        ):
            yield

    def _before(self) -> dict[nn.Module, list[Step]]:
        """The steps before modules; what looks at the stream that enters a layer comes behind what writes it."""
        found = {module: [*steps] for module, steps in self.before.items()}
        for module, step in self.entering.items():
            found.setdefault(module, []).append(step)
        return found

    def _layers_of(self, wanted: Collection[str]) -> set[int]:
        return {key.layer for key in self.keys if key.site in wanted and key.layer is not None}

    def _wanted(self, layer: int) -> frozenset[str]:
        return frozenset(key.site for key in self.keys if key.layer == layer)

    def _plan_attention(self, layer: int) -> None:
        modules = self.modules.layers[layer]
        own = self.copies.get(layer)
        tap = Tap(
            layer, self._wanted(layer), lambda site, value: self.visit(SiteKey(site, layer), value), own
        )
        if self.family.layer.own_attention is None:
            self.taps[modules.attention] = tap
            if tap.wanted & UNTURNED:
                self.forwards[modules.attention] = seen_unturned(modules.attention, tap)
        else:
            n_heads = modules.out_proj.n_heads
            self.forwards[modules.attention] = opened_attention(modules.attention, tap, n_heads, self.n_kv)

    def _plan_experts(self, layer: int) -> None:
        experts = self.modules.layers[layer].experts
        assert experts is not None
        self.experts[experts] = ExpertTap(
            self._wanted(layer),
            lambda site, value: self.visit(SiteKey(site, layer), value),
            lambda: self.shape,
        )

    def _plan_head(self, key: SiteKey) -> None:
        norm = self.modules.final_norm
        if key.site == "final_norm_scale":
            self.after[norm.module].append(self._scale_step(key, norm))
        elif key.site == "final_norm":
            self.after[norm.module].append(lambda _, output: self.visit(key, output))

    def _plan_layer(self, key: SiteKey) -> None:
        if key.site == "pos_embed":
            self._plan_positions(key)
            return
        assert key.layer is not None
        layer = self.modules.layers[key.layer]
        if key.site in layer.norms:
            self._plan_scale(key, layer)
        elif key.site in COPIES:
            self._steps_at(SiteKey("attn.in", key.layer)).append(self._copy_step(key, layer))
        elif key.site == "attn.result":
            self.after[layer.out_proj.module].append(self._result_step(key, layer.out_proj))
        elif key.site == "router.logits":
            self._plan_router(key, layer)
        elif self.family.sites[key.site].sum:
            self._plan_sum(key, layer)
        else:
            self._steps_at(key).append(self._folded(self._spot_step(key, layer)))

    def _steps_at(self, key: SiteKey) -> list[Step]:
        """The steps where the family file says the site stands."""
        assert key.layer is not None
        spot = self.family.sites[key.site]
        module = self.modules.layers[key.layer].at[spot.module]
        return self.before[module] if spot.side == "in" else self.after[module]

    # ------------------------------------------------------------ one spot

    def _folded(self, step: Step) -> Step:
        """A step on [batch, pos, dim] where the module may be given rows [batch * pos, dim]."""

        def run(entered: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
            if value.ndim != 2:
                return step(entered, value)
            wide = value.view(*self.shape, -1)
            after = step(entered.view(*self.shape, -1), wide)
            return value if after is wide else after.reshape(value.shape)

        return run

    def _spot_step(self, key: SiteKey, layer: LayerModules) -> Step:
        """Show the part of a module's input or output that is the site, as a site is laid out."""
        spot = self.family.sites[key.site]
        if spot.norm is not None:
            return self._port_step(key, layer, spot)
        factor = self._factor(spot, layer)

        def step(entered: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
            part = value if spot.chunk is None else value.chunk(spot.chunk[1], dim=-1)[spot.chunk[0]]
            by = factor(entered)
            own = _times(part, by)
            new = self._turned_visit(key, own)
            if new is own:
                return value.clone() if spot.in_place else value
            if by is not None:
                new = where_changed(new == own, part, new / by)
            if spot.chunk is not None:
                parts = list(value.chunk(spot.chunk[1], dim=-1))
                parts[spot.chunk[0]] = new
                new = torch.cat(parts, dim=-1)
            return new.clone() if spot.in_place else new

        return step

    def _turned_visit(self, key: SiteKey, value: torch.Tensor) -> torch.Tensor:
        """Neurons come before positions in the layout of a site, behind them in that of a module."""
        if "neuron" not in sites()[key.site].axes:
            return self.visit(key, value)
        shown = value.transpose(1, 2)
        after = self.visit(key, shown)
        return value if after is shown else after.transpose(1, 2)

    def _factor(
        self, spot: Spot, layer: LayerModules
    ) -> Callable[[torch.Tensor], torch.Tensor | float | None]:
        """What a module's output is multiplied by before it is added to anything, from the module's input."""
        if spot.times is not None:
            times = float(getattr(self.config, spot.times))
            return lambda _: times
        if spot.gate is not None:
            gate = layer.at[spot.gate]
            return lambda entered: torch.sigmoid(gate.forward(entered))
        return lambda _: None

    def _scale_step(self, key: SiteKey, norm: NormModule, port: Port | None = None) -> Step:
        """Show the divisor of a norm; with a port, of what one module reads through a shared norm."""

        def step(entered: torch.Tensor, output: torch.Tensor) -> torch.Tensor:
            own = norm.divisor(entered if port is None else port.entered)
            other = self._divisor(key, own)
            return output if other is own else norm.divided_by(output, own, other)

        return step

    def _divisor(self, key: SiteKey, own: torch.Tensor) -> torch.Tensor:
        """The divisor of a norm after its visit; heads that read copies of their own are divided by it, too."""
        other = self.visit(key, own)
        if other is not own and key.site == "attn.norm_scale" and key.layer in self.copies:
            self.copies[key.layer].divisor = own, other
        return other

    def _copies(self, layer: int) -> HeadCopies:
        module = self.modules.layers[layer]
        return HeadCopies(module, module.out_proj.n_heads)

    def _copy_step(self, key: SiteKey, layer: LayerModules) -> Step:
        """The heads' copies are read and written; what the layer goes on with is the stream that they were made of."""
        assert key.layer is not None
        copies = self.copies.get(key.layer) or self._copies(key.layer)
        spot = self.family.sites["attn.in"]
        port = None if spot.norm is None else self._port(layer, layer.at[spot.norm], spot.module)

        def step(_: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
            shown = copies.shown(value if port is None else port.entered)
            if key not in self.written:
                self.visit(key, shown)
                return value
            own = shown.contiguous()  # a write keeps strides, and those of a view that repeats cannot be kept
            copies.note(key.site, shown, self.visit(key, own))
            return value

        return step

    def _plan_scale(self, key: SiteKey, layer: LayerModules) -> None:
        norm, into = layer.norms[key.site], self.family.norms[key.site].into
        if into is None:
            self.after[norm.module].append(self._folded(self._scale_step(key, norm)))
            return
        step = self._scale_step(key, norm, self._port(layer, norm.module, into))
        self.before[layer.at[into]].append(self._folded(step))

    # ------------------------------------------------------------ a norm that several modules read

    def _port(self, layer: LayerModules, norm: nn.Module, into: str) -> Port:
        """What a module gets from a shared norm; filled when the norm runs."""
        if (norm, into) in self.ports:
            return self.ports[norm, into]
        port = self.ports[norm, into] = Port(torch.empty(0))

        def note(entered: torch.Tensor, output: torch.Tensor) -> torch.Tensor:
            port.entered = entered
            return output

        self.after[norm].append(note)
        return port

    def _port_step(self, key: SiteKey, layer: LayerModules, spot: Spot) -> Step:
        """Show what goes into the shared norm; where it is changed, only this module gets the norm of the change."""
        assert spot.norm is not None
        norm = layer.at[spot.norm]
        port = self._port(layer, norm, spot.module)

        def step(_: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
            own = port.entered
            new = self.visit(key, own)
            if new is own:
                return value
            port.entered = new
            same = (new == own).all(-1, keepdim=True)
            return where_changed(same, value, norm.forward(new))

        return step

    # ------------------------------------------------------------ places of their own

    def _plan_positions(self, key: SiteKey) -> None:
        """Learned positions: one table for all prompts until a prompt's own is written."""
        assert self.modules.positions is not None

        def step(_: torch.Tensor, output: torch.Tensor) -> torch.Tensor:
            batch, length = self.shape
            own = output.reshape(-1, length, output.shape[-1]).expand(batch, length, -1).contiguous()
            new = self.visit(key, own)
            return output if new is own else new

        self.after[self.modules.positions].append(step)

    def _plan_router(self, key: SiteKey, layer: LayerModules) -> None:
        def visit(logits: torch.Tensor) -> torch.Tensor:
            shown = logits.view(*self.shape, -1).transpose(1, 2)
            after = self.visit(key, shown)
            return logits if after is shown else after.transpose(1, 2).reshape(logits.shape)

        assert layer.router is not None
        self.forwards[layer.router] = opened_router(layer.router, visit)

    def _plan_sum(self, key: SiteKey, layer: LayerModules) -> None:
        """A site that no module has: the sum of what enters the layer and of what is added to it, read as it is."""
        spot = self.family.sites[key.site]
        assert spot.sum[0] == "resid_pre" and len(spot.sum) == 2
        added = SiteKey(spot.sum[1], key.layer)
        factor = self._factor(self.family.sites[added.site], layer)
        held: dict[str, torch.Tensor] = {}

        def hold(_: torch.Tensor, stream: torch.Tensor) -> torch.Tensor:
            held["pre"] = stream
            return stream

        def add(entered: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
            self.visit(key, held.pop("pre") + _times(value, factor(entered)))
            return value

        self.entering[layer.layer] = hold
        self._steps_at(added).append(self._folded(add))

    def _result_step(self, key: SiteKey, projection: OutProjection) -> Step:
        """A written result adds its change to the output, which keeps its bits where nothing changed."""

        def step(entered: torch.Tensor, output: torch.Tensor) -> torch.Tensor:
            own = projection.results(entered)
            other = self.visit(key, own)
            if other is own:
                return output
            change = (other - own).sum(1)
            return where_changed(change == 0, output, output + change)

        return step

    def _plan_written_mid(self, key: SiteKey) -> None:
        """`resid_mid := v`: the MLP reads v, and the layer puts out v + mlp.out.

        This is attn.out := v - resid_pre without the rounding of the difference, which is coarse where the
        stream is large. attn.out is read as it was, and the model's own sum stands where v is the old value.
        """
        assert key.layer is not None
        layer = self.modules.layers[key.layer]
        out = SiteKey("mlp.out", key.layer)
        factor = self._factor(self.family.sites["mlp.out"], layer)
        held: dict[str, torch.Tensor] = {}

        def write_mid(_: torch.Tensor, old: torch.Tensor) -> torch.Tensor:
            held["old"], held["new"] = old, self.visit(key, old)
            return held["new"]

        def keep_added(entered: torch.Tensor, added: torch.Tensor) -> torch.Tensor:
            held["added"] = _times(added, factor(entered))
            return added

        def replace_sum(_: torch.Tensor, stream: torch.Tensor) -> torch.Tensor:
            if not held:  # a stub stood in the place of the layer
                return stream
            old, new, added = (held.pop(name) for name in ("old", "new", "added"))
            return where_changed(new == old, stream, new + added)

        self._steps_at(key).insert(0, self._folded(write_mid))
        self._steps_at(out).append(self._folded(keep_added))
        self.after[layer.layer].append(replace_sum)


def _times(value: torch.Tensor, factor: torch.Tensor | float | None) -> torch.Tensor:
    """A value times what it is multiplied by before it is added, if it is."""
    return value if factor is None else value * factor


def in_order(keys: Collection[SiteKey]) -> list[SiteKey]:
    """Keys in forward order."""
    return sorted(keys, key=lambda key: (key.layer or 0, ORDER.index(key.site)))


def boundary(key: SiteKey) -> int:
    """Stream sites by the layer whose input they are (n_layers: the final norm's)."""
    return (key.layer or 0) + (key.site == "resid_post")
