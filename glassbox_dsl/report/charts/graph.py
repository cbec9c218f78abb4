"""A circuit as a drawing: the stream runs upwards, with a line for every edge that is kept, wide for a large score."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from glassbox_dsl.diagnostics import Findings
from glassbox_dsl.report import errors
from glassbox_dsl.report.chart import Chart
from glassbox_dsl.report.grid import exact
from glassbox_dsl.report.material import Material
from glassbox_dsl.report.page import Block, Figure, Table
from glassbox_dsl.report.panels import heading
from glassbox_dsl.report.select import Question, conditions
from glassbox_dsl.report.spec import ItemSpec
from glassbox_dsl.report.tables import MOST_ROWS
from glassbox_dsl.report.ticks import shown

LEGEND = (
    "a box is a head (layer.head) or an MLP (m with its layer), a line an edge that is kept: the wider, the larger its "
    "score; dashed where the score is below 0. Lines that end left, middle and right on a head are read by its query, "
    "key and value."
)
MOST_DRAWN = 300
MOST_DRAWINGS = 6
STEP, RISE, MARGIN = 46.0, 52.0, 30.0
WIDE, HIGH = 34.0, 17.0
PORTS = ("q", "k", "v")
HEAD = re.compile(r"attn\.(?:result|([qkv])_in)\[(\d+), (\d+)\]")
MLP = re.compile(r"mlp\.(?:out|in)\[(\d+)\]")


@dataclass(frozen=True, order=True)
class Place:
    """A node: the layer (-1: the embedding, infinity: the end), whether it stands behind the heads, and which head."""

    layer: float
    behind: bool
    head: int = 0

    @property
    def name(self) -> str:
        """What stands in its box: `5.1` for a head, `m5` for an MLP."""
        if self.layer < 0:
            return "embed"
        if math.isinf(self.layer):
            return "end"
        return f"m{self.layer:g}" if self.behind else f"{self.layer:g}.{self.head}"


@dataclass(frozen=True)
class Node:
    """A box at its middle."""

    name: str
    x: float
    y: float


@dataclass(frozen=True)
class Line:
    """An edge as a path of SVG, with what it says to a pointer."""

    path: str
    width: float
    falls: bool
    title: str


@dataclass(frozen=True)
class Drawing:
    """One circuit. Lines stand in the order of their scores, the highest on top."""

    title: str
    width: float
    height: float
    nodes: tuple[Node, ...]
    lines: tuple[Line, ...]
    label: str


@dataclass(frozen=True)
class GraphFigure(Figure):
    """Circuits of some models and cells."""

    drawings: tuple[Drawing, ...] = ()


def build(item: ItemSpec, material: Material, key: str) -> GraphFigure:
    """The figure of one item. Raises Findings (GB652, GB654, GB655)."""
    measure = material.measure(item.source)
    name = f"{measure.experiment}.{measure.measure}"
    if measure.kind != "edges":
        raise Findings([errors.wrong_axes(name, "graph", "numbers", "the edges of a circuit")])
    question = Question(item, measure, material)
    sql, own = statement(question), variables(question)
    rows = list(material.ask(sql).dicts())
    circuits: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for row in rows:
        circuits.setdefault(tuple(row[c] for c in own), []).append(row)
    if not rows and item.fixed:
        axis, value = next(iter(item.fixed.items()))
        raise Findings([errors.no_such_cell(name, axis, str(value), "")])
    drawings = [drawing(titled(own, held, circuits), some) for held, some in circuits.items()]
    return GraphFigure(
        key=key, kind="graph", **heading(item, measure),
        caption=f"{name}: {LEGEND}",
        sql=sql, notes=notes(circuits), drawings=tuple(drawings[:MOST_DRAWINGS]), tables=(listed(own, rows),),
    )  # fmt: skip


def still(item: ItemSpec, material: Material) -> tuple[Block, ...]:
    """The circuits of one item for paper. Raises as `build` does."""
    drawings = build(item, material, "still").drawings
    return tuple(Block(d.width, d.height, "circuit", d, d.title) for d in drawings)


def notes(circuits: dict[tuple[Any, ...], list[dict[str, Any]]]) -> tuple[str, ...]:
    """What is not drawn."""
    found = [] if circuits else ["No edge is kept: there is nothing to draw."]
    if any(len(rows) > MOST_DRAWN for rows in circuits.values()):
        found.append(
            f"The {MOST_DRAWN} edges with the largest scores of each circuit are drawn; the query gives all."
        )
    if len(circuits) > MOST_DRAWINGS:
        found.append(f"{MOST_DRAWINGS} of {len(circuits)} circuits are drawn; fix an axis to see the others.")
    return tuple(found)


def variables(question: Question) -> tuple[str, ...]:
    """The columns that tell circuits apart."""
    edge = ("sender", "receiver", "kept")
    return ("model", "data", *(p.shown for name, p in question.columns.items() if name not in edge))


def statement(question: Question) -> str:
    """The query that gives the edges, the largest scores first."""
    material = question.material
    own = [material.name(name) for name in variables(question)]
    held = ["kept = 1", *conditions(question)]
    return "\n".join([
        "SELECT " + ", ".join((*own, "sender", "receiver", "score")),
        f"FROM {material.table(question.measure, summary=False)}",
        "WHERE " + " AND ".join(held),
        "ORDER BY " + ", ".join((*own, "abs(score) DESC", "receiver", "sender")),
    ])  # fmt: skip


def titled(own: Sequence[str], held: tuple[Any, ...], circuits: dict[tuple[Any, ...], Any]) -> str:
    """What tells a circuit from the others: its model, and the axes that differ."""
    values = [{key[i] for key in circuits} for i in range(len(own))]
    words = [
        shown(value) if axis in ("model", "data") else f"{axis.rstrip('_')} {shown(value)}"
        for axis, value, among in zip(own, held, values, strict=True)
        if axis == "model" or len(among) > 1
    ]
    return ", ".join(words)


def place(name: str) -> tuple[Place, int]:
    """The node that a sender or receiver belongs to, and by which of a head's inputs (-1: not by one of those)."""
    if (head := HEAD.fullmatch(name)) is not None:
        port, layer, number = head.groups()
        return Place(float(layer), False, int(number)), PORTS.index(port) if port else -1
    if (mlp := MLP.fullmatch(name)) is not None:
        return Place(float(mlp.group(1)), True), -1
    return Place(-1.0 if name == "embed" else math.inf, False), -1


def drawing(title: str, rows: Sequence[dict[str, Any]]) -> Drawing:
    """Nodes layer by layer from below, heads in their order, and a curve for each edge."""
    some = rows[:MOST_DRAWN]
    ends = [(place(row["sender"]), place(row["receiver"])) for row in some]
    places = sorted({p for (one, _), (other, _) in ends for p in (one, other)})
    levels = sorted({(p.layer, p.behind) for p in places})
    by_level = {level: [p for p in places if (p.layer, p.behind) == level] for level in levels}
    width = 2 * MARGIN + WIDE + STEP * (max(map(len, by_level.values())) - 1)
    height = 2 * MARGIN + RISE * (len(levels) - 1)
    at = {}
    for row, level in enumerate(levels):
        left = (width - STEP * (len(by_level[level]) - 1)) / 2
        for number, one in enumerate(by_level[level]):
            at[one] = Node(one.name, left + STEP * number, height - MARGIN - RISE * row)
    top = max((abs(row["score"] or 0.0) for row in some), default=0.0) or 1.0
    lines = [line(at[s], at[r], port, row, top) for row, ((s, _), (r, port)) in zip(some, ends, strict=True)]
    label = f"{title}: {len(rows)} edges between {len(places)} nodes; they are listed in the table below"
    return Drawing(
        title, round(width, 1), round(height, 1), tuple(at.values()), tuple(reversed(lines)), label
    )


def line(sender: Node, receiver: Node, port: int, row: dict[str, Any], top: float) -> Line:
    """The curve of one edge: out of the top of its sender, into the bottom of its receiver."""
    x, y = sender.x, sender.y - HIGH / 2
    to = receiver.x + (0 if port < 0 else (port - 1) * WIDE / 3)
    end = receiver.y + HIGH / 2
    bend = max(14.0, (y - end) / 2)
    path = f"M{x:.1f} {y:.1f}C{x:.1f} {y - bend:.1f} {to:.1f} {end + bend:.1f} {to:.1f} {end:.1f}"
    score = float(row["score"] if row["score"] is not None else math.nan)
    share = 0.0 if math.isnan(score) else abs(score) / top
    title = f"{row['sender']} to {row['receiver']}: {exact(score)}"
    return Line(path, round(0.6 + 3.4 * math.sqrt(share), 2), score < 0, title)


def listed(own: Sequence[str], rows: Sequence[dict[str, Any]]) -> Table:
    """The edges as rows."""
    columns = (*own, "sender", "receiver", "score")
    cells = tuple(
        (
            *(shown(row[c]) for c in columns[:-1]),
            exact(float("nan") if row["score"] is None else row["score"]),
        )
        for row in rows[:MOST_ROWS]
    )
    numeric = (*(False for _ in columns[:-1]), True)
    return Table(columns, cells, numeric, left_out=max(0, len(rows) - MOST_ROWS))


TEMPLATE = """
{% import "parts.html" as parts %}
{% for drawing in figure.drawings %}
<div class="panel-box">
{% if drawing.title %}<h3>{{ drawing.title }}</h3>{% endif %}
<svg class="panel circuit" viewBox="0 0 {{ drawing.width }} {{ drawing.height }}" width="{{ drawing.width }}" height="{{ drawing.height }}" role="img" aria-label="{{ drawing.label }}">
{{ parts.circuit(drawing) }}
</svg>
</div>
{% endfor %}
"""  # noqa: E501

CHART = Chart("graph", "the edges of a circuit, drawn along the stream", build, TEMPLATE, still)
