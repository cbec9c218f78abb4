"""A small results file with something in every table: two models, 8 items, numbers that look like the real
thing."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from glassbox_dsl.plan.shelf import Readings
from glassbox_dsl.store.rows import (
    MISSING,
    AnswerRow,
    Batch,
    CellRow,
    CheckRow,
    ContextRow,
    DiagnosticRow,
    EndStatus,
    ExpectationRow,
    ItemRow,
    MeasureRow,
    MeasureRows,
    ModelRow,
    PromptRow,
    ReceiptRow,
    RunManifest,
    SourceText,
    TensorRecord,
    TokenRow,
    TopColumns,
    VariableColumn,
    new_run_id,
)
from glassbox_dsl.store.summaries import quotient
from glassbox_dsl.store.writer import Store

SOURCE = """\
gbx 1

model smol  = bundled("smollm2-135m")
model gemma = bundled("gemma3-270m")

data ioi {
  slots { io, s from ["Mary", "John", "Tom", "Anna"]  place from ["store", "park"] }
  prompt clean      = "When {io} and {s} went to the {place}, {s2: s} gave a drink to"
  prompt corrupt    = "When {io} and {s} went to the {place}, {s2: io} gave a drink to"
  answer target     = " {io}"
  answer distractor = " {s}"
  draw 8, seed: 0
}

metric logit_diff(r) = logit(r, target) - logit(r, distractor)

experiment patch_resid "Which residual states carry the indirect object?" {
  run patched[layer, pos] = forward(corrupt) { resid_pre[layer, pos] := clean }
  measure recovered = (logit_diff(patched) - logit_diff(corrupt)) / (logit_diff(clean) - logit_diff(corrupt))
  measure baseline = logit_diff(clean)
  measure gap = mean(logit_diff(clean)) - mean(logit_diff(corrupt))
  expect mean(logit_diff(clean)) > 1
  expect gap > 10
}

experiment lens "When does the answer appear?" {
  measure shown[layer, pos] = top(unembed(clean.resid_post[layer, pos]), k: 3)
  measure by_layer[layer] = logprob(unembed(clean.resid_post[layer, last]), target)
  measure at_names[layer, pos in {s2, last}] = logprob(unembed(clean.resid_post[layer, pos]), target)
}

experiment order "Where do the heads look?" {
  record patterns = clean.attn.pattern
  measure heads[layer, head, alpha in [0, 0.5]] = head_score(clean, kind: previous)
}
"""

LAYERS = {"smol": 4, "gemma": 3}
N_ITEMS = 8
HEADS = 2
WORDS = (
    "When",
    " Mary",
    " and",
    " John",
    " went",
    " to",
    " the",
    " store",
    ",",
    " John",
    " gave",
    " a",
    " drink",
)
LABELS: tuple[str | None, ...] = (
    *(None, "io", None, "s", None, None, None, "place", None, "s2", None, None, None),
    "last",
)
TOKENS = (*WORDS, " to")

LAYER = VariableColumn(name="layer", axis="layer", kind="int")
POS = VariableColumn(name="pos", axis="pos", kind="position")
NAMED_POS = VariableColumn(name="pos", axis="pos", kind="position", named=True)
HEAD = VariableColumn(name="head", axis="head", kind="int")
ALPHA = VariableColumn(name="alpha", kind="float")

MEASURES = (
    MeasureRow(
        experiment="patch_resid",
        measure="recovered",
        title="Which residual states carry the indirect object?",
        variables=(LAYER, POS),
        kind="ratio",
        source="measure recovered = (logit_diff(patched) - ...) / ...",
        line=20,
    ),
    MeasureRow(experiment="patch_resid", measure="baseline", unit="logits", line=21),
    MeasureRow(experiment="patch_resid", measure="gap", has_items=False, unit="logits", line=22),
    MeasureRow(experiment="lens", measure="shown", variables=(LAYER, POS), kind="top", line=28),
    MeasureRow(experiment="lens", measure="by_layer", variables=(LAYER,), unit="nats", line=29),
    MeasureRow(experiment="lens", measure="at_names", variables=(LAYER, NAMED_POS), unit="nats", line=30),
    MeasureRow(experiment="order", measure="heads", variables=(LAYER, HEAD, ALPHA), source="heads", line=35),
)  # fmt: skip


def write_example(
    path: str | Path, seed: int = 0, status: EndStatus = "complete", run_id: str | None = None
) -> str:
    """Write one finished run to a results file, new or existing; returns its run_id."""
    store = Store.create_or_open(path)
    run = run_id or new_run_id()
    rng = np.random.default_rng(seed)
    store.begin(manifest(run))
    store.flush(Batch(models=MODELS, items=items(), measures=MEASURES, checks=CHECKS, vocabulary=VOCABULARY))
    for model in LAYERS:
        store.flush(numbers(rng, model))
    known = Readings("0f" * 16, np.zeros((2, 2), np.uint64), np.ones((2, 1), np.float32))
    done = ContextRow(key="f0" * 16, experiment="patch_resid", model="smol", data="ioi", headlines=("a",))
    store.flush(
        Batch(expectations=EXPECTATIONS, diagnostics=DIAGNOSTICS, readings=(known,), contexts=(done,))
    )
    store.finish(status)
    return run


def manifest(run_id: str, file: str = "/home/reader/ioi.gbx") -> RunManifest:
    return RunManifest(
        run_id=run_id,
        file=file,
        sources=(
            SourceText(path="ioi.gbx", text=SOURCE, sha256=hashlib.sha256(SOURCE.encode()).hexdigest()),
        ),
        glassbox="0.1.0",
        command="gbx run ioi.gbx",
        started=datetime.now(UTC),
        versions={"python": "3.11.7", "torch": "2.13.0", "transformers": "5.23.0", "duckdb": "2.0.0"},
        platform={"system": "Linux", "machine": "x86_64", "cpus": "2"},
        seeds={"ioi.draw": 0},
        planned={"cells": 98, "climbs": 2, "token_layers": 12_345},
    )


MODELS = tuple(
    ModelRow(
        model=name,
        source=source,
        family=family,
        model_type=family,
        config_sha256=hashlib.sha256(name.encode()).hexdigest(),
        weights_sha256=hashlib.sha256(source.encode()).hexdigest(),
        tokenizer_sha256=hashlib.sha256(family.encode()).hexdigest(),
        dtype="float32",
        device="cpu",
        executor="hooked",
        facts={"n_layers": LAYERS[name], "n_heads": HEADS, "d_model": 64},
    )
    for name, source, family in (
        ("smol", 'bundled("smollm2-135m")', "llama"),
        ("gemma", 'bundled("gemma3-270m")', "gemma3_text"),
    )
)

CHECKS = tuple(
    CheckRow(model=model, check=check, subject=subject, value=value, tolerance=limit, ok=value <= limit)
    for model in LAYERS
    for check, subject, value, limit in (
        ("T1", "logits equal the untouched model's", 0.0, 0.0),
        ("T3", "the last token changes nothing before it", 2.1e-6, 1e-4),
        ("T7", "resid_post = resid_pre + attn.out + mlp.out", 3.2e-6, 1e-4),
    )
)

VOCABULARY = tuple(
    TokenRow(model=model, token_id=100 + i, token=token, bytes=token.encode())
    for model in LAYERS
    for i, token in enumerate(TOKENS)
)

EXPECTATIONS = tuple(
    ExpectationRow(
        experiment="patch_resid",
        line=line,
        text=text,
        model=model,
        data="ioi",
        holds=holds,
        broken=int(not holds),
        left=left,
        right=right,
    )
    for model in LAYERS
    for line, text, holds, left, right in (
        (23, "mean(logit_diff(clean)) > 1", True, 3.1, 1.0),
        (24, "gap > 10", False, 5.9, 10.0),
    )
)

DIAGNOSTICS = (
    DiagnosticRow(
        code="GB391",
        severity="warning",
        headline="prompt `clean` ends in a space for 0 items",
        text="warning[GB391]: ...",
    ),
)


def items() -> tuple[ItemRow, ...]:
    prompts = tuple(
        PromptRow(
            prompt=prompt,
            text="".join(TOKENS),
            token_ids=tuple(range(100, 114)),
            tokens=TOKENS,
            labels=LABELS,
        )
        for prompt in ("clean", "corrupt")
    )
    return tuple(
        ItemRow(
            data="ioi",
            model=model,
            item=item,
            variables={"io": "Mary", "s": "John", "place": "store", "year": 1900 + item},
            features={"template": 0, "abba": item % 2 == 0},
            template=0,
            kept=not (model == "gemma" and item == 7),
            dropped_by="keep where correct(clean, target)" if model == "gemma" and item == 7 else None,
            prompts=prompts,
            answers=(
                AnswerRow(answer="target", texts=(" Mary",), token_ids=((100 + item,),)),
                AnswerRow(answer="names", texts=(" Mary", " John"), token_ids=((1,), (2,))),
            ),
        )
        for model in LAYERS
        for item in range(N_ITEMS)
    )


def grid(*sizes: int) -> tuple[np.ndarray, ...]:
    """All combinations of 0..size-1, each as a flat column; the last runs fastest."""
    return tuple(axis.ravel() for axis in np.indices(sizes))


def numbers(rng: np.random.Generator, model: str) -> Batch:
    """Everything measured of one model."""
    n_layers, n_pos = LAYERS[model], len(TOKENS)
    n_items = N_ITEMS if model == "smol" else N_ITEMS - 1
    labels = np.array(LABELS, dtype=object)

    def rows(measure: MeasureRow, **columns: object) -> MeasureRows:
        return MeasureRows(
            experiment=measure.experiment,
            measure=measure.measure,
            model=model,
            data="ioi",
            variables=measure.variables,
            **columns,
        )  # fmt: skip

    recovered, baseline, gap, shown, by_layer, at_names, heads = MEASURES
    layer, pos, item = grid(n_layers, n_pos, n_items)
    clean, corrupt = rng.normal(3, 0.6, n_items), rng.normal(-3, 0.6, n_items)
    clean[0] = corrupt[0] + 1e-5  # one item whose denominator is near 0
    share = np.where(
        (pos == 9) & (layer < n_layers / 2) | (pos == n_pos - 1) & (layer >= n_layers / 2), 0.9, 0.02
    )
    den = (clean - corrupt)[item]
    num = share * den + rng.normal(0, 0.1, den.size)
    ratio = rows(recovered, item=item, columns={"layer": layer, "pos": pos}, labels={"pos": labels[pos]},
                 value=quotient(num, den), num=num, den=den)  # fmt: skip

    base = rows(baseline, item=np.arange(n_items), columns={}, labels={}, value=clean)
    scalar = rows(gap, item=None, columns={}, labels={}, value=np.array([clean.mean() - corrupt.mean()]))

    layer, pos, item, rank = grid(n_layers, n_pos, n_items, 3)
    prob = np.array([0.6, 0.25, 0.1])[rank] * (layer + 1) / n_layers
    words = np.array([" Mary", " John", " the"], dtype=object)
    top = rows(
        shown,
        item=item,
        columns={"layer": layer, "pos": pos},
        labels={"pos": labels[pos]},
        value=prob,
        top=TopColumns(
            rank=rank + 1, token_id=rank + 7, token=words[rank], logit=np.log(prob) + 9, prob=prob
        ),
    )

    layer, item = grid(n_layers, n_items)
    line = rows(
        by_layer,
        item=item,
        columns={"layer": layer},
        labels={},
        value=-4.0 + 3.5 * (layer + 1) / n_layers + rng.normal(0, 0.2, layer.size),
    )

    layer, which, item = grid(n_layers, 2, n_items)
    index = np.where(which == 0, 8 + item % 2, MISSING)  # s2 lies at 8 or 9; a whole span has no index
    named = rows(
        at_names,
        item=item,
        columns={"layer": layer, "pos": index},
        labels={"pos": np.array(["s2", "place.span"], dtype=object)[which]},
        value=rng.normal(-2, 0.3, layer.size),
    )

    layer, head, alpha, item = grid(n_layers, HEADS, 2, n_items)
    scores = rows(
        heads,
        item=item,
        columns={"layer": layer, "head": head, "alpha": alpha * 0.5},
        labels={},
        value=np.clip(rng.normal(0.2 + 0.6 * (layer == 1) * (head == 0), 0.05), 0, 1),
    )
    receipt = ReceiptRow(
        experiment="patch_resid",
        run="patched",
        line=19,
        edit="resid_pre[layer, pos] := clean",
        model=model,
        data="ioi",
        cells=n_layers * n_pos,
        cells_fired=n_layers * 5,
        cells_proven=n_layers * 9,
        moved_max=31.5,
        moved_mean=12.25,
        relative=0.4,
    )
    ledger = tuple(
        CellRow(
            key=hashlib.sha256(f"{model}{n}".encode()).hexdigest(),
            experiment="patch_resid",
            run="patched",
            model=model,
            data="ioi",
            cell={"layer": n, "pos": 0},
            items=n_items,
            status="proven",
            executor="hooked",
            seconds=0.01,
        )
        for n in range(n_layers)
    )
    return Batch(
        rows=(ratio, base, scalar, top, line, named, scores),
        tensors=patterns(rng, model),
        cells=ledger,
        receipts=(receipt,),
    )


def patterns(rng: np.random.Generator, model: str, n_items: int = 2) -> tuple[TensorRecord, ...]:
    """Attention patterns of the first items: rows sum to 1, nothing after the query."""
    shape = (LAYERS[model], HEADS, len(TOKENS), len(TOKENS))
    found = []
    for item in range(n_items):
        scores = np.exp(rng.normal(0, 1, shape)) * np.tril(np.ones(shape[-2:]))
        pattern = (scores / scores.sum(-1, keepdims=True)).astype("<f4")
        found.append(
            TensorRecord(
                experiment="order",
                record="patterns",
                model=model,
                data="ioi",
                item=item,
                cell={},
                axes=("layer", "head", "query", "key"),
                shape=shape,
                dtype="float32",
                labels={"query": TOKENS, "key": TOKENS},
                content=pattern.tobytes(),
            )
        )
    return tuple(found)
