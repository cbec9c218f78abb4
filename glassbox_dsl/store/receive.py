"""What a run measured, in the words of the store."""

from __future__ import annotations

import hashlib
import json
import platform
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from glassbox_dsl.diagnostics import Diagnostic, render
from glassbox_dsl.language.program import MetricCall, Program, Value
from glassbox_dsl.library.metric import metrics
from glassbox_dsl.store.rows import (
    AnswerRow,
    Batch,
    CellRow,
    CheckRow,
    ContextRow,
    DiagnosticRow,
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

if TYPE_CHECKING:
    from glassbox_dsl.resolve.data import DataTable, Item
    from glassbox_dsl.resolve.facts import ModelFacts
    from glassbox_dsl.resolve.sources import ModelFiles
    from glassbox_dsl.run.measured import Claimed, Column, Measured, Recorded
    from glassbox_dsl.run.session import Results

PACKAGES = ("torch", "transformers", "tokenizers", "duckdb", "numpy", "safetensors")


NO_SIZES = {"absent", "windows", "read_only", "variants", "experts_in"}
"""What of a model's facts is no number that one would look up."""


def manifest(
    program: Program, path: Path, command: str, planned: Mapping[str, int] | None = None
) -> RunManifest:
    """What is known of a run before its first number."""
    seeds = {f"{d.name}.draw": d.draw.seed for d in program.data if d.draw is not None}
    return RunManifest(
        run_id=new_run_id(),
        file=str(path.resolve()),
        sources=tuple(
            SourceText(path=s.path, text=s.text, sha256=hashlib.sha256(s.text.encode()).hexdigest())
            for s in program.sources
        ),
        glassbox=installed("glassbox-dsl"),
        command=command,
        started=datetime.now(UTC),
        versions={"python": platform.python_version(), **{p: installed(p) for p in PACKAGES}},
        platform={"system": platform.system(), "machine": platform.machine()},
        seeds=seeds,
        planned=planned or {},
        reports=reports(program),
    )


def installed(package: str) -> str:
    """The version of an installed package."""
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def reports(program: Program) -> tuple[dict[str, Any], ...]:
    """The report blocks of a file as plain data."""
    return tuple(
        {
            "name": r.name,
            "title": r.title,
            "items": [
                {
                    "kind": f.kind,
                    "source": f.source if isinstance(f.source, str) else list(f.source),
                    "options": dict(f.options),
                }
                for f in r.figures
            ],
        }
        for r in program.reports
    )


def model_row(
    name: str, program: Program, files: ModelFiles, facts: ModelFacts, device: str, executor: str
) -> ModelRow:
    """One model."""
    source = next(m for m in program.models if m.name == name)
    sums = files.fingerprints
    return ModelRow(
        model=name,
        source=source.span.text if source.span is not None else source.target,
        family=facts.family,
        model_type=facts.model_type,
        config_sha256=hashlib.sha256(json.dumps(files.config, sort_keys=True).encode()).hexdigest(),
        weights_sha256=sums.get("weights", ""),
        tokenizer_sha256=sums.get("tokenizer", ""),
        dtype=source.dtype,
        device=device,
        executor=executor,
        facts=_sizes(facts),
    )


def _sizes(facts: ModelFacts) -> dict[str, Any]:
    """What a family has of the facts that are numbers or words."""
    told = facts.given()
    return {name: value for name, value in told.items() if name not in NO_SIZES}


def item_rows(
    table: DataTable, label_at: Callable[[dict[str, tuple[int, int]], int, int], str | None]
) -> tuple[ItemRow, ...]:
    """The items of a data set as one model sees them."""
    return tuple(_item(item, table, label_at) for item in table.items)


def _item(item: Item, table: DataTable, label_at: Callable[..., str | None]) -> ItemRow:
    prompts = tuple(
        PromptRow(
            prompt=name,
            text=p.text,
            token_ids=p.ids,
            tokens=p.tokens,
            labels=tuple(label_at(p.spans, i, len(p.ids)) for i in range(len(p.ids))),
        )
        for name, p in item.prompts.items()
    )
    answers = tuple(
        AnswerRow(answer=n, texts=a.texts, token_ids=a.alternatives) for n, a in item.answers.items()
    )
    features = {k: v for k, v in item.features.items() if not isinstance(v, tuple)}
    return ItemRow(
        data=table.name,
        model=table.model,
        item=item.number,
        variables=item.variables,
        features=features,
        template=item.template,
        kept=item.kept,
        dropped_by=item.dropped_by,
        prompts=prompts,
        answers=answers,
    )


def context_batch(
    results: Results,
    vocabulary: Sequence[TokenRow],
    content: str = "",
    finished: tuple[ContextRow, ...] = (),
    spoken: Mapping[tuple[int, ...], str] | None = None,
) -> Batch:
    """Everything of one context, for one flush; `vocabulary` are the tokens that `top` found.

    `content` is the content key of the context, and `finished` its row where later runs may reuse it.
    """
    experiment = results.context.experiment.name
    tokens: dict[int | tuple[int, ...], str] = {token.token_id: token.token for token in vocabulary}
    for said, text in (spoken or {}).items():
        tokens[said] = text
    return Batch(
        measures=tuple(measure_row(results, m) for m in results.measured),
        rows=tuple(measure_rows(experiment, m, tokens) for m in results.measured if len(m.numbers)),
        tensors=tuple(tensor(experiment, r) for r in results.recorded),
        expectations=tuple(expectation(experiment, c) for c in results.claimed),
        receipts=tuple(_receipts(results)),
        cells=tuple(_cells(results, content)),
        contexts=finished,
        diagnostics=tuple(diagnostic_row(d) for d in results.diagnostics),
        vocabulary=tuple(vocabulary),
    )


def top_tokens(results: Results) -> set[int]:
    """The tokens that `top` found."""
    return {int(i) for m in results.measured if m.top is not None for i in m.top["token_id"]}


def _variables(columns: Sequence[Column]) -> tuple[VariableColumn, ...]:
    return tuple(VariableColumn(name=c.name, axis=c.axis, kind=c.kind, named=c.named) for c in columns)


def measure_row(results: Results, measured: Measured) -> MeasureRow:
    """The definition of a measure."""
    value = measured.value
    kind = value.table or ("ratio" if value.ratio else "value")
    line, _ = value.span.source.place(value.span.start)
    return MeasureRow(
        experiment=results.context.experiment.name,
        measure=value.name,
        title=results.context.experiment.title or "",
        variables=_variables(measured.columns),
        kind=kind,
        has_items=value.has_item,
        unit=unit(value),
        source=" ".join(value.span.text.split()),
        line=line,
    )


def unit(value: Value) -> str:
    """The unit of a measure that is one metric; otherwise none is claimed."""
    first = value.variants[0].value
    return metrics()[first.metric].unit if isinstance(first, MetricCall) else ""


def measure_rows(
    experiment: str, measured: Measured, tokens: Mapping[int | tuple[int, ...], str]
) -> MeasureRows:
    """The rows of a measure."""
    top = None
    if measured.top is not None:
        texts = np.array([tokens[int(i)] for i in measured.top["token_id"]], dtype=object)
        top = TopColumns(
            rank=measured.top["rank"],
            token_id=measured.top["token_id"],
            token=texts,
            logit=measured.top["logit"],
            prob=measured.top["prob"],
        )
    return MeasureRows(
        experiment=experiment,
        measure=measured.value.name,
        model=measured.model,
        data=measured.data,
        variables=_variables(measured.columns),
        item=measured.item,
        columns={c.name: c.values for c in measured.columns},
        labels={c.name: c.labels for c in measured.columns if c.kind == "position"},
        value=measured.numbers,
        num=measured.num,
        den=measured.den,
        top=top,
        text=None
        if measured.generated is None
        else np.array([tokens[t] for t in measured.generated], dtype=object),
    )


def tensor(experiment: str, recorded: Recorded) -> TensorRecord:
    """One tensor of a record."""
    return TensorRecord(
        experiment=experiment,
        record=recorded.value.name,
        model=recorded.model,
        data=recorded.data,
        item=recorded.item,
        cell={},
        axes=recorded.axes,
        shape=tuple(recorded.array.shape),
        dtype="float32",
        labels=recorded.labels,
        content=recorded.array.tobytes(),
    )


def expectation(experiment: str, claimed: Claimed) -> ExpectationRow:
    """One claim."""
    line, _ = claimed.value.span.source.place(claimed.value.span.start)
    return ExpectationRow(
        experiment=experiment,
        line=line,
        text=claimed.value.text,
        model=claimed.model,
        data=claimed.data,
        holds=claimed.holds,
        cells=claimed.cells,
        broken=claimed.broken,
        left=claimed.left,
        right=claimed.right,
        example=claimed.example,
    )


def _receipts(results: Results) -> Iterator[ReceiptRow]:
    context = results.context
    for run, receipt, rows in results.receipts:
        line, _ = receipt.edit.span.source.place(receipt.edit.span.start)
        fired = max(receipt.fired, 1)
        yield ReceiptRow(
            experiment=context.experiment.name,
            run=run,
            line=line,
            edit=receipt.edit.text,
            model=context.model,
            data=context.data_name,
            cells=rows,
            cells_fired=receipt.fired_rows,
            cells_proven=receipt.proven,
            moved_max=receipt.largest,
            moved_mean=receipt.total / fired,
            relative=receipt.relative / fired,
        )


def _cells(results: Results, content: str) -> Iterator[CellRow]:
    context = results.context
    for (run, extension), made in context.results.items():
        behind = f"+{extension[0]}#{extension[1]}" if extension is not None else ""
        key = hashlib.sha256(
            f"{content}/{context.experiment.name}/{run}{behind}/{context.model}/{context.data_name}".encode()
        ).hexdigest()
        yield CellRow(
            key=key,
            experiment=context.experiment.name,
            run=run + behind,
            model=context.model,
            data=context.data_name,
            cell={"cells": int(made.made.shape[0])},
            items=int(made.made.shape[1]),
            executor=results.executor,
        )


def check_rows(model: str, checks: Sequence[Any]) -> tuple[CheckRow, ...]:
    """The verification of a model."""
    return tuple(
        CheckRow(
            model=model,
            check=c.name,
            subject=c.site,
            value=c.value,
            tolerance=c.tolerance,
            ok=c.ok,
            detail=c.detail,
        )
        for c in checks
    )


def diagnostic_row(diagnostic: Diagnostic) -> DiagnosticRow:
    """One finding."""
    return DiagnosticRow(
        code=diagnostic.code,
        severity=diagnostic.severity,
        headline=diagnostic.headline,
        text=render(diagnostic),
    )


def command_line() -> str:
    """The command that made the run, without paths of the interpreter."""
    return " ".join(["gbx", *sys.argv[1:]])


BROKEN: Final = "BROKEN"


def headlines(results: Results) -> Iterator[str]:
    """What became of each claim, in a line."""
    context = results.context
    for claim in results.claimed:
        sides = (
            f" ({claim.left:.4g} against {claim.right:.4g})"
            if claim.left is not None and claim.right is not None
            else ""
        )
        state = "holds" if claim.holds else f"{BROKEN} in {claim.broken} of {claim.cells} cells"
        yield f"{context.experiment.name} on {context.model}: expect {claim.value.text}: {state}{sides}"


def is_broken(headline: str) -> bool:
    """Whether a line of `headlines` says that a claim does not hold."""
    return f": {BROKEN} in " in headline
