"""nnsight: a trace for each cell, and one trace for all cells of a layer."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import nnsight
import torch
from nnsight import TransformersModel
from torch import Tensor
from transformers import AutoTokenizer

from benchmarks.peers.hooks import answer_logits, load
from benchmarks.task import Task


def wrapped(folder: Path) -> Any:
    """A model that is loaded already, ready to be traced."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    return TransformersModel(load(folder), tokenizer=tokenizer, task="text-generation")


class NNsight:
    """A trace for each cell, all items in it."""

    name = "nnsight, a trace per cell"

    def __init__(self, model: Any) -> None:
        self.model = model
        self.width = model._module.config.head_dim

    def refuses(self, task: Task) -> str:
        """Why a task cannot be done."""
        return ""

    @torch.no_grad()
    def run(self, task: Task, layers: Sequence[int]) -> Tensor:
        """Values [item, layer, cell] of some layers."""
        kept = self._capture(task, layers)
        if task.site == "lens":
            return self._lens(task, kept)
        return self._sweep(task, layers, kept, self._spoiled(task))

    def _capture(self, task: Task, layers: Sequence[int]) -> list[Tensor]:
        model, site = self.model, task.site
        with model.trace(task.source, logits_to_keep=1):
            kept = nnsight.save([])
            for layer in layers:
                block = model.model.layers[layer]
                if site == "z":
                    kept.append(block.self_attn.o_proj.input)
                else:
                    kept.append(block.input if site == "resid_pre" else block.output)
        return [value.clone() for value in kept]

    def _spoiled(self, task: Task) -> Tensor | None:
        if task.spoiled is None:
            return None
        model = self.model
        with model.trace(task.spoiled, logits_to_keep=1) as tracer:
            found = model.model.embed_tokens.output.clone().save()
            tracer.stop()
        return found

    def _sweep(self, task: Task, layers: Sequence[int], kept: list[Tensor], spoiled: Tensor | None) -> Tensor:
        found = torch.empty(len(task.base), len(layers), len(task.cells))
        for number, layer in enumerate(layers):
            for which, cell in enumerate(task.cells):
                logits = self._cell(task, layer, cell, kept[number], spoiled)
                found[:, number, which] = task.metric(logits)
        return found

    def _cell(self, task: Task, layer: int, cell: int, source: Tensor, spoiled: Tensor | None) -> Tensor:
        model, site, subject = self.model, task.site, list(task.subject)
        block = model.model.layers[layer]
        head = slice(cell * self.width, (cell + 1) * self.width)
        with model.trace(task.base, logits_to_keep=1):
            if spoiled is not None:
                model.model.embed_tokens.output[:, subject] = spoiled[:, subject]
            if site == "z":
                block.self_attn.o_proj.input[:, :, head] = source[:, :, head]
            elif site == "resid_pre":
                block.input[:, cell] = source[:, cell]
            else:
                block.output[:, cell] = source[:, cell]
            logits = model.output.logits[:, -1].save()
        return logits

    def _lens(self, task: Task, kept: list[Tensor]) -> Tensor:
        """The stream of a trace through the model's own norm and unembedding."""
        return answer_logits(self.model, task, kept)


class NNsightBatch(NNsight):
    """One trace for all cells of a layer, as rows of one batch: faster than an `invoke` for each."""

    name = "nnsight, a batched trace per layer"

    def refuses(self, task: Task) -> str:
        """A lens is one trace anyway."""
        return "the same as a trace per cell" if task.site == "lens" else ""

    def _sweep(self, task: Task, layers: Sequence[int], kept: list[Tensor], spoiled: Tensor | None) -> Tensor:
        found = torch.empty(len(task.base), len(layers), len(task.cells))
        for number, layer in enumerate(layers):
            for items, which in task.batches():
                logits = self._batch(task, layer, kept[number], spoiled, items, which)
                found[items, number, which] = task.metric(logits, items)
        return found

    def _batch(
        self,
        task: Task,
        layer: int,
        source: Tensor,
        spoiled: Tensor | None,
        items: Tensor,
        which: Tensor,
    ) -> Tensor:
        model, site, subject = self.model, task.site, list(task.subject)
        rows, cells = torch.arange(len(items)), torch.tensor(task.cells)[which]
        heads = (-1, self.width)
        block = model.model.layers[layer]
        with model.trace(task.base[items], logits_to_keep=1):
            if spoiled is not None:
                model.model.embed_tokens.output[:, subject] = spoiled[items][:, subject]
            if site == "z":
                z = block.self_attn.o_proj.input.unflatten(-1, heads)
                z[rows, :, cells] = source.unflatten(-1, heads)[items, :, cells]
            elif site == "resid_pre":
                block.input[rows, cells] = source[items, cells]
            else:
                block.output[rows, cells] = source[items, cells]
            logits = model.output.logits[:, -1].save()
        return logits
