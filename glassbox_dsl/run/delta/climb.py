"""One climb: all rows of a pack through the layers, each layer called once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor

from glassbox_dsl.plan.grouping import Grouping
from glassbox_dsl.plan.pack import BaseGroup, Floor, Pack, places
from glassbox_dsl.run.attention import mixed_by
from glassbox_dsl.run.delta.calls import LayerCalls, embedded, position_embeddings
from glassbox_dsl.run.delta.kernels import Bases, Owners, Parts, taken
from glassbox_dsl.run.delta.packed_attention import PackedAttention
from glassbox_dsl.run.delta.queried import Projected, QueriedAttention, Stopped
from glassbox_dsl.run.delta.visits import Visits
from glassbox_dsl.run.instrument import Instrument, stream_names
from glassbox_dsl.run.steps import Steps, in_order
from glassbox_dsl.vocabulary.keys import HEAD, MIXED, STREAM, SiteKey


@dataclass
class Climb:
    """Runs a pack on a model; `calls` are for prompts of exactly its longest."""

    instrument: Instrument
    calls: LayerCalls
    pack: Pack
    visits: Visits
    visited: Callable[[str], bool] | None = None
    steps: Steps | None = None
    between_layers: Callable[[], None] = lambda: None
    _positions: Tensor = field(init=False)
    _added: Tensor | None = None
    _grouped: tuple[Grouping, PackedAttention] | None = None
    _shared: dict[tuple[tuple[int, ...], bytes, bytes], Bases] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._positions = self.visits.tensor(self.pack.positions)

    def run(self) -> Tensor:
        """The stream behind the last floor, [row, dim]."""
        reads, writes = self.visits.keys()
        inside = [k for k in in_order(reads | writes) if k.site not in HEAD | STREAM | {"pos_embed"}]
        steps = self.instrument.steps(inside, writes & set(inside), self._visit, (1, 0))
        self.steps = steps
        with ExitStack() as stack:
            stack.enter_context(torch.inference_mode())
            embedded_rows = self._embedded()  # runs layers that are stubs: no hook may see that
            if SiteKey("pos_embed") in reads | writes:
                self._added = position_embeddings(self.instrument, self.pack.longest)
            stack.enter_context(steps.opened())
            stream = self._entered(0, embedded_rows)
            for layer, floor in enumerate(self.pack.floors[:-1]):
                self.between_layers()
                stream = self._entered(layer + 1, self._through(layer, floor, stream))
        self.calls.forget()
        return stream

    # ------------------------------------------------------------ one layer

    def _through(self, layer: int, floor: Floor, stream: Tensor) -> Tensor:
        """What leaves a layer, [row, dim]: NaN in rows that it need not compute, so that a stray read shows."""
        positions = self._positions[: floor.n_rows]
        if floor.entered is None and floor.queried is None:
            with mixed_by(self._attention(floor, positions)):
                return self._call(layer, stream, positions)
        left = torch.full_like(stream, torch.nan)
        if floor.n_entered:
            leaving = self.visits.tensor(floor.leaving())
            left[leaving] = self._narrow(layer, floor, stream, positions)
        return left

    def _narrow(self, layer: int, floor: Floor, stream: Tensor, positions: Tensor) -> Tensor:
        """What leaves a layer in the rows that are queried, of those alone that enter it."""
        tensor, n = self.visits.tensor, floor.n_rows
        entered = torch.arange(n, device=stream.device) if floor.entered is None else tensor(floor.entered)
        attention = self._attention(floor, positions[entered])
        if floor.queried is None:
            with self.visits.at(entered, n), mixed_by(attention):
                return self._call(layer, taken(stream, entered), positions[entered])
        projected = Projected()
        with self.visits.at(entered, n), mixed_by(projected), self._only(MIXED), suppress(Stopped):
            self._call(layer, taken(stream, entered), positions[entered])
        queried = tensor(floor.queried)
        if not len(queried):
            return stream[queried]  # only what enters attention is read here, and nothing above
        place = torch.searchsorted(entered, queried)
        mix = QueriedAttention(attention, projected.inputs, place)
        with self.visits.at(queried, n), mixed_by(mix), self._only(None):
            return self._call(layer, taken(stream, queried), positions[queried])

    def _call(self, layer: int, stream: Tensor, positions: Tensor) -> Tensor:
        assert self.steps is not None
        self.steps.shape = (1, len(positions))
        return self.calls.run(layer, stream, positions)

    @contextmanager
    def _only(self, sites: frozenset[str] | None) -> Iterator[None]:
        """Visit only some sites of a layer; None: all those that are not mixed over positions."""
        self.visited = (lambda site: site in sites) if sites is not None else (lambda site: site not in MIXED)
        try:
            yield
        finally:
            self.visited = None

    def _visit(self, key: SiteKey, value: Tensor) -> Tensor:
        if self.visited is not None and not self.visited(key.site):
            return value
        return self.visits.visit(key, value)

    def _attention(self, floor: Floor, positions: Tensor) -> PackedAttention:
        """Floors that no cell joins meet their keys as the floor below them does."""
        if self._grouped is None or self._grouped[0] is not floor.grouping:
            groups = partial(self._groups, floor, positions)
            mix = PackedAttention(groups, positions, self._bases(floor, positions))
            self._grouped = floor.grouping, mix
        return self._grouped[1]

    def _embedded(self) -> Tensor:
        """The input of layer 0 for every token of every prompt, in the order of the rows."""
        entered = embedded(self.instrument, torch.from_numpy(self.pack.padded_tokens()))
        prompt = self.pack.entering
        index = self.visits.tensor(prompt), self._positions[: len(prompt)]
        return entered[index]

    def _entered(self, number: int, stream: Tensor) -> Tensor:
        """What enters a floor: cells join as copies of their bases' rows, then the stream is visited."""
        floor = self.pack.floors[number]
        self.visits.floor = floor
        if len(floor.joins):
            stream = torch.cat([stream, taken(stream, self.visits.tensor(floor.joins))])
        if number == 0 and self._added is not None:
            stream = self._positioned(stream)
        names = stream_names(number, self.instrument.facts.n_layers)
        for name in names:
            stream = self.visits.written(name, stream)
        for name in names:
            self.visits.read(name, stream)
        return stream

    def _positioned(self, stream: Tensor) -> Tensor:
        """The stream after visits of the position embeddings, which are a part of the sum that enters layer 0."""
        assert self._added is not None
        own = taken(self._added, self._positions[: len(stream)])
        new = self.visits.rows(SiteKey("pos_embed"), own)
        return stream if new is own else torch.where(new == own, stream, stream + (new - own))

    def _groups(self, floor: Floor, positions: Tensor) -> Parts[Owners]:
        tensor, groups, found = self.visits.tensor, floor.grouping.groups(), []
        for group in groups:
            rows = tensor(group.rows).clamp(min=0)
            found.append(Owners(rows, taken(positions, rows), tensor(group.keys), tensor(group.ends)))
        return Parts(found, tensor(places([g.rows for g in groups], len(positions))))

    def _bases(self, floor: Floor, positions: Tensor) -> Parts[Bases] | None:
        """Those of the floor below are taken again where rows have the numbers that they had there."""
        bases = floor.grouping.bases()
        if not bases:
            return None
        known, found = self._shared if floor.entered is None else {}, {}
        for group in bases:
            key = group.queries.shape, group.queries.tobytes(), group.keys.tobytes()
            found[key] = known[key] if key in known else self._base(group, positions)
        self._shared = found if floor.entered is None else {}
        where = places([group.queries for group in bases], len(positions))
        return Parts(list(found.values()), self.visits.tensor(where))

    def _base(self, group: BaseGroup, positions: Tensor) -> Bases:
        tensor = self.visits.tensor
        keys, queries = tensor(group.keys), tensor(group.queries).clamp(min=0)
        fork, asker, owner = tensor(group.fork), tensor(group.asker), tensor(group.owner)
        query_at, own_at = taken(positions, queries), taken(positions, keys[:, group.n_shared :])
        return Bases(keys, queries, group.n_shared, fork, asker, owner, query_at, own_at)
