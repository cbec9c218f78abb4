"""Causal scrubbing by recursive resampling (Chan et al. 2022, Alignment Forum; reference T09).

An instance of a node stands for its part of the model on a datum, an item of the data set. A node that no other leads
to is what its part puts out in a plain pass over the datum. Any other reads, by each port, the stream of one random
item, in which what its child nodes stand for is exchanged for them, each on an item drawn to agree with the datum on
what the child is claimed to carry; its part is then run on that. Where a feature has positions, every position is a
datum of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from glassbox_dsl.diagnostics import Findings, InternalError
from glassbox_dsl.language.program import Edit, Scrubbed, ScrubNode
from glassbox_dsl.plan.beside import part_of
from glassbox_dsl.plan.indexing import Env
from glassbox_dsl.plan.named import Integers
from glassbox_dsl.plan.rows import ROW
from glassbox_dsl.run import scrub_errors as errors
from glassbox_dsl.run.context import Context
from glassbox_dsl.run.draws import Classes, Key, classes_of, uniform
from glassbox_dsl.run.named import Named, tensor
from glassbox_dsl.vocabulary.keys import SiteKey
from glassbox_dsl.vocabulary.sites import sites

TOKENS_AT_ONCE = 4096
HEADS = ("attn.result", "attn.z")
Values = dict[SiteKey, tuple[Tensor | None, Tensor]]
"""What a node puts out: at each of its sites the heads that are meant [head] (None: no heads) and values [n, ...]."""
Changes = dict[SiteKey, Tensor]
"""By how much what sites add to the stream changes, [n, pos, dim]."""


@dataclass
class Scrubber:
    """Makes the scrubbed streams of one context."""

    context: Context
    claim: Scrubbed
    length: int = field(init=False)
    children: dict[tuple[str, str | None], list[ScrubNode]] = field(init=False)
    parts: dict[str, dict[SiteKey, Tensor | None]] = field(init=False)
    base: dict[SiteKey, Tensor] = field(init=False)
    classes: dict[str, Classes] = field(init=False)

    def __post_init__(self) -> None:
        lengths = self.context.data.prompt(self.claim.prompt).length
        if lengths.min() != lengths.max():
            raise Findings(
                [errors.lengths_differ(self.claim.span, self.claim.prompt, lengths.min(), lengths.max())]
            )
        self.length = int(lengths[0])
        self.children = {}
        for node in self.claim.nodes[1:]:
            self.children.setdefault((str(node.reader), node.port), []).append(node)
        self.parts = {node.name: self._part(node) for node in self.claim.nodes}
        for node in self.claim.nodes:
            self._check_order(node)
        self.base = self._passes(self._needed())
        self.classes = {
            n.name: classes_of(self.context.data, n.agree or (), self.length) for n in self.claim.nodes
        }
        for node in self.claim.nodes[1:]:
            self._note_small(node)

    def streams(self, items: Integers, samples: Integers) -> Tensor:
        """The last stream [n, pos, dim] of references: kept items [n] by place, and which draw of each."""
        numbers = self.context.data.numbers[items]
        keys = [(int(number), int(sample)) for number, sample in zip(numbers, samples, strict=True)]
        [(_, stream)] = self._drawn(self.claim.nodes[0], items, keys).values()
        return stream

    # ------------------------------------------------------------ the recursion

    def _drawn(self, node: ScrubNode, data: Integers, keys: Sequence[Key]) -> Values:
        """What a node puts out for readers whose data are items [n], each on an item that agrees with the reader's."""
        if node.agree is None:
            return self._value(node, data, keys)
        classes = self.classes[node.name]
        drawn = classes.draw(data, uniform(self.claim.seed, node.name, keys, classes.codes.shape[1]))
        if not classes.by_position:
            return self._value(node, drawn[:, 0], keys)
        if not self._read_by(node):
            return self._gathered(node, drawn)
        # Each position is an instance of its own, of which nothing but that position is read.
        step = max(1, TOKENS_AT_ONCE // self.length**2)
        pieces = [
            self._position_by_position(node, drawn[i : i + step], keys[i : i + step])
            for i in range(0, len(keys), step)
        ]
        return {
            key: (heads, torch.cat([piece[key][1] for piece in pieces]))
            for key, (heads, _) in pieces[0].items()
        }

    def _position_by_position(self, node: ScrubNode, drawn: Integers, keys: Sequence[Key]) -> Values:
        each = [(*key, position) for key in keys for position in range(self.length)]
        found = self._value(node, drawn.reshape(-1), each)
        at = torch.arange(self.length)
        own: Values = {}
        for key, (heads, values) in found.items():
            split = values.unflatten(0, drawn.shape).movedim(-2, 2)  # [n, pos, pos, (head,) dim]
            own[key] = heads, split[:, at, at].movedim(1, -2)
        return own

    def _value(self, node: ScrubNode, data: Integers, keys: Sequence[Key]) -> Values:
        """What instances of a node put out: their data are items [n]."""
        ports = self._read_by(node)
        if not ports:
            return {
                key: (heads, self.base[key][tensor(data)]) for key, heads in self.parts[node.name].items()
            }
        everything = self.context.data.n_items
        rest = (uniform(self.claim.seed, f"{node.name}, rest", keys, 1)[:, 0] * everything).astype(np.int64)
        changes = {
            port: self._changes(rest, [self._drawn(child, data, keys) for child in some])
            for port, some in ports.items()
        }
        return {
            key: (heads, self._recomputed(key, heads, rest, changes))
            for key, heads in self.parts[node.name].items()
        }

    def _read_by(self, node: ScrubNode) -> dict[str | None, list[ScrubNode]]:
        """The children of a node, by port."""
        return {port: some for (reader, port), some in self.children.items() if reader == node.name}

    def _gathered(self, node: ScrubNode, drawn: Integers) -> Values:
        """A leaf on items [n, pos], one for each position."""
        at = torch.arange(self.length)
        found: Values = {}
        for key, heads in self.parts[node.name].items():
            by_position = self.base[key].movedim(-2, 1)
            found[key] = heads, by_position[tensor(drawn), at].movedim(1, -2)
        return found

    # ------------------------------------------------------------ one part on what it reads

    def _recomputed(
        self, key: SiteKey, heads: Tensor | None, rest: Integers, changes: Mapping[str | None, Changes]
    ) -> Tensor:
        """A part [n, ...] run on the streams of items [n] in which its children are exchanged."""
        into = _entry(key, self.context.sizes.facts.n_layers)
        streams = {port: self._exchanged(into, rest, some) for port, some in changes.items()}
        if key == into:
            return streams[None]
        writes: dict[SiteKey, Tensor | tuple[Tensor, Tensor]] = {}
        for port, stream in streams.items():
            if port is None:
                writes[into] = stream
            else:
                assert heads is not None
                copies = stream[:, None].expand(-1, len(heads), -1, -1)
                writes[SiteKey(f"attn.{port}_in", key.layer)] = copies, heads
        return self._one_layer(key, rest, writes)

    def _exchanged(self, into: SiteKey, rest: Integers, changes: Changes) -> Tensor:
        """The stream [n, pos, dim] at an entry on items [n], with what some nodes put out in the place of its own."""
        stream = self.base[into][tensor(rest)]
        for key, change in changes.items():
            if self._order(key) < self._order(
                into
            ):  # of several layers that a node stands for, some may come later
                stream = stream + change
        return stream

    def _changes(self, rest: Integers, values: Sequence[Values]) -> Changes:
        """How what each site adds to the streams of items [n] changes when what some nodes put out is exchanged."""
        by_key: dict[SiteKey, list[tuple[Tensor | None, Tensor]]] = {}
        for one in values:
            for key, found in one.items():
                by_key.setdefault(key, []).append(found)
        return {key: self._change(key, rest, found) for key, found in by_key.items()}

    def _change(self, key: SiteKey, rest: Integers, found: Sequence[tuple[Tensor | None, Tensor]]) -> Tensor:
        """How what is added to the stream changes when a site of items [n] is exchanged."""
        own = self.base[key][tensor(rest)]
        new = own
        for heads, value in found:
            new = value if heads is None else torch.where(heads[:, None, None], value, new)
        if key.site != "attn.z":
            return new - own
        out = SiteKey("attn.out", key.layer)
        return self._one_layer(out, rest, {key: new}) - self.base[out][tensor(rest)]

    def _one_layer(
        self, key: SiteKey, rest: Integers, writes: Mapping[SiteKey, Tensor | tuple[Tensor, Tensor]]
    ) -> Tensor:
        """A site [n, ...] of one layer, run on items [n] with some of its sites written."""
        assert key.layer is not None
        entered, found = self.base[SiteKey("resid_pre", key.layer)], []
        ids = self.context.data.prompt(self.claim.prompt).ids[:, : self.length]
        step = max(1, TOKENS_AT_ONCE // self.length)
        for first in range(0, len(rest), step):
            some = slice(first, first + step)
            made = {site: _writer(value, some) for site, value in writes.items()}
            got = self.context.instrument.forward(
                tensor(ids[rest[some]]),
                reads={key},
                writes=made,
                start=(key.layer, entered[tensor(rest[some])]),
            )
            found.append(got[key].cpu())
        return torch.cat(found)

    # ------------------------------------------------------------ what is known before anything is drawn

    def _part(self, node: ScrubNode) -> dict[SiteKey, Tensor | None]:
        """The sites of a node, heads as `attn.z`, with the heads that it stands for."""
        facts = self.context.sizes.facts
        if node.site == "logits":
            return {SiteKey("resid_post", facts.n_layers - 1): None}
        if not sites()[node.site].has_layer:
            return {SiteKey(node.site): None}
        table = part_of(self.context, self.claim.prompt, node)
        layers = np.flatnonzero(table.any(1)).tolist()
        if not layers:
            raise Findings([errors.no_such_part(node.span, node.name, self.context.model)])
        if node.site in HEADS:
            return {SiteKey("attn.z", layer): torch.from_numpy(table[layer].copy()) for layer in layers}
        return {SiteKey(node.site, layer): None for layer in layers}

    def _check_order(self, node: ScrubNode) -> None:
        """Something of a node comes before something of its reader."""
        if node.reader is None:
            return
        n_layers = self.context.sizes.facts.n_layers
        first = min(map(self._order, self.parts[node.name]))
        last = max(self._order(_entry(key, n_layers)) for key in self.parts[node.reader])
        if first >= last:
            raise Findings([errors.not_upstream(node.span, node.name, node.reader, self.context.model)])

    def _order(self, key: SiteKey) -> float:
        """Where a part adds to the stream, or an entry reads it: smaller is earlier."""
        if key.site == "embed":
            return -1
        assert key.layer is not None
        # In a parallel block the MLP reads what attention reads: nothing that attention of its layer adds.
        parallel = self.context.sizes.facts.parallel
        steps = {"resid_pre": 0.0, "attn.in": 0.0, "attn.z": 0.25, "attn.out": 0.25, "mlp.out": 0.75}
        return (
            key.layer + (0.0 if parallel else 0.5)
            if key.site == "mlp.in"
            else key.layer + steps.get(key.site, 1.0)
        )

    def _needed(self) -> set[SiteKey]:
        """What is read of plain passes over all items."""
        needed: set[SiteKey] = set()
        n_layers = self.context.sizes.facts.n_layers
        for node in self.claim.nodes:
            for key in self.parts[node.name]:
                inside = bool(self._read_by(node))
                needed.add(_entry(key, n_layers) if inside else key)
                if inside and key.site not in ("embed", "resid_post"):
                    needed.add(SiteKey("resid_pre", key.layer))
                if node.reader is not None:
                    needed.add(key)
                if key.site == "attn.z":
                    needed |= {SiteKey("resid_pre", key.layer), SiteKey("attn.out", key.layer)}
        return needed

    def _passes(self, needed: set[SiteKey]) -> dict[SiteKey, Tensor]:
        """Sites on every kept item, [item, ...]."""
        ids = self.context.data.prompt(self.claim.prompt).ids[:, : self.length]
        step = max(1, TOKENS_AT_ONCE // self.length)
        parts = [
            self.context.instrument.forward(tensor(ids[i : i + step]), reads=needed)
            for i in range(0, len(ids), step)
        ]
        return {key: torch.cat([part[key].cpu() for part in parts]) for key in needed}

    def _note_small(self, node: ScrubNode) -> None:
        """Warn where hardly anything is resampled: classes of one item."""
        if not node.agree:
            return
        sizes = self.classes[node.name].sizes()
        alone = float((sizes == 1).mean())
        if alone > 0:
            note = errors.small_classes(
                node.span, node.name, alone, float(np.median(sizes)), self.context.model
            )
            self.context.sets.notes.append(note)


@dataclass
class Ready:
    """The scrubbed streams of the rows of a pass or pack, made before it begins: no pass runs inside another."""

    scrubber: Scrubber
    rows: dict[tuple[int, int], int]
    streams: Tensor


def prepare(edits: Iterable[tuple[Edit, Context, Env]]) -> None:
    """Make what the edits of a pass or pack set the last stream to; `Env` has the rows of each."""
    wanted: dict[tuple[int, Scrubbed], tuple[Context, dict[tuple[int, int], int]]] = {}
    for edit, context, env in edits:
        if not isinstance(edit.value, Scrubbed):
            continue
        if env.extension is not None:
            raise Findings([errors.long_answer(edit.span)])
        _, rows = wanted.setdefault((id(context), edit.value), (context, {}))
        for row in _rows(env):
            rows.setdefault(row, len(rows))
    for (_, claim), (context, rows) in wanted.items():
        known = context.scrubbed.get(claim)
        scrubber = known.scrubber if isinstance(known, Ready) else Scrubber(context, claim)
        items, samples = (np.array(column, dtype=np.int64) for column in zip(*rows, strict=True))
        context.scrubbed[claim] = Ready(scrubber, rows, scrubber.streams(items, samples))


def scrubbed(claim: Scrubbed, env: Env, context: Context) -> Named:
    """The value of a scrubbed stream at the rows and positions of an edit."""
    ready = context.scrubbed.get(claim)
    if not isinstance(ready, Ready):
        raise InternalError("a scrubbed stream was not made before the pass that it is written in")
    at = tensor(env.coordinates["pos"].data.clip(max=ready.scrubber.length - 1))
    streams = ready.streams[[ready.rows[row] for row in _rows(env)]]
    return Named(streams[:, at].float(), (ROW, "pos"), True)


def _rows(env: Env) -> list[tuple[int, int]]:
    """The item and the sample of every row."""
    items, samples = np.broadcast_arrays(env.item.data, env.variables["sample"].ids.data)
    return list(zip(items.tolist(), samples.tolist(), strict=True))


def _entry(key: SiteKey, n_layers: int) -> SiteKey:
    """Where a part reads the stream."""
    if key.site == "mlp.out":
        return SiteKey("mlp.in", key.layer)
    if key.site == "resid_post":
        return SiteKey("resid_post", n_layers - 1)
    return SiteKey("attn.in" if key.site == "attn.out" else "resid_pre", key.layer)


def _writer(value: Tensor | tuple[Tensor, Tensor], some: slice) -> Callable[[Tensor], Tensor]:
    """A write of a whole site, or of some of its heads."""
    if isinstance(value, Tensor):
        return lambda own: value[some].to(own)
    new, heads = value
    return lambda own: torch.where(heads.to(own.device)[:, None, None], new[some].to(own), own)
