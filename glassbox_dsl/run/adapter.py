"""A LoRA adapter merged into the weights of a loaded model: W += scale * B A, module by module, in float32."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

import torch
from safetensors import safe_open
from torch import nn

from glassbox_dsl.diagnostics import Findings
from glassbox_dsl.resolve.adapters import WEIGHTS, Adapter
from glassbox_dsl.run import model_errors as errors
from glassbox_dsl.source import Span

PREFIX = "base_model.model."
FACTORS = {
    "lora_A.weight": "A",
    "lora_B.weight": "B",
    "lora_embedding_A": "embedding A",
    "lora_embedding_B": "embedding B",
}


class _DoesNotFit(Exception):
    """The adapter is for another model, or does more than LoRA; the message says where."""


@torch.no_grad()
def merge_adapter(model: nn.Module, adapter: Adapter, shown: str, span: Span | None) -> None:
    """Change the weights of the model in place. Raises Findings where the adapter does not fit, and changes nothing.

    Besides pairs of factors, an adapter may hold whole parameters (`modules_to_save`, trained biases), which are set.
    """
    try:
        with safe_open(adapter.folder / WEIGHTS, framework="pt") as file:
            shapes = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
            factors, whole = _sorted(shapes)
            parameters = _parameters(model, [*factors, *whole])
            _check_shapes(model, parameters, factors, whole, shapes)
            for path, names in factors.items():
                first, second = (file.get_tensor(names[part]).float() for part in sorted(names))
                scale = adapter.scale(path.rpartition(".")[0], first.shape[0])
                change = scale * (second @ first).to(parameters[path].device)
                turned = change.t() if _transposed(model, path) else change
                parameters[path].copy_(parameters[path].float() + turned)
            for path, name in whole.items():
                parameters[path].copy_(file.get_tensor(name))
    except _DoesNotFit as problem:
        raise Findings([errors.adapter_does_not_fit(shown, str(problem), span)]) from None


def _sorted(names: Mapping[str, Any]) -> tuple[dict[str, dict[str, str]], dict[str, str]]:
    """Names of tensors by the parameter they are for: pairs of factors, and whole parameters."""
    factors: dict[str, dict[str, str]] = defaultdict(dict)
    whole: dict[str, str] = {}
    for name in names:
        path = name.removeprefix(PREFIX)
        ending = next((e for e in FACTORS if path.endswith("." + e)), None)
        if ending is not None:
            factors[path.removesuffix(ending) + "weight"][FACTORS[ending]] = name
        elif "lora_" in path or "token_adapter" in path:
            raise _DoesNotFit(f"`{name}` is no factor of a LoRA")
        else:
            whole[path] = name
    for path, pair in factors.items():
        if sorted(pair) not in (["A", "B"], ["embedding A", "embedding B"]):
            raise _DoesNotFit(f"`{path}` has one factor and not the other")
    return dict(factors), whole


def _parameters(model: nn.Module, paths: list[str]) -> dict[str, nn.Parameter]:
    """The parameters of paths; none may be tied to another, for an adapter is trained on one side of the tie."""
    places: dict[int, list[str]] = defaultdict(list)
    for name, parameter in model.named_parameters(remove_duplicate=False):
        places[id(parameter)].append(name)
    known = dict(model.named_parameters(remove_duplicate=False))
    found = {}
    for path in paths:
        if path not in known:
            raise _DoesNotFit(f"the model has no weight `{path}`")
        if len(places[id(known[path])]) > 1:
            raise _DoesNotFit(
                f"`{path}` is tied to another weight of the model, which the adapter does not mean"
            )
        found[path] = known[path]
    return found


def _transposed(model: nn.Module, path: str) -> bool:
    """Whether a weight lies as [in, out]: an embedding's, and GPT-2's `Conv1D`; `nn.Linear` has [out, in]."""
    return not isinstance(model.get_submodule(path.rpartition(".")[0]), nn.Linear)


def _check_shapes(
    model: nn.Module,
    parameters: Mapping[str, nn.Parameter],
    factors: Mapping[str, dict[str, str]],
    whole: Mapping[str, str],
    shapes: Mapping[str, tuple[int, ...]],
) -> None:
    for path, names in factors.items():
        first, second = (shapes[names[part]] for part in sorted(names))
        if len(first) != 2 or len(second) != 2 or second[1] != first[0]:
            raise _DoesNotFit(f"the factors of `{path}` have the shapes {first} and {second}")
        made = (first[1], second[0]) if _transposed(model, path) else (second[0], first[1])
        if tuple(parameters[path].shape) != made:
            raise _DoesNotFit(
                f"`{path}` is {tuple(parameters[path].shape)} in the model, {made} in the adapter"
            )
    for path, name in whole.items():
        if tuple(parameters[path].shape) != shapes[name]:
            raise _DoesNotFit(
                f"`{path}` is {tuple(parameters[path].shape)} in the model, {shapes[name]} in the adapter"
            )
