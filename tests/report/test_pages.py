"""Whole pages: what stands first, what is never missing, and what is written to disk."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from glassbox_dsl.diagnostics import Findings
from glassbox_dsl.report import render_report
from glassbox_dsl.report.provenance import ledger
from glassbox_dsl.store.rows import CellRow
from tests.report.conftest import opened
from tests.store import example as ex

REPORTS = (
    {
        "name": "first",
        "title": "A page of its own",
        "items": [
            {"kind": "markdown", "source": "Some *prose*.", "options": {}},
            {
                "kind": "heatmap",
                "source": ["patch_resid", "recovered"],
                "options": {"x": "pos", "facet": "model"},
            },
            {
                "kind": "sql",
                "source": "SELECT count(*) AS how_many FROM patch_resid.recovered",
                "options": {"title": "Count"},
            },
        ],
    },
    {
        "name": "second",
        "title": None,
        "items": [{"kind": "lens", "source": ["lens", "shown"], "options": {}}],
    },
)
ALL = ex.Batch(
    models=ex.MODELS, items=ex.items(), measures=ex.MEASURES, checks=ex.CHECKS, expectations=ex.EXPECTATIONS
)


def numbers(model: str = "smol"):
    return ex.numbers(ex.np.random.default_rng(0), model)


@pytest.fixture(scope="module")
def page(db: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    [path] = render_report(db, tmp_path_factory.mktemp("pages"))
    return path.read_text(encoding="utf-8")


def test_a_file_without_reports_gets_one_page_of_everything(page: str):
    titles = re.findall(r'<h2 id="figure-\d+-title">(.*?)</h2>', page)
    assert titles == [f"{m.experiment}.{m.measure}" for m in ex.MEASURES] + ["order.patterns"]
    assert page.startswith("<!doctype html>") and "<title>ioi</title>" in page


def test_broken_claims_stand_before_everything_else(page: str):
    alarm = page.index("2 expectations broken")
    assert alarm < page.index("What was expected") < page.index('id="figure-1"')
    assert "patch_resid, line 24: expect gap &gt; 10 (smol, ioi): 5.9 against 10" in page


def test_the_page_says_where_it_comes_from(page: str):
    for model in ex.MODELS:
        for fact in (
            model.source,
            model.family,
            model.config_sha256,
            model.weights_sha256,
            model.tokenizer_sha256,
        ):
            assert fact.replace('"', "&#34;") in page
    for check in ex.CHECKS:
        assert check.check in page and check.subject.replace("'", "&#39;") in page
    for text in (
        "gbx run ioi.gbx",
        "torch",
        "2.13.0",
        "seed of ioi.draw",
        "resid_pre[layer, pos] := clean",
        "GB391",
    ):
        assert text in page
    assert "2.1e−06" in page and "0.0001" in page
    assert "1 by `keep where correct(clean, target)`" in page
    assert "  expect mean(logit_diff(clean)) &gt; 1\n" in page


def test_nothing_names_the_folders_of_the_machine(page: str):
    assert "/home/reader" not in page


def test_every_figure_shows_its_query(page: str):
    assert page.count("The query behind it") == len(ex.MEASURES) + 1
    assert "FROM patch_resid.recovered_summary" in page


def test_the_policy_allows_this_page_and_no_more(page: str):
    from base64 import b64encode
    from hashlib import sha256

    [policy] = re.findall(r'Content-Security-Policy" content="([^"]*)"', page)
    [script] = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
    [style] = re.findall(r"<style>(.*?)</style>", page, re.DOTALL)
    hashes = [b64encode(sha256(text.encode()).digest()).decode() for text in (script, style)]
    assert policy.replace("&#39;", "'") == (
        f"default-src 'none'; script-src 'sha256-{hashes[0]}'; style-src 'sha256-{hashes[1]}'; img-src data:;"
        " base-uri 'none'; form-action 'none'"
    )
    markup = page.replace(script, "").replace(style, "")
    assert not re.search(r"<[^>]*\s(style|on\w+)\s*=", markup)
    assert "innerHTML" not in script and "eval" not in script
    assert set(re.findall(r"https?://[^\s\"'<)]*", page)) <= {"http://www.w3.org/2000/svg"}


def test_the_report_blocks_of_the_file_are_its_pages(written, tmp_path: Path):
    db = written(ALL, numbers(), numbers("gemma"), reports=REPORTS)
    paths = render_report(db, tmp_path / "out")
    assert [p.name for p in paths] == [
        "first.html",
        "second.html",
        "ioi.html",
    ]  # ioi: the experiment none of them shows
    first, second, rest = (p.read_text(encoding="utf-8") for p in paths)
    assert "<h1>A page of its own</h1>" in first and "<p>Some <em>prose</em>.</p>" in first
    assert '<td class="number">742</td>' in first and ">Count</h2>" in first  # 4 x 14 x 8 + 3 x 14 x 7 rows
    assert "lens.shown" in second and "order.heads" in rest and "lens.shown</h2>" not in rest
    assert [p.name for p in render_report(db, tmp_path / "one", report="second")] == ["second.html"]


def test_a_report_that_is_not_there_is_refused(db: Path, tmp_path: Path):
    with pytest.raises(Findings) as found:
        render_report(db, tmp_path / "out", report="ioj")
    assert [d.code for d in found.value.diagnostics] == ["GB650"] and "`ioi`" in found.value.diagnostics[
        0
    ].help
    assert not (tmp_path / "out").exists()


def test_a_figure_that_cannot_be_drawn_says_so_and_the_others_stand(written, tmp_path: Path):
    items = [
        {"kind": "heatmap", "source": ["patch_resid", "recovered"], "options": {"layer": 99}},
        {"kind": "pie", "source": ["patch_resid", "recovered"], "options": {}},
        {"kind": "table", "source": ["patch_resid", "baseline"], "options": {}},
    ]
    db = written(ALL, numbers(), reports=({"name": "p", "title": None, "items": items},))
    page = render_report(db, tmp_path / "out", report="p")[0].read_text(encoding="utf-8")
    assert (
        "2 figures could not be drawn" in page
        and "error[GB654]: `patch_resid.recovered` has no cell at layer = 99\n" in page
        and "error[GB651]" in page
    )
    assert "patch_resid.baseline</h2>" in page


@pytest.mark.parametrize("status", ["failed", "interrupted", "incomplete"])
def test_an_unfinished_run_says_so_first(written, tmp_path: Path, status: str):
    failed = ex.CellRow(
        key="k",
        experiment="patch_resid",
        run="patched",
        model="smol",
        data="ioi",
        cell={"layer": 2},
        status="failed",
        error="out of memory",
    )
    broken = ex.CheckRow(
        model="smol", check="T2", subject="every layer once", value=1.0, tolerance=0.0, ok=False
    )
    still = ex.ReceiptRow(
        experiment="patch_resid",
        run="patched",
        line=1,
        edit="mlp.out := 0",
        model="smol",
        data="ioi",
        cells=3,
        cells_fired=0,
    )
    batch = ex.Batch(cells=(failed,), checks=(broken,), receipts=(still,))
    db = written(ALL, numbers(), batch, status=status)
    page = render_report(db, tmp_path / "out")[0].read_text(encoding="utf-8")
    head = page[: page.index("</header>")]
    assert f"This run did not finish (status: {status})" in head and "of 98 planned cells are stored" in head
    assert "1 cell failed" in head and "patch_resid.patched layer = 2 on smol: out of memory" in head
    assert "1 verification check did not hold" in head and "T2 every layer once: 1, allowed 0" in head
    assert "1 edit never moved anything" in head and "mlp.out := 0" in head


def test_an_older_run_is_drawn_from_its_own_numbers(written, tmp_path: Path):
    path = written(ALL, numbers())
    first = tmp_path / "first"
    before = render_report(path, first)[0].read_text(encoding="utf-8")
    old = re.findall(r"<dd>([0-9a-f-]{36})</dd>", before)[0]
    new = ex.write_example(path, seed=5)
    after = render_report(path, tmp_path / "new")[0].read_text(encoding="utf-8")
    again = render_report(path, tmp_path / "again", run_id=old)[0].read_text(encoding="utf-8")
    assert new in after and old not in after
    assert old in again and new not in again and f"run_id = &#39;{old}&#39;" in again
    rows = r'<div class="scroll".*?</table>'
    assert (
        re.findall(rows, again, re.DOTALL)
        == re.findall(rows, before, re.DOTALL)
        != re.findall(rows, after, re.DOTALL)
    )


def test_a_page_is_written_whole_or_not_at_all(db: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    [page] = render_report(db, tmp_path)
    before = page.read_bytes()
    assert [p.name for p in tmp_path.iterdir()] == [page.name]

    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(Findings) as found:
        render_report(db, tmp_path)
    assert [d.code for d in found.value.diagnostics] == ["GB657"]
    assert "No space left on device" in found.value.diagnostics[0].label
    assert page.read_bytes() == before and [p.name for p in tmp_path.iterdir()] == [page.name]


def test_a_folder_that_is_a_file_is_refused(db: Path, tmp_path: Path):
    (tmp_path / "out").write_text("")
    with pytest.raises(Findings) as found:
        render_report(db, tmp_path / "out")
    assert [d.code for d in found.value.diagnostics] == ["GB657"]


@pytest.mark.parametrize("which", ["light", "dark"])
def test_text_can_be_read_on_every_ground(which: str):
    from glassbox_dsl.report.render import TEMPLATES

    css = (TEMPLATES / "style.css").read_text(encoding="utf-8")
    blocks = re.findall(r":root \{(.*?)\}", css, re.DOTALL)
    colours = dict(
        re.findall(r"--([\w-]+): (#[0-9a-f]{6})", blocks[0] + (blocks[1] if which == "dark" else ""))
    )
    pairs = [("ink", "paper"), ("soft", "paper"), ("ink", "raised"), ("accent", "paper"), ("warn", "paper")]
    pairs += [(name, f"{name}-back") for name in ("good", "bad", "warn")] + [("paper", "ink")]
    grounds = {name: channels(value) for name, value in colours.items()}
    for percent in range(5, 55, 5):  # the steps of token grids
        mixed = [
            (percent * a + (100 - percent) * b) / 100
            for a, b in zip(grounds["shade"], grounds["raised"], strict=True)
        ]
        grounds[f"p{percent}"] = mixed
        pairs.append(("ink", f"p{percent}"))
    assert {p: r for p in pairs if (r := contrast(grounds[p[0]], grounds[p[1]])) < 4.5} == {}


def channels(colour: str) -> list[float]:
    return [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]


def contrast(one: list[float], other: list[float]) -> float:
    """WCAG 2.2: the ratio of relative luminances."""
    bright = sorted(
        sum(
            w * (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4)
            for w, c in zip((0.2126, 0.7152, 0.0722), x, strict=True)
        )
        for x in (one, other)
    )
    return (bright[1] + 0.05) / (bright[0] + 0.05)


def test_cells_are_counted_by_run_and_what_never_happens_has_no_column(material, written):
    first, *_ = ex.MODELS
    done = [
        CellRow(key=run, experiment="e", run=run, model=first.model, data="ioi", cell={"cells": cells})
        for run, cells in (("base", 1), ("patched", 420))
    ]
    with opened(written(ex.Batch(models=(first,), cells=tuple(done)))) as found:
        [table] = ledger(found).tables
    assert table.columns == ("experiment", "run", "model", "data", "done")
    assert [row[-1] for row in table.rows] == ["1", "420"]
    columns = ledger(material).tables[0].columns  # of the example cells are proven, and took time
    assert columns[-3:] == ("done", "proven", "seconds")
