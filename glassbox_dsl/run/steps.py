"""Where a pass can be opened: sites become steps at the inputs and outputs of modules.

Both executors plan their hooks here. A step gets what entered its module and the value so far, and returns the value
to go on with; `visit` is the executor's own: it writes a site, then reads it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from glassbox_dsl.resolve.families import Family
from glassbox_dsl.run.attention import Tap
from glassbox_dsl.run.modules import ModelModules, NormModule, OutProjection
from glassbox_dsl.vocabulary.keys import CORE, HEAD, ORDER, STREAM, SiteKey
from glassbox_dsl.vocabulary.sites import sites

Step = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""(the module's input, the value so far) -> the value to go on with."""
Visit = Callable[[SiteKey, torch.Tensor], torch.Tensor]
"""Write, then read, one site."""


@dataclass
class Steps:
    """The steps for a set of keys, by module; the stream between layers is left to the executor."""

    modules: ModelModules
    family: Family
    keys: Sequence[SiteKey]
    written: Collection[SiteKey]
    visit: Visit
    before: defaultdict[nn.Module, list[Step]] = field(default_factory=lambda: defaultdict(list))
    after: defaultdict[nn.Module, list[Step]] = field(default_factory=lambda: defaultdict(list))
    taps: dict[nn.Module, Tap] = field(default_factory=dict)

    def __post_init__(self) -> None:
        mids = [key for key in self.written if key.site == "resid_mid"]
        for key in self.keys:
            if key.site in HEAD:
                self._plan_head(key)
            elif key.site not in STREAM | CORE and key not in mids:
                self._plan_layer(key)
        for key in mids:
            self._plan_written_mid(key)
        for layer in {key.layer for key in self.keys if key.site in CORE and key.layer is not None}:
            self.taps[self.modules.layers[layer].attention] = self._tap(layer)

    def _tap(self, layer: int) -> Tap:
        wanted = frozenset(key.site for key in self.keys if key.layer == layer)
        return Tap(layer, wanted, lambda site, value: self.visit(SiteKey(site, layer), value))

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
        spot = self.family.sites[key.site]
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
            if not held:  # a stub stood in the place of the layer
                return stream
            old, new, added = (held.pop(name) for name in ("old", "new", "added"))
            return torch.where(new == old, stream, new + added)

        self._steps_at(key).insert(0, write_mid)
        self._steps_at(SiteKey("mlp.out", key.layer)).append(keep_added)
        self.after[self.modules.layers[key.layer].layer].append(replace_sum)


def in_order(keys: Collection[SiteKey]) -> list[SiteKey]:
    """Keys in forward order."""
    return sorted(keys, key=lambda key: (key.layer or 0, ORDER.index(key.site)))


def boundary(key: SiteKey) -> int:
    """Stream sites by the layer whose input they are (n_layers: the final norm's)."""
    return (key.layer or 0) + (key.site == "resid_post")


@contextmanager
def hooked(before: Mapping[nn.Module, list[Step]], after: Mapping[nn.Module, list[Step]]) -> Iterator[None]:
    """Run steps at the inputs and outputs of modules while it is open."""
    with ExitStack() as stack:
        for module, steps in before.items():
            stack.callback(module.register_forward_pre_hook(_pre_hook(steps), with_kwargs=True).remove)
        for module, steps in after.items():
            stack.callback(module.register_forward_hook(_hook(steps), with_kwargs=True).remove)
        yield


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
def replaced(forwards: Mapping[nn.Module, Callable[..., Any]]) -> Iterator[None]:
    """Let modules do something else; a `forward` that another library put on them comes back afterwards."""
    own = {module: module.__dict__.get("forward") for module in forwards}
    try:
        for module, forward in forwards.items():
            module.forward = forward
        yield
    finally:
        for module, kept in own.items():
            if kept is None:
                del module.__dict__["forward"]
            else:
                module.__dict__["forward"] = kept


def identity(hidden_states: torch.Tensor, *_: Any, **__: Any) -> torch.Tensor:
    """The forward of a layer that is left out."""
    return hidden_states
