"""What no executor can beat: the time of the model's own linear layers on the rows that must be computed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.task import Task


class LinearLayers:
    """Every `nn.Linear` of each layer on random [rows, in], and `vocab_rows` of the unembedding, in the model's order.

    Attention, norms, activations and everything between the products are left out, so this is a lower bound. In
    the last layer only keys and values are needed of all rows, everything else of those whose logits are read.
    `rows_per_layer` may come from anywhere; `patched_rows` has a formula for residual patching.
    """

    name = "bound: linear layers alone"

    def __init__(self, model: Any, rows_per_layer: list[int], logit_rows: int, vocab_rows: int) -> None:
        self.products: list[tuple[Callable[[Tensor], Tensor], Tensor]] = []
        entered: dict[tuple[int, int], Tensor] = {}
        layers = list(model.model.layers)
        for layer, rows in zip(layers, rows_per_layer, strict=True):
            for name, linear in layer.named_modules():
                if isinstance(linear, nn.Linear) and rows:
                    of_keys = layer is not layers[-1] or name.endswith(("k_proj", "v_proj"))
                    shape = rows if of_keys else min(rows, logit_rows), linear.in_features
                    self.products.append((linear, entered.setdefault(shape, torch.randn(shape))))
        if logit_rows and vocab_rows:
            weight = model.lm_head.weight[:vocab_rows]
            self.products.append(
                (lambda x: functional.linear(x, weight), torch.randn(logit_rows, weight.shape[1]))
            )

    @torch.inference_mode()
    def run(self) -> None:
        """Each product once: as in the model, weights have left the cache when they are used again."""
        for product, entered in self.products:
            product(entered)


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
