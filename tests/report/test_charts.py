"""The registry of charts, and those that are not pictures of our own."""

from __future__ import annotations

import base64
import math
from pathlib import Path
from xml.etree.ElementTree import fromstring

import pytest

from glassbox_dsl.diagnostics import Findings
from glassbox_dsl.report import charts as folder
from glassbox_dsl.report import tables, vega
from glassbox_dsl.report.chart import charts
from glassbox_dsl.report.charts import bar, heatmap, lens, line, markdown, sql, table
from glassbox_dsl.report.grid import exact
from glassbox_dsl.report.render import body
from glassbox_dsl.report.series import Series, _spread
from glassbox_dsl.report.spec import ItemSpec
from glassbox_dsl.report.ticks import titled
from glassbox_dsl.store.query import query
from tests.store import example as ex

NEW = """
from glassbox_dsl.report.chart import Chart
from glassbox_dsl.report.page import Figure


def build(item, material, key):
    return Figure(key=key, kind="dots", title=str(item.source))


CHART = Chart("dots", "dots", build, "<p>dots of {{ figure.title }}</p>")
"""


def item(kind: str, source, **options) -> ItemSpec:
    return ItemSpec(kind=kind, source=source, options=options)


def test_every_kind_of_the_language_has_a_chart():
    from glassbox_dsl.language.reports import KINDS

    assert set(charts()) == set(KINDS)
    assert all(chart.summary and name == chart.name for name, chart in charts().items())


def test_a_file_in_the_folder_is_a_chart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "dots.py").write_text(NEW)
    monkeypatch.setattr(folder, "__path__", [*folder.__path__, str(tmp_path)])
    found = charts(tmp_path)
    assert list(found) == ["dots"]
    monkeypatch.setattr("glassbox_dsl.report.render.charts", lambda: {**charts(), **found})
    figure = found["dots"].build(item("dots", "<a>"), None, "f")
    assert body(figure) == "<p>dots of &lt;a&gt;</p>"


def test_a_line_is_drawn_twice_and_holds_the_numbers(material, db: Path):
    figure = line.build(item("line", ("lens", "by_layer")), material, "f")
    light, dark = (
        base64.b64decode(uri.removeprefix("data:image/svg+xml;base64,")).decode()
        for uri in (figure.light, figure.dark)
    )
    assert light.startswith("<svg") and dark.startswith("<svg") and light != dark
    assert (
        vega.HUES["light"][0] in light and vega.HUES["dark"][0] in dark and vega.HUES["dark"][0] not in light
    )
    assert "gemma" in light and "http" not in light.replace("http://www.w3.org/", "")
    means = query(db, "SELECT model, layer, mean FROM lens.by_layer_summary").rows
    shown = {(row[0], row[2]): float(row[3].replace("−", "-")) for row in figure.tables[0].rows}
    assert shown == {(m, str(layer)): pytest.approx(mean, rel=1e-6) for m, layer, mean in means}


def test_bars_stand_for_names(material):
    figure = bar.build(item("bar", ("lens", "at_names"), model="smol", layer=0), material, "f")
    drawn = base64.b64decode(figure.light.split(",")[1]).decode()
    assert (
        "place.span" in drawn
        and "s2" in drawn
        and figure.caption.endswith("Shown for model = smol; layer = 0.")
    )


def test_facets_and_more_axes_than_colours_become_panels(material):
    figure = line.build(item("line", ("order", "heads"), facet="alpha"), material, "f")
    drawn = base64.b64decode(figure.light.split(",")[1]).decode()
    assert "alpha 0.5" in drawn and "smol" in drawn


def test_without_the_extra_the_table_stands_in_its_place(material, monkeypatch):
    monkeypatch.setattr(vega, "installed", lambda: False)
    monkeypatch.setattr(line, "installed", lambda: False)
    figure = line.build(item("line", ("lens", "by_layer")), material, "f")
    html = body(figure)
    assert figure.notes == (vega.INSTALL,) and "glassbox-dsl[charts]" in vega.INSTALL
    assert "<picture" not in html and figure.tables[0].rows[0][3] in html and figure.opened


def test_a_measure_without_axes_has_no_line(material):
    figure = bar.build(item("bar", ("patch_resid", "baseline")), material, "f")
    assert [row[0] for row in figure.tables[0].rows] == ["smol", "gemma"]
    with pytest.raises(Findings) as found:
        line.build(item("line", ("patch_resid", "baseline"), model="smol"), material, "f")
    assert [d.code for d in found.value.diagnostics] == ["GB655"]


def test_a_table_shows_value_interval_and_n(material, db: Path):
    figure = table.build(item("table", ("patch_resid", "baseline")), material, "f")
    assert figure.tables[0].columns == ("model", "data", "mean", "n", "lo", "hi")
    [(mean, n)] = query(db, "SELECT mean, n FROM patch_resid.baseline_summary WHERE model = 'gemma'").rows
    assert figure.tables[0].rows[1][2:4] == (f"{mean:.7g}", str(n)) and n == 7


def test_numbers_of_a_column_stand_with_their_points_above_each_other():
    assert tables.aligned([26.75934, -1935.5, math.nan]) == ["26.75934", "−1935.50000", "–"]
    assert tables.aligned([1.0, 3.0]) == ["1", "3"]
    for mixed in ([1e-9, 2.5], [0.1234567, 1234567.0], [math.inf, 1e20]):
        assert tables.aligned(mixed) == [exact(value) for value in mixed]


def test_a_picture_in_a_page_is_lean_and_looks_the_same():
    text = (
        '<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><g role="graphics-symbol" aria-label="x: 1">'
        '<path transform="translate(1.23456,-7.1e-7)" d="M2.5,0A2.555555,1" fill="#fff"/><text aria-hidden="true">'
        "role &lt;b&gt; aria-x=&quot;1&quot; 3.14159</text></g></svg>"
    )
    found = vega.lean(text)
    assert "aria-label" not in found and "graphics" not in found and 'fill="#fff"' in found
    assert 'd="M2.5,0A2.56,1"' in found and "translate(1.23,-0.00)" in found
    assert fromstring(found).find(".//{*}text").text == 'role <b> aria-x="1" 3.14159'
    assert found.startswith("<svg") and vega.size(found) == (9, 9)


def test_a_variable_says_which_axis_it_is_on():
    assert (
        titled("l", "layer") == "l (layer)"
        and titled("layer", "layer") == "layer"
        and titled("alpha", "") == "alpha"
    )


def test_ranks_far_apart_have_a_logarithmic_scale():
    def drawn(log):
        row = {"x": 0, "y": 2.0, "low": 1.0, "high": 3e5, "color": "", "panel": ""}
        found = Series(
            (row,), "layer", True, None, None, {"x": ["0"], "color": [], "panel": [""]}, "place", log
        )
        spec = line.chart(found).to_dict()
        return [layer["encoding"]["y"]["scale"].get("type") for layer in spec["layer"]]

    assert drawn(True) == ["log", "log"] and drawn(False) == [None, None]
    rows = [{"y": 1.0, "low": 1.0, "high": 40.0}, {"y": 9.0, "low": None, "high": None}]
    assert (
        _spread(rows)
        and not _spread(rows[1:])
        and not _spread([*rows, {"y": 0.0, "low": None, "high": None}])
    )


def test_a_lens_shows_the_stored_tokens(material, db: Path):
    figure = lens.build(item("lens", ("lens", "shown")), material, "f")
    assert figure.views[:2] == ("smol, item 0", "smol, item 1") and len(figure.views) == 15
    view = figure.first
    assert dict(view.prompts)["clean"].startswith("When Mary and John") and view.y.labels == (
        "3",
        "2",
        "1",
        "0",
    )
    rows = query(
        db,
        "SELECT token, prob FROM lens.shown WHERE model='smol' AND item=0 AND layer=3 AND pos=4 ORDER BY rank",
    ).rows
    assert [(w.token, w.prob) for w in view.squares[0][4].words] == [
        (t.replace(" ", "␣"), p) for t, p in rows
    ]
    assert view.labels[9] == "s2" and view.x.marks[9].text == "␣John"
    assert figure.step(view.squares[0][4]) == f"p{round(rows[0][1] * 10)}"
    [packed] = figure.data["views"][0]["cells"][0][4]  # no other measure has a number for each cell
    assert [figure.data["words"][i] for i in packed[::3]] == ["␣Mary", "␣John", "␣the"]
    assert packed[1::3] == pytest.approx([p for _, p in rows], rel=1e-6)
    assert query(db, figure.sql).column("token_id")[:3] == (7, 8, 9)


def test_a_lens_leaves_items_out_to_stay_small_and_says_so(material, monkeypatch):
    monkeypatch.setattr(lens, "BUDGET_BYTES", 4000)
    figure = lens.build(item("lens", ("lens", "shown")), material, "f")
    assert 0 < len(figure.views) < 15 and figure.notes[0].startswith(f"{len(figure.views)} of 15 grids")


@pytest.mark.parametrize("kind", ["lens", "attention"])
def test_a_measure_of_numbers_is_no_lens_and_no_pattern(material, kind):
    with pytest.raises(Findings) as found:
        charts()[kind].build(item(kind, ("patch_resid", "recovered")), material, "f")
    assert found.value.diagnostics[0].code == {"lens": "GB655", "attention": "GB652"}[kind]


@pytest.mark.parametrize(
    ("text", "html"),
    [
        ("# A *b*", "<h2>A <em>b</em></h2>\n"),
        ("<script>x</script>", "&lt;script&gt;x&lt;/script&gt;"),
        ("[a](javascript:x)", "<p>[a](javascript:x)</p>\n"),
        ("[a](https://x.org)", '<p><a href="https://x.org">a</a></p>\n'),
        ("![a](https://x.org/p.png)", '<p>!<a href="https://x.org/p.png">a</a></p>\n'),
        ("a\u202eb", "<p>a‹U+202E›b</p>\n"),
        ("`<b>`", "<p><code>&lt;b&gt;</code></p>\n"),
    ],
)
def test_prose_is_safe(text, html):
    assert html in markdown.prose(text)


def test_a_query_shows_its_answer(material):
    text = "SELECT 1 AS one, 'a' AS b, NULL AS c, true AS d"
    figure = sql.build(item("sql", text), material, "f")
    assert figure.tables[0].columns == ("one", "b", "c", "d") and figure.tables[0].rows == (
        ("1", "a", "–", "true"),
    )


@pytest.mark.parametrize(
    ("text", "code"), [("SELEC 1", "GB620"), ("COPY runs TO 'x.csv'", "GB621"), ("", "GB624")]
)
def test_a_query_may_only_read(material, text, code):
    with pytest.raises(Findings) as found:
        sql.build(item("sql", text), material, "f")
    assert found.value.diagnostics[0].code == code


def test_matrices_by_depth_stand_side_by_side(material):
    figure = heatmap.build(
        item("heatmap", ("patch_resid", "recovered"), y="depth", facet="model"), material, "f"
    )
    smol, gemma = figure.panels
    middles = [
        (p.top + p.height / rows / 2, p.top + p.height - p.height / rows / 2)
        for p, rows in zip(figure.panels, ex.LAYERS.values(), strict=True)
    ]
    assert middles[0] == pytest.approx(middles[1])  # the first layers, and the last ones
    assert [t.text for t in smol.y_texts] == ["0%", "25%", "50%", "75%", "100%"]
    assert [t.y for t in smol.y_texts] == pytest.approx([t.y for t in gemma.y_texts])
    said = [panel["y"] for panel in figure.data["panels"]]
    assert said[0][1] == "depth 67% (layer 2)" and said[1] == (
        "depth 100% (layer 2)",
        "depth 50% (layer 1)",
        "depth 0% (layer 0)",
    )
    by_layer = heatmap.build(item("heatmap", ("patch_resid", "recovered"), facet="model"), material, "f")
    assert [p["values"] for p in figure.data["panels"]] == [p["values"] for p in by_layer.data["panels"]]


def test_a_line_by_depth_counts_in_whole_percent(material):
    if not vega.installed():
        pytest.skip("needs the extra `charts`")
    figure = line.build(item("line", ("lens", "by_layer"), x="depth"), material, "f")
    text = base64.b64decode(figure.light.split(",")[1]).decode()
    assert ">50</text>" in text and ">100</text>" in text and "e+" not in text
