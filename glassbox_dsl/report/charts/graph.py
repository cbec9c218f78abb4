"""A circuit as a drawing: the stream runs upwards, with a line for every edge that is kept, wide for a large score."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

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

Points = NDArray[np.float64]
LEGEND = (
    "a box is a head (layer.head) or an MLP (m with its layer), a line an edge that is kept: the wider, the larger its "
    "score; dashed where the score is below 0. Lines that end left, middle and right on a head are read by its query, "
    "key and value."
)
MOST_DRAWN = 300
MOST_DRAWINGS = 6
STEP, RISE, MARGIN = 46.0, 52.0, 20.0
WIDE, HIGH = 34.0, 17.0
ASIDE = tuple(side * far for far in (0, 35, 60, 90, 130) for side in ((1, -1) if far else (1,)))
"""How far the middle of a line is drawn to the side, in the order in which it is tried."""
PART = np.linspace(0, 1, 41)
CURVE = np.stack([(1 - PART) ** 3, 3 * PART * (1 - PART) ** 2, 3 * PART**2 * (1 - PART), PART**3], axis=1)
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
        caption=f"{name}, from {counted(material, rows)}: {LEGEND}",
        sql=sql, notes=notes(circuits), drawings=tuple(drawings[:MOST_DRAWINGS]), tables=(listed(own, rows),),
    )  # fmt: skip


def still(item: ItemSpec, material: Material) -> tuple[Block, ...]:
    """The circuits of one item for paper. Raises as `build` does."""
    drawings = build(item, material, "still").drawings
    return tuple(Block(d.width, d.height, "circuit", d, d.title) for d in drawings)


def counted(material: Material, rows: Sequence[dict[str, Any]]) -> str:
    """How many items the circuits rest on: `n = 16 items`."""
    wanted = {(row["model"], row["data"]) for row in rows}
    kept = Counter((item.model, item.data) for item in material.items if item.kept)
    found = sorted({kept[context] for context in wanted}) or [0]
    return f"n = {found[0]} items" if len(found) == 1 else f"n = {found[0]} to {found[-1]} items"


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
    height = 2 * MARGIN + RISE * (len(levels) - 1)
    at = {
        one: np.array([STEP * (number - (len(by_level[level]) - 1) / 2), height - MARGIN - RISE * row])
        for row, level in enumerate(levels)
        for number, one in enumerate(by_level[level])
    }
    boxes = np.array(list(at.values()))
    curves = [curve(at[sender], at[receiver], port, boxes) for (sender, _), (receiver, port) in ends]
    reach = max((float(np.abs(CURVE @ points)[:, 0].max()) for points in curves), default=0.0)
    middle = MARGIN + max(reach, float(np.abs(boxes[:, 0]).max()) + WIDE / 2)
    nodes = tuple(Node(one.name, middle + float(x), float(y)) for one, (x, y) in at.items())
    top = max((abs(row["score"] or 0.0) for row in some), default=0.0) or 1.0
    lines = [line(points + (middle, 0.0), row, top) for points, row in zip(curves, some, strict=True)]
    label = f"{title}: {len(rows)} edges between {len(places)} nodes; they are listed in the table below"
    return Drawing(title, round(2 * middle, 1), round(height, 1), nodes, tuple(reversed(lines)), label)


def line(points: Points, row: dict[str, Any], top: float) -> Line:
    """An edge along a curve, the wider the nearer its score is to the largest."""
    path = "M{:.1f} {:.1f}C{:.1f} {:.1f} {:.1f} {:.1f} {:.1f} {:.1f}".format(*points.ravel().tolist())
    score = float(row["score"] if row["score"] is not None else math.nan)
    share = 0.0 if math.isnan(score) else abs(score) / top
    title = f"{row['sender']} to {row['receiver']}: {exact(score)}"
    return Line(path, round(0.6 + 3.4 * math.sqrt(share), 2), score < 0, title)


def curve(sender: Points, receiver: Points, port: int, boxes: Points) -> Points:
    """The four points of a cubic curve: out of the top of its sender, into the bottom of its receiver, upwards at both.

    Of those that are tried the one that is bent least to the side and meets the fewest other boxes.
    """
    between = boxes[(boxes[:, 1] < sender[1]) & (boxes[:, 1] > receiver[1])]
    (x, y), (to, end) = (
        sender - (0, HIGH / 2),
        receiver + ((port - 1) * WIDE / 3 if port >= 0 else 0, HIGH / 2),
    )
    rise = max(14.0, (y - end) / 2)
    found = []
    for aside in ASIDE:
        points = np.array([(x, y), (x + aside, y - rise), (to + aside, end + rise), (to, end)])
        found.append((met(points, between), points))
        if not found[-1][0]:
            break
    return min(found, key=lambda one: one[0])[1]


def met(points: Points, boxes: Points) -> int:
    """How many boxes a cubic curve runs through."""
    apart = np.abs((CURVE @ points)[:, None] - boxes[None])
    return int(((apart[..., 0] < WIDE / 2 + 2) & (apart[..., 1] < HIGH / 2)).any(0).sum())


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
