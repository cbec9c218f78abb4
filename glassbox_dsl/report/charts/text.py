"""Texts that models wrote, item by item: the prompt, and beneath it what each model and cell went on with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from glassbox_dsl.diagnostics import Findings
from glassbox_dsl.report import errors
from glassbox_dsl.report.chart import Chart
from glassbox_dsl.report.material import Material
from glassbox_dsl.report.page import Figure
from glassbox_dsl.report.panels import heading
from glassbox_dsl.report.select import Question, conditions
from glassbox_dsl.report.spec import ItemSpec
from glassbox_dsl.report.ticks import shown
from glassbox_dsl.store.rows import ItemRow

MOST_TEXTS = 60


@dataclass(frozen=True)
class Sample:
    """One item: its prompts by name, and (where, text) for each model and cell."""

    title: str
    prompts: tuple[tuple[str, str], ...]
    texts: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class TextFigure(Figure):
    """Texts of some items, the first ones of the data."""

    samples: tuple[Sample, ...] = ()


def build(item: ItemSpec, material: Material, key: str) -> TextFigure:
    """The figure of one item. Raises Findings (GB652, GB654, GB655)."""
    measure = material.measure(item.source)
    name = f"{measure.experiment}.{measure.measure}"
    if measure.kind != "text":
        raise Findings([errors.wrong_axes(name, "text", "numbers", "texts")])
    question = Question(item, measure, material)
    sql = statement(question)
    rows = list(material.ask(sql).dicts())
    if not rows and item.fixed:
        axis, value = next(iter(item.fixed.items()))
        raise Findings([errors.no_such_cell(name, axis, str(value), "")])
    samples = gathered(question, rows[:MOST_TEXTS])
    items = len({(row["data"], row.get("item")) for row in rows})
    notes = []
    if not rows:
        notes.append("The run stored no text for this figure.")
    if len(rows) > MOST_TEXTS:
        notes.append(
            f"{MOST_TEXTS} of {len(rows)} texts are shown, the first items of the data; the query gives all."
        )
    return TextFigure(
        key=key,
        kind="text",
        **heading(item, measure),
        caption=f"{name}: {len(rows)} texts of {items} items, as the models wrote them.",
        sql=sql,
        notes=tuple(notes),
        samples=samples,
    )


def statement(question: Question) -> str:
    """The query that gives the texts, items in the order of the data."""
    material = question.material
    own = [material.name(name) for placed in question.columns.values() for name in _columns(placed)]
    context = ["model", "data", *(["item"] if question.measure.has_items else [])]
    held = conditions(question)
    lines = [
        "SELECT " + ", ".join((*context, *own, "text")),
        f"FROM {material.table(question.measure, summary=False)}",
        *(["WHERE " + " AND ".join(held)] if held else []),
        "ORDER BY " + ", ".join(("data", *context[2:], "model", *own)),
    ]
    return "\n".join(lines)


def _columns(placed: Any) -> tuple[str, ...]:
    return (placed.shown,) if placed.shown_label is None else (placed.shown, placed.shown_label)


def gathered(question: Question, rows: list[dict[str, Any]]) -> tuple[Sample, ...]:
    """The rows by item, with the prompts of the first model that has the item."""
    known: dict[tuple[str, int], ItemRow] = {}
    for one in question.material.items:
        known.setdefault((one.data, one.item), one)
    several = len({row["data"] for row in rows}) > 1
    by_item: dict[tuple[str, Any], list[dict[str, Any]]] = {}
    models = [model.model for model in question.material.models]
    for row in sorted(rows, key=lambda row: models.index(row["model"])):
        by_item.setdefault((row["data"], row.get("item")), []).append(row)
    found = []
    for (data, item), mine in by_item.items():
        prompts = known[data, item].prompts if (data, item) in known else ()
        title = f"{data}, item {item}" if several else f"item {item}"
        texts = tuple((where(question, row), row["text"]) for row in mine)
        found.append(
            Sample(title if item is not None else data, tuple((p.prompt, p.text) for p in prompts), texts)
        )
    return tuple(found)


def where(question: Question, row: dict[str, Any]) -> str:
    """Which model and cell wrote a text: `smol, layer 3`."""
    cell = []
    for name, placed in question.columns.items():
        label = row[placed.shown_label] if placed.shown_label else None
        cell.append(f"{name} {shown(row[placed.shown] if label is None else label)}")
    return ", ".join((row["model"], *cell))


TEMPLATE = """
{% for sample in figure.samples %}
<article class="sample" aria-label="{{ sample.title }}">
<h3>{{ sample.title }}</h3>
{% for name, text in sample.prompts %}
<p class="soft"><b>{{ name }}</b> <span class="written">{{ text|lines }}</span></p>
{% endfor %}
<dl class="texts">
{% for where, text in sample.texts %}<dt>{{ where }}</dt><dd class="written">{{ text|lines }}</dd>{% endfor %}
</dl>
</article>
{% endfor %}
"""

CHART = Chart("text", "texts that models wrote, item by item", build, TEMPLATE)
