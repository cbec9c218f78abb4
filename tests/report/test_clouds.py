"""Scatters, histograms and texts: the points, counts and texts are those of the store."""

from __future__ import annotations

import base64
import re

import numpy as np
import pytest

from glassbox_dsl.diagnostics import Findings
from glassbox_dsl.report.charts import histogram, scatter, table, text
from glassbox_dsl.report.render import body
from glassbox_dsl.report.spec import ItemSpec, suited
from glassbox_dsl.store.query import query
from tests.report.conftest import opened
from tests.store import example as ex


def item(kind: str, source, **options) -> ItemSpec:
    return ItemSpec(kind=kind, source=source, options=options)


@pytest.fixture
def two(written):
    """The example with a second measure over layers, a line of the first, and one whose cells are fewer."""
    twin = ex.MeasureRow(experiment="other", measure="by_layer", variables=(ex.LAYER,), unit="nats")
    far = ex.MeasureRow(experiment="other", measure="far", variables=(ex.LAYER,), unit="nats")
    named = ex.MeasureRow(experiment="other", measure="at_names", variables=(ex.LAYER, ex.NAMED_POS))
    rng, batches = np.random.default_rng(3), []
    for model in ex.LAYERS:
        batch = ex.numbers(rng, model)
        line, names = batch.rows[4], batch.rows[5]
        few = line.columns["layer"] < 2
        shared = {"experiment": "other", "model": model, "data": "ioi", "labels": {}}
        rows = (
            ex.MeasureRows(measure="by_layer", variables=(ex.LAYER,), item=line.item, columns=line.columns,
                           value=2 - line.value / 2, **shared),
            ex.MeasureRows(measure="far", variables=(ex.LAYER,), item=line.item[few],
                           columns={"layer": line.columns["layer"][few]}, value=line.value[few] + 1e3, **shared),
            ex.MeasureRows(measure="at_names", variables=named.variables, item=names.item, columns=names.columns,
                           value=names.value + 1, **{**shared, "labels": names.labels}),
        )  # fmt: skip
        batches += [batch, ex.Batch(rows=rows)]
    start = ex.Batch(models=ex.MODELS, items=ex.items(), measures=(*ex.MEASURES, twin, far, named))
    with opened(written(start, *batches)) as found:
        yield found


def test_points_pair_the_means_of_both_measures(two):
    found = scatter.scatter(item("scatter", ("lens", "by_layer"), x="other.by_layer"), two)
    rows = two.ask(
        "SELECT a.model, a.layer, a.mean, b.mean FROM lens.by_layer_summary a"
        " JOIN other.by_layer_summary b USING (model, layer) ORDER BY ALL"
    ).rows
    points = sorted((p.up.at["model"], p.up.at["layer"], p.up.value, p.across.value) for p in found.pairs)
    assert (
        points == [tuple(row) for row in rows] and len(points) == sum(ex.LAYERS.values()) and found.lost == 0
    )
    assert [scatter.correlation(pairs) for _, pairs in found.panels] == pytest.approx([-1, -1])
    assert [scatter.headline(*panel) for panel in found.panels] == [
        "smol: 4 points, r = −1.00", "gemma: 3 points, r = −1.00",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("source", "options"),
    [
        (("lens", "by_layer"), {"x": "other.by_layer"}),
        (("lens", "by_layer"), {"x": "other.far", "model": "smol"}),
        (("lens", "at_names"), {"x": "other.at_names"}),
        (("lens", "at_names"), {"x": "other.at_names", "over": ()}),
        (("lens", "by_layer"), {"x": "other.by_layer", "color": "abba"}),
    ],
)
def test_the_query_under_a_scatter_gives_its_points(two, source, options):
    spec = item("scatter", source, **options)
    found = scatter.scatter(spec, two)
    asked = list(two.ask(scatter.statement(found, two)).dicts())
    assert sorted((r["upwards"], r["across"]) for r in asked) == sorted(
        (p.up.value, p.across.value) for p in found.pairs
    )
    assert len(asked) > 0


def test_cells_without_a_partner_are_counted_and_measures_far_apart_have_no_line(two):
    figure = scatter.build(item("scatter", ("lens", "by_layer"), x="other.far"), two, "f")
    assert figure.notes == ("3 cells of lens.by_layer or other.far have no partner and are not shown.",)
    assert "dashed" not in figure.caption and len(figure.tables[0].rows) == 4
    near = scatter.build(item("scatter", ("lens", "by_layer"), x="lens.by_layer"), two, "f")
    assert "On the dashed line both are equal." in near.caption and "95% bootstrap" in near.caption
    drawn = [base64.b64decode(f.light.split(",")[1]).decode() for f in (figure, near)]
    assert ["stroke-dasharray" in one for one in drawn] == [False, True]
    assert re.search(r">L[0-3]<", drawn[1])


def test_a_line_of_equality_needs_one_unit(two):
    spec = item("scatter", ("lens", "by_layer"), x="by_layer")
    assert scatter.scatter(spec, two).equal is True
    names = item("scatter", ("lens", "at_names"), x="other.at_names")  # nats against no unit
    assert scatter.scatter(names, two).equal is False


def test_measures_with_other_axes_are_no_scatter(two):
    with pytest.raises(Findings) as found:
        scatter.build(item("scatter", ("lens", "by_layer"), x="order.heads"), two, "f")
    assert [d.code for d in found.value.diagnostics] == ["GB655"]


def test_names_never_lie_on_each_other_or_on_points():
    rng = np.random.default_rng(0)
    cells = [
        [histogram.Cell({"layer": i}, float(v)) for i, v in enumerate(rng.normal(size=40))] for _ in range(2)
    ]
    pairs = [scatter.Pair(up, across) for up, across in zip(*cells, strict=True)]
    ends = ((-3.0, 3.0), (-3.0, 3.0))
    named = scatter.spaced(pairs, ["layer 10"] * 40, ends, 300)
    assert 1 <= len(named) <= scatter.NAMED and set(named) <= set(scatter.farthest(pairs))
    assert len(scatter.spaced([pairs[0]] * 4, ["layer 10"] * 4, ends, 300)) == 2  # one on each side


def test_a_histogram_counts_every_number_once(material, db):
    found = histogram.histogram(item("histogram", ("order", "heads"), facet="alpha"), material)
    means = query(db, 'SELECT model, alpha, mean FROM "order".heads_summary').rows
    for part in found.counted:
        mine = [
            m
            for model, alpha, m in means
            if part.panel == f"{model}, alpha {alpha:g}" or part.panel == f"alpha {alpha:g}, {model}"
        ]
        inner = zip(found.edges[:-1], found.edges[1:], strict=True)
        last = found.edges[-1]
        counts = [sum(low <= m < high or m == high == last for m in mine) for low, high in inner]
        assert list(part.counts) == counts and sum(counts) == len(mine) > 0
        assert part.middle == pytest.approx(np.median(mine))
    assert len(found.counted) == 4 and found.inside == ("layer", "head")


def test_a_measure_without_axes_is_counted_item_by_item(material, db):
    figure = histogram.build(item("histogram", ("patch_resid", "baseline")), material, "f")
    n = query(db, "SELECT count(value) FROM patch_resid.baseline").rows[0][0]
    assert sum(int(row[-1]) for row in figure.tables[0].rows) == n == 15
    assert figure.caption.startswith("How 15 numbers spread: each number is of one item.")
    drawn = base64.b64decode(figure.light.split(",")[1]).decode()
    assert "smol: 8 numbers" in drawn and "gemma: 7 numbers" in drawn


@pytest.mark.parametrize(
    ("values", "edges"),
    [
        ([0, 1, 1, 0], [-0.5, 0.5, 1.5]),
        ([3, 3], [2.5, 3.5]),
        ([], [0, 1]),
        ([float("nan"), float("inf"), 2], [1.5, 2.5]),
    ],
)
def test_whole_numbers_get_a_bin_each(values, edges):
    assert histogram.bins(values).tolist() == edges


def test_bins_cover_all_numbers_and_are_never_too_many():
    rng = np.random.default_rng(0)
    for values in (rng.normal(size=500), np.r_[rng.normal(size=500), 1e6], np.full(9, 0.25), rng.random(2)):
        edges = histogram.bins(values.tolist())
        assert (
            1 <= len(edges) - 1 <= histogram.MOST_BINS
            and edges[0] <= values.min()
            and values.max() <= edges[-1]
        )
        assert np.histogram(values, edges)[0].sum() == len(values)


WRITTEN = ex.MeasureRow(
    experiment="say", measure="words", kind="text", variables=(ex.ALPHA,), source="measure words = text(g)"
)


@pytest.fixture
def texts(written):
    """The example with a measure of texts: two strengths, 8 items, two models."""
    batches = []
    for model in ex.LAYERS:
        alpha, number = ex.grid(2, 8)
        words = np.array(
            [f"{model} {a} <{i}>\nnext" for a, i in zip(alpha, number, strict=True)], dtype=object
        )
        rows = ex.MeasureRows(
            experiment="say", measure="words", model=model, data="ioi", variables=WRITTEN.variables, item=number,
            columns={"alpha": alpha * 0.5}, labels={}, value=np.full(16, np.nan), text=words,
        )  # fmt: skip
        batches.append(ex.Batch(rows=(rows,)))
    with opened(
        written(ex.Batch(models=ex.MODELS, items=ex.items(), measures=(WRITTEN,)), *batches)
    ) as found:
        yield found


def test_texts_stand_under_the_prompt_of_their_item(texts):
    figure = text.build(item("text", ("say", "words")), texts, "f")
    assert (
        suited(WRITTEN) == "text"
        and figure.notes == ()
        and figure.caption.startswith("say.words: 32 texts of 8 items")
    )
    assert [s.title for s in figure.samples] == [f"item {i}" for i in range(8)]
    first = figure.samples[0]
    assert [name for name, _ in first.prompts] == ["clean", "corrupt"] and first.prompts[0][1] == "".join(
        ex.TOKENS
    )
    assert first.texts[0] == ("smol, alpha 0", "smol 0 <0>\nnext")  # models in the order of the file
    assert [where for where, _ in first.texts] == [
        f"{model}, alpha {alpha}" for model in ("smol", "gemma") for alpha in ("0", "0.5")
    ]
    html = body(figure)
    assert "smol 1 &lt;7&gt;\nnext" in html and len(re.findall("<dd", html)) == 32


def test_texts_of_one_cell_are_chosen_by_its_axis_and_too_many_are_left_out(texts, monkeypatch):
    figure = text.build(item("text", ("say", "words"), alpha=0.5, model="smol"), texts, "f")
    assert [w for s in figure.samples for w, _ in s.texts] == ["smol, alpha 0.5"] * 8
    monkeypatch.setattr(text, "MOST_TEXTS", 5)
    figure = text.build(item("text", ("say", "words")), texts, "f")
    assert figure.notes[0].startswith("5 of 32 texts") and sum(len(s.texts) for s in figure.samples) == 5
    with pytest.raises(Findings) as found:
        text.build(item("text", ("say", "words"), alpha=3), texts, "f")
    assert [d.code for d in found.value.diagnostics] == ["GB654"]


def test_a_table_of_texts_has_no_column_of_numbers(texts):
    figure = table.build(item("table", ("say", "words")), texts, "f")
    assert figure.tables[0].columns == ("model", "data", "item", "alpha", "text")
    assert len(figure.tables[0].rows) == 32


def test_numbers_are_no_texts(texts, material):
    with pytest.raises(Findings) as found:
        text.build(item("text", ("lens", "by_layer")), material, "f")
    assert [d.code for d in found.value.diagnostics] == ["GB655"]
