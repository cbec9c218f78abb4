"""The most likely tokens at every layer and position as a grid of words, coloured by their probability or by another
measure of the cell.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from glassbox_dsl.diagnostics import Findings
from glassbox_dsl.report import errors, words
from glassbox_dsl.report.chart import Chart
from glassbox_dsl.report.grid import exact
from glassbox_dsl.report.material import Material
from glassbox_dsl.report.page import Block, Figure, Table
from glassbox_dsl.report.panels import heading
from glassbox_dsl.report.select import Question
from glassbox_dsl.report.select import conditions as conditions_of
from glassbox_dsl.report.spec import ItemSpec
from glassbox_dsl.report.squares import Square, View, grids
from glassbox_dsl.report.ticks import Mark
from glassbox_dsl.report.tints import PROBABILITY, Tint, tint_of
from glassbox_dsl.store.rows import MeasureRow
from glassbox_dsl.store.views import SUMMARISED

BUDGET_BYTES = 400_000


@dataclass(frozen=True)
class LensFigure(Figure):
    """Token grids to choose from; the first is in the page without a script."""

    first: View | None = None
    views: tuple[str, ...] = ()
    tints: tuple[Tint, ...] = (PROBABILITY,)
    colour: int = 0

    def step(self, square: Square) -> str:
        """The class of a cell in the style sheet."""
        tint = self.tints[self.colour]
        return tint.step(tint.level(square.number(self.colour)))


def build(item: ItemSpec, material: Material, key: str) -> LensFigure:
    """The figure of one item. Raises Findings (GB655) for a measure that has no tokens."""
    measure = material.measure(item.source)
    name = f"{measure.experiment}.{measure.measure}"
    if measure.kind != "top":
        raise Findings(
            [errors.wrong_axes(name, "lens", "one number per cell", "tokens: a measure of top(...)")]
        )
    held = ItemSpec(
        kind=item.kind, source=item.source, options={k: v for k, v in item.options.items() if k != "color"}
    )
    sql = statement(held, measure, material, TOKENS)
    rows = list(material.ask(sql).dicts())
    x, y = axes(held, measure, material)
    beside = others(measure, material)
    queries = [statement(held, other, material, ("value",)) for other in beside]
    views = grids(rows, x, y, measure, material, [list(material.ask(query).dicts()) for query in queries])
    kept, data = within_budget(views)
    tints = (PROBABILITY, *(tint(other, kept, i) for i, other in enumerate(beside, 1)))
    colour = next((i for i, other in enumerate(beside, 1) if other.measure == item.role("color")), 0)
    notes = [] if views else ["The run stored no number for this figure."]
    if len(kept) < len(views):
        notes.append(
            f"{len(kept)} of {len(views)} grids are in this page, to keep it small; the query gives all."
        )
    return LensFigure(
        key=key,
        kind="lens",
        **heading(item, measure),
        caption=caption(name, material, tints, colour),
        sql=";\n\n".join((sql, *queries)),
        notes=tuple(notes),
        tables=(listing(kept[0]),) if kept else (),
        data={**data, "tints": [one.packed() for one in tints], "colour": colour},
        first=kept[0] if kept else None,
        views=tuple(view.title for view in kept),
        tints=tints,
        colour=colour,
    )


def still(item: ItemSpec, material: Material) -> tuple[Block, ...]:
    """The first grid of one item for paper, with what its colours stand for. Raises Findings (GB655)."""
    figure = build(item, material, "still")
    if figure.first is None:
        return ()
    tint = figure.tints[figure.colour]
    return words.grid(figure.first, tint, figure.colour), words.key(tint)


def caption(name: str, material: Material, tints: Sequence[Tint], colour: int) -> str:
    """What a cell says, and of how many items; what it is coloured by, and could be."""
    items = len({(item.data, item.item) for item in material.items if item.kept})
    what = f"{name}: the token that each cell makes most likely, the last layer on top. One item at a time (n = 1)"
    names = ["the probability of the token", *(tint.name for tint in tints[1:])]
    chosen = names.pop(colour)
    rest = f"; {' or '.join(names)} can be chosen in its place" if names else ""
    return f"{what}; the run has {items}. The colour is {chosen}{rest}."


def others(measure: MeasureRow, material: Material) -> tuple[MeasureRow, ...]:
    """The measures of the experiment that say a number of each cell of the grid, item by item."""
    return tuple(
        other
        for other in material.measures
        if other.experiment == measure.experiment
        and other.variables == measure.variables
        and other.kind in SUMMARISED
        and other.has_items
    )


def tint(measure: MeasureRow, views: Sequence[View], which: int) -> Tint:
    """The colours of another measure."""
    squares = (square for view in views for row in view.squares for square in row if square is not None)
    return tint_of(measure.measure, measure.unit or "", (square.number(which) for square in squares))


TOKENS = ("rank", "token_id", "token", "logit", "prob")


def statement(item: ItemSpec, measure: MeasureRow, material: Material, numbers: tuple[str, ...]) -> str:
    """The query: every ranked token of the measure, or the number of another one."""
    columns = []
    for placed in material.columns(measure).values():
        columns += [material.name(c) for c in (placed.shown, placed.shown_label) if c is not None]
    lines = [
        "SELECT " + ", ".join(("model", "data", "item", *columns, *numbers)),
        f"FROM {material.table(measure, summary=False)}",
    ]
    conditions = conditions_of(Question(item, measure, material))
    lines += ["WHERE " + " AND ".join(conditions)] if conditions else []
    return "\n".join((*lines, "ORDER BY ALL"))


def axes(item: ItemSpec, measure: MeasureRow, material: Material) -> tuple[str, str]:
    """Columns and rows of the grid: positions across (items where the measure has none), layers up."""
    names = [v.name for v in measure.variables]
    positions = [v.name for v in measure.variables if v.kind == "position"]
    y = item.role("y") or (
        "layer" if "layer" in names else next((n for n in names if n not in positions), "model")
    )
    x = item.role("x") or next((n for n in positions if n != y), "item")
    return x, y


def within_budget(views: Sequence[View]) -> tuple[tuple[View, ...], dict[str, Any]]:
    """As many grids as fit into a page, the first always, and what the script reads: words once, cells by
    number.
    """
    vocabulary: dict[str, int] = {}
    kept: list[View] = []
    packed: list[dict[str, Any]] = []
    size = 0
    for view in views:
        pack = {
            "title": view.title,
            "prompts": view.prompts,
            "x": spoken(view),
            "y": view.y.spoken(),
            "xl": view.x.labels,
            "tokens": [m.text for m in view.x.marks],
            "labels": view.labels,
            "yl": view.y.labels,
            "cells": [[_packed(square, vocabulary) for square in row] for row in view.squares],
        }
        size += len(json.dumps(pack, separators=(",", ":")))
        if kept and size > BUDGET_BYTES:
            break
        kept.append(view)
        packed.append(pack)
    return tuple(kept), {"words": list(vocabulary), "views": packed}


def spoken(view: View) -> tuple[str, ...]:
    """The columns in words: `pos 9 (␣John, s2)`."""
    marks = view.x.marks or (Mark(),) * len(view.x.labels)
    notes = [", ".join(t for t in (m.text, label) if t) for m, label in zip(marks, view.labels, strict=True)]
    return tuple(
        f"{view.x.name} {at}" + (f" ({note})" if note else "")
        for at, note in zip(view.x.labels, notes, strict=True)
    )


def _packed(square: Square | None, vocabulary: dict[str, int]) -> list[Any] | None:
    """The ranked tokens of a cell as (word, probability, logit) in a row, then its other numbers."""
    if square is None:
        return None
    flat: list[Any] = []
    for word in square.words:
        flat += [vocabulary.setdefault(word.token, len(vocabulary)), _short(word.prob), _short(word.logit)]
    return [flat, *(_short(number) for number in square.others)]


def _short(value: float) -> float | None:
    """A number with the digits of a float32; None where there is none."""
    return float(f"{value:.7g}") if math.isfinite(value) else None


def listing(view: View) -> Table:
    """The grid that stands in the page, every ranked token with its numbers."""
    rows = []
    for y, row in zip(view.y.spoken(), view.squares, strict=True):
        for x, square in zip(spoken(view), row, strict=True):
            words = () if square is None else square.words
            rows += [(y, x, str(i), w.token, exact(w.prob), exact(w.logit)) for i, w in enumerate(words, 1)]
    keep = 600
    return Table(
        columns=(view.y.name, view.x.name, "rank", "token", "prob", "logit"),
        rows=tuple(rows[:keep]),
        numeric=(False, False, True, False, True, True),
        caption=view.title,
        left_out=max(0, len(rows) - keep),
    )


TEMPLATE = """
{% set view = figure.first %}
{% if view %}
<div class="lens" data-figure="{{ figure.key }}">
  <div class="controls" hidden>
  {% if figure.views|length > 1 %}
  <label>Show <select class="view">
  {% for title in figure.views %}<option value="{{ loop.index0 }}">{{ title }}</option>{% endfor %}
  </select></label>
  {% endif %}
  {% if figure.tints|length > 1 %}
  <label>colour <select class="colour">
  {% for tint in figure.tints %}<option value="{{ loop.index0 }}">{{ tint.name }}</option>{% endfor %}
  </select></label>
  {% endif %}
  </div>
  <h3 class="shown">{{ view.title }}</h3>
  <dl class="list prompts">{% for name, text in view.prompts %}<dt>{{ name }}</dt><dd>{{ text }}</dd>{% endfor %}</dl>
  <p class="key"><span>{{ figure.tints[figure.colour].name }}</span>
  {% for step, text in figure.tints[figure.colour].key %}<span class="{{ step }}">{{ text }}</span>{% endfor %}</p>
  <div class="panels">
  <div class="scroll" tabindex="0" role="region" aria-label="{{ figure.title }}">
  <table class="tokens">
    <thead><tr><th scope="col">{{ view.y.name }} \\ {{ view.x.name }}</th>
    {% for label in view.x.labels %}
    {% set token = view.x.marks[loop.index0].text if view.x.marks else "" %}
    {% set name = view.labels[loop.index0] %}
    <th scope="col">{{ label }}
    {%- if token %}<br><span class="soft">{{ token }}</span>{% endif %}
    {%- if name %}<br><span class="strong">{{ name }}</span>{% endif %}</th>
    {% endfor %}</tr></thead>
    <tbody>
    {% for row in view.squares %}
    <tr><th scope="row">{{ view.y.labels[loop.index0] }}</th>
    {%- for square in row -%}
    {% if square and square.words %}<td class="{{ figure.step(square) }}">{{ square.words[0].token }}</td>
    {%- else %}<td class="none"></td>{% endif %}
    {%- endfor %}</tr>
    {% endfor %}
    </tbody>
  </table>
  </div>
  <div class="cell" hidden>
    <h3 class="which"></h3>
    <table class="values"><thead><tr><th scope="col" class="number">rank</th><th scope="col">token</th>
    <th scope="col" class="number">probability</th><th scope="col" class="number">logit</th></tr></thead>
    <tbody></tbody></table>
    <dl class="list numbers"></dl>
    <p class="state"><span></span>
    <button type="button" class="free">let go (Esc)</button>
    <a class="link" href="#{{ figure.key }}">link to this</a></p>
  </div>
  </div>
  <p class="soft help" hidden>Point at a cell for its ranked tokens; click it, or press Enter on it, to keep it.
  Arrow keys move, Esc lets go.</p>
</div>
{% endif %}
"""

CHART = Chart("lens", "a grid of the most likely tokens", build, TEMPLATE, still)
