"""Pages in a real browser: they run clean, answer to pointer and keys, and nothing in their data ever runs."""

from __future__ import annotations

import base64
import json
import re
from pathlib import Path

import numpy as np
import pytest

from glassbox_dsl.report import render_report
from glassbox_dsl.store.query import query
from glassbox_dsl.store.reader import array, open_reader
from tests.report import axe, hostile
from tests.report.browser import Browser
from tests.store import example as ex

HOSTILE = (
    "</script><script>window.ran = 1</script>",
    "<img src=x onerror=window.ran=2>",
    "\u202e\u2066gnp.exe",
    "'\"><svg onload=window.ran=3>",
    "{{ 7 * 7 }}{% raw %}",
    "<!--<script>",
    "\u2028window.ran=4//",
    "\x00\x1b]0;x\x07",
)


@pytest.fixture(scope="module")
def page(db: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    [path] = render_report(db, tmp_path_factory.mktemp("browser"))
    return path


def clean(seen, path: Path) -> None:
    """The page asked for itself and what it carries, and nothing complained."""
    assert seen.problems == []
    assert {url for url in seen.requests if not url.startswith("data:")} == {path.resolve().as_uri()}


def key(figure: str) -> str:
    """The script's name of the figure with this title."""
    return f"[...document.querySelectorAll('.figure')].find(f => f.querySelector('h2').textContent === {figure!r})"


@pytest.mark.parametrize("dark", [False, True])
def test_a_page_runs_clean_from_a_file(browser: Browser, page: Path, dark: bool):
    clean(browser.open(page, dark=dark), page)
    assert browser.run("document.documentElement.dataset.scripts") == "ready"
    assert browser.run("[...document.images].every(i => i.complete && i.naturalWidth > 0)") is True
    assert browser.run("document.querySelectorAll('svg image.cells').length") > 10
    paper = browser.run("getComputedStyle(document.body).backgroundColor")
    assert paper == ("rgb(20, 23, 27)" if dark else "rgb(255, 255, 255)")
    assert browser.run("document.querySelector('picture img').currentSrc.length") > 1000
    assert browser.run("document.documentElement.scrollWidth <= innerWidth") is True


def test_a_page_reads_without_scripts(browser: Browser, page: Path):
    seen = browser.open(page, scripts=False)
    clean(seen, page)
    html = page.read_text(encoding="utf-8")
    assert html.count("<image") > 10 and "␣Mary</td>" in html and '<div class="controls" hidden>' in html


@pytest.mark.parametrize("dark", [False, True])
def test_a_page_has_no_serious_accessibility_issue(browser: Browser, page: Path, dark: bool):
    if not axe.SCRIPT.exists():
        pytest.skip(f"no axe-core: `python tools/fetch_axe.py` puts it to {axe.SCRIPT}")
    browser.open(page, dark=dark)
    browser.run("document.querySelectorAll('details').forEach(d => d.open = true)")
    assert axe.issues(browser) == []
    if dark:
        return
    browser.run(
        "document.querySelector('h1').append(Object.assign(document.createElement('img'), {src: 'data:,'}))"
    )
    assert [rule for rule, _, _ in axe.issues(browser)] == ["image-alt"]  # it does look


def test_a_page_prints_without_what_paper_cannot_do(browser: Browser, page: Path):
    browser.open(page)
    browser.call("Emulation.setEmulatedMedia", media="print")
    for hidden in (".controls", ".state", ".tip", ".skip", "details > .scroll"):
        assert browser.run(f"document.querySelector({hidden!r}).checkVisibility()") is False, hidden
    assert browser.run("document.querySelector('.kind-lens .tokens').checkVisibility()") is True
    browser.call("Emulation.setEmulatedMedia", media="")
    pdf = base64.b64decode(browser.call("Page.printToPDF", printBackground=True)["data"])
    assert pdf.startswith(b"%PDF-") and 5 < len(re.findall(rb"/Type /Page\b", pdf)) < 20


def test_a_narrow_screen_needs_no_sideways_scrolling(browser: Browser, page: Path):
    browser.open(page, width=390)
    assert browser.run("document.documentElement.scrollWidth") <= 390


def test_a_policy_stops_what_slips_in(browser: Browser, page: Path, tmp_path: Path):
    """The last line of defence works: a script put into the file by hand does not run."""
    html = page.read_text(encoding="utf-8")
    attack = html.replace(
        "</header>", "</header><script>window.ran = 1</script><img src=x onerror='window.ran = 2'>"
    )
    (tmp_path / "attack.html").write_text(attack, encoding="utf-8")
    seen = browser.open(tmp_path / "attack.html")
    assert (
        browser.run("window.ran") is None
        and browser.run("document.documentElement.dataset.scripts") == "ready"
    )
    assert any("Content Security Policy" in problem for problem in seen.problems)


def test_keys_and_pointer_read_a_heatmap(browser: Browser, page: Path, db: Path):
    browser.open(page)
    stored = {
        (layer, pos): (mean, lo, hi)
        for layer, pos, mean, lo, hi in query(
            db, "SELECT layer, pos, mean, lo, hi FROM patch_resid.recovered_summary WHERE model = 'smol'"
        ).rows
    }
    browser.run("document.querySelector('#figure-1 svg.panel').focus()")
    browser.press("ArrowDown")
    browser.press("ArrowDown")
    browser.press("End")
    tip = browser.run("document.querySelector('.tip').textContent").split("\n")
    mean, lo, hi = stored[1, 13]
    assert tip[0] == "layer 1, pos 13 (last)" and tip[3] == "n = 8"
    assert float(tip[1].removeprefix("recovered ").replace("−", "-")) == pytest.approx(mean, rel=1e-6)
    shown = [float(part.replace("−", "-")) for part in tip[2].removeprefix("95% interval ").split(" to ")]
    assert shown == pytest.approx([lo, hi], rel=1e-3)
    assert browser.run("document.querySelector('.spoken').textContent").startswith(
        "layer 1, pos 13 (last), recovered"
    )
    x, y = browser.run(
        "(() => { const s = document.querySelector('#figure-1 svg.panel'); s.scrollIntoView();"
        " const b = s.querySelector('image').getBoundingClientRect();"
        " return [b.x + b.width * 9.5 / 14, b.y + b.height * 3.5 / 4]; })()"
    )
    browser.move(x, y)
    tip = browser.run("document.querySelector('.tip').textContent").split("\n")
    assert tip[0] == "layer 0, pos 9 (s2)"
    assert float(tip[1].removeprefix("recovered ")) == pytest.approx(stored[0, 9][0], rel=1e-6)
    browser.press("Escape")
    assert browser.run("document.querySelector('.tip').hidden") is True


def choose(browser: Browser, figure: str, number: int) -> None:
    """Choose an entry of a figure's list."""
    browser.run(
        f"(() => {{ const list = {figure}.querySelector('select'); list.value = '{number}';"
        " list.dispatchEvent(new Event('change')); })()"
    )


def test_a_lens_shows_other_items_and_ranks(browser: Browser, page: Path):
    browser.open(page)
    lens = key("lens.shown")
    before = browser.run(f"{lens}.querySelector('tbody').innerText")
    choose(browser, lens, 8)
    assert browser.run(f"{lens}.querySelector('.shown').textContent") == "gemma, item 0"
    assert browser.run(f"{lens}.querySelectorAll('.tokens tbody tr').length") == 3
    assert browser.run(f"{lens}.querySelector('tbody').innerText") != before
    assert browser.run(f"{lens}.querySelector('thead').innerText.includes('s2')") is True
    browser.run(f"{lens}.querySelector('tbody td').focus()")
    browser.press("ArrowRight")
    browser.press("ArrowDown")
    tip = browser.run("document.querySelector('.tip').textContent").split("\n")
    assert tip == [
        "layer 1, pos 1 (␣Mary, io)",
        "1.  ␣Mary   0.4",
        "2.  ␣John   0.1667",
        "3.  ␣the   0.06667",
    ]


def test_attention_follows_the_pointer_and_keeps_a_head(browser: Browser, page: Path, db: Path):
    browser.open(page)
    figure = key("order.patterns")
    with open_reader(db) as reader:
        stored = array(reader.tensor("order", "patterns", model="smol", item=0))

    def at(selector: str, column: float, row: float) -> tuple[float, float]:
        place = (
            f"(() => {{ {figure}.scrollIntoView();"
            f" const b = {figure}.querySelector('{selector} image').getBoundingClientRect();"
            f" return [b.x + b.width * {column}, b.y + b.height * {row}]; }})()"
        )
        return tuple(browser.run(place))

    which = f"{figure}.querySelector('.which').textContent"
    assert browser.run(which) == "layer 3, head 0"
    browser.move(*at(".heads svg", 0.375, 0.6))
    assert browser.run(which) == "layer 1, head 1"
    browser.click(*at(".heads svg", 0.375, 0.6))
    browser.move(*at(".heads svg", 0.125, 0.1))
    assert browser.run(which) == "layer 1, head 1"
    assert browser.run("location.hash") == "#figure-8-L1H1"
    assert "Kept: layer 1, head 1." in browser.run(f"{figure}.querySelector('.state').textContent")
    browser.move(*at(".head svg", 5.5 / 14, 9.5 / 14))
    tip = browser.run("document.querySelector('.tip').textContent").split("\n")
    assert tip[:2] == ["query 9 ␣John", "key 5 ␣to"]
    assert float(tip[2]) == pytest.approx(float(stored[1, 1, 9, 5]), rel=1e-6)
    first = browser.run(f"[...{figure}.querySelector('table.top tbody tr').cells].map(c => c.textContent)")
    assert first == ["0 When", "0 When", "1"]
    browser.run(f"{figure}.querySelector('input').click()")
    top = browser.run(
        f"[...{figure}.querySelectorAll('table.top tbody tr')].map(r => r.cells[2].textContent)"
    )
    hidden = np.sort(stored[1, 1][:, 1:].ravel())[::-1][:8]
    assert [float(t) for t in top] == pytest.approx(hidden.tolist(), rel=1e-6)
    assert browser.run(f"{figure}.querySelector('.bar .high').textContent") != "1"
    browser.run(f"{figure}.querySelector('.share').click()")
    scaled = browser.run(
        f"[...{figure}.querySelectorAll('table.top tbody tr')].map(r => r.cells[2].textContent)"
    )
    rest = stored[1, 1][1:, 1:]
    rest = np.sort((rest / rest.sum(axis=1, keepdims=True)).ravel())[::-1][:8]
    assert [float(t) for t in scaled] == pytest.approx(rest.tolist(), rel=1e-6) and scaled != top
    browser.run(f"{figure}.querySelector('.share').click()")
    browser.run(f"{figure}.querySelector('.heads svg').focus()")
    browser.press("Escape")
    browser.move(*at(".heads svg", 0.125, 0.1))
    assert browser.run(which) == "layer 3, head 0"
    choose(browser, figure, 2)
    assert browser.run(f"{figure}.querySelector('.heads h3').textContent") == "gemma, item 0"
    labels = browser.run(f"[...{figure}.querySelectorAll('.heads .ticks text')].map(t => t.textContent)")
    assert {"0", "1", "2"} <= set(labels) and "3" not in labels


def test_a_link_leads_to_a_head(browser: Browser, page: Path):
    browser.open(page, fragment="#figure-8-L2H1")
    assert browser.run(f"{key('order.patterns')}.querySelector('.which').textContent") == "layer 2, head 1"


def hostile_run() -> tuple[ex.Batch, tuple[dict, ...]]:
    """A run in which every text that a stranger could have written is an attack."""
    tokens = HOSTILE
    n = len(tokens)
    prompt = ex.PromptRow(
        prompt="clean",
        text="".join(tokens),
        token_ids=tuple(range(n)),
        tokens=tokens,
        labels=(HOSTILE[0], *(None,) * (n - 1)),
    )
    item = ex.ItemRow(
        data="ioi",
        model="smol",
        item=0,
        variables={HOSTILE[1]: HOSTILE[0]},
        prompts=(prompt,),
        dropped_by=HOSTILE[2],
        answers=(ex.AnswerRow(answer="target", texts=(HOSTILE[0],), token_ids=((1,),)),),
    )
    score = ex.MeasureRow(
        experiment="e",
        measure="score",
        title=HOSTILE[0],
        variables=(ex.LAYER, ex.POS),
        unit=HOSTILE[3],
        source=f"measure x = {HOSTILE[5]}",
    )
    kinds = ex.VariableColumn(name="what", kind="text")
    by_name = ex.MeasureRow(experiment="e", measure="by_name", variables=(kinds,))
    top = ex.MeasureRow(experiment="e", measure="top", variables=(ex.LAYER, ex.POS), kind="top")
    layer, pos = ex.grid(2, n)
    zero = np.zeros(layer.size, dtype=np.int64)
    words = np.array(HOSTILE, dtype=object)
    shared = {"experiment": "e", "model": "smol", "data": "ioi"}
    places = {"columns": {"layer": layer, "pos": pos}, "labels": {"pos": words[pos]}}
    rows = (
        ex.MeasureRows(
            **shared, measure="score", variables=score.variables, item=zero, value=layer + 0.1 * pos, **places
        ),
        ex.MeasureRows(
            **shared,
            measure="by_name",
            variables=(kinds,),
            item=zero[:n],
            columns={"what": words},
            labels={},
            value=np.arange(n, dtype=float),
        ),
        ex.MeasureRows(
            **shared,
            measure="top",
            variables=top.variables,
            item=zero,
            value=zero + 0.5,
            **places,
            top=ex.TopColumns(
                rank=zero + 1, token_id=pos, token=words[pos], logit=zero + 1.0, prob=zero + 0.5
            ),
        ),
    )
    pattern = np.tril(np.ones((1, 1, n, n), dtype="<f4")) / np.arange(1, n + 1)[:, None]
    record = ex.TensorRecord(
        **shared,
        record="patterns",
        item=0,
        cell={},
        axes=("layer", "head", "query", "key"),
        shape=pattern.shape,
        dtype="float32",
        labels={"query": tokens, "key": tokens},
        content=pattern.astype("<f4").tobytes(),
    )
    batch = ex.Batch(
        models=(
            ex.MODELS[0].model_copy(
                update={"source": HOSTILE[0], "device": HOSTILE[1], "facts": {HOSTILE[1]: HOSTILE[3]}}
            ),
        ),
        items=(item,),
        measures=(score, by_name, top),
        rows=rows,
        tensors=(record,),
        checks=(ex.CheckRow(model="smol", check="T1", subject=HOSTILE[0], ok=False, detail=HOSTILE[1]),),
        cells=(
            ex.CellRow(
                key="k",
                experiment="e",
                run=HOSTILE[3],
                model="smol",
                data="ioi",
                status="failed",
                error=HOSTILE[0],
            ),
        ),
        receipts=(
            ex.ReceiptRow(
                experiment="e",
                run="r",
                line=1,
                edit=HOSTILE[0],
                model="smol",
                data="ioi",
                cells=1,
                cells_fired=0,
            ),
        ),
        expectations=(
            ex.ExpectationRow(
                experiment="e", line=1, text=HOSTILE[0], holds=False, example={HOSTILE[1]: HOSTILE[0]}
            ),
        ),
        diagnostics=(ex.DiagnosticRow(code="GB200", severity="error", headline=HOSTILE[0]),),
    )
    figures = [
        ("heatmap", "score"),
        ("heatmap", "gone"),
        ("bar", "by_name"),
        ("line", "by_name"),
        ("table", "by_name"),
        ("lens", "top"),
        ("attention", "patterns"),
    ]
    items = [
        {"kind": kind, "source": ["e", name], "options": {"title": HOSTILE[i % 4]}}
        for i, (kind, name) in enumerate(figures)
    ]
    items += [
        {"kind": "markdown", "source": "\n\n".join(HOSTILE) + "\n[x](javascript:window.ran=5)", "options": {}}
    ]
    items += [
        {
            "kind": "sql",
            "source": "SELECT '<script>window.ran=6</script>' AS \"<img src=x onerror=window.ran=7>\"",
            "options": {},
        }
    ]
    return batch, ({"name": "../p<x>", "title": HOSTILE[0], "items": items},)


@pytest.mark.parametrize("dark", [False, True])
def test_nothing_in_the_data_ever_runs(browser: Browser, written, tmp_path: Path, dark: bool):
    batch, reports = hostile_run()
    source = ex.SourceText(path=HOSTILE[1], text="\n".join(HOSTILE), sha256="0" * 64)
    versions = {HOSTILE[0]: HOSTILE[1]}
    db = written(
        batch,
        reports=reports,
        sources=(source,),
        versions=versions,
        command=HOSTILE[0],
        seeds={HOSTILE[1]: 1},
    )
    [path] = render_report(db, tmp_path / "out")
    assert path.parent == tmp_path / "out" and path.name == "_p_x_.html"
    seen = browser.open(path, dark=dark)
    clean(seen, path)
    assert browser.run("document.documentElement.dataset.scripts") == "ready"
    for selector in ("svg.panel", ".tokens td", ".token"):
        for event in ("pointermove", "pointerenter", "focusin"):
            browser.run(
                f"document.querySelectorAll({selector!r}).forEach(e => e.dispatchEvent("
                f"new PointerEvent({event!r}, {{bubbles: true, clientX: 200, clientY: 200}})))"
            )
    assert browser.run("window.ran") is None and seen.problems == []
    assert (
        browser.run("document.scripts.length")
        == browser.run("document.querySelectorAll('[type=\"application/json\"]').length") + 1
    )
    assert browser.run("[...document.querySelectorAll('img')].every(i => i.src.startsWith('data:'))") is True
    text = browser.run("document.body.innerText")
    assert HOSTILE[0] in text and HOSTILE[1] in text and "{{ 7 * 7 }}" in text
    html = path.read_text(encoding="utf-8")
    assert not set("\u202e\u2066\u2028\x00\x1b\x07") & set(html) and "‹U+202E›" in html
    for block in json.loads(
        browser.run(
            "JSON.stringify([...document.querySelectorAll('[type=\"application/json\"]')].map(s => s.textContent))"
        )
    ):
        assert json.loads(block) and "<" not in block


def many_hostile() -> tuple[ex.Batch, tuple[dict, ...]]:
    """A run whose model, tokens, prompts, answers and written texts are 200 attacks, and a page titled with them."""
    texts = np.array(hostile.TEXTS, dtype=object)
    n = len(texts)
    number, zero, model = np.arange(n), np.zeros(n, dtype=np.int64), hostile.TEXTS[0]
    prompt = ex.PromptRow(
        prompt="clean",
        text="".join(texts),
        token_ids=tuple(range(n)),
        tokens=tuple(texts),
        labels=(None,) * n,
    )
    items = tuple(
        ex.ItemRow(
            data="d", model=model, item=i, variables={"v": text}, prompts=(prompt,) if i == 0 else (),
            answers=(ex.AnswerRow(answer="target", texts=(text,), token_ids=((1,),)),),
        )
        for i, text in enumerate(hostile.TEXTS)
    )  # fmt: skip
    what = ex.VariableColumn(name="what", kind="text")
    words = ex.MeasureRow(experiment="e", measure="words", kind="text")
    top = ex.MeasureRow(experiment="e", measure="top", variables=(ex.POS,), kind="top")
    many = ex.MeasureRow(experiment="e", measure="many", variables=(what,), unit=hostile.TEXTS[3])
    shared = {"experiment": "e", "model": model, "data": "d"}
    places = {"columns": {"pos": number}, "labels": {"pos": texts}}
    found = ex.TopColumns(rank=zero + 1, token_id=number, token=texts, logit=zero + 1.0, prob=zero + 0.5)
    rows = (
        ex.MeasureRows(**shared, measure="words", variables=(), item=number, columns={}, labels={},
                       value=np.full(n, np.nan), text=texts),
        ex.MeasureRows(**shared, measure="top", variables=top.variables, item=zero, value=zero + 0.5, top=found,
                       **places),
        ex.MeasureRows(**shared, measure="many", variables=(what,), item=zero, columns={"what": texts}, labels={},
                       value=np.arange(n, dtype=float) % 7),
    )  # fmt: skip
    batch = ex.Batch(
        models=(ex.MODELS[0].model_copy(update={"model": model}),),
        items=items,
        measures=(words, top, many),
        rows=rows,
    )
    shown = [("text", "words", {}), ("table", "words", {}), ("lens", "top", {}), ("histogram", "many", {}),
             ("scatter", "many", {"x": "many", "over": ()}), ("line", "many", {}), ("table", "many", {})]  # fmt: skip
    page = [{"kind": kind, "source": ["e", name], "options": options} for kind, name, options in shown]
    page += [
        {"kind": "sql", "source": "SELECT 1 AS one", "options": {"title": text}} for text in hostile.TEXTS
    ]
    page += [{"kind": "markdown", "source": text, "options": {}} for text in hostile.TEXTS]
    return batch, ({"name": "p", "title": hostile.TEXTS[1], "items": page},)


def test_two_hundred_hostile_texts_run_nothing(browser: Browser, written, tmp_path: Path):
    assert len(set(hostile.TEXTS)) >= 200
    batch, reports = many_hostile()
    [path] = render_report(written(batch, reports=reports), tmp_path / "out")
    seen = browser.open(path)
    clean(seen, path)
    assert browser.run("document.querySelectorAll('.kind-failed').length") == 0
    assert browser.run("document.querySelectorAll('.figure').length") == 7 + 2 * len(hostile.TEXTS)
    browser.run("document.querySelectorAll('details').forEach(d => d.open = true)")
    browser.run(
        "document.querySelectorAll('.tokens td, svg, a').forEach(e => { for (const kind of ['pointermove', 'focusin'])"
        " e.dispatchEvent(new PointerEvent(kind, {bubbles: true, clientX: 200, clientY: 200})); })"
    )
    assert browser.run("window.ran") is None and seen.problems == []
    names = (
        "'iframe, object, embed, base, link:not([rel=icon]), form, input:not([type=checkbox]), video, math'"
    )
    assert browser.run(f"[...document.querySelectorAll({names})].map(e => e.outerHTML)") == []
    assert (
        browser.run(
            "[...document.querySelectorAll('*')].some(e => [...e.attributes].some(a => /^on/.test(a.name)))"
        )
        is False
    )
    assert (
        browser.run(
            "[...document.querySelectorAll('a')].every(a => /^(#|https?:)/.test(a.getAttribute('href')))"
        )
        is True
    )
    hidden = set(hostile.HIDDEN) | {"\r"}
    assert not hidden & set(path.read_text(encoding="utf-8"))
    cells = browser.run("[...document.querySelectorAll('.kind-sql h2')].map(h => h.textContent)")
    assert cells[0] == hostile.TEXTS[0] and len(set(cells)) == len(set(hostile.TEXTS))


def test_points_counts_and_texts_stand_on_a_narrow_dark_page(browser: Browser, written, tmp_path: Path):
    kinds = [
        ("scatter", ["lens", "by_layer"], {"x": "by_layer"}),
        ("histogram", ["order", "heads"], {"color": "model"}),
    ]
    items = [{"kind": kind, "source": source, "options": options} for kind, source, options in kinds]
    start = ex.Batch(models=ex.MODELS, items=ex.items(), measures=ex.MEASURES)
    batches = [ex.numbers(np.random.default_rng(0), model) for model in ex.LAYERS]
    reports = ({"name": "p", "title": None, "items": items},)
    path, *_ = render_report(written(start, *batches, reports=reports), tmp_path / "out")
    clean(browser.open(path, dark=True, width=390), path)
    assert browser.run("document.documentElement.scrollWidth") <= 390
    sizes = browser.run(
        "[...document.querySelectorAll('picture img')].map(i => [i.naturalWidth > 100, i.alt.length > 40])"
    )
    assert sizes == [[True, True]] * 2
    assert browser.run("document.querySelectorAll('.kind-histogram table').length") == 1
