"""Drawings of circuits: nodes along the stream, a line for every kept edge, and the edges as a table."""

from __future__ import annotations

import re

import numpy as np
import pytest

from glassbox_dsl.diagnostics import Findings
from glassbox_dsl.report.charts import graph
from glassbox_dsl.report.render import body
from glassbox_dsl.report.spec import ItemSpec, suited
from glassbox_dsl.report.stills import picture
from glassbox_dsl.store.rows import VariableColumn
from tests.report.conftest import opened
from tests.store import example as ex

COLUMNS = (
    VariableColumn(name="k", axis=None, kind="float", named=False),
    *(VariableColumn(name=n, axis=None, kind="text", named=False) for n in ("sender", "receiver")),
    VariableColumn(name="kept", axis=None, kind="int", named=False),
)
CIRCUIT = ex.MeasureRow(
    experiment="found",
    measure="c",
    variables=COLUMNS,
    kind="edges",
    has_items=False,
    source="circuit c = eap(m)",
)
EDGES = [
    ("embed", "attn.v_in[0, 2]", 0.5),
    ("attn.result[0, 2]", "mlp.in[0]", -0.25),
    ("mlp.out[0]", "attn.q_in[1, 0]", 0.125),
    ("attn.result[1, 0]", "resid_post[-1]", -1.0),
    ("embed", "resid_post[-1]", 0.0625),
]


def rows(model):
    """The five edges at k = 5; at k = 2 the two best are kept, at k = 0 none."""
    cells = [
        (k, *e, int(i in best))
        for k, best in ((0, ()), (2, (0, 3)), (5, range(5)))
        for i, e in enumerate(EDGES)
    ]
    k, sender, receiver, score, kept = zip(*cells, strict=True)
    text = [np.array(names, dtype=object) for names in (sender, receiver)]
    columns = {"k": np.array(k, float), "sender": text[0], "receiver": text[1], "kept": np.array(kept)}
    return ex.MeasureRows(experiment="found", measure="c", model=model, data="ioi", variables=COLUMNS, item=None,
                          columns=columns, labels={}, value=np.array(score))  # fmt: skip


@pytest.fixture
def found(written):
    first = next(iter(ex.LAYERS))
    start = ex.Batch(models=ex.MODELS, items=ex.items(), measures=(*ex.MEASURES, CIRCUIT))
    with opened(written(start, ex.Batch(rows=(rows(first),)))) as material:
        yield material


def item(**options):
    return ItemSpec(kind="graph", source=("found", "c"), options=options)


def test_every_kept_edge_is_a_line_between_its_nodes(found):
    figure = graph.build(item(k=5), found, "f1")
    [drawing] = figure.drawings
    assert [node.name for node in sorted(drawing.nodes, key=lambda n: -n.y)] == [
        "embed",
        "0.2",
        "m0",
        "1.0",
        "end",
    ]
    titles = {line.title.rsplit(":", 1)[0] for line in drawing.lines}
    assert titles == {f"{sender} to {receiver}" for sender, receiver, _ in EDGES}
    widest = max(drawing.lines, key=lambda line: line.width)
    assert widest.title.startswith("attn.result[1, 0] to resid_post[-1]") and widest.falls
    assert widest is drawing.lines[-1] and sum(line.falls for line in drawing.lines) == 2
    nodes = {node.name: node for node in drawing.nodes}
    [line] = [line for line in drawing.lines if line.title.startswith("mlp.out[0]")]
    x, y, *_, to, end = map(float, re.findall(r"-?[\d.]+", line.path))
    assert (x, y) == (
        pytest.approx(nodes["m0"].x, abs=0.1),
        pytest.approx(nodes["m0"].y - graph.HIGH / 2, abs=0.1),
    )
    assert to < nodes["1.0"].x and end == pytest.approx(
        nodes["1.0"].y + graph.HIGH / 2, abs=0.1
    )  # by its query


def test_each_size_has_a_drawing_of_its_own_and_the_page_shows_them(found):
    figure = graph.build(item(), found, "f1")
    assert [drawing.title.split(", ")[-1] for drawing in figure.drawings] == ["k 2", "k 5"]
    assert [len(drawing.lines) for drawing in figure.drawings] == [2, 5]
    html = body(figure)
    assert html.count("<svg") == 2 and html.count("<path") == 7 and "style=" not in html and "<title>" in html
    assert "kept = 1" in figure.sql and [len(found.ask(figure.sql).rows), len(figure.tables[0].rows)] == [
        7,
        7,
    ]
    assert suited(CIRCUIT) == "graph"
    kept = {(i.data, i.item) for i in found.items if i.kept and i.model == found.models[0].model}
    assert figure.caption.startswith(f"found.c, from n = {len(kept)} items: a box is")


def test_a_circuit_that_keeps_nothing_says_so(found):
    with pytest.raises(Findings) as problem:
        graph.build(item(k=3), found, "f1")
    assert [d.code for d in problem.value.diagnostics] == ["GB654"]


def test_only_circuits_are_drawn(found):
    with pytest.raises(Findings) as problem:
        graph.build(ItemSpec(kind="graph", source=("lens", "by_layer")), found, "f1")
    assert [d.code for d in problem.value.diagnostics] == ["GB655"]


def test_a_circuit_on_paper_has_every_box_and_line(found):
    item = ItemSpec(kind="graph", source=("found", "c"), options={"k": 5.0})
    [block] = graph.still(item, found)
    text = picture([block], "Kept")
    assert text.count("<path") == 5 and text.count('class="node"') == len(block.content.nodes)
    assert "<script" not in text and text.count("stroke-dasharray") == 2
    words = re.findall(r"<text[^>]*>([^<]*)</text>", text)
    assert words[0] == "Kept" and {node.name for node in block.content.nodes} <= set(words)


def test_a_line_runs_around_the_boxes_between_its_ends():
    score = {"score": 1.0}
    chain = [
        {"sender": "embed", "receiver": "mlp.in[0]", **score},
        {"sender": "mlp.out[0]", "receiver": "mlp.in[1]", **score},
        {"sender": "mlp.out[1]", "receiver": "mlp.in[2]", **score},
        {"sender": "embed", "receiver": "mlp.in[2]", **score},
        {"sender": "mlp.out[2]", "receiver": "resid_post[-1]", **score},
        {"sender": "embed", "receiver": "resid_post[-1]", **score},
    ]
    drawn = graph.drawing("t", chain)
    assert len({node.x for node in drawn.nodes}) == 1  # all boxes stand above each other
    for line in drawn.lines:
        points = np.array(re.findall(r"-?[\d.]+", line.path), float).reshape(4, 2)
        at = np.linspace(0, 1, 200)[:, None]
        on = (1 - at) ** 3 * points[0] + 3 * at * (1 - at) ** 2 * points[1]
        on = on + 3 * at**2 * (1 - at) * points[2] + at**3 * points[3]
        for node in drawn.nodes:
            inside = (abs(on[:, 0] - node.x) < graph.WIDE / 2) & (
                abs(on[:, 1] - node.y) < graph.HIGH / 2 - 0.2
            )
            assert not inside.any(), (line.title, node.name)
        assert on[:, 0].min() >= 0 and on[:, 0].max() <= drawn.width
