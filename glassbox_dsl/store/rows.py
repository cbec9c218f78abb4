"""What a run hands to the store: the contract between the run stage (which measures) and the store (which
keeps).

Small rows are frozen pydantic models. What carries numbers is a frozen dataclass of numpy columns, one entry
per row, so that a million measurements reach DuckDB as arrays and never as Python objects.

Conventions, for every type here
- `model`, `data`, `experiment`, `run`, `measure`, `record`: names as in the file. `item`: number in the drawn
  set, from 0.
- `line`: line of the statement in its source, from 1. Times are UTC.
- NaN in a float column means *missing* and is stored as NULL. A model that produces NaN is for the run stage
  to report.
- `MISSING` (-1) in an integer column of a position, or in `item`, is stored as NULL.
- Free-form mappings are stored as JSON: keep them to strings, numbers, booleans, None, lists and dicts.
"""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from glassbox_dsl.plan.shelf import Readings

MISSING: Final = -1

EndStatus = Literal["complete", "failed", "incomplete", "interrupted"]
RunStatus = Literal["started"] | EndStatus
VariableKind = Literal["int", "float", "text", "position"]
MeasureKind = Literal["value", "ratio", "top", "text", "edges"]

Ints = NDArray[np.integer[Any]]
Floats = NDArray[np.floating[Any]]
Texts = NDArray[np.object_]


def new_run_id() -> str:
    """A UUID of version 7: sorts by the time it was made (RFC 9562, section 5.7)."""
    stamp = time.time_ns() // 1_000_000
    number = (stamp << 80) | int.from_bytes(os.urandom(10), "big")
    number = (number & ~(0xF << 76)) | (0x7 << 76)
    number = (number & ~(0x3 << 62)) | (0x2 << 62)
    return str(uuid.UUID(int=number))


class Row(BaseModel):
    """Base of all rows."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)


class SourceText(Row):
    """One source file of a run: the .gbx file itself first, then what it imports. `path` as the user wrote
    it."""

    path: str
    text: str
    sha256: str


class RunManifest(Row):
    """What is known of a run before its first number.

    `file` is the absolute path of the .gbx file: runs with the same `file` are versions of one experiment.
    `versions`: python, torch, transformers, duckdb, numpy, ... `platform`: facts without host or user name
    (system, machine, cpu count, GPU). `seeds`: by the name of what draws (`ioi.draw`). `planned`: packs,
    layer_calls, token_layers, ...; `actual`: what those came to, empty until the run is over. `reports`: the report
    blocks of the file as plain data, so that its pages can be made again from the results alone.
    """

    run_id: str
    file: str
    sources: tuple[SourceText, ...]
    language: int = 1
    glassbox: str
    command: str = ""
    started: datetime
    versions: Mapping[str, str] = {}
    platform: Mapping[str, str] = {}
    seeds: Mapping[str, int] = {}
    planned: Mapping[str, int] = {}
    actual: Mapping[str, int] = {}
    reports: tuple[Mapping[str, Any], ...] = ()


class ModelRow(Row):
    """A model of the run. Fingerprints are sha256 of what was read; `facts` are counts such as n_layers,
    d_model."""

    model: str
    source: str
    family: str
    model_type: str
    config_sha256: str
    weights_sha256: str
    tokenizer_sha256: str
    dtype: str
    device: str
    executor: str = ""
    facts: Mapping[str, Any] = {}


class PromptRow(Row):
    """One prompt of one item as one model's tokenizer cuts it; `token_ids`, `tokens`, `labels` have one entry
    per token.

    `labels[i]` is the span label shown at position i (`s2` at the last token of that span, `s2.first`, ...)
    or None.
    """

    prompt: str
    text: str
    token_ids: tuple[int, ...]
    tokens: tuple[str, ...]
    labels: tuple[str | None, ...]


class AnswerRow(Row):
    """An answer of one item: one text or, for a set, several, each with its token ids."""

    answer: str
    texts: tuple[str, ...]
    token_ids: tuple[tuple[int, ...], ...]


class TokenRow(Row):
    """A token of a model's vocabulary: readable text, and the bytes it stands for in running text."""

    model: str
    token_id: int
    token: str
    bytes: bytes


class ItemRow(Row):
    """One item of a data set for one model. `dropped_by`: the `keep where` line that dropped it for this
    model."""

    data: str
    model: str
    item: int
    variables: Mapping[str, Any] = {}
    features: Mapping[str, Any] = {}
    template: int | None = None
    kept: bool = True
    dropped_by: str | None = None
    prompts: tuple[PromptRow, ...] = ()
    answers: tuple[AnswerRow, ...] = ()


class VariableColumn(Row):
    """One binder variable of a measure.

    `axis`: the axis it stands for, None for one that is not on an axis (`alpha in [-4, 0, 4]`). `kind`:
    "position" for pos, query, key (an index and a label); "int" for other axes and integers; "float"; "text"
    for names and sets. `named`: a position whose domain was written as names (`pos in {s2, last}`): items
    then share a cell when the *label* agrees, whatever the index; otherwise when the index agrees.
    """

    name: str
    axis: str | None = None
    kind: VariableKind
    named: bool = False


class MeasureRow(Row):
    """Definition of a measure. Hand it over before or with its first rows; a measure without rows needs it
    too.

    `source`: the statement's text. `has_items`: False when every row has no item. `unit`: "nats", "logits",
    "" ...
    """

    experiment: str
    measure: str
    title: str = ""
    variables: tuple[VariableColumn, ...] = ()
    kind: MeasureKind = "value"
    has_items: bool = True
    unit: str = ""
    source: str = ""
    line: int = 0


@dataclass(frozen=True)
class TopColumns:
    """What a measure of `top` adds: one row per (cell, item, rank). `rank` counts from 1."""

    rank: Ints
    token_id: Ints
    token: Texts
    logit: Floats
    prob: Floats


@dataclass(frozen=True)
class MeasureRows:
    """Rows of one measure for one model and data set; every array is one-dimensional, one entry per row.

    `columns[name]`: by variable name: integers for kinds "int" and "position" (a position may be MISSING),
    floats for "float", an object array of str for "text". `labels[name]`: for each variable of kind
    "position", an object array of str or None, or None when no row has a label. `item`: None for a measure
    without items. `value`: float64. For a ratio also `num` and `den`; `value` is then `quotient(num, den)` of
    `store.summaries`, NaN where the denominator is near 0: hand all items of a cell over together. `top`: set
    exactly for kind "top", where `value` is the probability. `text`: object array, set exactly for kind
    "text", where `value` is NaN.
    """

    experiment: str
    measure: str
    model: str
    data: str
    variables: tuple[VariableColumn, ...]
    item: Ints | None
    columns: Mapping[str, NDArray[Any]]
    labels: Mapping[str, Texts | None]
    value: Floats
    num: Floats | None = None
    den: Floats | None = None
    top: TopColumns | None = None
    text: Texts | None = None


@dataclass(frozen=True)
class TensorRecord:
    """One tensor of a `record`: C order, little endian. One for each item and cell of swept variables.

    `dtype`: "float32", "float64", "float16", "bfloat16", "int32", "int64", "bool". `axes`: the names of the
    dimensions (`("layer", "head", "query", "key")`). `cell`: swept variables and their values.
    `labels[axis]`: one entry per index along that axis: token texts along positions, or None entries.
    """

    experiment: str
    record: str
    model: str
    data: str
    item: int | None
    cell: Mapping[str, Any]
    axes: tuple[str, ...]
    shape: tuple[int, ...]
    dtype: str
    labels: Mapping[str, tuple[str | None, ...]]
    content: bytes = field(repr=False)


class ExpectationRow(Row):
    """One `expect` for one model and data set. `broken` of `cells` did not hold; `example` is the first
    broken cell.

    `left`, `right`: both sides of the comparison at `example`, or at the first cell when all hold.
    """

    experiment: str
    line: int
    text: str
    model: str | None = None
    data: str | None = None
    holds: bool
    cells: int = 1
    broken: int = 0
    left: float | None = None
    right: float | None = None
    example: Mapping[str, Any] = {}


class CheckRow(Row):
    """One verification of a model before it is trusted (`T1` ... `T7`): passes when `value <= tolerance`."""

    model: str
    check: str
    subject: str = ""
    value: float | None = None
    tolerance: float | None = None
    ok: bool
    detail: str = ""


class ReceiptRow(Row):
    """What one edit did: in how many cells it fired, and how far it moved the tensor (L2 norm over the edited
    vector).

    `cells_proven`: cells whose edit was proven to change nothing and was not run. `relative`: the mean of
    |moved| / |tensor before|.
    """

    experiment: str
    run: str
    line: int
    edit: str
    model: str
    data: str
    cells: int
    cells_fired: int
    cells_proven: int = 0
    moved_max: float | None = None
    moved_mean: float | None = None
    relative: float | None = None


class CellRow(Row):
    """One entry of the ledger: a piece of work that is done (or failed), by the content key that resume looks
    up."""

    key: str
    experiment: str
    run: str
    model: str
    data: str
    cell: Mapping[str, Any] = {}
    items: int = 1
    status: Literal["done", "proven", "failed"] = "done"
    executor: str = ""
    seconds: float = 0.0
    error: str = ""


class ContextRow(Row):
    """A context that is finished, by its content key; `reused_from` is the run whose rows were copied."""

    key: str
    experiment: str
    model: str
    data: str
    reused_from: str | None = None
    failed: bool = False
    headlines: tuple[str, ...] = ()


class DiagnosticRow(Row):
    """A warning or error shown during the run; `text` as it was rendered."""

    code: str
    severity: Literal["error", "warning"]
    headline: str
    text: str = ""


@dataclass(frozen=True)
class Batch:
    """Everything of one flush: stored in one transaction, or not at all."""

    models: tuple[ModelRow, ...] = ()
    items: tuple[ItemRow, ...] = ()
    measures: tuple[MeasureRow, ...] = ()
    rows: tuple[MeasureRows, ...] = ()
    tensors: tuple[TensorRecord, ...] = ()
    cells: tuple[CellRow, ...] = ()
    receipts: tuple[ReceiptRow, ...] = ()
    expectations: tuple[ExpectationRow, ...] = ()
    checks: tuple[CheckRow, ...] = ()
    diagnostics: tuple[DiagnosticRow, ...] = ()
    actual: Mapping[str, int] = field(default_factory=dict)
    contexts: tuple[ContextRow, ...] = ()
    readings: tuple[Readings, ...] = ()
    vocabulary: tuple[TokenRow, ...] = ()
