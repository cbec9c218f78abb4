"""What a model must pass before its rows are packed: else it runs on the hooked executor, and says why.

T4: prompts of different lengths in one pack, and one that begins like another, equal the prompts apart. T5: what
layers are called with does not depend on tokens. T7: every site read in a pack equals the hooked executor's, and an
edit of every site in a cell of its own, all in one climb, gives the logits that the hooked executor gives.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from glassbox_dsl.plan.lowering import Touch, boundary
from glassbox_dsl.plan.named import Integers
from glassbox_dsl.plan.pack import EditPart, Pack
from glassbox_dsl.plan.stack import EditedCells, Owners, stacked
from glassbox_dsl.run.check import FLOAT_NOISE, HALF_NOISE, Check, check, nearest, relative
from glassbox_dsl.run.delta.calls import LayerCalls, recorded
from glassbox_dsl.run.delta.climb import Climb
from glassbox_dsl.run.delta.head import Head
from glassbox_dsl.run.delta.visits import Visits, row_axis
from glassbox_dsl.run.instrument import Instrument
from glassbox_dsl.vocabulary.keys import HEAD, SiteKey
from glassbox_dsl.vocabulary.sites import sites

LENGTHS = (10, 7)
ALIKE = 4
"""Lengths of two prompts, and how many tokens of the first a third one begins with."""
LOGITS = SiteKey("logits")


@dataclass(frozen=True)
class Probe:
    """Stands where the edit of a file would: a site of one layer."""

    site: str

    @property
    def edit(self) -> Probe:
        """Itself."""
        return self

    @property
    def key(self) -> tuple[object, int, int]:
        """What its receipt is kept by."""
        return (self.site, 0, 0)


@dataclass
class ProbeVisits(Visits):
    """Visits that keep every site of some layers as rows."""

    def __post_init__(self) -> None:
        self.found: dict[SiteKey, Tensor] = {}
        self.wanted: set[SiteKey] = set()

    def keys(self) -> tuple[set[SiteKey], set[SiteKey]]:
        """The wanted sites, and what is written."""
        return self.wanted, super().keys()[1]

    def read(self, key: SiteKey, rows: Tensor) -> None:
        """Keep the rows of a wanted site."""
        if key in self.wanted:
            self.found[key] = rows


def verify_pack(instrument: Instrument) -> Iterator[Check]:
    """All checks of a model as rows of a pack, in order."""
    devices = {str(parameter.device) for parameter in instrument.model.parameters()}
    if len(devices) > 1:
        yield check("T4 pack", len(devices), 1.0, "the weights stand on several devices, a pack on one")
        return
    if instrument.facts.own_attention is not None:
        return
    noise = FLOAT_NOISE if instrument.dtype == torch.float32 else HALF_NOISE
    generator = np.random.default_rng(0)
    prompts = [generator.integers(0, instrument.facts.vocab_size, n) for n in LENGTHS]
    prompts.append(np.concatenate([prompts[0][:ALIKE], prompts[1]]))
    yield from _calls(instrument, prompts[0])
    owners = Owners(instrument.facts.n_layers)
    for ids in prompts:
        owners.add_root(ids)
    apart = [instrument.forward(torch.from_numpy(ids)[None], reads=_readable(instrument)) for ids in prompts]
    pack = stacked(owners, [], ())
    visits, logits = _climbed(instrument, pack, _readable(instrument) - {LOGITS})
    yield from _reads(instrument, pack, visits, logits, apart, noise)
    yield _queried(instrument, owners, apart, noise)
    yield from _writes(instrument, prompts, apart[1], 10 * noise)


def _readable(instrument: Instrument) -> set[SiteKey]:
    """Every site of the first, a middle and the last layer."""
    n = instrument.facts.n_layers
    layers = {0, n // 2, n - 1}
    known = [s for s in sites().values() if s.passed and s.name not in instrument.facts.absent]
    there = [s.name for s in known if s.has_layer]
    some = {name: {nearest(instrument.facts, name, near) for near in layers} for name in there}
    return {SiteKey(s.name, layer) for s in known for layer in some.get(s.name, (None,))}


def _climbed(
    instrument: Instrument, pack: Pack, wanted: set[SiteKey], rows: Integers | None = None
) -> tuple[ProbeVisits, Tensor]:
    """A climb with what it saw, and the logits of some of its rows (None: all)."""
    visits = ProbeVisits(pack, [], instrument.device)
    visits.wanted = wanted
    stream = Climb(instrument, LayerCalls(instrument, pack.longest), pack, visits).run()
    read = torch.from_numpy(np.arange(pack.n_rows) if rows is None else rows).to(instrument.device)
    head = Head(instrument, visits, read, pack.n_rows)
    return visits, head.logits(head.normed(stream))


def _queried(
    instrument: Instrument, owners: Owners, apart: list[dict[SiteKey, Tensor]], noise: float
) -> Check:
    """T4 where the end of each prompt alone is read, so that the last layer is called for keys, then for queries."""
    read: list[Integers] = []

    def reads(pack: Pack) -> dict[SiteKey, list[Integers]]:
        read.append(pack.floors[-1].rowof[np.arange(len(apart)), pack.lengths - 1])
        return {LOGITS: read}

    pack = stacked(owners, [], (), reads)
    _, logits = _climbed(instrument, pack, set(), read[0])
    errors = [relative(got, one[LOGITS][0, -1]) for got, one in zip(logits, apart, strict=True)]
    return check("T4 pack", torch.stack(errors).max(), noise, "the last layer for queried rows against apart")


def _calls(instrument: Instrument, ids: Integers) -> Iterator[Check]:
    """T5: other tokens, same calls."""
    pairs = zip(
        recorded(instrument, len(ids)), recorded(instrument, len(ids), torch.from_numpy(ids)), strict=True
    )
    differ = sum(not _same(one, other) for one, other in pairs)
    yield check("T5 pack", float(differ), 0.0, "layers called with something that depends on tokens")


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, Tensor):
        return isinstance(other, Tensor) and torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(_same(v, other[k]) for k, v in one.items())
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(_same, one, other))
    return True


def _reads(
    instrument: Instrument, pack: Pack, visits: ProbeVisits, logits: Tensor,
    apart: list[dict[SiteKey, Tensor]], noise: float,
) -> Iterator[Check]:  # fmt: skip
    table = pack.floors[-1].rowof
    worst = [relative(logits[table[i][: len(ids)]], apart[i][LOGITS][0]) for i, ids in enumerate(pack.tokens)]
    yield check(
        "T4 pack", torch.stack(worst).max(), noise, "prompts of two lengths in one pack against apart"
    )
    found: dict[str, list[Tensor]] = {}
    for key, rows in visits.found.items():
        for owner, ids in enumerate(pack.tokens):
            wanted = apart[owner][key][0].movedim(row_axis(key.site), 0)
            got = rows[table[owner][: len(ids)]]
            got = got[..., : len(ids)] if "key" in sites()[key.site].axes else got
            both = (torch.isneginf(got) & torch.isneginf(wanted)) | (got.isnan() & wanted.isnan())
            error = relative(torch.where(both, 0.0, got), torch.where(both, 0.0, wanted))
            found.setdefault(key.site, []).append(error)
    for site, errors in found.items():
        yield check("T7 pack", torch.stack(errors).max(), 10 * noise, "read in a pack against hooked", site)


def _writes(
    instrument: Instrument, prompts: list[Integers], base: dict[SiteKey, Tensor], noise: float
) -> Iterator[Check]:
    """A cell for each site: two positions of the shorter prompt set to what the longer one has there."""
    n = instrument.facts.n_layers
    owners = Owners(n)
    source, target = (owners.add_root(ids) for ids in prompts[:2])
    at, layer = np.array([2, len(prompts[1]) - 1]), n // 2
    names = [
        s.name for s in sites().values()
        if instrument.facts.writable(s.name) and s.name not in HEAD and "query" not in s.axes
    ]  # fmt: skip
    places = {
        name: nearest(instrument.facts, name, layer) if sites()[name].has_layer else None for name in names
    }
    edited, cells = [], {}
    for name in names:
        place = places[name]
        fork = np.full((1, n + 1), 2**31 - 1, dtype=np.int64)
        fork[:, boundary(name, place, n) :] = 2
        cells[name] = owners.add(np.array([target]), fork)
        owners.read_whole(cells[name])
        two = np.zeros(2, dtype=np.int64)
        touch = Touch(cast(EditPart, Probe(name)), place, two, at, None, at, two + source)
        edited.append(EditedCells(cast(Any, None), cells[name], [touch]))
    pack = stacked(owners, edited, ())
    _, logits = _climbed(instrument, pack, set())
    keys = {name: SiteKey(name, places[name]) for name in names}
    long = instrument.forward(torch.from_numpy(prompts[0])[None], reads=set(keys.values()))
    for name, key in keys.items():
        write = partial(_copied, long[key], row_axis(name) + 1, torch.from_numpy(at).to(instrument.device))
        ids = torch.from_numpy(prompts[1])[None]
        wanted = instrument.forward(ids, reads={LOGITS}, writes={key: write})[LOGITS][0]
        got = logits[pack.floors[-1].rowof[cells[name][0]][: len(prompts[1])]]
        moved = float((wanted - base[LOGITS][0]).abs().max())
        detail = f"set from another prompt in a pack against hooked; moved {moved:.3g}"
        yield check("T7 pack", relative(got, wanted), noise, detail, name)


def _copied(source: Tensor, axis: int, at: Tensor, value: Tensor) -> Tensor:
    """A value with some positions taken from another prompt's."""
    out = value.clone().movedim(axis, 0)
    out[at] = source.movedim(axis, 0)[at]
    return out.movedim(0, axis)
