"""Edits of cells lowered to rows and positions, and what of them provably changes nothing.

With a causal model the value at a position depends on the tokens up to it only. Setting it to the value of an unedited
pass at the same position, over the same tokens up to there, writes what stands there already: unless an earlier edit
of the cell has reached that position, it is dropped.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from glassbox_dsl.language.program import Constant, Expr, Operation, SiteRead
from glassbox_dsl.plan.edit_cells import edit_env, selected, touched_layers, written_coordinates
from glassbox_dsl.plan.indexing import Env
from glassbox_dsl.plan.named import Integers, Mask, Named
from glassbox_dsl.plan.pack import EditPart
from glassbox_dsl.plan.places import Places
from glassbox_dsl.plan.rows import ROW, RowMaker
from glassbox_dsl.vocabulary.keys import HEAD, ORDER
from glassbox_dsl.vocabulary.sites import sites

NOWHERE = np.iinfo(np.int32).max
"""A fork that no edit has made."""


@dataclass(frozen=True, eq=False)
class Touch:
    """One edit in one layer: pairs of a row and a position that it writes.

    `mask` [pair, other axes] restricts it to some cells of the site. A copy has `source`, the position that each pair
    is taken from, `source_owner`, whose rows those are, and `alike`, left of which position these are known to be what
    an unedited prompt of the cell has there.
    """

    part: EditPart
    layer: int | None
    number: Integers
    position: Integers
    mask: Mask | None
    source: Integers | None = None
    source_owner: Integers | None = None
    alike: Integers | None = None

    @property
    def order(self) -> int:
        """Where it acts on its floor: the end of one layer is the beginning of the next one's floor."""
        site = self.part.edit.site
        return -1 if site == "resid_post" else ORDER.index(site)

    def kept(self, keep: Mask | slice) -> Touch:
        """Only some of its pairs."""
        names = ("number", "position", "mask", "source", "source_owner", "alike")
        pairs = {name: getattr(self, name) for name in names}
        return replace(self, **{name: own[keep] for name, own in pairs.items() if own is not None})

    @property
    def nothing(self) -> Mask:
        """Which pairs [pair] set a value to itself, unless an earlier edit of the cell has reached them."""
        if self.source is None or self.alike is None:
            return np.zeros(len(self.number), dtype=np.bool_)
        return np.asarray((self.source == self.position) & (self.position < self.alike))


@dataclass(frozen=True, eq=False)
class Sources:
    """What the rows of a copy are taken from: `owners` [row] (-1: no such cell), and `alike` [row] as in a touch."""

    owners: Integers
    alike: Integers


WEIGHED = {"attn.scores": -math.inf, "attn.pattern": 0.0}
"""Sites that say how much of each key a query takes, with the value that stands at keys which it does not see."""


def looks_ahead(touch: Touch) -> Mask:
    """Which pairs [pair] may give a query some of a key behind it: what stands there depends on later tokens.

    Products leave hidden keys hidden, and so does a copy of a row from where no more keys are seen, of a run that
    does not look ahead itself.
    """
    edit = touch.part.edit
    if edit.site not in WEIGHED or edit.op == "*=":
        return np.zeros(len(touch.number), dtype=np.bool_)
    if touch.source is not None:
        assert isinstance(edit.value, SiteRead)
        source = touch.part.job.setting.run(edit.value.run.run)
        edited = any(e.site in WEIGHED for v in source.variants for e in v.edits)
        return np.asarray((touch.source > touch.position) | edited)
    if edit.op == ":=" and _constant(edit.value) == WEIGHED[edit.site]:
        return np.zeros(len(touch.number), dtype=np.bool_)
    if touch.mask is None or touch.mask.shape[-1] == 1:  # every key
        return np.ones(len(touch.number), dtype=np.bool_)
    keys = touch.mask.any(axis=tuple(range(1, touch.mask.ndim - 1)))  # [pair, key]
    ahead = keys & (np.arange(keys.shape[1]) > touch.position[:, None])
    return np.asarray(ahead.any(1))


def _constant(value: Expr) -> float | None:
    """The number that an expression is, if it is one that is written out."""
    if isinstance(value, Constant):
        return value.value
    if isinstance(value, Operation) and len(value.operands) == 1 and value.op in ("-", "neg"):
        inner = _constant(value.operands[0])
        return None if inner is None else -inner
    return None


def boundary(site: str, layer: int | None, n_layers: int) -> int:
    """The layer at whose beginning a cell must join so that an edit finds its rows (n_layers: behind the last)."""
    if site in HEAD:
        return n_layers
    return (layer or 0) + (site == "resid_post")


CELLS_AT_ONCE = 2**24
"""About how many cells of a site are looked at in one go; at least those of one layer."""


def touches(part: EditPart, longest: int, sources: Sources | None) -> list[Touch]:
    """Every layer that an edit touches in some cell, with the cells and positions written there.

    `sources` are set for copies.
    """
    job, n_rows, site = part.job, len(part.cells), part.edit.site
    if not sites()[site].has_layer:
        return [_touch(part, None, np.arange(n_rows), longest, sources)]
    env = RowMaker(job.setting).env(job.run, part.cells, part.items, job.extension)
    touched = touched_layers(job.setting, part.edit, part.variant, env).T
    layers = np.flatnonzero(touched.any(1))
    per_layer = n_rows * math.prod(_lengths(part, longest).values())
    n_at_once = max(1, CELLS_AT_ONCE // max(1, per_layer))
    found = []
    for some in (layers[i : i + n_at_once] for i in range(0, len(layers), n_at_once)):
        place, number = touched[some].nonzero()
        touch = _touch(part, some[place], number, longest, sources)
        ends = np.searchsorted(place[touch.number], np.arange(len(some) + 1))
        touch = replace(touch, number=number[touch.number])
        for at, layer in enumerate(some.tolist()):
            found.append(replace(touch.kept(slice(ends[at], ends[at + 1])), layer=layer))
    return found


def row_axis(site: str) -> str:
    """The axis of a site along which rows of a pack lie."""
    return "query" if "query" in sites()[site].axes else "pos"


def _lengths(part: EditPart, longest: int) -> dict[str, int]:
    """How many cells each axis of an edit's site has in one layer."""
    site, sizes = part.edit.site, part.job.setting.sizes
    inner = [a for a in sites()[site].axes if a != "layer"]
    return {a: longest if a in ("pos", "query", "key") else sizes.of(a, site) for a in inner}


def _touch(
    part: EditPart, layers: Integers | None, number: Integers, longest: int, sources: Sources | None
) -> Touch:
    """What an edit writes in rows `number` [place] of its part, each in one of `layers` [place]; pairs have places."""
    edit, job, setting = part.edit, part.job, part.job.setting
    lengths = _lengths(part, longest)
    coordinates = written_coordinates(edit, None if layers is None else Named(layers, (ROW,)), lengths)
    env = RowMaker(setting).env(job.run, part.cells[number], part.items[number], job.extension)
    env = edit_env(setting, part.variant, env, coordinates)
    axis = row_axis(edit.site)
    others = [a for a in lengths if a != axis]
    chosen = selected(setting, edit, part.variant, env, coordinates).spread((ROW, axis, *others))[0]
    chosen = np.broadcast_to(chosen, (len(number), longest, *chosen.shape[2:]))
    row, position = np.nonzero(chosen.any(tuple(range(2, chosen.ndim))))
    mask = chosen[row, position] if chosen.ndim > 2 and max(chosen.shape[2:], default=1) > 1 else None
    touch = Touch(part, None, row, position, mask)
    if sources is None:
        return touch
    assert isinstance(edit.value, SiteRead)
    source, there = _source_positions(edit.value, part, env, row, position)
    owner, alike = sources.owners[number[row]], sources.alike[number[row]]
    return replace(touch, source=source, source_owner=owner, alike=alike).kept(there & (owner >= 0))


def _source_positions(
    read: SiteRead, part: EditPart, env: Env, row: Integers, position: Integers
) -> tuple[Integers, Mask]:
    """Where a copy takes each written position from in its source's prompt, and whether there is such a place."""
    setting = part.job.setting
    prompt = setting.run(read.run.run).variants[0].prompt
    found = Places(setting).coordinates(read, sites()[read.site].axes, env, prompt)["pos"]
    data, present = found.spread((ROW, "pos"))
    where = (row if data.shape[0] > 1 else 0 * row, position if data.shape[1] > 1 else 0 * position)
    there = np.ones(len(row), dtype=np.bool_)
    if present is not None:
        there = np.broadcast_to(present, data.shape)[where]
    return data[where], there & (data[where] >= 0)
