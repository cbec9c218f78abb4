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
from glassbox_dsl.plan.named import Integers, Mask
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
    is taken from, and `source_owner`, whose rows those are (-1: no such cell).
    """

    part: EditPart
    layer: int | None
    number: Integers
    position: Integers
    mask: Mask | None
    source: Integers | None = None
    source_owner: Integers | None = None

    @property
    def order(self) -> int:
        """Where it acts on its floor: the end of one layer is the beginning of the next one's floor."""
        site = self.part.edit.site
        return -1 if site == "resid_post" else ORDER.index(site)

    def kept(self, keep: Mask) -> Touch:
        """Only some of its pairs."""
        return replace(
            self,
            number=self.number[keep],
            position=self.position[keep],
            mask=None if self.mask is None else self.mask[keep],
            source=None if self.source is None else self.source[keep],
            source_owner=None if self.source_owner is None else self.source_owner[keep],
        )


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


def touches(part: EditPart, longest: int, source_owners: Integers | None) -> list[Touch]:
    """Every layer that an edit touches in some cell, with the cells and positions written there.

    `source_owners` [row] is set for copies.
    """
    job, n_rows = part.job, len(part.cells)
    rows = RowMaker(job.setting)
    if not sites()[part.edit.site].has_layer:
        layers: list[tuple[int | None, Integers]] = [(None, np.arange(n_rows))]
    else:
        env = rows.env(job.run, part.cells, part.items, job.extension)
        touched = touched_layers(job.setting, part.edit, part.variant, env)
        layers = [(int(layer), np.flatnonzero(touched[:, layer])) for layer in np.flatnonzero(touched.any(0))]
    found = []
    for layer, number in layers:
        env = rows.env(job.run, part.cells[number], part.items[number], job.extension)
        touch = _touch(part, layer, number, env, longest, source_owners is not None)
        if source_owners is not None:
            touch = replace(touch, source_owner=source_owners[touch.number])
            touch = touch.kept(source_owners[touch.number] >= 0)
        found.append(touch)
    return found


def row_axis(site: str) -> str:
    """The axis of a site along which rows of a pack lie."""
    return "query" if "query" in sites()[site].axes else "pos"


def _touch(
    part: EditPart, layer: int | None, number: Integers, env: Env, longest: int, copies: bool
) -> Touch:
    edit, setting = part.edit, part.job.setting
    inner = [a for a in sites()[edit.site].axes if a != "layer"]
    lengths = {a: longest if a in ("pos", "query", "key") else setting.sizes.of(a, edit.site) for a in inner}
    coordinates = written_coordinates(edit, layer, lengths)
    env = edit_env(setting, part.variant, env, coordinates)
    axis = row_axis(edit.site)
    others = [a for a in inner if a != axis]
    chosen = selected(setting, edit, part.variant, env, coordinates).spread((ROW, axis, *others))[0]
    chosen = np.broadcast_to(chosen, (len(number), longest, *chosen.shape[2:]))
    row, position = np.nonzero(chosen.any(tuple(range(2, chosen.ndim))))
    mask = chosen[row, position] if chosen.ndim > 2 and max(chosen.shape[2:], default=1) > 1 else None
    touch = Touch(part, layer, number[row], position, mask)
    if not copies:
        return touch
    assert isinstance(edit.value, SiteRead)
    source, there = _source_positions(edit.value, part, env, row, position)
    return replace(touch, source=source).kept(there)


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
