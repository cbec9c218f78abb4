"""Token grids: what colours their cells, what is kept, and that the page and its script say the same."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from glassbox_dsl.report import render_report
from glassbox_dsl.report.charts import lens
from glassbox_dsl.report.spec import ItemSpec
from glassbox_dsl.report.tints import PROBABILITY, Tint, tint_of
from tests.report.browser import Browser
from tests.report.conftest import opened
from tests.store import example as ex

LAYERS, TOKENS = 3, 5
WORDS = np.array([" a", " b", "\n"], dtype=object)
UNITS = {"place": "rank", "spread": "nats", "gap": ""}


def batch() -> ex.Batch:
    """Two items; `top`, three measures of each cell, and two that are of something else."""
    layer, pos, item = ex.grid(LAYERS, TOKENS, 2)
    axes = (ex.LAYER, ex.POS)
    shared = {"experiment": "e", "model": "smol", "data": "ioi", "variables": axes, "item": item}
    shared |= {"columns": {"layer": layer, "pos": pos}, "labels": {"pos": None}}
    numbers = {"place": 10.0 ** (2 - layer) + pos, "spread": pos + 0.125 * layer + item, "gap": layer - 1.0}
    measures = [ex.MeasureRow(experiment="e", measure="words", variables=axes, kind="top")]
    measures += [ex.MeasureRow(experiment="e", measure=n, variables=axes, unit=u) for n, u in UNITS.items()]
    measures += [ex.MeasureRow(experiment="e", measure="line", variables=(ex.LAYER,))]
    measures += [ex.MeasureRow(experiment="e", measure="all", variables=axes, has_items=False)]
    rows = [ex.MeasureRows(measure=name, value=value, **shared) for name, value in numbers.items()]
    layer, pos, item, rank = ex.grid(LAYERS, TOKENS, 2, 3)
    prob = np.array([0.5, 0.25, 0.125])[rank] * (1 + layer) / 3
    top = ex.TopColumns(rank=rank + 1, token_id=rank, token=WORDS[rank], logit=prob * 8, prob=prob)
    shared |= {"item": item, "columns": {"layer": layer, "pos": pos}}
    rows.append(ex.MeasureRows(measure="words", value=prob, top=top, **shared))
    return ex.Batch(models=ex.MODELS[:1], items=ex.items(), measures=tuple(measures), rows=tuple(rows))


@pytest.fixture
def figure(written):
    def build(**options: Any):
        with opened(written(batch())) as material:
            return lens.build(ItemSpec(kind="lens", source=("e", "words"), options=options), material, "f")

    return build


def test_measures_of_the_same_cells_can_colour_a_grid(figure):
    found = figure()
    assert [tint.name for tint in found.tints] == ["probability", *UNITS] and found.colour == 0
    assert found.tints[1].log and found.tints[3].signed and found.tints[2].unit == "nats"
    rest = "place or spread or gap can be chosen in its place."
    assert found.caption.endswith(f"The colour is the probability of the token; {rest}")
    square = found.first.squares[0][4]  # layer 2, position 4, item 0
    assert square.others == pytest.approx((5, 4.25, 1)) and found.step(square) == "p5"
    chosen = figure(color="place")
    assert "The colour is place; the probability of the token or spread or gap can be" in chosen.caption
    assert chosen.colour == 1 and chosen.tints[1].high == 104
    assert chosen.step(square) == f"p{math.floor(10 * (1 - math.log(5) / math.log(104)) + 0.5)}"
    assert figure(color="gap").step(found.first.squares[2][0]) == "m10"
    assert len(found.sql.split(";\n\n")) == 4 and "FROM e.spread" in found.sql


def test_a_scale_says_its_numbers():
    assert PROBABILITY.key[0] == ("p0", "0") and PROBABILITY.key[-1] == ("p10", "1")
    rank = tint_of("place", "rank", [3, 1000])
    assert rank.key[0] == ("p0", "1000") and rank.key[-1] == ("p10", "1") and rank.level(1) == 10
    signed = tint_of("gap", "", [-2, 1])
    assert signed.key[0] == ("m10", "−2") and signed.key[5] == ("p0", "0") and len(signed.key) == 11
    for tint in (rank, signed, PROBABILITY, Tint("x", "", 2.0, 5.0)):
        levels = range(-10, 11) if tint.signed else range(11)
        assert [tint.level(tint.value(level)) for level in levels] == list(levels)
    assert rank.level(math.nan) == 0


@pytest.fixture
def page(written, tmp_path: Path) -> Path:
    items = [{"kind": "lens", "source": ["e", "words"], "options": {"color": "spread"}}]
    db = written(batch(), reports=({"name": "p", "title": None, "items": items},))
    [path, *_] = render_report(db, tmp_path / "out")
    return path


STEPS = "[...document.querySelectorAll('.tokens td')].map(t => t.className.split(' ')[0])"
KEY = "[...document.querySelectorAll('.key span')].slice(1).map(s => [s.className, s.textContent])"


def test_the_script_colours_as_the_page_does(browser: Browser, page: Path, figure):
    for colour in range(4):
        found = figure(**({"color": [*UNITS][colour - 1]} if colour else {}))
        seen = browser.open(page, fragment=f"#figure-1-y0x0-c{colour}")
        assert seen.problems == []
        assert browser.run(STEPS) == [found.step(square) for row in found.first.squares for square in row]
        assert browser.run(KEY) == [list(part) for part in found.tints[colour].key]
    browser.open(page, scripts=False)
    html = page.read_text(encoding="utf-8")
    assert '<td class="p8">␣a</td>' in html  # 4.25 nats of up to 5.25, on the page itself


def test_a_cell_is_kept_with_its_numbers(browser: Browser, page: Path):
    browser.open(page, fragment="#figure-1-y1x3-v1")
    cells = "[...document.querySelectorAll('.cell tbody tr')].map(r => [...r.cells].map(c => c.textContent))"
    logits = [8 * p * 2 / 3 for p in (0.5, 0.25, 0.125)]
    shown = browser.run(cells)
    assert [row[:2] for row in shown] == [["1", "␣a"], ["2", "␣b"], ["3", "⏎"]]
    assert [float(row[3]) for row in shown] == pytest.approx(logits, rel=1e-6)
    assert browser.run("[...document.querySelectorAll('.numbers dd')].map(d => d.textContent)") == [
        "13",
        "4.125 nats",
        "0",
    ]
    assert browser.run("document.querySelector('.shown').textContent") == "smol, item 1"
    browser.run("document.querySelector('.tokens td[tabindex=\"0\"]').focus()")
    browser.press("ArrowRight")
    browser.press("Enter")
    assert browser.run("document.querySelector('.which').textContent") == "layer 2, pos 1 (␣Mary)"
    assert browser.run("location.hash") == "#figure-1-y0x1-v1"
    browser.press("Escape")
    assert browser.run("document.querySelector('.lens .state').hidden") is True
