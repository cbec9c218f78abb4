"""pyvene: a call for each cell, as its tutorials do it, and a batch per layer with activations collected once."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyvene
import torch
from torch import Tensor
from transformers import LlamaForCausalLM

from benchmarks.peers.hooks import answer_logits, load
from benchmarks.task import Task

COMPONENTS = {
    "resid_pre": ("block_input", "pos"),
    "resid_post": ("block_output", "pos"),
    "z": ("head_attention_value_output", "h"),
    "lens": ("block_output", "pos"),
}
PATHS = {"block_input": "model.layers[{}].input", "block_output": "model.layers[{}].output"}
"""For models that it does not know, components are named by their module."""


class Pyvene:
    """An `IntervenableModel` for each layer and a call for each cell; each call runs its sources again."""

    name = "pyvene, a call per cell"

    def __init__(self, folder: Path) -> None:
        self.model = load(folder)
        self.known = isinstance(self.model, LlamaForCausalLM)

    def refuses(self, task: Task) -> str:
        """Why a task cannot be done."""
        config = self.model.config
        if task.site != "z":
            return ""
        if config.head_dim * config.num_attention_heads != config.hidden_size:
            return "it takes heads to be hidden_size / num_attention_heads wide, which is wrong here"
        return "" if self.known else "it does not know the heads of this model"

    @torch.no_grad()
    def run(self, task: Task, layers: Sequence[int]) -> Tensor:
        """Values [item, layer, cell] of some layers."""
        if task.site == "lens":
            return self._lens(task)
        found = torch.empty(len(task.base), len(layers), len(task.cells))
        for number, layer in enumerate(layers):
            intervenable = self._intervenable(self._representations(task, layer))
            for which, cell in enumerate(task.cells):
                logits = self._call(intervenable, task, cell)
                found[:, number, which] = task.metric(logits[:, -1])
        return found

    def _representation(self, layer: int, component: str, unit: str, units: int, kind: type) -> Any:
        if self.known:
            return pyvene.RepresentationConfig(layer, component, unit, units, intervention_type=kind)
        width = self.model.config.hidden_size
        path = PATHS[component].format(layer)
        return pyvene.RepresentationConfig(
            layer, path, unit, units, intervention=kind(embed_dim=width * units)
        )

    def _representations(self, task: Task, layer: int) -> list[Any]:
        component, unit = COMPONENTS[task.site]
        found = [self._representation(layer, component, unit, 1, pyvene.VanillaIntervention)]
        if task.spoiled is not None:
            units = len(task.subject)
            found.insert(0, self._representation(0, "block_input", "pos", units, pyvene.VanillaIntervention))
        return found

    def _intervenable(self, representations: list[Any]) -> Any:
        return pyvene.IntervenableModel(pyvene.IntervenableConfig(representations), model=self.model)

    def _call(self, intervenable: Any, task: Task, cell: int) -> Tensor:
        places = [[[cell]] * len(task.base)]
        sources = [{"input_ids": task.source, "logits_to_keep": 1}]
        if task.spoiled is not None:
            places.insert(0, [list(task.subject)] * len(task.base))
            sources.insert(0, {"input_ids": task.spoiled, "logits_to_keep": 1})
        base = {"input_ids": task.base, "logits_to_keep": 1}
        _, output = intervenable(base, sources, {"sources->base": (places, places)})
        return output.logits

    def _collect(self, ids: Tensor, representations: list[Any]) -> list[Tensor]:
        """The values of some components at all positions, from one call."""
        intervenable = self._intervenable(representations)
        everywhere = [[list(range(ids.shape[1]))] * len(ids)] * len(representations)
        (_, kept), _ = intervenable(
            {"input_ids": ids, "logits_to_keep": 1}, unit_locations={"base": everywhere}
        )
        return [value.reshape(*ids.shape, -1) for value in kept]

    def _collected(self, task: Task, layers: Sequence[int]) -> list[Tensor]:
        component = COMPONENTS[task.site][0]
        length = task.source.shape[1]
        return self._collect(
            task.source,
            [
                self._representation(layer, component, "pos", length, pyvene.CollectIntervention)
                for layer in layers
            ],
        )

    def _lens(self, task: Task) -> Tensor:
        """Collected streams through the model's own norm and unembedding."""
        return answer_logits(self.model, task, self._collected(task, range(task.n_layers)))


class PyveneBatch(Pyvene):
    """All cells of a layer as one batch with a location for each row; sources run as that batch too."""

    name = "pyvene, a batch per layer"

    def refuses(self, task: Task) -> str:
        """A lens is one call anyway."""
        return "the same as a call per cell" if task.site == "lens" else super().refuses(task)

    @torch.no_grad()
    def run(self, task: Task, layers: Sequence[int]) -> Tensor:
        """Values [item, layer, cell] of some layers."""
        found = torch.empty(len(task.base), len(layers), len(task.cells))
        kept = self._collected(task, layers) if task.site != "z" and layers else None
        spoiled = None
        if task.spoiled is not None:
            first = self._representation(
                0, "block_input", "pos", task.spoiled.shape[1], pyvene.CollectIntervention
            )
            spoiled = self._collect(task.spoiled, [first])[0][:, list(task.subject)]
        for number, layer in enumerate(layers):
            intervenable = self._intervenable(self._representations(task, layer))
            for items, which in task.batches():
                source = None if kept is None else kept[number]
                logits = self._rows(intervenable, task, source, spoiled, items, which)
                found[items, number, which] = task.metric(logits[:, -1], items)
        return found

    def _rows(
        self,
        intervenable: Any,
        task: Task,
        source: Tensor | None,
        spoiled: Tensor | None,
        items: Tensor,
        which: Tensor,
    ) -> Tensor:
        cells = torch.tensor(task.cells)[which]
        places = [cells[:, None].tolist()]
        base = {"input_ids": task.base[items], "logits_to_keep": 1}
        if source is None:  # heads cannot be collected by name; the source runs again, as a batch
            sources = [{"input_ids": task.source[items], "logits_to_keep": 1}]
            _, output = intervenable(base, sources, {"sources->base": (places, places)})
            return output.logits
        values = [source[items, cells][:, None]]
        if spoiled is not None:
            places.insert(0, [list(task.subject)] * len(items))
            values.insert(0, spoiled[items])
        _, output = intervenable(
            base, unit_locations={"sources->base": (None, places)}, source_representations=values
        )
        return output.logits
