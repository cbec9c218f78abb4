"""Recorded attention as arrays: the tensors that an item names, as much of them as fits into a page.

A pattern of many tokens is shown in blocks of tokens. The first token keeps a block of its own, because heads that have
nothing to do look there (Xiao et al. 2023, arXiv:2309.17453), and a reader wants to see a pattern without it.
"""

from __future__ import annotations

import math
from base64 import b64encode
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from glassbox_dsl.diagnostics import Findings
from glassbox_dsl.report import errors
from glassbox_dsl.report.material import Material
from glassbox_dsl.report.select import layer_at
from glassbox_dsl.report.spec import ItemSpec
from glassbox_dsl.report.ticks import shown
from glassbox_dsl.report.visible import visible_token
from glassbox_dsl.store.reader import RecordInfo, array

Weights = NDArray[np.float32]

EXACT_BYTES: Final = 220_000  # up to here weights are kept as float32
ROUGH_BYTES: Final = 450_000  # up to here as float16; further items are left out
VIEW_BYTES: Final = 1_000_000  # what one view may take; more is put into blocks
MOST_TOKENS: Final = 512  # along an axis of a matrix; more are put into blocks
ONE: Final = -1  # the layer or head of a record of one, which does not say which
SIZED: Final = (("layer", "head", "pos"), ("layer", "kv_head", "pos"))
CONTEXT: Final = ("model", "data", "item")


@dataclass(frozen=True)
class View:
    """All heads of one model on one item: of the record `source` at `place` (the model first).

    `weights` [layer, head, query, key], NaN where there is none; `sizes` [layer, head, key], what a weight is
    multiplied by to weigh it by its value, or None. `block` tokens share a row or column (1: none do), the first stands
    alone. `summed`: a cell of blocks is a sum over its keys (and a mean over its queries), not a mean over both. There
    are no sizes of blocks, but `weighed`, blocks of the weights times their sizes.
    """

    source: tuple[str, str]
    place: tuple[Any, ...]
    title: str
    layers: tuple[str, ...]
    heads: tuple[str, ...]
    query: tuple[str, ...]
    key: tuple[str, ...]
    weights: Weights = field(repr=False)
    sizes: Weights | None = field(default=None, repr=False)
    weighed: Weights | None = field(default=None, repr=False)
    block: int = 1
    summed: bool = True

    @property
    def causal(self) -> bool:
        """Whether no query sees a key to its right, so that half of each matrix need not be kept."""
        n, m = self.weights.shape[-2:]
        above = self.weights[..., np.triu(np.ones((n, m), dtype=bool), 1)]
        return n == m and bool(np.all(np.isnan(above) | (above == 0)))

    @property
    def seen(self) -> NDArray[np.bool_]:
        """The cells that are kept [query, key]."""
        n, m = self.weights.shape[-2:]
        return np.tril(np.ones((n, m), dtype=bool)) if self.causal else np.ones((n, m), dtype=bool)


@dataclass(frozen=True)
class Gathered:
    """The views of a figure: how many did not fit, and whether the numbers are kept in full."""

    views: tuple[View, ...]
    left_out: int
    exact: bool


def gathered(item: ItemSpec, material: Material) -> Gathered:
    """The views that fit into a page, item by item, so that all models have the same ones; the first item always.

    Raises Findings (GB652, GB654, GB655).
    """
    found = [*matching(item, material, source(item))]
    minus = source(item, "minus")
    found += matching(item, material, minus) if minus else []
    sizes = sizes_of(item, material)
    exact = sum(math.prod(r.shape) for r in found) * 4 / 2 <= EXACT_BYTES
    views: list[View] = []
    kept, total = 0, 0
    for _, records in groupby(sorted(found, key=lambda r: _order(r, material)), lambda r: (r.item, r.model)):
        made = [blocks(view) for view in views_of(list(records), item, material, sizes)]
        if not made:
            continue
        total += len(made)
        kept += sum(int(view.weights.size) * (1 if view.weighed is None else 2) for view in made) // 2
        if not views or made[0].place[2] == views[0].place[2] or kept * 2 <= ROUGH_BYTES:
            views += made
    if not views:
        axis, value = next((a, v) for a, v in item.fixed.items() if a not in CONTEXT)
        raise Findings([errors.no_such_cell(".".join(item.source), axis, str(value), "")])
    models = [model.model for model in material.models]
    views.sort(key=lambda view: (models.index(view.place[0]), view.source != source(item)))
    return Gathered(tuple(views), total - len(views), exact and all(view.block == 1 for view in views))


def _order(record: RecordInfo, material: Material) -> tuple[Any, ...]:
    models = [model.model for model in material.models]
    return (record.item is None, record.item or 0, models.index(record.model))


# ---------------------------------------------------------------- which tensors


def source(item: ItemSpec, option: str | None = None) -> tuple[str, str] | None:
    """(experiment, record) of an item, or of the record that an option of it names."""
    assert not isinstance(item.source, str)
    if option is None:
        return item.source
    name = item.options.get(option)
    if name is None:
        return None
    first, _, rest = str(name).rpartition(".")
    return first or item.source[0], rest


def matching(item: ItemSpec, material: Material, of: tuple[str, str] | None) -> tuple[RecordInfo, ...]:
    """The stored tensors of a record that an item shows. Raises Findings (GB652, GB654, GB655)."""
    assert of is not None
    name = ".".join(of)
    mine = [r for r in material.records if (r.experiment, r.record) == of]
    if not mine:
        known = {f"{r.experiment}.{r.record}" for r in material.records}
        raise Findings([errors.no_source("record", name, known)])
    wrong = next((r for r in mine if r.axes[-2:] != ("query", "key")), None)
    if wrong is not None:
        needed = "query and key as its last axes"
        raise Findings([errors.wrong_axes(name, "attention", ", ".join(wrong.axes), needed)])
    kept = [r for r in mine if _wanted(item, r)]
    if not kept:
        axis, value = next((a, v) for a, v in item.fixed.items() if a in CONTEXT)
        there = ", ".join(dict.fromkeys(shown(getattr(r, axis)) for r in mine))
        raise Findings([errors.no_such_cell(name, axis, str(value), there)])
    return tuple(kept)


def _wanted(item: ItemSpec, record: RecordInfo) -> bool:
    """Whether a tensor is of the model, data set and item that the figure shows; its other axes are seen later."""
    return all(getattr(record, axis) == value for axis, value in item.fixed.items() if axis in CONTEXT)


# ---------------------------------------------------------------- from tensors to views


def views_of(
    records: Sequence[RecordInfo], item: ItemSpec, material: Material, sizes: Mapping[Any, Weights]
) -> Iterator[View]:
    """The views of one model on one item: one for each record, data set and cell of other axes than layer and head."""
    matrices: dict[tuple[tuple[str, str], str, tuple[Any, ...]], dict[tuple[int, int], Weights]] = {}
    labels: dict[Any, Mapping[str, Any]] = {}
    for record in records:
        of = record.experiment, record.record
        tensor = material.reader.tensor(
            *of, record.model, record.data, record.item, record.cell, material.run_id
        )
        labels[of, record.data] = tensor.labels
        values = array(tensor).astype(np.float32)
        for at in np.ndindex(*values.shape[:-2]):
            place = {**record.cell, **_place(record, tensor.labels, at)}
            if not _inside(item, place, record, material):
                continue
            where = tuple((a, v) for a, v in place.items() if a not in ("layer", "head"))
            block = matrices.setdefault((of, record.data, where), {})
            matrix = np.where(np.isfinite(values[at]), values[at], np.nan)
            block[int(place.get("layer", ONE)), int(place.get("head", ONE))] = matrix
    model, number = records[0].model, records[0].item
    several = len({data for _, data, _ in matrices}) > 1
    for (of, data, where), found in matrices.items():
        words = [model, *([data] if several else ()), *([f"item {number}"] if number is not None else ())]
        words += [f"{axis} {shown(value)}" for axis, value in where]
        words += [of[1] if of[0] == item.source[0] else ".".join(of)] if "minus" in item.options else []
        sized = sizes.get((model, data, number), sizes.get((model, data, None)))
        yield _view(of, (model, data, number, where), ", ".join(words), found, labels[of, data], sized)


def _place(record: RecordInfo, labels: Any, at: tuple[int, ...]) -> dict[str, Any]:
    """Where a matrix of a tensor stands: the label where there is one, else the index itself."""
    place: dict[str, Any] = {}
    for axis, i in zip(record.axes[:-2], at, strict=True):
        label = labels[axis][i] if labels.get(axis) else None
        place[axis] = i if label is None else int(label) if label.isdigit() else label
    return place


def _inside(item: ItemSpec, place: Mapping[str, Any], record: RecordInfo, material: Material) -> bool:
    """Whether an item shows the matrix at a place."""
    for axis, value in item.fixed.items():
        if axis in place and axis == "layer":
            value = layer_at(value, _fact(material, record.model, "n_layers"))
        if axis in place and place[axis] != value:
            return False
    return True


def _fact(material: Material, model: str, name: str) -> int:
    return int(next((m.facts.get(name, 0) for m in material.models if m.model == model), 0))


def _view(
    of: tuple[str, str],
    place: tuple[Any, ...],
    title: str,
    found: Mapping[tuple[int, int], Weights],
    tokens: Mapping[str, Any],
    sizes: Weights | None,
) -> View:
    n, m = next(iter(found.values())).shape
    recorded = {at: block for at, block in found.items() if not np.isnan(block).all()}
    found = recorded or found  # heads and layers that a record leaves out have no column
    layers, heads = sorted({at[0] for at in found}), sorted({at[1] for at in found})
    weights = np.full((len(layers), len(heads), n, m), np.nan, dtype=np.float32)
    for (layer, head), block in found.items():
        weights[layers.index(layer), heads.index(head)] = block
    return View(
        source=of,
        place=place,
        title=title,
        layers=tuple("–" if layer == ONE else str(layer) for layer in layers),
        heads=tuple("–" if head == ONE else str(head) for head in heads),
        query=names(tokens.get("query"), n),
        key=names(tokens.get("key"), m),
        weights=weights,
        sizes=None if sizes is None else _sized(sizes, layers, heads, m),
    )


def _sized(sizes: Weights, layers: list[int], heads: list[int], keys: int) -> Weights:
    """The sizes of the heads of a view. Raises Findings (GB655): those of other layers, heads or positions."""
    known = ONE not in (layers[0], heads[0]) and layers[-1] < sizes.shape[0] and heads[-1] < sizes.shape[1]
    if not known or sizes.shape[2] != keys:
        found = f"sizes of {sizes.shape[0]} layers, {sizes.shape[1]} heads and {sizes.shape[2]} positions"
        needed = f"those of the layers and heads that are shown, at {keys} positions"
        raise Findings([errors.wrong_axes("value:", "attention", found, needed)])
    return sizes[np.ix_(layers, heads)]


def names(labels: tuple[str | None, ...] | None, count: int) -> tuple[str, ...]:
    """The tokens along an axis; numbers where there are none."""
    labels = labels or (None,) * count
    return tuple(str(i) if label is None else visible_token(label) for i, label in enumerate(labels))


# ---------------------------------------------------------------- what a weight is multiplied by


def sizes_of(item: ItemSpec, material: Material) -> dict[tuple[str, str, int | None], Weights]:
    """The record that `value:` names, such as the lengths of values, as [layer, head, key] by model, data set and item.

    A size of a group of heads (axis kv_head) is that of each head of it. Raises Findings (GB652, GB655).
    """
    named = source(item, "value")
    if named is None:
        return {}
    mine = [r for r in material.records if (r.experiment, r.record) == named]
    name = ".".join(named)
    if not mine:
        known = {f"{r.experiment}.{r.record}" for r in material.records}
        raise Findings([errors.no_source("record", name, known)])
    found = {}
    for record in mine:
        tensor = material.reader.tensor(
            *named, record.model, record.data, record.item, record.cell, material.run_id
        )
        partial = any(tensor.labels.get(axis) for axis in record.axes[:2])  # some layers or heads only
        if record.axes not in SIZED or record.cell or partial:
            needed = "all of layer, head or kv_head, and pos"
            raise Findings([errors.wrong_axes(name, "value: of attention", ", ".join(record.axes), needed)])
        values = array(tensor).astype(np.float32)
        if "kv_head" in record.axes:
            values = values.repeat(_fact(material, record.model, "n_heads") // values.shape[1], axis=1)
        found[record.model, record.data, record.item] = values
    return found


# ---------------------------------------------------------------- many tokens


def blocks(view: View) -> View:
    """The view with so many tokens in a row and column that it fits: one by one where that does."""
    layers, heads, n, m = view.weights.shape

    def step(bytes_: float) -> int:
        side = min(float(MOST_TOKENS), math.sqrt(bytes_ / (layers * heads)))  # float16, half of each matrix
        count: int = max(1, math.ceil(max(n, m) / side))
        return count

    if step(VIEW_BYTES) == 1:
        return view
    return pooled(view, step(VIEW_BYTES if view.sizes is None else VIEW_BYTES / 2))


def pooled(view: View, step: int) -> View:
    """The view in blocks of `step` tokens, the first token by itself.

    Of a pattern (or a difference of two) a cell is the weight that its keys get together, a mean over its queries, so
    that rows still sum to 1; of anything else it is the mean over the block. Masked cells do not count. Weights are
    weighed by their values before they are put together.
    """
    n, m = view.weights.shape[-2:]
    rows, columns = (np.r_[0, np.arange(1, size, step)] for size in (n, m))
    there = np.isfinite(view.weights)
    summed = bool(np.abs(np.where(there, view.weights, 0)).sum(-1, dtype=np.float64).max(initial=0) <= 2.001)
    queries = np.diff(np.r_[rows, n])[:, None]

    def added(values: NDArray[Any]) -> NDArray[Any]:
        return np.add.reduceat(np.add.reduceat(values, rows, -2), columns, -1)

    count = added(there.astype(np.int64))

    def together(weights: Weights) -> Weights:
        value = added(np.where(there, weights, 0).astype(np.float64)) / (
            queries if summed else np.maximum(count, 1)
        )
        return np.where(count > 0, value, np.nan).astype(np.float32)

    return replace(
        view,
        weights=together(view.weights),
        weighed=None if view.sizes is None else together(view.weights * view.sizes[:, :, None, :]),
        query=spans(view.query, rows),
        key=spans(view.key, columns),
        sizes=None,
        block=step,
        summed=summed,
    )


def spans(tokens: Sequence[str], starts: NDArray[np.int64]) -> tuple[str, ...]:
    """What blocks of tokens are called: the places of the first and last, and the first token."""
    ends = [*(int(s) - 1 for s in starts[1:]), len(tokens) - 1]
    return tuple(
        tokens[int(a)] if int(a) == b else f"{a}–{b} {tokens[int(a)]}"
        for a, b in zip(starts, ends, strict=True)
    )


# ---------------------------------------------------------------- what the script reads


def packed(view: View, exact: bool) -> dict[str, Any]:
    """A view for the script: the weights head by head as base64, float32 or float16.

    Weighed ones are divided by the largest, which float16 may not reach.
    """

    largest = 1.0 if view.weighed is None else float(np.nanmax(np.abs(view.weighed), initial=0)) or 1.0

    def coded(weights: Weights) -> str:
        return b64encode(weights[..., view.seen].astype("<f4" if exact else "<f2").tobytes()).decode()

    return {
        "title": view.title,
        "model": view.place[0],
        "layers": view.layers,
        "heads": view.heads,
        "query": view.query,
        "key": view.key,
        "causal": view.causal,
        "weights": coded(view.weights),
        "weighed": None if view.weighed is None else coded(view.weighed / np.float32(largest)),
        "largest": largest,
        "sizes": None if view.sizes is None else [float(f"{v:.7g}") for v in view.sizes.ravel().tolist()],
    }
