"""Recorded attention patterns: small pictures of all heads, and one head large with its tokens."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from glassbox_dsl.diagnostics import Findings
from glassbox_dsl.report import errors
from glassbox_dsl.report.chart import Chart
from glassbox_dsl.report.colours import Scale, scale_of
from glassbox_dsl.report.grid import Bar, Drawn, Panel, colour_bar, draw, exact
from glassbox_dsl.report.material import Material, text_literal
from glassbox_dsl.report.page import Figure, Table
from glassbox_dsl.report.png import data_uri, png
from glassbox_dsl.report.spec import ItemSpec
from glassbox_dsl.report.ticks import Ticks, shown
from glassbox_dsl.report.visible import visible_token
from glassbox_dsl.store.reader import RecordInfo, array

EXACT_BYTES = 220_000
ROUGH_BYTES = 500_000


@dataclass(frozen=True)
class View:
    """All heads of one model on one item: `weights` [layer, head, query, key], NaN where there is none."""

    title: str
    layers: tuple[str, ...]
    heads: tuple[str, ...]
    query: tuple[str, ...]
    key: tuple[str, ...]
    weights: NDArray[np.float32]

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
class AttentionFigure(Figure):
    """Patterns to choose from; the picture of all heads of the first is in the page without a script."""

    heads: Drawn | None = None
    bar: Bar | None = None
    views: tuple[str, ...] = ()


def build(item: ItemSpec, material: Material, key: str) -> AttentionFigure:
    """The figure of one item. Raises Findings (GB652, GB655)."""
    name = ".".join(item.source)
    found = matching(item, material)
    views, left_out, is_exact = gathered(found, material)
    scale = shared_scale(views)
    caption = (
        f"{name}: how much each query position (row) attends to each key position (column),"
        " one item at a time."
        " Point at a head to see it, click or press Enter to keep it, Esc to let go."
    )
    notes = [] if is_exact else [
        f"Weights are kept in this page in 255 steps (to ±{exact(round((scale.high - scale.low) / 508, 5))});"
        " the database has them exactly."
    ]  # fmt: skip
    if left_out:
        notes.append(f"{len(views)} of {len(views) + left_out} patterns are in this page, to keep it small.")
    return AttentionFigure(
        key=key,
        kind="attention",
        title=str(item.options.get("title") or name),
        caption=caption,
        sql=statement(item, material.run_id),
        notes=tuple(notes),
        tables=(strongest(views[0]),),
        data={
            "low": scale.low, "high": scale.high, "stops": scale.stops, "exact": is_exact,
            "views": [packed(view, scale, is_exact) for view in views],
        },
        heads=small(views[0], scale),
        bar=colour_bar(scale, "attention"),
        views=tuple(view.title for view in views),
    )  # fmt: skip


def statement(item: ItemSpec, run_id: str) -> str:
    """The query that lists the recorded tensors; their numbers are in the column `bytes`."""
    experiment, record = tuple(item.source)
    where = [f"run_id = {text_literal(run_id)}"]
    where += [f"experiment = {text_literal(experiment)}", f"record = {text_literal(record)}"]
    where += [
        f"{axis} = {text_literal(v) if isinstance(v, str) else v}"
        for axis, v in item.fixed.items()
        if axis in FIXABLE
    ]
    columns = "model, data, item, cell, axes, shape, dtype, labels, bytes"
    return f"SELECT {columns}\nFROM main.tensors\nWHERE " + " AND ".join(where)


FIXABLE = ("model", "data", "item")


def matching(item: ItemSpec, material: Material) -> tuple[RecordInfo, ...]:
    """The stored tensors of an item. Raises Findings (GB652, GB655)."""
    source, name = tuple(item.source), ".".join(item.source)
    mine = [r for r in material.records if (r.experiment, r.record) == source]
    if not mine:
        raise Findings(
            [errors.no_source("record", name, {f"{r.experiment}.{r.record}" for r in material.records})]
        )
    wrong = next((r for r in mine if r.axes[-2:] != ("query", "key")), None)
    if wrong is not None:
        raise Findings(
            [errors.wrong_axes(name, "attention", ", ".join(wrong.axes), "query and key as its last axes")]
        )
    fixed = {axis: value for axis, value in item.fixed.items() if axis in FIXABLE}
    kept = [r for r in mine if all(getattr(r, axis) == value for axis, value in fixed.items())]
    if not kept:
        axis, value = next(iter(fixed.items()))
        known = ", ".join(dict.fromkeys(shown(getattr(r, axis)) for r in mine))
        raise Findings([errors.no_such_cell(name, axis, str(value), known)])
    return tuple(kept)


def gathered(found: Sequence[RecordInfo], material: Material) -> tuple[tuple[View, ...], int, bool]:
    """The views that fit into a page, how many were left out, and whether their numbers are kept exactly."""
    groups: dict[tuple[Any, ...], list[RecordInfo]] = {}
    for record in found:
        others = tuple((k, v) for k, v in record.cell.items() if k not in ("layer", "head"))
        groups.setdefault((record.model, record.data, record.item, others), []).append(record)
    order = {model.model: i for i, model in enumerate(material.models)}
    several_data = len({key[1] for key in groups}) > 1
    sizes = {key: sum(int(np.prod(r.shape)) for r in records) for key, records in groups.items()}
    is_exact = sum(sizes.values()) * 4 / 2 <= EXACT_BYTES
    views: list[View] = []
    size = 0.0
    # Item by item, so that a page that holds only some has the same items of every model.
    for key in sorted(groups, key=lambda k: (k[2] is None, k[2] or 0, order.get(k[0], len(order)))):
        size += sizes[key] / 2
        if views and not is_exact and size > ROUGH_BYTES:
            break
        views.append(view(key, groups[key], material, several_data))
    views.sort(key=lambda v: order.get(v.title.split(",")[0], len(order)))
    return tuple(views), len(groups) - len(views), is_exact


def view(key: tuple[Any, ...], records: Sequence[RecordInfo], material: Material, several_data: bool) -> View:
    """All tensors of one model and item as one [layer, head, query, key]."""
    blocks: dict[tuple[int, int], NDArray[np.float32]] = {}
    labels: dict[str, tuple[str | None, ...]] = {}
    for record in records:
        tensor = material.reader.tensor(
            record.experiment,
            record.record,
            record.model,
            record.data,
            record.item,
            record.cell,
            material.run_id,
        )
        labels.update(tensor.labels)
        blocks.update(matrices(array(tensor).astype(np.float32), record, tensor.labels))
    layers, heads = sorted({at[0] for at in blocks}), sorted({at[1] for at in blocks})
    n, m = next(iter(blocks.values())).shape
    weights = np.full((len(layers), len(heads), n, m), np.nan, dtype=np.float32)
    for (layer, head), block in blocks.items():
        weights[layers.index(layer), heads.index(head)] = np.where(np.isfinite(block), block, np.nan)
    model, data, item, others = key
    words = [model, *([data] if several_data else []), *([f"item {item}"] if item is not None else [])]
    return View(
        title=", ".join((*words, *(f"{k} {shown(v)}" for k, v in others))),
        layers=tuple(str(layer) for layer in layers),
        heads=tuple(str(head) for head in heads),
        query=names(labels.get("query"), n),
        key=names(labels.get("key"), m),
        weights=weights,
    )


def matrices(
    values: NDArray[np.float32], record: RecordInfo, labels: Any
) -> dict[tuple[int, int], NDArray[np.float32]]:
    """The [query, key] matrices of a tensor by (layer, head); an axis that it lacks comes from its cell."""
    found = {}
    for at in np.ndindex(*values.shape[:-2]):
        place = {axis: _index(labels, axis, i) for axis, i in zip(record.axes[:-2], at, strict=True)}
        layer, head = (int(place.get(axis, record.cell.get(axis, 0))) for axis in ("layer", "head"))
        found[layer, head] = values[at]
    return found


def _index(labels: Any, axis: str, at: int) -> int:
    """Which layer or head stands at an index: the label where it is a number, else the index itself."""
    label = (labels.get(axis) or {})[at] if labels.get(axis) else None
    return int(label) if label is not None and label.isdigit() else at


def names(labels: tuple[str | None, ...] | None, count: int) -> tuple[str, ...]:
    """The tokens along an axis; numbers where there are none."""
    labels = labels or (None,) * count
    return tuple(str(i) if label is None else visible_token(label) for i, label in enumerate(labels))


def shared_scale(views: Sequence[View]) -> Scale:
    """One scale for all patterns of a figure; weights of attention always start at 0."""
    values = np.concatenate([view.weights.ravel() for view in views]).astype(np.float64)
    scale = scale_of(values)
    return scale if scale.signed else Scale(0.0, scale.high, False)


def packed(view: View, scale: Scale, is_exact: bool) -> dict[str, Any]:
    """What the script reads: the weights head by head as base64, float32 or one byte each."""
    seen = view.weights[..., view.seen]
    raw = seen.astype("<f4").tobytes() if is_exact else scale.steps(seen.astype(np.float64)).tobytes()
    return {
        "title": view.title,
        "layers": view.layers,
        "heads": view.heads,
        "query": view.query,
        "key": view.key,
        "causal": view.causal,
        "weights": b64encode(raw).decode(),
    }


def small(view: View, scale: Scale) -> Drawn:
    """All heads of a view as one picture: heads across, the last layer on top, a transparent line between."""
    layers, heads, n, m = view.weights.shape
    steps = np.zeros((layers * (n + 1), heads * (m + 1)), dtype=np.uint8)
    masked = np.where(view.seen, view.weights, np.nan).astype(np.float64)
    for layer in range(layers):
        for head in range(heads):
            top, left = (layers - 1 - layer) * (n + 1), head * (m + 1)
            steps[top : top + n, left : left + m] = scale.steps(masked[layer, head])
    panel = Panel("", Ticks("head", view.heads), Ticks("layer", view.layers[::-1]), np.zeros((layers, heads)))
    side = min(34.0, max(14.0, min(640 / layers, 460 / heads)))
    drawn = draw(panel, scale, (side, side))
    return Drawn(**{**drawn.__dict__, "image": data_uri(png(steps, scale.palette()))})


def strongest(view: View) -> Table:
    """For each head of a view where it looks most, the first key left aside when there is another."""
    rows = []
    for i, layer in enumerate(view.layers):
        for j, head in enumerate(view.heads):
            matrix = np.where(np.isnan(view.weights[i, j]), -np.inf, view.weights[i, j])
            later = matrix.copy()
            later[:, 0] = -np.inf
            query, key = np.unravel_index(int(np.argmax(later)), later.shape)
            if np.isfinite(matrix[query, key]):
                place = (f"{query} {view.query[query]}", f"{key} {view.key[key]}")
                rows.append((layer, head, *place, exact(float(matrix[query, key]))))
    return Table(
        columns=("layer", "head", "query", "key", "weight"),
        rows=tuple(rows[:1000]),
        numeric=(True, True, False, False, True),
        caption=f"{view.title}: the largest weight of each head on a key other than the first",
        left_out=max(0, len(rows) - 1000),
    )


TEMPLATE = """
{% import "parts.html" as parts %}
<div class="attention" data-figure="{{ figure.key }}">
  <div class="controls" hidden>
    {% if figure.views|length > 1 %}
    <label>Show <select>
    {% for title in figure.views %}<option value="{{ loop.index0 }}">{{ title }}</option>{% endfor %}
    </select></label>
    {% endif %}
    <label><input type="checkbox" class="hide"> hide the first key</label>
    <label><input type="checkbox" class="share"> scale each row to a sum of 1</label>
    <span class="state"></span>
  </div>
  <div class="panels">
    <div class="heads">{{ parts.panel(figure.heads, figure.key, 0, figure.views[0], hatched=false) }}</div>
    <div class="head" hidden>
      <p class="which"></p>
      <svg class="panel matrix" tabindex="0" role="application" aria-roledescription="matrix"></svg>
      <p class="soft">Tokens: how strongly the marked query (outlined) attends to each.</p>
      <p class="strip"></p>
      <table class="top"><caption>Largest weights of this head</caption>
      <thead>
      <tr><th scope="col">query</th><th scope="col">key</th><th scope="col" class="number">weight</th></tr>
      </thead><tbody></tbody></table>
    </div>
  </div>
  {{ parts.bar(figure.bar, 0) }}
  <noscript><p class="soft">Without scripts this page shows all heads of the first item in one picture,
  and the table below.</p></noscript>
</div>
"""

CHART = Chart("attention", "recorded attention patterns, head by head", build, TEMPLATE)
