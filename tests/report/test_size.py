"""A page of a real size stays small enough to send."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from glassbox_dsl.report import render_report
from tests.store import example as ex

LAYERS, HEADS, TOKENS, ITEMS = 30, 9, 15, 32


def test_a_run_of_32_items_makes_a_page_below_1_5_megabytes(written, tmp_path: Path):
    rng = np.random.default_rng(0)
    words = tuple(f" word{i}" for i in range(TOKENS))
    vocabulary = np.array([f" token{i}" for i in range(3000)], dtype=object)
    recovered, shown = ex.MEASURES[0], ex.MEASURES[3]
    prompts = tuple(
        ex.PromptRow(
            prompt=p,
            text="".join(words),
            token_ids=tuple(range(TOKENS)),
            tokens=words,
            labels=(None,) * TOKENS,
        )
        for p in ("clean", "corrupt")
    )
    items = tuple(ex.ItemRow(data="ioi", model="smol", item=i, prompts=prompts) for i in range(ITEMS))
    layer, pos, item = ex.grid(LAYERS, TOKENS, ITEMS)
    num = rng.normal(0, 1, layer.size)
    patch = ex.MeasureRows(
        experiment="patch_resid",
        measure="recovered",
        model="smol",
        data="ioi",
        variables=recovered.variables,
        item=item,
        columns={"layer": layer, "pos": pos},
        labels={"pos": None},
        value=num / 6,
        num=num,
        den=num * 0 + 6,
    )
    layer, pos, item, rank = ex.grid(LAYERS, TOKENS, ITEMS, 5)
    ids, prob = rng.integers(0, 3000, layer.size), rng.uniform(0, 0.2, layer.size)
    lens = ex.MeasureRows(
        experiment="lens",
        measure="shown",
        model="smol",
        data="ioi",
        variables=shown.variables,
        item=item,
        columns={"layer": layer, "pos": pos},
        labels={"pos": None},
        value=prob,
        top=ex.TopColumns(rank=rank + 1, token_id=ids, token=vocabulary[ids], logit=prob, prob=prob),
    )
    shape = (LAYERS, HEADS, TOKENS, TOKENS)
    weights = rng.uniform(0, 1, (ITEMS, *shape)) * np.tril(np.ones(shape[-2:]))
    records = tuple(
        ex.TensorRecord(
            experiment="order",
            record="patterns",
            model="smol",
            data="ioi",
            item=i,
            cell={},
            axes=("layer", "head", "query", "key"),
            shape=shape,
            dtype="float32",
            labels={"query": words, "key": words},
            content=(weights[i] / weights[i].sum(-1, keepdims=True)).astype("<f4").tobytes(),
        )
        for i in range(ITEMS)
    )
    batch = ex.Batch(
        models=ex.MODELS[:1], items=items, measures=(recovered, shown), rows=(patch, lens), tensors=records
    )
    [page] = render_report(written(batch), tmp_path / "out")
    size = page.stat().st_size
    assert 500_000 < size < 1_500_000
    text = page.read_text(encoding="utf-8")
    assert "of 32 patterns are in this page" in text and "of 32 grids are in this page" in text
