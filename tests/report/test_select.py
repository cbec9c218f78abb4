"""A figure's query: it is what is shown, it gives what is shown, and its means are right."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from glassbox_dsl.diagnostics import Findings
from glassbox_dsl.report.select import select
from glassbox_dsl.report.spec import ItemSpec, suited
from glassbox_dsl.store.query import query
from tests.store import example as ex


def asked(material, source=("patch_resid", "recovered"), **options):
    return select(ItemSpec(kind="heatmap", source=source, options=options), material)


def codes(found):
    return [d.code for d in found.value.diagnostics]


def test_a_mean_over_items_reads_the_summary_view(material):
    cells = asked(material)
    assert cells.sql.splitlines() == [
        "SELECT model, data, layer, pos, pos_label, n, mean, stderr, lo, hi",
        "FROM patch_resid.recovered_summary",
    ]
    assert cells.axes == ("model", "data", "layer", "pos") and cells.has_interval
    assert cells.values["model"] == ("smol", "gemma") and cells.values["layer"] == (0, 1, 2, 3)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"model": "smol"},
        {"over": ("item", "pos")},
        {"facet": "abba"},
        {"over": ()},
        {"layer": 2, "item": 3},
    ],
)
def test_the_query_gives_the_numbers_of_the_figure(material, db: Path, options):
    cells = asked(material, **options)
    table = query(db, cells.sql)
    column = "mean" if "mean" in table.columns else "value"
    assert len(table.rows) == len(cells.cells) > 0
    assert [None if np.isnan(c.value) else c.value for c in cells.cells] == list(table.column(column))


def test_a_ratio_stays_a_ratio_of_means(material, db: Path):
    cells = asked(material, over=("item", "pos"), model="smol")
    rows = query(db, "SELECT layer, num, den FROM patch_resid.recovered WHERE model = 'smol'").rows
    for cell in cells.cells:
        mine = np.array([row[1:] for row in rows if row[0] == cell.at["layer"]])
        assert cell.value == pytest.approx(mine[:, 0].sum() / mine[:, 1].sum(), rel=1e-12)
        assert cell.n == len(mine) == 8 * 14


def test_a_feature_of_the_data_splits_the_items(material, db: Path):
    cells = asked(material, source=("lens", "by_layer"), color="abba", model="smol")
    rows = query(db, "SELECT item, layer, value FROM lens.by_layer WHERE model = 'smol'").rows
    assert cells.axes == ("data", "layer", "abba")
    for cell in cells.cells:
        mine = [
            v for item, layer, v in rows if layer == cell.at["layer"] and (item % 2 == 0) == cell.at["abba"]
        ]
        assert len(mine) == cell.n == 4 and cell.value == pytest.approx(np.mean(mine), rel=1e-12)


def test_named_positions_are_one_cell_each_whatever_their_index(material):
    cells = asked(material, source=("lens", "at_names"))
    assert cells.values["pos"] == ("s2", "place.span") and cells.kind["pos"] == "text"
    assert {c.n for c in cells.cells if c.at["model"] == "smol"} == {8}
    grouped = asked(material, source=("lens", "at_names"), over=("item", "layer"))
    assert {c.at["pos"] for c in grouped.cells} == {"s2", "place.span"}
    assert {c.n for c in grouped.cells if c.at["model"] == "smol"} == {8 * 4}


def test_layers_from_the_end_and_depths_are_found_for_each_model(material):
    last = asked(material, source=("lens", "by_layer"), layer=-1, over=())
    assert {(c.at["model"]) for c in last.cells} == {"smol", "gemma"}
    assert "layer = 3" in last.sql and "layer = 2" in last.sql
    middle = asked(material, source=("lens", "by_layer"), layer="50%")
    assert "(model = 'smol' AND layer = 2) OR (model = 'gemma' AND layer = 1)" in middle.sql


def test_a_position_is_fixed_by_its_label(material):
    cells = asked(material, pos="s2", model="smol")
    assert "pos_label = 's2'" in cells.sql and [c.at["layer"] for c in cells.cells] == [0, 1, 2, 3]


def test_names_that_sql_reserves_are_quoted(material):
    cells = asked(material, source=("order", "heads"))
    assert 'FROM "order".heads_summary' in cells.sql


def test_a_value_that_was_not_measured_is_refused_with_those_that_were(material):
    with pytest.raises(Findings) as found:
        asked(material, layer=77)
    assert codes(found) == ["GB654"]
    assert found.value.diagnostics[0].help == "the values of layer are 0 to 3"


def test_an_axis_that_is_not_there_is_refused(material):
    with pytest.raises(Findings) as found:
        asked(material, facet="colour", over=("item", "heads"))
    assert codes(found) == ["GB653", "GB653"]
    assert "`heads` is neither" in found.value.diagnostics[0].headline


def test_a_measure_that_is_not_there_is_refused(material):
    with pytest.raises(Findings) as found:
        asked(material, source=("patch_resid", "recoverd"))
    assert codes(found) == ["GB652"] and "patch_resid.recovered" in found.value.diagnostics[0].help


def test_quotes_in_a_fixed_value_stay_inside_it(material):
    with pytest.raises(Findings) as found:
        asked(material, model="x' OR 'a' = 'a")
    assert codes(found) == ["GB654"]


@pytest.mark.parametrize(
    ("measure", "kind"),
    list(zip(ex.MEASURES, ("heatmap", "table", "table", "lens", "line", "heatmap", "heatmap"), strict=True)),
)
def test_a_measure_gets_the_chart_that_suits_it(measure, kind):
    assert suited(measure) == kind


@pytest.mark.parametrize("options", [{}, {"over": ("item", "pos")}, {"over": ("item", "pos"), "row": "abba"}])
def test_depth_is_the_place_of_a_layer_in_its_model(material, db: Path, options):
    plain, cells = asked(material, **options, x="layer"), asked(material, **options, x="depth")
    assert "depth" in cells.axes and "layer" not in cells.axes and cells.kind["depth"] == "number"
    assert query(db, cells.sql).columns.count("depth") == 1
    rest = [axis for axis in cells.axes if axis != "depth"]
    last = {model: count - 1 for model, count in ex.LAYERS.items()}

    def by_place(found, axis):
        return {(*(c.at[a] for a in rest), float(c.at[axis])): (c.value, c.n) for c in found.cells}

    expected = {
        (*key[:-1], round(100 * key[-1] / last[key[rest.index("model")]], 2)): value
        for key, value in by_place(plain, "layer").items()
    }
    got = by_place(cells, "depth")
    assert got.keys() == expected.keys() and len(got) > 6
    for key, (value, n) in got.items():
        assert (value, n) == pytest.approx(expected[key], nan_ok=True), key
