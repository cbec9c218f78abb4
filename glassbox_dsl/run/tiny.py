"""A small random model of a family, for dry runs and tests: `[tiny]` of the family file -> a loaded model.

Every weight is drawn so that every term of the computation counts: norms are not 1, biases are not 0,
attention is not flat.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM

from glassbox_dsl.resolve.facts import facts_from_config
from glassbox_dsl.run.implementations import implementations


def tiny_model(config: dict[str, object], seed: int, plain: bool = False) -> nn.Module:
    """A model of `config` in float32 on the CPU with weights drawn from `seed`; `plain`: with its own code only."""
    settings = {key: value for key, value in config.items() if key != "model_type"}
    model_config = AutoConfig.for_model(str(config["model_type"]), **settings)
    build: Any = AutoModelForCausalLM.from_config
    functions = implementations(facts_from_config(config, "tiny"), plain)
    model: nn.Module = build(model_config, **functions, dtype=torch.float32)
    randomise(model, seed)
    return model.eval()


@torch.no_grad()
def randomise(model: nn.Module, seed: int) -> None:
    """Draw every parameter: matrices scaled by what they sum, norms and biases around their own value.

    Matrices of experts are stacked. Zeros beside the parameters (the bias of a router) are drawn too.
    """
    random = torch.Generator().manual_seed(seed)
    for parameter in dict.fromkeys(model.parameters()):
        drawn = torch.randn(parameter.shape, generator=random)
        if parameter.ndim < 2:  # those that a class draws itself begin at 0
            fixed = bool((parameter == parameter.reshape(-1)[0]).all())
            parameter.copy_(0.3 * drawn + (parameter if fixed else 0.0))
        else:
            parameter.copy_(drawn * 1.2 * min(parameter.shape[-2:]) ** -0.5)
    for buffer in model.buffers():
        if buffer.is_floating_point() and buffer.numel() > 1 and not buffer.any():
            buffer.add_(0.3 * torch.randn(buffer.shape, generator=random))
