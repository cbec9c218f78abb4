"""Values, colours and pixels agree."""

from __future__ import annotations

import base64
import math
import struct
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from glassbox_dsl.report import patterns
from glassbox_dsl.report.charts import attention, heatmap
from glassbox_dsl.report.colours import Scale, scale_of
from glassbox_dsl.report.grid import Panel, draw, leaning, stride
from glassbox_dsl.report.png import data_uri, png
from glassbox_dsl.report.spec import ItemSpec
from glassbox_dsl.report.ticks import Mark, Ticks, position_marks
from glassbox_dsl.store.query import query
from glassbox_dsl.store.reader import array


def pixels(uri: str) -> tuple[np.ndarray, np.ndarray]:
    """Palette entries [height, width] and palette [256, 3] of a PNG, read without the code that wrote it."""
    data = base64.b64decode(uri.removeprefix("data:image/png;base64,"))
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    chunks, at = {}, 8
    while at < len(data):
        (length,) = struct.unpack(">I", data[at : at + 4])
        kind, body = data[at + 4 : at + 8], data[at + 8 : at + 8 + length]
        assert struct.unpack(">I", data[at + 8 + length : at + 12 + length])[0] == zlib.crc32(kind + body)
        chunks[kind] = body
        at += 12 + length
    width, height, depth, colour = struct.unpack(">IIBB", chunks[b"IHDR"][:10])
    assert (depth, colour) == (8, 3) and chunks[b"tRNS"] == b"\0"
    rows = np.frombuffer(zlib.decompress(chunks[b"IDAT"]), np.uint8).reshape(height, width + 1)
    assert (rows[:, 0] == 0).all()
    return rows[:, 1:], np.frombuffer(chunks[b"PLTE"], np.uint8).reshape(256, 3)


def test_a_png_holds_what_was_put_in():
    steps = np.arange(12, dtype=np.uint8).reshape(3, 4)
    palette = np.random.default_rng(0).integers(0, 255, (256, 3)).astype(np.uint8)
    found, colours = pixels(data_uri(png(steps, palette)))
    assert (found == steps).all() and (colours == palette).all()


@pytest.mark.parametrize(
    ("values", "low", "high", "signed"),
    [
        ([-1.0, 3.0], -3, 3, True),
        ([0.1, 0.9], 0, 0.9, False),
        ([100.0, 120.0], 100, 120, False),
        ([-2.0, -1.0], -2, -1, False),
        ([-2.0, -0.1], -2, 0, False),
        ([0.0, 0.0], 0, 1, False),
        ([5.0], 0, 5, False),
        ([-5.0], -5, 0, False),
        ([np.nan, np.inf], 0, 1, False),
        ([], 0, 1, False),
    ],
)
def test_the_scale_covers_the_values(values, low, high, signed):
    assert scale_of(np.array(values, dtype=float)) == Scale(low, high, signed)


def test_a_signed_scale_has_zero_in_its_pale_middle():
    scale = Scale(-2.0, 2.0, True)
    steps = scale.steps(np.array([-2.0, 0.0, 2.0, np.nan, np.inf]))
    assert steps.tolist() == [1, 128, 255, 0, 0]
    red, pale, blue = scale.palette()[[1, 128, 255]].astype(int)
    assert pale.min() > 240 and red[0] > red[2] and blue[2] > blue[0]


def test_heatmap_pixels_are_the_values_of_the_summary(material, db: Path):
    figure = heatmap.build(ItemSpec(kind="heatmap", source=("patch_resid", "recovered")), material, "f")
    rows = query(db, "SELECT model, layer, pos, mean FROM patch_resid.recovered_summary").rows
    highest, lowest = max(row[3] for row in rows), min(row[3] for row in rows)
    low, high = (-highest, highest) if lowest < 0 else (0.0, highest)
    assert [panel.title for panel in figure.panels] == ["smol", "gemma"]
    seen = 0
    for panel in figure.panels:
        steps, palette = pixels(panel.image)
        assert (palette == scale_of(np.array([lowest, highest])).palette()).all()
        for model, layer, pos, mean in rows:
            if model == panel.title:
                row = steps.shape[0] - 1 - layer  # layers grow upwards
                assert steps[row, pos] == 1 + round((mean - low) / (high - low) * 254)
                seen += 1
    assert seen == len(rows) == 7 * 14


def test_heatmap_marks_positions_with_labels_and_tokens(material):
    figure = heatmap.build(ItemSpec(kind="heatmap", source=("patch_resid", "recovered")), material, "f")
    marks = {text.text: text.strong for text in figure.panels[0].marks}
    assert marks["s2"] and marks["last"] and marks["␣gave"] is False
    assert "␣Mary" not in marks  # position 1 has a label, which stays right for every item


def test_missing_cells_are_transparent_and_said(material, written):
    from tests.store import example as ex

    measure = ex.MEASURES[0]
    layer, pos, item = ex.grid(4, 14, 4)
    den = np.where(pos == 3, np.nan, 1.0)
    rows = ex.MeasureRows(
        experiment="patch_resid",
        measure="recovered",
        model="smol",
        data="ioi",
        variables=measure.variables,
        item=item,
        columns={"layer": layer, "pos": pos},
        labels={"pos": None},
        value=layer * 0.1 / den,
        num=layer * 0.1 / den,
        den=den,
    )
    from tests.report.conftest import opened

    path = written(ex.Batch(models=ex.MODELS[:1], items=ex.items()[:4], measures=(measure,), rows=(rows,)))
    with opened(path) as other:
        figure = heatmap.build(ItemSpec(kind="heatmap", source=("patch_resid", "recovered")), other, "f")
    steps, _ = pixels(figure.panels[0].image)
    assert (steps[:, 3] == 0).all() and (np.delete(steps, 3, axis=1) > 0).all()
    assert figure.notes == ("4 of 56 cells have no value (hatched).",) and figure.missing
    assert figure.data["panels"][0]["values"][3] is None


def test_attention_picture_and_weights_are_the_stored_tensor(material):
    figure = attention.build(ItemSpec(kind="attention", source=("order", "patterns")), material, "f")
    stored = array(material.reader.tensor("order", "patterns", model="smol", item=0))
    steps, _ = pixels(figure.heads.image)
    assert figure.views == ("smol, item 0", "smol, item 1", "gemma, item 0", "gemma, item 1")
    for layer, head, query_, key in [(0, 0, 0, 0), (3, 1, 13, 5), (2, 0, 7, 7), (1, 1, 9, 2)]:
        found = steps[(3 - layer) * 15 + query_, head * 15 + key]
        assert found == 1 + round(float(stored[layer, head, query_, key]) * 254)
    assert steps[0, 5] == 0  # a key to the right of its query
    assert steps[14].max() == 0  # the line between two layers
    raw = np.frombuffer(base64.b64decode(figure.data["views"][0]["weights"]), "<f4").reshape(4, 2, 105)
    assert (raw[2, 1] == stored[2, 1][np.tril_indices(14)]).all()


def test_attention_keeps_rough_weights_when_exact_ones_are_too_large(material, monkeypatch):
    monkeypatch.setattr(patterns, "EXACT_BYTES", 1000)
    monkeypatch.setattr(patterns, "ROUGH_BYTES", 1700)
    figure = attention.build(ItemSpec(kind="attention", source=("order", "patterns")), material, "f")
    assert figure.views == ("smol, item 0", "gemma, item 0")  # the same items of both models
    assert "3 digits" in figure.notes[0] and figure.notes[1].startswith("2 of 4 patterns")
    stored = array(material.reader.tensor("order", "patterns", model="smol", item=0))
    raw = np.frombuffer(base64.b64decode(figure.data["views"][0]["weights"]), "<f2").reshape(4, 2, 105)
    np.testing.assert_allclose(raw[2, 1], stored[2, 1][np.tril_indices(14)], rtol=5e-4)


def test_names_that_are_wider_than_their_cells_lean_and_none_is_left_out():
    names = ("here_country", "there_country", "asked", "last")
    panel = Panel("", Ticks("pos", names), Ticks("l", ("1", "0"), axis="layer"), np.zeros((2, 4)))
    drawn = draw(panel, Scale(0, 1, False), (20.0, 20.0))
    assert (
        [t.text for t in drawn.marks] == list(names) and drawn.x_texts == () and drawn.y_name == "l (layer)"
    )
    first = drawn.marks[0]
    assert first.x - 6.3 * len(first.text) * math.cos(math.radians(55)) >= 0  # inside the picture
    assert drawn.name_y > drawn.marks[1].y + 6.3 * len(names[1]) * math.sin(math.radians(55))
    numbers = replace(panel, x=Ticks("pos", ("0", "100", "2000", "30000")))
    assert [t.text for t in draw(numbers, Scale(0, 1, False), (20.0, 20.0)).x_texts] == ["0", "2000"]
    assert leaning(Ticks("depth", ("0%", "50%")), 5.0).marks == ()


def test_strides_are_round():
    assert [stride(x) for x in (0.2, 1.1, 3, 7, 12, 60)] == [1, 2, 5, 10, 20, 100]


def test_rows_of_panels_begin_where_the_axis_changes(material):
    spec = ItemSpec(kind="heatmap", source=("order", "heads"), options={"row": "model", "facet": "alpha"})
    figure = heatmap.build(spec, material, "f")
    assert [(p.title, p.new_row) for p in figure.panels] == [
        ("smol, alpha 0", False),
        ("smol, alpha 0.5", False),
        ("gemma, alpha 0", True),
        ("gemma, alpha 0.5", False),
    ]


def test_another_measure_may_give_the_numbers(material):
    spec = ItemSpec(kind="heatmap", source=("lens", "by_layer"), options={"value": "at_names"})
    assert heatmap.build(spec, material, "f").caption.startswith("lens.at_names")


def test_a_large_figure_leaves_numbers_in_the_database(material, monkeypatch):
    spec = ItemSpec(kind="heatmap", source=("patch_resid", "recovered"))
    monkeypatch.setattr("glassbox_dsl.report.grid.MOST_INTERVALS", 90)
    monkeypatch.setattr(heatmap, "MOST_INTERVALS", 90)
    figure = heatmap.build(spec, material, "f")
    assert set(figure.data["panels"][0]) == {"x", "y", "values"} and "intervals" in figure.notes[0]
    monkeypatch.setattr("glassbox_dsl.report.grid.MOST_NUMBERS", 95)
    monkeypatch.setattr(heatmap, "MOST_NUMBERS", 95)
    figure = heatmap.build(spec, material, "f")
    assert set(figure.data["panels"][0]) == {"x", "y"} and "numbers" in figure.notes[0]


def test_a_label_that_only_some_items_have_marks_nothing(material, written):
    from tests.report.conftest import opened
    from tests.store import example as ex

    items = list(ex.items()[:3])
    other = items[1].prompts[0].model_copy(update={"labels": (*ex.LABELS[:9], None, *ex.LABELS[10:])})
    items[1] = items[1].model_copy(update={"prompts": (other,)})
    with opened(written(ex.Batch(models=ex.MODELS[:1], items=tuple(items)))) as found:
        marks = position_marks(found, "smol", "ioi")
    assert marks[3] == Mark("s", True) and marks[9] == Mark("␣John") and marks[10] == Mark("␣gave")
