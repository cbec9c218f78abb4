"""Token grids, patterns and circuits for a paper: the numbers of the page, as SVG, PDF and PNG."""

from __future__ import annotations

import re
import xml.etree.ElementTree as xml
from pathlib import Path

import numpy as np
import pytest

from glassbox_dsl.cli.app import answer
from glassbox_dsl.report import paper
from glassbox_dsl.report.charts import attention, lens
from glassbox_dsl.report.page import Block
from glassbox_dsl.report.spec import ItemSpec
from glassbox_dsl.report.stills import WIDEST, laid_out
from glassbox_dsl.report.tints import PROBABILITY
from glassbox_dsl.report.vega import installed
from glassbox_dsl.report.visible import printed, visible_token
from glassbox_dsl.report.words import MOST_CHARACTERS, cut, wide
from glassbox_dsl.store.query import query
from glassbox_dsl.store.reader import array
from tests.report.test_pictures import pixels

SVG = "{http://www.w3.org/2000/svg}"
STYLE = Path(lens.__file__).parents[1] / "templates" / "style.css"


def drawn(db: Path, tmp_path: Path, *arguments: str) -> xml.Element:
    """What `gbx figure` writes as SVG."""
    out = tmp_path / "a.svg"
    assert answer(["figure", str(db), *arguments, "-o", str(out)]) == 0
    text = out.read_text()
    assert "<script" not in text and "http" not in text.replace("http://www.w3.org", "")
    return xml.fromstring(text)


def words(svg: xml.Element) -> list[str]:
    return [element.text or "" for element in svg.iter(f"{SVG}text")]


@pytest.mark.skipif(not installed(), reason="needs the extra `charts`")
@pytest.mark.parametrize("source", ["lens.shown", "order.patterns"])
@pytest.mark.parametrize(("ending", "begins"), [("svg", b"<svg"), ("pdf", b"%PDF-"), ("png", b"\x89PNG")])
def test_grids_and_patterns_become_figures_of_each_format(db, tmp_path, source, ending, begins):
    out = tmp_path / f"a.{ending}"
    assert answer(["figure", str(db), source, "-o", str(out)]) == 0
    assert out.read_bytes().startswith(begins) and len(out.read_bytes()) > 2000


def test_a_grid_on_paper_says_each_cell_of_one_item(db, tmp_path):
    svg = drawn(db, tmp_path, "lens.shown", "model=gemma", "item=1", "title=The lens")
    rows = query(
        db,
        "SELECT layer, pos, token, prob FROM lens.shown WHERE model = 'gemma' AND item = 1 AND rank = 1"
        " ORDER BY layer DESC, pos",
    ).rows
    texts = words(svg)
    assert texts[:2] == ["The lens", "gemma, item 1"]
    cells = [cut(printed(visible_token(token))) for _, _, token, _ in rows]
    bare = [
        e.text or ""
        for e in svg.iter(f"{SVG}text")
        if "class" not in e.attrib and e.attrib["text-anchor"] == "middle"
    ]
    across = len({row[1] for row in rows})
    assert bare[: across + len(cells)] == [*map(str, range(across)), *cells]
    fills = [e.attrib["fill"] for e in svg.iter(f"{SVG}rect") if "fill" in e.attrib]
    assert fills[: len(rows)] == [PROBABILITY.paint(f"p{int(10 * p + 0.5)}") for *_, p in rows]


def test_words_stay_inside_their_boxes(db, tmp_path):
    svg = drawn(db, tmp_path, "lens.shown")
    boxes = [
        tuple(float(e.attrib[n]) for n in ("x", "y", "width", "height"))
        for e in svg.iter(f"{SVG}rect")
        if "fill" in e.attrib
    ]
    width = float(svg.attrib["width"])
    assert all(x >= 0 and x + w <= width for x, _, w, _ in boxes)
    for element in svg.iter(f"{SVG}text"):
        if element.attrib.get("text-anchor") != "middle" or "transform" in element.attrib:
            continue
        x, y = float(element.attrib["x"]), float(element.attrib["y"])
        for left, top, wide_, high in boxes:
            if left < x < left + wide_ and top < y < top + high:
                assert wide(element.text or "") <= wide_ + 8  # the margins of both sides


def test_colours_on_paper_are_those_of_a_light_page():
    light = dict(re.findall(r"--(\w+): (#\w{6});", STYLE.read_text().split("@media")[0]))
    shade, less, raised = (
        np.array([int(light[n][i : i + 2], 16) for i in (1, 3, 5)]) for n in ("shade", "less", "raised")
    )
    for step, percent, of in re.findall(
        r"\.([pm]\d+) \{ background: color-mix\(in srgb, var\(--\w+\) (\d+)%, var\(--(\w+)\)\)",
        STYLE.read_text(),
    ):
        assert of == "raised"
        mixed = (less if step[0] == "m" else shade) * int(percent) / 100 + raised * (1 - int(percent) / 100)
        found = [int(PROBABILITY.paint(step)[i : i + 2], 16) for i in (1, 3, 5)]
        np.testing.assert_allclose(found, mixed, atol=0.51)


def test_all_heads_on_paper_are_the_stored_tensor(db, material, tmp_path):
    svg = drawn(db, tmp_path, "order.patterns", "model=smol")
    image = next(svg.iter(f"{SVG}image")).attrib["href"]
    steps, _ = pixels(image)
    stored = array(material.reader.tensor("order", "patterns", model="smol", item=0))
    grain = attention.GRAIN
    for layer, head, q, k in [(0, 0, 0, 0), (3, 1, 13, 5), (2, 0, 7, 7), (1, 1, 9, 2)]:
        top, left = ((3 - layer) * 15 + q) * grain, (head * 15 + k) * grain
        square = steps[top : top + grain, left : left + grain]
        assert (square == 1 + round(float(stored[layer, head, q, k]) * 254)).all()
    assert "smol, item 0" in words(svg) and "attention" in words(svg)


def test_one_head_on_paper_stands_large_with_its_tokens(db, material, tmp_path):
    svg = drawn(db, tmp_path, "order.patterns", "model=smol", "layer=2", "head=1")
    image = next(svg.iter(f"{SVG}image"))
    steps, _ = pixels(image.attrib["href"])
    stored = array(material.reader.tensor("order", "patterns", model="smol", item=0))[2, 1]
    seen = steps[:: attention.GRAIN, :: attention.GRAIN]
    assert seen.shape == (14, 14) and (seen[np.triu_indices(14, 1)] == 0).all()
    low = np.tril_indices(14)
    scale = np.round(stored[low] * 254 / max(1.0, float(stored.max()))).astype(int) + 1
    assert (seen[low] == scale).all()
    texts = words(svg)
    tokens = [cut(printed(visible_token(t))) for t in material.items[0].prompts[0].tokens]
    assert "layer 2, head 1" in texts and [t for t in texts if t in tokens][:14]
    assert float(image.attrib["width"]) > 200
    letters = [e for e in svg.iter(f"{SVG}text")]
    assert min(float(e.attrib["x"]) for e in letters) >= 0


def test_signs_of_white_space_have_letters_of_print():
    assert printed(visible_token(" a\n")) == "_a¶" and printed(visible_token("_a¶\t")) == "‹_›a‹¶›‹tab›"
    assert cut("x" * 40) == "x" * (MOST_CHARACTERS - 1) + "…" and wide("東") > wide("a")


def test_parts_stand_beside_each_other_while_there_is_room():
    part = Block(300.0, 100.0, "cells", None)
    places, width, height = laid_out(
        [part, part, part, Block(20.0, 10.0, "words", None, "t", below=True)], 8.0
    )
    assert [y for _, y in places] == [8.0, 8.0, 124.0, 258.0] and places[1][0] > 300
    assert width < WIDEST and height == 276.0


def test_an_svg_that_no_altair_draws_needs_no_extra(db, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(paper, "installed", lambda: False)
    drawn(db, tmp_path, "lens.shown")
    assert answer(["figure", str(db), "lens.shown", "-o", str(tmp_path / "a.pdf")]) == 1
    assert "GB658" in capsys.readouterr().err


def test_kinds_that_have_no_picture_are_refused(db, capsys):
    assert answer(["figure", str(db), "lens.by_layer", "kind=table"]) == 1
    said = capsys.readouterr().err
    assert "GB651" in said and "lens" in paper.drawable() and "table" not in paper.drawable()


def test_a_slip_in_the_name_of_a_record_is_seen(db, capsys):
    assert answer(["figure", str(db), "order.patern"]) == 1
    said = capsys.readouterr().err
    assert "GB652" in said and "`order.patterns`" in said


def test_the_first_grid_is_what_a_page_shows_without_a_script(material):
    item = ItemSpec(kind="lens", source=("lens", "shown"))
    figure, (grid, key) = lens.build(item, material, "f"), lens.still(item, material)
    assert grid.title == figure.views[0] and key.below
