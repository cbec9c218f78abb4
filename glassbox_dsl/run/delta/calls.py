"""Replayed layer calls: what a model hands to its layers, recorded once and gathered for the rows of a pack.

A model is run with layers that compute nothing, on dummy prompts of two lengths. Axes whose size differs between
the two are position axes: a tensor with one of them is gathered by the position of each row, one with two (the mask)
goes on as it is, and the attention function looks rows up in it. So the rotary module is never called on packed
positions, and nothing here knows a family.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from glassbox_dsl.diagnostics import InternalError
from glassbox_dsl.run.hooks import identity, replaced
from glassbox_dsl.run.instrument import Instrument


@dataclass(frozen=True)
class Call:
    """The arguments of one layer beside the stream; `axes` goes by leaf: position axes of each tensor."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    axes: dict[int, tuple[int, ...]]


@dataclass
class LayerCalls:
    """Calls of every layer for prompts of up to `length` tokens."""

    instrument: Instrument
    length: int
    calls: list[Call] = field(init=False)
    gathered: dict[tuple[int, int, int], tuple[Tensor, Tensor]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        longer = recorded(self.instrument, self.length + 1)
        self.calls = []
        for (args, kwargs), (more_args, more_kwargs) in zip(
            recorded(self.instrument, self.length), longer, strict=True
        ):
            axes: dict[int, tuple[int, ...]] = {}
            _compare((args, kwargs), (more_args, more_kwargs), axes)
            self.calls.append(Call(args, kwargs, axes))

    def run(self, layer: int, stream: Tensor, positions: Tensor) -> Tensor:
        """Call a layer on rows [row, dim] that stand at `positions` [row]; returns [row, dim]."""
        call = self.calls[layer]

        def at_rows(leaf: Any) -> Any:
            axes = call.axes.get(id(leaf), ())
            if len(axes) != 1:
                return leaf
            # Layers are given slices of one tensor of positions; it is kept, so that its place is not used again.
            key = (id(leaf), positions.data_ptr(), len(positions))
            if key not in self.gathered:
                # A climb only grows: what was gathered for fewer rows is not asked for again.
                self._forget_all_but(positions)
                self.gathered[key] = positions, leaf.index_select(axes[0], positions)
            return self.gathered[key][1]

        module = self.instrument.modules.layers[layer].layer
        output = module(stream[None], *_mapped(call.args, at_rows), **_mapped(call.kwargs, at_rows))
        value = output[0] if isinstance(output, tuple) else output
        assert isinstance(value, Tensor)
        return value[0]

    def _forget_all_but(self, positions: Tensor) -> None:
        wanted = positions.data_ptr(), len(positions)
        for key in [key for key in self.gathered if key[1:] != wanted]:
            del self.gathered[key]

    def forget(self) -> None:
        """Let go of what was gathered for the rows of one pack."""
        self.gathered.clear()


def calls_of(instrument: Instrument, length: int) -> LayerCalls:
    """The calls for prompts of up to `length` tokens; those of the last length stay with the model."""
    known = instrument.layer_calls
    if known is None or known.length != length:
        known = instrument.layer_calls = LayerCalls(instrument, length)
    return known


def recorded(
    instrument: Instrument, length: int, tokens: Tensor | None = None
) -> list[tuple[tuple[Any, ...], dict[str, Any]]]:
    """What every layer is given, beside the stream, for a prompt of `length` tokens (any tokens: T5)."""
    found: list[tuple[tuple[Any, ...], dict[str, Any]]] = []

    def note(hidden_states: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        found.append((args, kwargs))
        return hidden_states

    ids = torch.zeros(1, length, dtype=torch.long) if tokens is None else tokens[None]
    ids = ids.to(instrument.device)
    run_stubbed(instrument, ids, note)
    if len(found) != instrument.facts.n_layers:
        raise InternalError(f"{len(found)} layer calls of {instrument.facts.n_layers} layers")
    return found


def run_stubbed(instrument: Instrument, ids: Tensor, layer: Callable[..., Tensor] = identity) -> None:
    """The model's own forward with another function in the place of its layers; no logits are made."""
    layers: dict[nn.Module, Callable[..., Any]] = {m.layer: layer for m in instrument.modules.layers}
    none = torch.tensor([], dtype=torch.long, device=ids.device)
    with torch.inference_mode(), replaced(layers):
        instrument.model(ids, use_cache=False, return_dict=True, logits_to_keep=none)


def embedded(instrument: Instrument, ids: Tensor) -> Tensor:
    """The input of layer 0 for ids [prompt, pos], as the model makes it: [prompt, pos, dim]."""
    found: list[Tensor] = []

    def note(hidden_states: Tensor, *_: Any, **__: Any) -> Tensor:
        found.append(hidden_states)
        return hidden_states

    run_stubbed(instrument, ids.to(instrument.device), note)
    return found[0]


def position_embeddings(instrument: Instrument, length: int) -> Tensor:
    """What the model adds to the embeddings of the first positions: [pos, dim]."""
    module = instrument.modules.positions
    assert module is not None
    found: list[Tensor] = []
    handle = module.register_forward_hook(lambda _, __, output: found.append(output))
    try:
        run_stubbed(instrument, torch.zeros(1, length, dtype=torch.long, device=instrument.device))
    finally:
        handle.remove()
    return found[0].reshape(length, -1)


def _compare(one: Any, other: Any, axes: dict[int, tuple[int, ...]]) -> None:
    """Note the axes whose size differs between two trees of arguments."""
    if isinstance(one, Tensor):
        axes[id(one)] = tuple(
            i for i, (a, b) in enumerate(zip(one.shape, other.shape, strict=True)) if a != b
        )
    elif isinstance(one, dict):
        for key, value in one.items():
            _compare(value, other[key], axes)
    elif isinstance(one, list | tuple):
        for value, more in zip(one, other, strict=True):
            _compare(value, more, axes)


def _mapped(tree: Any, function: Callable[[Any], Any]) -> Any:
    """A tree of arguments with a function applied to its tensors."""
    if isinstance(tree, Tensor):
        return function(tree)
    if isinstance(tree, dict):
        return {key: _mapped(value, function) for key, value in tree.items()}
    if isinstance(tree, list | tuple):
        return type(tree)(_mapped(value, function) for value in tree)
    return tree
