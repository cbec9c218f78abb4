"""Recorded attention patterns: small pictures of all heads, and one head large with its tokens."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from glassbox_dsl.report import words
from glassbox_dsl.report.chart import Chart
from glassbox_dsl.report.colours import AMOUNT, SIGNED, Scale, scale_of
from glassbox_dsl.report.grid import Bar, Drawn, Panel, colour_bar, draw, exact
from glassbox_dsl.report.material import Material, text_literal
from glassbox_dsl.report.page import Block, Figure, Table
from glassbox_dsl.report.patterns import CONTEXT, Gathered, View, gathered, packed, source
from glassbox_dsl.report.png import data_uri, enlarged, png
from glassbox_dsl.report.spec import ItemSpec
from glassbox_dsl.report.ticks import Mark, Ticks
from glassbox_dsl.report.visible import printed

POOLED = ("mean", "max")
"""What stands beside the heads of a layer: their mean, and of each cell the weight farthest from 0."""
MOST_ROWS = 1000
MOST_LARGE = 4
"""Heads that stand large on paper; more are drawn small, all in one picture."""
GRAIN = 8
"""Pixels to the side of a cell on paper: programs that show PDF blur the borders of single ones."""


@dataclass(frozen=True)
class AttentionFigure(Figure):
    """Patterns to choose from; the picture of all heads of the first is in the page without a script."""

    heads: Drawn | None = None
    bar: Bar | None = None
    views: tuple[str, ...] = ()
    first: str = ""
    weighed: bool = False


def build(item: ItemSpec, material: Material, key: str) -> AttentionFigure:
    """The figure of one item. Raises Findings (GB652, GB654, GB655)."""
    found = gathered(item, material)
    views = found.views
    other = [partner(view, views, source(item, "minus")) for view in views]
    first, scale, bar = begins_with(views, other[0])
    name = ".".join(item.source) + (f" − {item.options['minus']}" if "minus" in item.options else "")
    return AttentionFigure(
        key=key,
        kind="attention",
        title=str(item.options.get("title") or name),
        group=next((m.title for m in material.measures if m.experiment == item.source[0]), ""),
        caption=caption(item, material),
        sql=statement(item, material.run_id),
        notes=notes(found),
        tables=(strongest(first),),
        data={
            "amount": AMOUNT, "signed": SIGNED, "exact": found.exact, "minus": other,
            "views": [packed(view, found.exact) for view in views],
        },
        heads=small(first, scale),
        bar=bar,
        views=tuple(view.title for view in views),
        first=first.title,
        weighed=any(view.sizes is not None or view.weighed is not None for view in views),
    )  # fmt: skip


def begins_with(views: tuple[View, ...], minus: int | None) -> tuple[View, Scale, Bar]:
    """What a page shows before anything is chosen: the first view, less that of the record to subtract."""
    view = views[0]
    if minus is None:
        scale = shared_scale(views)
        return view, scale, colour_bar(scale, "attention")
    other = views[minus]
    gone = replace(view, weights=view.weights - other.weights, title=f"{view.title} − {other.title}")
    scale = scale_of(gone.weights.astype(np.float64))
    return gone, scale, colour_bar(scale, "difference of attention")


def still(item: ItemSpec, material: Material) -> tuple[Block, ...]:
    """The first view of one item for paper: all heads small, or a few of them large with their tokens.

    Raises Findings (GB652, GB654, GB655).
    """
    views = gathered(item, material).views
    view, scale, bar = begins_with(views, partner(views[0], views, source(item, "minus")))
    colours = Block(260.0, 48.0, "named_ramp", bar, below=True)
    places = list(np.ndindex(len(view.layers), len(view.heads)))
    if len(places) > MOST_LARGE:
        return part(replace(small(view, scale, GRAIN), title=view.title)), colours
    parts = [part(large(view, at, scale, 260 if len(places) == 1 else 220)) for at in places]
    return words.heading(view.title), replace(parts[0], below=True), *parts[1:], colours


def part(panel: Drawn) -> Block:
    """A matrix as a part of a figure."""
    return Block(panel.total_width, panel.total_height, "cells", panel, panel.title)


def large(view: View, at: tuple[int, ...], scale: Scale, target: float) -> Drawn:
    """One head, about `target` pixels wide without its words, each row and column with its token."""
    layer, head = (names[i] for names, i in zip((view.layers, view.heads), at, strict=True))
    key = Ticks(
        "key", tuple(str(i) for i in range(len(view.key))), tuple(Mark(printed(text)) for text in view.key)
    )
    query = Ticks("query", tuple(words.cut(printed(text)) for text in view.query))
    weights = np.where(view.seen, view.weights[at], np.nan).astype(np.float64)
    side = min(22.0, max(3.0, target / max(weights.shape)))
    title = "" if layer == head == "–" else f"layer {layer}, head {head}"
    return draw(Panel(title, key, query, weights), scale, (side, side), grain=GRAIN)


def caption(item: ItemSpec, material: Material) -> str:
    """What a cell means, and that nothing is averaged unless the reader asks."""
    name, minus = ".".join(item.source), item.options.get("minus")
    items = {r.item for r in material.records if (r.experiment, r.record) == tuple(item.source)} - {None}
    what = f"{name}: how much each query position (row) attends to each key position (column)"
    what += f", less the same of {minus}: red is less, blue is more" if minus else ""
    return f"{what}. One item at a time (n = 1); the run has {len(items)}." if items else f"{what}."


def notes(found: Gathered) -> tuple[str, ...]:
    """What a reader must know: rounded numbers, tokens in blocks, patterns that are left out."""
    said = []
    if not found.exact:
        said.append("This page keeps weights to 3 digits (float16); the database has them in full.")
    wide = [view for view in found.views if view.block > 1]
    if wide:
        steps = " or ".join(str(step) for step in sorted({view.block for view in wide}))
        cell = (
            "the weight of its keys together, averaged over its queries"
            if wide[0].summed
            else "the mean of its cells"
        )
        said.append(
            f"Long prompts are shown in blocks of {steps} tokens, the first token by itself; a cell is {cell}."
            " The table lists the strongest blocks; the query gives every weight."
        )
    if found.left_out:
        count = len(found.views)
        said.append(f"{count} of {count + found.left_out} patterns are in this page, to keep it small.")
    return tuple(said)


def partner(view: View, views: tuple[View, ...], minus: tuple[str, str] | None) -> int | None:
    """The view of the record to subtract at the same place; None where there is none."""
    fits = (
        i
        for i, other in enumerate(views)
        if other.source == minus and other.place == view.place and other.weights.shape == view.weights.shape
    )
    return None if view.source == minus else next(fits, None)


def statement(item: ItemSpec, run_id: str) -> str:
    """The query that lists the recorded tensors; their numbers are in the column `bytes`."""
    experiment, record = tuple(item.source)
    where = [f"run_id = {text_literal(run_id)}"]
    where += [f"experiment = {text_literal(experiment)}", f"record = {text_literal(record)}"]
    where += [
        f"{axis} = {text_literal(v) if isinstance(v, str) else v}"
        for axis, v in item.fixed.items()
        if axis in CONTEXT
    ]
    columns = "model, data, item, cell, axes, shape, dtype, labels, bytes"
    return f"SELECT {columns}\nFROM main.tensors\nWHERE " + " AND ".join(where)


def shared_scale(views: tuple[View, ...]) -> Scale:
    """One scale for all patterns of a figure; weights of attention always start at 0."""
    scale = scale_of(np.concatenate([view.weights.ravel() for view in views]).astype(np.float64))
    return scale if scale.signed else Scale(min(0.0, scale.low), max(0.0, scale.high), False)


def small(view: View, scale: Scale, grain: int = 1) -> Drawn:
    """All heads as one picture: heads across, then what they have in common; the last layer on top."""
    masked = np.where(view.seen, view.weights, np.nan)
    tiles = beside(masked) if len(view.heads) > 1 else masked
    layers, columns, n, m = tiles.shape
    steps = np.zeros((layers * (n + 1), columns * (m + 1)), dtype=np.uint8)  # a transparent line between
    for layer, column in np.ndindex(layers, columns):
        top, left = (layers - 1 - layer) * (n + 1), column * (m + 1)
        steps[top : top + n, left : left + m] = scale.steps(tiles[layer, column].astype(np.float64))
    pooled = POOLED[: columns - len(view.heads)]
    marks = tuple(Mark(text, strong=bool(text)) for text in (*("" for _ in view.heads), *pooled))
    across = Ticks("head", (*view.heads, *("" for _ in pooled)), marks if pooled else ())
    panel = Panel("", across, Ticks("layer", view.layers[::-1]), np.zeros((layers, columns)))
    side = min(34.0, max(14.0, min(640 / layers, 460 / columns)))
    return replace(
        draw(panel, scale, (side, side)), image=data_uri(png(enlarged(steps, grain), scale.palette()))
    )


def beside(weights: NDArray[np.float32]) -> NDArray[np.float32]:
    """[layer, head, query, key] with the mean over heads and the value farthest from 0 behind the heads."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # cells that no head has
        mean = np.nanmean(weights, axis=1, keepdims=True)
    far = np.argmax(np.nan_to_num(np.abs(weights), nan=-1.0), axis=1, keepdims=True)
    return np.concatenate([weights, mean, np.take_along_axis(weights, far, axis=1)], axis=1)


def strongest(view: View) -> Table:
    """For each head of a view where it looks most, the first key left aside when there is another."""
    rows = []
    for i, layer in enumerate(view.layers):
        for j, head in enumerate(view.heads):
            size = np.nan_to_num(np.abs(view.weights[i, j]), nan=-1.0)
            later = size.copy()
            later[:, 0] = -1.0
            query, key = np.unravel_index(int(np.argmax(later)), later.shape)
            if size[query, key] >= 0:
                place = (f"{query} {view.query[query]}", f"{key} {view.key[key]}")
                rows.append((layer, head, *place, exact(float(view.weights[i, j, query, key]))))
    return Table(
        columns=("layer", "head", "query", "key", "weight"),
        rows=tuple(rows[:MOST_ROWS]),
        numeric=(True, True, False, False, True),
        caption=f"{view.title}: the largest weight of each head on a key other than the first",
        left_out=max(0, len(rows) - MOST_ROWS),
    )


TEMPLATE = """
{% import "parts.html" as parts %}
<div class="attention" data-figure="{{ figure.key }}">
  <div class="controls" hidden>
    {% if figure.views|length > 1 %}
    <label>Show <select class="view">
    {% for title in figure.views %}<option value="{{ loop.index0 }}">{{ title }}</option>{% endfor %}
    </select></label>
    <label>minus <select class="minus"></select></label>
    {% endif %}
    <label><input type="checkbox" class="hide"> hide the first key</label>
    <label><input type="checkbox" class="share"> scale each row to a sum of 1</label>
    {% if figure.weighed %}
    <label><input type="checkbox" class="weigh"> weigh by the size of the value</label>
    {% endif %}
  </div>
  <p class="state" hidden><span></span>
  <button type="button" class="free">let go (Esc)</button> <a class="link" href="#{{ figure.key }}">link to this</a></p>
  <div class="panels">
    <div class="heads">{{ parts.panel(figure.heads, figure.key, 0, figure.first, hatched=false) }}
    {{ parts.bar(figure.bar, 0) }}</div>
    <div class="head" hidden>
      <h3 class="which"></h3>
      <svg class="panel matrix" tabindex="0" role="application" aria-roledescription="matrix"></svg>
      <div class="controls"><label>Tokens show <select class="turn">
      <option value="keys">what the marked query looks at</option>
      <option value="queries">who looks at the marked token</option></select></label></div>
      <p class="strip"></p>
      <table class="top"><caption>The largest weights here</caption>
      <thead>
      <tr><th scope="col">query</th><th scope="col">key</th><th scope="col" class="number">weight</th></tr>
      </thead><tbody></tbody></table>
    </div>
  </div>
  <p class="soft help" hidden>Point at a head to see it large; click it, or press Enter on it, to keep it.
  In the large matrix a click keeps the query. Arrow keys move, Esc lets go.</p>
  <noscript><p class="soft">Without scripts this page shows all heads of {{ figure.first }} in one picture,
  and the table below.</p></noscript>
</div>
"""

CHART = Chart("attention", "recorded attention patterns, head by head", build, TEMPLATE, still)
