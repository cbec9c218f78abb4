"""What no executor can beat: the time of the model's own linear layers on the rows that must be computed."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.task import Task

Clock = Callable[[], float]


@torch.inference_mode()
def linear_bound(
    model: Any, rows_per_layer: list[int], logit_rows: int, vocab_rows: int, clock: Clock = time.perf_counter
) -> float:
    """Seconds of every `nn.Linear` of each layer on random [rows, in], and of `vocab_rows` of the unembedding.

    Attention, norms, activations and everything between the products are left out, so this is a lower bound. In
    the last layer only keys and values are needed of all rows, everything else of those whose logits are read.
    `rows_per_layer` may come from anywhere; `patched_rows` has a formula for residual patching.
    """
    total = 0.0
    layers = list(model.model.layers)
    for layer, rows in zip(layers, rows_per_layer, strict=True):
        for name, linear in layer.named_modules():
            if isinstance(linear, nn.Linear) and rows:
                of_keys = layer is not layers[-1] or name.endswith(("k_proj", "v_proj"))
                needed = rows if of_keys else min(rows, logit_rows)
                total += _seconds(linear, torch.randn(needed, linear.in_features), clock)
    if logit_rows and vocab_rows:
        weight = model.lm_head.weight[:vocab_rows]
        entered = torch.randn(logit_rows, weight.shape[1])
        total += _seconds(lambda x: functional.linear(x, weight), entered, clock)
    return total


def _seconds(product: Callable[[Tensor], Tensor], entered: Tensor, clock: Clock) -> float:
    """The fastest of three calls."""
    spent = []
    for _ in range(3):
        started = clock()
        product(entered)
        spent.append(clock() - started)
    return min(spent)


def patched_rows(task: Task) -> list[int]:
    """The rows of each layer in residual patching: both prompts, and each cell from its position on.

    What the prompts begin with alike counts once. A cell left of the first token that differs, or at layer 0 on an
    equal token, changes nothing and has no rows.
    """
    length = task.base.shape[1]
    rows, own = [], 0
    differs = task.base != task.source
    changed = differs.int().cumsum(1) > 0
    for layer in range(task.n_layers):
        for position in task.cells:
            matters = differs if layer == 0 else changed
            own += int(matters[:, position].sum()) * (length - position)
        rows.append(task.base.numel() + int(changed.sum()) + own)
    return rows
