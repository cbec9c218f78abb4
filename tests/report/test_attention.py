"""The attention viewer's numbers, against the stored tensors: differences, value sizes, blocks of tokens, links."""

from __future__ import annotations

from base64 import b64decode
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from glassbox_dsl.diagnostics import Findings
from glassbox_dsl.report import patterns, render_report
from glassbox_dsl.report.charts import attention
from glassbox_dsl.report.spec import ItemSpec
from tests.report.browser import Browser
from tests.report.conftest import opened
from tests.store import example as ex

LAYERS, HEADS, TOKENS = 3, 4, 6


def pattern(seed: int, tokens: int = TOKENS, heads: int = HEADS, layers: int = LAYERS) -> np.ndarray:
    """Causal rows that sum to 1, float32 [layer, head, query, key]."""
    scores = np.exp(np.random.default_rng(seed).normal(0, 1, (layers, heads, tokens, tokens)))
    scores *= np.tril(np.ones((tokens, tokens)))
    return (scores / scores.sum(-1, keepdims=True)).astype("<f4")


def record(name: str, values: np.ndarray, axes: tuple[str, ...], **more: Any) -> ex.TensorRecord:
    words = tuple(f" w{i}" for i in range(values.shape[-1]))
    labels = {axis: words for axis in axes if axis in ("query", "key", "pos")}
    more = {"model": "smol", "data": "ioi", "item": 0, "cell": {}, "labels": labels, **more}
    content = values.astype("<f4").tobytes()
    return ex.TensorRecord(
        experiment="e", record=name, axes=axes, shape=values.shape, dtype="float32", content=content, **more
    )


FULL = ("layer", "head", "query", "key")
CLEAN, CORRUPT = pattern(1), pattern(2)
LENGTHS = (
    np.random.default_rng(3).uniform(0.5, 2, (LAYERS, 2, TOKENS)).astype("<f4")
)  # two heads share a value
RECORDS = (
    record("clean", CLEAN, FULL),
    record("corrupt", CORRUPT, FULL, labels={"query": (" x", *(None,) * 5), "key": (None,) * 6}),
    record("lengths", LENGTHS, ("layer", "kv_head", "pos")),
)
MODEL = ex.MODELS[0].model_copy(update={"facts": {"n_layers": LAYERS, "n_heads": HEADS}})


@pytest.fixture
def shown(written):
    """The figure of an attention item over some records."""

    def show(*records: ex.TensorRecord, name: str = "clean", **options: Any):
        item = ItemSpec(kind="attention", source=("e", name), options=options)
        with opened(written(ex.Batch(models=(MODEL,), tensors=records or RECORDS))) as material:
            return attention.build(item, material, "f")

    return show


def decoded(packed: dict[str, Any], exact: bool) -> np.ndarray:
    """The weights of a view as the script reads them; NaN right of the query."""
    n, heads = len(packed["query"]), (len(packed["layers"]), len(packed["heads"]))
    values = np.frombuffer(b64decode(packed["weights"]), "<f4" if exact else "<f2").reshape(*heads, -1)
    full = np.full((*heads, n, n), np.nan)
    full[..., np.tril(np.ones((n, n), dtype=bool))] = values
    return full


def test_a_page_carries_the_stored_weights(shown):
    figure = shown()
    [packed] = figure.data["views"]
    assert figure.data["exact"] and packed["causal"] and packed["query"][1] == "␣w1"
    np.testing.assert_array_equal(np.nan_to_num(decoded(packed, True)), CLEAN)
    assert figure.caption.endswith("One item at a time (n = 1); the run has 1.") and figure.group == ""


def test_what_does_not_fit_in_full_is_kept_to_three_digits(shown, monkeypatch):
    monkeypatch.setattr(patterns, "EXACT_BYTES", 10)
    figure = shown()
    assert "3 digits" in figure.notes[0] and not figure.data["exact"]
    np.testing.assert_allclose(np.nan_to_num(decoded(figure.data["views"][0], False)), CLEAN, rtol=5e-4)


def test_a_difference_pairs_the_views_of_two_records(shown):
    figure = shown(minus="corrupt")
    assert figure.views == ("smol, item 0, clean", "smol, item 0, corrupt") and figure.data["minus"] == [
        1,
        None,
    ]
    gone = CLEAN - CORRUPT
    layer, head, _, _, weight = figure.tables[0].rows[5]
    later = gone[int(layer), int(head)][:, 1:]
    assert abs(float(weight.replace("−", "-"))) == pytest.approx(np.abs(later).max(), rel=1e-6)
    assert "less the same of corrupt" in figure.caption and figure.bar.texts[1] == "0"


def test_a_size_of_a_group_is_that_of_its_heads(shown):
    sizes = np.array(shown(value="lengths").data["views"][0]["sizes"]).reshape(LAYERS, HEADS, TOKENS)
    np.testing.assert_allclose(sizes, LENGTHS[:, [0, 0, 1, 1]], rtol=1e-6)
    chosen = shown(value="lengths", layer=-1).data["views"][0]
    np.testing.assert_allclose(
        np.array(chosen["sizes"]).reshape(HEADS, TOKENS), LENGTHS[2, [0, 0, 1, 1]], rtol=1e-6
    )


def test_sizes_of_something_else_are_refused(shown):
    short = record("lengths", LENGTHS[..., :4], ("layer", "kv_head", "pos"))
    some = record("lengths", LENGTHS, ("layer", "kv_head", "pos"), labels={"layer": ("1", "2", "3")})
    for sizes in (short, some):
        with pytest.raises(Findings) as found:
            shown(RECORDS[0], sizes, value="lengths")
        assert found.value.diagnostics[0].code == "GB655"


def test_a_record_of_one_head_does_not_say_which(shown):
    [packed] = shown(record("clean", CLEAN[1, 2], ("query", "key"))).data["views"]
    assert (packed["layers"], packed["heads"]) == (("–",), ("–",))
    assert np.nansum(np.frombuffer(b64decode(packed["weights"]), "<f4")) == pytest.approx(TOKENS)


@pytest.mark.parametrize(("layer", "number"), [(1, 1), (-1, 2), ("50%", 1)])
def test_a_layer_can_be_chosen(shown, layer, number):
    packed = shown(layer=layer).data["views"][0]
    assert packed["layers"] == (str(number),)
    np.testing.assert_array_equal(np.nan_to_num(decoded(packed, True))[0], CLEAN[number])


def test_what_is_not_there_is_said(shown):
    wrong = [("layer", 9, "GB654"), ("item", 3, "GB654"), ("minus", "x", "GB652"), ("value", "x", "GB652")]
    wrong += [("value", "clean", "GB655"), ("minus", "lengths", "GB655")]
    for option, value, code in wrong:
        with pytest.raises(Findings) as found:
            shown(**{option: value})
        assert found.value.diagnostics[0].code == code, option


def test_cells_of_another_axis_are_views_of_their_own(shown):
    both = np.stack([CLEAN, CORRUPT])
    labels = {"alpha": ("0.5", "1.0"), "query": (None,) * TOKENS, "key": (None,) * TOKENS}
    figure = shown(record("clean", both, ("alpha", *FULL), labels=labels))
    assert figure.views == ("smol, item 0, alpha 0.5", "smol, item 0, alpha 1.0")
    for packed, values in zip(figure.data["views"], both, strict=True):
        np.testing.assert_array_equal(np.nan_to_num(decoded(packed, True)), values)


def test_many_tokens_share_blocks_and_rows_still_sum_to_one(shown):
    long = pattern(4, tokens=1100, heads=1, layers=1)
    figure = shown(record("clean", long, FULL))
    [packed] = figure.data["views"]
    got = decoded(packed, figure.data["exact"])[0, 0]
    assert len(packed["query"]) == 368 and packed["query"][:2] == ("␣w0", "1–3 ␣w1")
    assert packed["query"][-1] == "1099 ␣w1099"[
        5:
    ] and "blocks of 3 tokens, the first token by itself" in " ".join(figure.notes)
    np.testing.assert_allclose(np.nansum(got, -1), 1, rtol=3e-3)
    assert got[0, 0] == 1 and got[2, 1] == pytest.approx(long[0, 0, 4:7, 1:4].sum() / 3, rel=1e-3)
    assert got[50, 0] == pytest.approx(long[0, 0, 148:151, 0].mean(), rel=1e-3)


def blocked(weights: np.ndarray) -> np.ndarray:
    """What blocks of two tokens (0, 1-2, 3-4, 5) hold of causal rows: summed over keys, averaged over queries."""
    parts = [slice(0, 1), slice(1, 3), slice(3, 5), slice(5, 6)]
    out = np.array([[weights[..., q, k].sum(-1).mean(-1) for k in parts] for q in parts])
    return np.moveaxis(out, (0, 1), (-2, -1)) + np.where(np.tril(np.ones((4, 4))) > 0, 0, np.nan)


def test_blocks_are_weighed_token_by_token_before_they_are_put_together(shown, monkeypatch):
    monkeypatch.setattr(patterns, "MOST_TOKENS", 3)
    figure = shown(value="lengths")
    packed = figure.data["views"][0]
    assert figure.weighed and packed["sizes"] is None and len(packed["query"]) == 4
    raw = np.frombuffer(b64decode(packed["weighed"]), "<f2").reshape(LAYERS, HEADS, -1).astype(float)
    expected = blocked(CLEAN * LENGTHS[:, [0, 0, 1, 1], None])[..., np.tril(np.ones((4, 4))) > 0]
    np.testing.assert_allclose(raw * packed["largest"], expected, rtol=2e-3)
    assert np.abs(raw).max() == 1.0 and packed["largest"] == pytest.approx(expected.max(), rel=1e-6)


def test_heads_have_a_mean_and_a_farthest(shown):
    weights = np.array([[[[0.5]], [[-0.75]], [[np.nan]]]], dtype=np.float32)
    np.testing.assert_allclose(attention.beside(weights)[0, 3:, 0, 0], [-0.125, -0.75])


# ---------------------------------------------------------------- in a browser


@pytest.fixture
def page(written, tmp_path: Path) -> Path:
    items = [
        {"kind": "attention", "source": ["e", "clean"], "options": {"minus": "corrupt", "value": "lengths"}}
    ]
    db = written(
        ex.Batch(models=(MODEL,), tensors=RECORDS), reports=({"name": "p", "title": None, "items": items},)
    )
    [path] = render_report(db, tmp_path / "out")
    return path


def weights(browser: Browser) -> list[float]:
    """The strongest weights that the page lists."""
    texts = browser.run(
        "[...document.querySelectorAll('table.top tbody tr')].map(r => r.cells[2].textContent)"
    )
    return [float(text.replace("−", "-")) for text in texts]


def strongest(values: np.ndarray) -> Any:
    flat = values[np.isfinite(values)]
    return pytest.approx(flat[np.argsort(-np.abs(flat), kind="stable")][:8].tolist(), rel=1e-5, abs=1e-7)


MASK = np.where(np.tril(np.ones((TOKENS, TOKENS))) > 0, 0, np.nan)


def hidden(values: np.ndarray) -> np.ndarray:
    out = values + MASK
    out[..., 0] = np.nan
    return out


def test_the_viewer_computes_what_it_says(browser: Browser, page: Path):
    size = LENGTHS[:, [0, 0, 1, 1], None]
    cases = {
        "L1H2": (CLEAN - CORRUPT)[1, 2] + MASK,
        "L1H2-m": CLEAN[1, 2] + MASK,
        "L2H3-m-hide": hidden(CLEAN[2, 3]),
        "L2H3-m-weigh": (CLEAN * size)[2, 3] + MASK,
        "L0mean-m": CLEAN[0].mean(0) + MASK,
        "L0max": np.take_along_axis(CLEAN[0] - CORRUPT[0], np.abs(CLEAN[0] - CORRUPT[0]).argmax(0)[None], 0)[0] + MASK,
        "L1H0-v1": CORRUPT[1, 0] + MASK,
    }  # fmt: skip
    share = [
        hidden(values[1, 1]) / np.nansum(hidden(values[1, 1]), -1, keepdims=True).clip(1e-9)
        for values in (CLEAN, CORRUPT)
    ]
    cases["L1H1-hide-share"] = share[0] - share[1]
    for link, expected in cases.items():
        seen = browser.open(page, fragment=f"#figure-1-{link}")
        assert seen.problems == [] and weights(browser) == strongest(expected), link
        assert browser.run("document.querySelector('.link').getAttribute('href')") == f"#figure-1-{link}"


def test_the_viewer_weighs_blocks(browser: Browser, written, tmp_path: Path, monkeypatch):
    monkeypatch.setattr(patterns, "MOST_TOKENS", 3)
    items = [
        {"kind": "attention", "source": ["e", "clean"], "options": {"minus": "corrupt", "value": "lengths"}}
    ]
    report = {"name": "p", "title": None, "items": items}
    [path] = render_report(
        written(ex.Batch(models=(MODEL,), tensors=RECORDS), reports=(report,)), tmp_path / "out"
    )
    size = LENGTHS[:, [0, 0, 1, 1], None]
    cases = {
        "L1H2-m-weigh": blocked(CLEAN * size)[1, 2],
        "L2H3-weigh": (blocked(CLEAN * size) - blocked(CORRUPT * size))[2, 3],
        "L2H3-m": blocked(CLEAN)[2, 3],
    }
    for link, expected in cases.items():
        seen = browser.open(path, fragment=f"#figure-1-{link}")
        flat = expected[np.isfinite(expected)]
        largest = flat[np.argsort(-np.abs(flat))][:8]
        assert seen.problems == [] and weights(browser) == pytest.approx(
            largest.tolist(), rel=5e-3, abs=2e-3
        ), link


def test_a_query_is_kept_and_let_go(browser: Browser, page: Path):
    browser.open(page, fragment="#figure-1-L1H2-q4-m")
    state = "document.querySelector('.state')"
    assert browser.run(f"{state}.firstElementChild.textContent") == "Kept: layer 1, head 2, query 4 ␣w4."
    tokens = "[...document.querySelectorAll('.strip .token')]"
    assert browser.run(f"{tokens}.findIndex(t => t.classList.contains('query'))") == 4
    steps = browser.run(f"{tokens}.map(t => Number(/p(\\d+)/.exec(t.className)?.[1] ?? -1))")
    high = CLEAN.max()
    assert steps == [*np.floor(10 * CLEAN[1, 2, 4, :5] / high + 0.5).astype(int).tolist(), -1]
    browser.run("document.querySelector('.turn').value = 'queries'")
    browser.run("document.querySelector('.turn').dispatchEvent(new Event('change'))")
    steps = browser.run(f"{tokens}.map(t => Number(/p(\\d+)/.exec(t.className)?.[1] ?? -1))")
    assert steps == [-1] * 4 + np.floor(10 * CLEAN[1, 2, 4:, 4] / high + 0.5).astype(int).tolist()
    browser.run("document.querySelector('.free').click()")
    assert browser.run(f"{state}.hidden") is True
    browser.run("document.querySelector('.heads svg').focus()")
    for key in ("End", "ArrowDown", "Enter"):  # the last column: what all heads have in common
        browser.press(key)
    assert browser.run("document.querySelector('.which').textContent") == "layer 1, max of all heads"
    assert browser.run("location.hash") == "#figure-1-L1max-m"


def test_heads_that_a_record_leaves_out_have_no_picture():
    """`pattern[10, 0..1]` of nine heads: the tensor has room for all of them."""
    block = np.tril(np.ones((3, 3), dtype=np.float32))
    absent = np.full_like(block, np.nan)
    found = {(layer, head): block if head < 2 else absent for layer in (0, 1) for head in range(4)}
    view = patterns._view(("e", "p"), ("m",), "m", found, {}, None)
    assert view.heads == ("0", "1") and view.layers == ("0", "1") and view.weights.shape == (2, 2, 3, 3)
