"""Hooks that are gone when they are no longer wanted, and layers that do something else for a while."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import nn

from glassbox_dsl.run.attention import stopping

Step = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""(the module's input, the value so far) -> the value to go on with."""


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
        if stopping():
            return None
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
    ) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
        if stopping():
            return None
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


def identity_item(hidden_states: torch.Tensor, *_: Any, **__: Any) -> tuple[torch.Tensor, None]:
    """The same for a layer that puts out a tuple."""
    return hidden_states, None
