"""TransformerLens: `patching.get_act_patch_*` of its manual, and a batch per layer by hand on `run_with_hooks`."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor
from transformer_lens import TransformerBridge, patching
from transformer_lens.tools.analysis import logit_lens
from transformer_lens.utilities import get_act_name
from transformers import AutoTokenizer

from benchmarks.peers.hooks import capped, load
from benchmarks.task import Task

NAMES = {"resid_pre": "hook_resid_pre", "resid_post": "hook_resid_post", "z": "attn.hook_z"}


def bridge(folder: Path) -> Any:
    """The bridge to a model that is loaded already."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    return TransformerBridge.boot_transformers(
        str(folder), hf_model=load(folder), tokenizer=tokenizer, device="cpu"
    ).eval()


class TransformerLens:
    """The patching tools as they come: one full forward pass for each cell, all items in it."""

    name = "TransformerLens, its tools"

    def __init__(self, model: Any) -> None:
        self.model = model

    def refuses(self, task: Task) -> str:
        """Why a task cannot be done."""
        return ""

    @torch.no_grad()
    def run(self, task: Task, layers: Sequence[int]) -> Tensor:
        """Values [item, layer, cell] of some layers."""
        if task.site == "lens":
            return self._lens(task)
        _, cache = self.model.run_with_cache(
            task.source, names_filter=lambda name: name.endswith(NAMES[task.site])
        )
        if not layers:
            return torch.empty(len(task.base), 0, len(task.cells))
        return self._sweep(task, layers, cache, self._spoiled(task))

    def _sweep(self, task: Task, layers: Sequence[int], cache: Any, spoiled: Tensor | None) -> Tensor:
        tools = {
            "resid_pre": patching.get_act_patch_resid_pre,
            "resid_post": partial(
                patching.generic_activation_patch,
                patch_setter=patching.layer_pos_patch_setter,
                activation_name="resid_post",
            ),
            "z": patching.get_act_patch_attn_head_out_all_pos,
        }
        cells = pd.DataFrame([(layer, c) for layer in layers for c in task.cells], columns=["layer", "cell"])
        with self.model.hooks(fwd_hooks=self._spoiling(task, spoiled)):
            found = tools[task.site](
                self.model,
                task.base,
                cache,
                lambda logits: task.metric(logits[:, -1]),
                index_axis_names=None,
                index_df=cells,
                reduce="none",
            )
        return found.values.reshape(len(layers), len(task.cells), -1).movedim(-1, 0)

    def _spoiled(self, task: Task) -> Tensor | None:
        """The embeddings that are written at the subject, [item, subject, dim]."""
        if task.spoiled is None:
            return None
        _, cache = self.model.run_with_cache(task.spoiled, names_filter="hook_embed")
        return cache["hook_embed"][:, list(task.subject)]

    def _spoiling(self, task: Task, spoiled: Tensor | None) -> list[tuple[str, Any]]:
        def spoil(value: Tensor, hook: Any) -> Tensor:
            value = value.clone()
            value[:, list(task.subject)] = spoiled
            return value

        return [] if spoiled is None else [("hook_embed", spoil)]

    def _lens(self, task: Task) -> Tensor:
        """`logit_lens` of its tools; it also computes entropies and ranks over the vocabulary, always."""
        targets = task.target[:, None].expand_as(task.source)
        values = logit_lens(self.model, task.source, positions=None, targets=targets).values[..., 0]
        return values[1:].movedim(0, 1)  # the first entry is the embedding


class TransformerLensBatch(TransformerLens):
    """What its users write when the tools are too slow: all cells of a layer as one batch."""

    name = "TransformerLens, a batch per layer"

    def _sweep(self, task: Task, layers: Sequence[int], cache: Any, spoiled: Tensor | None) -> Tensor:
        found = torch.empty(len(task.base), len(layers), len(task.cells))
        for number, layer in enumerate(layers):
            name = get_act_name(task.site, layer)
            for items, which in task.batches():
                hook = partial(self._patch, source=cache[name], task=task, items=items, which=which)
                spoiling = self._spoiling(task, None if spoiled is None else spoiled[items])
                logits = self.model.run_with_hooks(
                    task.base[items], fwd_hooks=[*spoiling, (name, hook)], logits_to_keep=1
                )
                found[items, number, which] = task.metric(logits[:, -1], items)
        return found

    @staticmethod
    def _patch(value: Tensor, hook: Any, source: Tensor, task: Task, items: Tensor, which: Tensor) -> Tensor:
        rows, cells = torch.arange(len(items)), torch.tensor(task.cells)[which]
        value = value.clone()
        if task.site == "z":
            value[rows, :, cells] = source[items, :, cells]
        else:
            value[rows, cells] = source[items, cells]
        return value

    def _lens(self, task: Task) -> Tensor:
        """The stream after each layer through `ln_final` and `unembed`."""
        _, cache = self.model.run_with_cache(
            task.source, names_filter=lambda name: name.endswith("hook_resid_post")
        )
        target = task.target[:, None, None].expand(*task.source.shape, 1)
        streams = (cache["resid_post", layer] for layer in range(task.n_layers))
        found = [self.model.unembed(self.model.ln_final(stream)).gather(-1, target) for stream in streams]
        return capped(self.model.original_model, torch.stack(found, 1)[..., 0])
