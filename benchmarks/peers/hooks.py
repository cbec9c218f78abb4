"""Plain PyTorch hooks, as written by somebody who knows the model: a batch per layer, logits of the last token."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoModelForCausalLM

from benchmarks.task import Task

Change = Callable[[Tensor], Tensor]


def load(folder: Path) -> Any:
    """The model as transformers gives it: float32, its default attention."""
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, local_files_only=True)
    return model.eval().requires_grad_(False)


def capped(model: Any, logits: Tensor) -> Tensor:
    """Logits with the softcap that some models put on them."""
    cap = getattr(model.config, "final_logit_softcapping", None)
    return logits if cap is None else cap * torch.tanh(logits / cap)


def answer_logits(model: Any, task: Task, streams: Iterable[Tensor]) -> Tensor:
    """A lens: the target's logit [item, layer, pos] out of all logits of streams [item, pos, dim], one per layer."""
    target = task.target[:, None, None].expand(*task.source.shape, 1)
    found = [model.lm_head(model.model.norm(stream)).gather(-1, target) for stream in streams]
    return capped(model, torch.stack(found, 1)[..., 0])


@contextmanager
def hooked(module: nn.Module, side: str, change: Change) -> Iterator[None]:
    """Replace the first input (`in`) or the output (`out`) of a module."""
    if side == "in":
        handle = module.register_forward_pre_hook(lambda _, args: (change(args[0]), *args[1:]))
    else:
        handle = module.register_forward_hook(lambda _, args, output: change(output))
    try:
        yield
    finally:
        handle.remove()


class Hooks:
    """The baseline that every other side is compared with."""

    name = "plain hooks, a batch per layer"

    def __init__(self, folder: Path) -> None:
        self.model = load(folder)
        self.layers = self.model.model.layers

    def refuses(self, task: Task) -> str:
        """Why a task cannot be done; empty where it can."""
        return ""

    def place(self, task: Task, layer: int) -> tuple[nn.Module, str]:
        """The module where a site of a layer can be reached, and its side."""
        block = self.layers[layer]
        if task.site == "z":
            return block.self_attn.o_proj, "in"
        return block, "in" if task.site == "resid_pre" else "out"

    @torch.inference_mode()
    def run(self, task: Task, layers: Sequence[int]) -> Tensor:
        """Values [item, layer, cell] of some layers."""
        kept = self._capture(task, layers)
        if task.site == "lens":
            return self._lens(task, kept)
        spoiled = None if task.spoiled is None else self.model.model.embed_tokens(task.spoiled)
        found = torch.empty(len(task.base), len(layers), len(task.cells))
        for number, layer in enumerate(layers):
            for items, which in task.batches():
                patch = self._patch(task, kept[number], items, which)
                with hooked(*self.place(task, layer), patch):
                    logits = self._logits(task, items, spoiled)
                found[items, number, which] = task.metric(logits, items)
        return found

    def _capture(self, task: Task, layers: Sequence[int]) -> list[Tensor]:
        """The site of the source at some layers, each [item, pos, width], from one pass."""
        kept: list[Tensor] = []
        handles = []
        for layer in layers:
            module, side = self.place(task, layer)
            if side == "in":
                handles.append(module.register_forward_pre_hook(lambda _, args: kept.append(args[0])))
            else:
                handles.append(module.register_forward_hook(lambda _, args, output: kept.append(output)))
        self.model(task.source, use_cache=False, logits_to_keep=1)
        for handle in handles:
            handle.remove()
        return kept

    def _patch(self, task: Task, source: Tensor, items: Tensor, which: Tensor) -> Change:
        rows, cells = torch.arange(len(items)), torch.tensor(task.cells)[which]
        width = self.model.config.head_dim

        def patch(value: Tensor) -> Tensor:
            value = value.clone()
            if task.site == "z":
                heads = value.unflatten(-1, (-1, width))
                heads[rows, :, cells] = source.unflatten(-1, (-1, width))[items, :, cells]
            else:
                value[rows, cells] = source[items, cells]
            return value

        return patch

    def _logits(self, task: Task, items: Tensor, spoiled: Tensor | None) -> Tensor:
        """Logits [row, vocab] at the last token of the base prompts of these items."""

        def spoil(value: Tensor) -> Tensor:
            value = value.clone()
            value[:, list(task.subject)] = spoiled[items][:, list(task.subject)]
            return value

        ids = task.base[items]
        if spoiled is None:
            return self.model(ids, use_cache=False, logits_to_keep=1).logits[:, -1]
        with hooked(self.model.model.embed_tokens, "out", spoil):
            return self.model(ids, use_cache=False, logits_to_keep=1).logits[:, -1]

    def _lens(self, task: Task, kept: list[Tensor]) -> Tensor:
        """The target's logit after every layer, out of all logits."""
        return answer_logits(self.model, task, kept)


class OneColumn(Hooks):
    """The same for a lens, but only the answer's column of the unembedding is used."""

    name = "plain hooks, the answer's column only"

    def refuses(self, task: Task) -> str:
        """Patching reads whole logits of one token: nothing to save there."""
        return "" if task.site == "lens" else "the same as plain hooks"

    def _lens(self, task: Task, kept: list[Tensor]) -> Tensor:
        columns = self.model.lm_head.weight[task.target]
        found = [torch.einsum("ipd,id->ip", self.model.model.norm(stream), columns) for stream in kept]
        return capped(self.model, torch.stack(found, 1))
