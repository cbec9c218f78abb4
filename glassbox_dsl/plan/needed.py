"""Which rows of a pack each layer has to compute: what is read at or above it, and the keys that those rows meet.

In the last layer, queries, the MLP and everything behind attention are needed at the positions that are read alone;
keys and values are needed left of them too. What only lower layers read does not climb any further.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from glassbox_dsl.language.program import Index
from glassbox_dsl.plan.layers import layer_number, reads_patterns
from glassbox_dsl.plan.lowering import boundary
from glassbox_dsl.plan.named import Integers, Mask
from glassbox_dsl.plan.pack import Floor, Pack, RowCopy, Share, Write
from glassbox_dsl.plan.reads import LOGITS, rows_at, rows_scored, whole_reads
from glassbox_dsl.vocabulary.keys import HEAD, MIXED, STREAM, SiteKey
from glassbox_dsl.vocabulary.sites import sites

Asked = Mapping[SiteKey, list[Integers]]
"""Rows that are read at each site."""

SHOWN = frozenset({"attn.scores", "attn.pattern"})
ENTERING = MIXED - {"attn.q", "attn.k", "attn.v"} | {"mlp.in", "mlp.norm_scale", "mlp.norm"}
"""Sites that may stand before more than attention: where one is written, a layer is called once, with all its rows."""
WORTH = 0.9
"""Fewer than this share of the rows are picked out; of more, all are computed."""
SPLIT = 0.5
"""Below this share of the rows that enter, those that leave are computed in a call of their own."""


@dataclass(frozen=True)
class Rows:
    """Rows of one layer: those that `enter` it, and those of them that leave it (`queried`), [row of the floor]."""

    enter: Mask
    queried: Mask


def needed(pack: Pack, owner_of: Integers, asked: Asked, n_layers: int) -> dict[int, Rows]:
    """The rows of every layer that does not compute all rows of its floor. `owner_of` [row]."""
    top = len(pack.floors) - 1
    reads: defaultdict[int, list[Integers]] = defaultdict(list)
    for key, at in asked.items():
        if key.site in HEAD | STREAM:
            reads[boundary(key.site, key.layer, n_layers)] += at
    found: dict[int, Rows] = {}
    need = np.zeros(pack.n_rows, dtype=np.bool_)
    for layer in range(top, -1, -1):
        floor = pack.floors[layer]
        if layer < top:
            need = _below(need, pack.floors[layer + 1], floor.n_rows)
            rows = _layer(pack, layer, need, asked, owner_of)
            if rows is not None:
                found[layer] = rows
            need = np.ones_like(need) if rows is None else rows.enter.copy()
            if need.all():
                return found  # so all rows are needed of the layers below
        _mark(need, [*reads[layer], *_written(floor, STREAM | HEAD if layer == top else STREAM)])
    return found


def _below(need: Mask, floor: Floor, n_rows: int) -> Mask:
    """What is needed of the layer below a floor: rows that have joined there are copies of their bases'."""
    found = need[:n_rows].copy()
    found[floor.joins[need[n_rows:]]] = True
    return found


def _layer(pack: Pack, layer: int, leave: Mask, asked: Asked, owner_of: Integers) -> Rows | None:
    """The rows of one layer of which those that `leave` are needed above; None: all."""
    floor = pack.floors[layer]
    read = {key.site: rows for key, rows in asked.items() if key.layer == layer and key.site not in STREAM}
    touched = {site for site, at in floor.writes if at == layer and site not in STREAM}
    mixed, behind = touched & MIXED, touched - MIXED
    queried = _mark(leave.copy(), [r for site in read.keys() - MIXED for r in read[site]])
    _mark(queried, _written(floor, behind))
    enter = _mark(queried | _keys(pack, floor, queried, owner_of), _written(floor, mixed))
    _mark(enter, [r for site in read.keys() & MIXED for r in read[site]])
    if SHOWN & touched:
        return None  # a weight that is written may be on a key behind its query
    shown = SHOWN & read.keys()
    whole = bool(shown or touched & ENTERING) or queried.sum() > SPLIT * enter.sum()
    if whole:
        enter = queried = enter | _keys(pack, floor, enter, owner_of)
    if enter.sum() > WORTH * len(enter):
        enter = np.ones_like(enter)
        return None if whole else Rows(enter, queried)
    return Rows(enter, queried)


def _keys(pack: Pack, floor: Floor, queried: Mask, owner_of: Integers) -> Mask:
    """The rows whose keys some rows meet, themselves included."""
    rows = np.flatnonzero(queried)
    last = np.full(len(floor.rowof), -1, dtype=np.int64)
    np.maximum.at(last, owner_of[rows], pack.positions[rows])
    met = floor.rowof[np.arange(floor.rowof.shape[1]) <= last[:, None]]
    found = np.zeros_like(queried)
    found[met[met >= 0]] = True
    return found


def _written(floor: Floor, chosen: Collection[str]) -> Iterator[Integers]:
    """The rows that writes at some sites of a floor read or change."""
    for (site, _), writes in floor.writes.items():
        if site in chosen:
            for write in writes:
                yield from _rows_of(write)


def _rows_of(write: Write) -> Iterator[Integers]:
    if isinstance(write, RowCopy):
        yield write.dst
        yield write.src
    else:
        yield write.rows.reshape(-1)


def _mark(mask: Mask, rows: Iterable[Integers]) -> Mask:
    for some in rows:
        mask[some[some >= 0]] = True
    return mask


# ---------------------------------------------------------------- what the shares of a pack read


def asked_of(pack: Pack, n_layers: int) -> Asked:
    """What is read of the cells of a pack."""
    found: defaultdict[SiteKey, list[Integers]] = defaultdict(list)
    for share in pack.shares:
        scored = [rows_scored(pack, share, at) for at, _ in whole_reads(share.job)]
        found[SiteKey(LOGITS)] += scored
        for key, at in _sites_read(share, n_layers):
            floor = min(boundary(key.site, key.layer, n_layers), len(pack.floors) - 1)
            found[key].append(rows_at(pack, share, at, floor))
        for owners in share.guests.values():
            table = pack.floors[-1].rowof[owners[owners >= 0]]
            found[SiteKey(LOGITS)].append(np.unique(table[table >= 0]))
    return found


def _sites_read(share: Share, n_layers: int) -> Iterator[tuple[SiteKey, Index | None]]:
    """The sites that are kept or scored of a share, logits apart, and where (None: at every position)."""
    job = share.job
    for name, layers in job.wanted.layers.items():
        at = job.wanted.positions.get(name)
        if name in HEAD or not sites()[name].has_layer:
            yield SiteKey(name), at
        else:
            every = range(n_layers) if layers is None else {layer_number(layer, n_layers) for layer in layers}
            yield from ((SiteKey(name, layer), at) for layer in every if 0 <= layer < n_layers)
    if job.extension is None and reads_patterns(job):
        yield from ((SiteKey("attn.pattern", layer), None) for layer in range(n_layers))


__all__ = ["Asked", "Rows", "asked_of", "needed"]
