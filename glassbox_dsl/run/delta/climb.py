"""One climb: all rows of a pack through the layers, each layer called once."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from glassbox_dsl.plan.pack import Floor, Pack
from glassbox_dsl.run.attention import mixed_by, tapped
from glassbox_dsl.run.delta.calls import LayerCalls, embedded
from glassbox_dsl.run.delta.kernels import Bases, Cells, Owners
from glassbox_dsl.run.delta.packed_attention import PackedAttention
from glassbox_dsl.run.delta.visits import Visits
from glassbox_dsl.run.instrument import Instrument, stream_names
from glassbox_dsl.run.steps import Steps, hooked, in_order
from glassbox_dsl.vocabulary.keys import HEAD, STREAM


@dataclass
class Climb:
    """Runs a pack on a model; `calls` are for prompts of exactly its longest."""

    instrument: Instrument
    calls: LayerCalls
    pack: Pack
    visits: Visits

    def run(self) -> Tensor:
        """The stream behind the last floor, [row, dim]."""
        reads, writes = self.visits.keys()
        inside = [k for k in in_order(reads | writes) if k.site not in HEAD | STREAM]
        modules = self.instrument.modules
        steps = Steps(modules, self.instrument.family, inside, writes & set(inside), self.visits.visit)
        with ExitStack() as stack:
            stack.enter_context(torch.inference_mode())
            embedded_rows = self._embedded()  # runs layers that are stubs: no hook may see that
            stack.enter_context(tapped(steps.taps))
            stack.enter_context(hooked(steps.before, steps.after))
            stream = self._entered(0, embedded_rows)
            for layer, floor in enumerate(self.pack.floors[:-1]):
                positions = self.visits.tensor(self.pack.positions)[: floor.n_rows]
                with mixed_by(PackedAttention(self._groups(floor), positions, self._bases(floor))):
                    stream = self.calls.run(layer, stream, positions)
                stream = self._entered(layer + 1, stream)
        self.calls.forget()
        return stream

    def _embedded(self) -> Tensor:
        """The input of layer 0 for every token of every prompt, in the order of the rows."""
        entered = embedded(self.instrument, torch.from_numpy(self.pack.padded_tokens()))
        lengths = [len(ids) for ids in self.pack.tokens]
        prompt = np.repeat(np.arange(len(lengths)), lengths)
        position = self.pack.positions[: len(prompt)]
        index = self.visits.tensor(prompt), self.visits.tensor(position)
        return entered[index]

    def _entered(self, number: int, stream: Tensor) -> Tensor:
        """What enters a floor: cells join as copies of their bases' rows, then the stream is visited."""
        floor = self.pack.floors[number]
        self.visits.floor = floor
        if len(floor.joins):
            stream = torch.cat([stream, stream[self.visits.tensor(floor.joins)]])
        names = stream_names(number, self.instrument.facts.n_layers)
        for name in names:
            stream = self.visits.written(name, stream)
        for name in names:
            self.visits.read(name, stream)
        return stream

    def _groups(self, floor: Floor) -> list[Owners]:
        tensor = self.visits.tensor
        positions = tensor(self.pack.positions)
        found = []
        for group in floor.groups:
            rows, keys = tensor(group.rows), tensor(group.keys)
            found.append(Owners(rows, positions[rows.clamp(min=0)], keys))
        return found

    def _bases(self, floor: Floor) -> list[Bases]:
        tensor = self.visits.tensor
        positions = tensor(self.pack.positions)
        found = []
        for group in floor.bases:
            queries = tensor(group.queries)
            cells = []
            for one in group.cells:
                rows, slots = tensor(one.rows), tensor(one.slots)
                cells.append(Cells(rows, tensor(one.base), slots, positions[rows.clamp(min=0)]))
            found.append(Bases(tensor(group.keys), queries, positions[queries.clamp(min=0)], cells))
        return found
