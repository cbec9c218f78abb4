"""Reading results back: what the report and the command line see of the store.

`open_reader(path)` is a context manager. Every method takes an optional `run_id`: the whole id, its
beginning, or None for the newest complete run of the file (or the newest run at all when none is complete).
Methods raise Findings for what the file does not hold (GB609 no such run, GB610 no such measure or record).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, TypeVar

import numpy as np
from duckdb import DuckDBPyConnection
from numpy.typing import NDArray

from glassbox_dsl.diagnostics import Findings
from glassbox_dsl.store import errors
from glassbox_dsl.store.file import harden, reading
from glassbox_dsl.store.layout import Placed, place, quoted
from glassbox_dsl.store.parts import found_parts
from glassbox_dsl.store.rows import (
    AnswerRow,
    CellRow,
    CheckRow,
    DiagnosticRow,
    ExpectationRow,
    ItemRow,
    MeasureRow,
    ModelRow,
    PromptRow,
    ReceiptRow,
    Row,
    RunManifest,
    RunStatus,
    SourceText,
    TensorRecord,
)
from glassbox_dsl.store.table import Table
from glassbox_dsl.store.views import measure_select, summary_select, view_names

AnyRow = TypeVar("AnyRow", bound=Row)
_PLAIN_NAME: Final = re.compile(r"[a-z_][a-z0-9_]*\Z")


class RunInfo(Row):
    """A run in a list of runs."""

    run_id: str
    file: str
    status: RunStatus
    started: datetime
    finished: datetime | None
    seconds: float | None
    glassbox: str
    command: str


class RecordInfo(Row):
    """One stored tensor, without its numbers; `Reader.tensor` and `Reader.array` fetch them."""

    experiment: str
    record: str
    model: str
    data: str
    item: int | None
    cell: Mapping[str, Any]
    axes: tuple[str, ...]
    shape: tuple[int, ...]
    dtype: str


@contextmanager
def open_reader(path: str | Path, with_losses: bool = False) -> Iterator[Reader]:
    """Open a results file, read-only and shut off from all else. Raises what `reading` raises."""
    resolved = Path(path).resolve()
    with reading(resolved, with_losses=with_losses) as connection:
        harden(connection)
        yield Reader(resolved, connection)


class Reader:
    """All queries on one open results file."""

    def __init__(self, path: Path, connection: DuckDBPyConnection) -> None:
        self.path = path
        self._connection = connection
        self._keywords: frozenset[str] = frozenset()

    # Runs

    def runs(self) -> tuple[RunInfo, ...]:
        """All runs, oldest first."""
        return self._rows(RunInfo, "SELECT * FROM main.run_list ORDER BY run_id", [])

    def run(self, run_id: str | None = None) -> RunInfo:
        """One run; None is the newest complete one, or the newest when none is complete."""
        runs = self.runs()
        if run_id is None:
            chosen = [r for r in runs if r.status == "complete"] or list(runs)
        else:
            chosen = [r for r in runs if r.run_id.startswith(run_id)]
        if not chosen or (run_id is not None and len(chosen) > 1):
            raise Findings([errors.no_run(str(self.path), run_id, [r.run_id for r in runs])])
        return chosen[-1]

    def manifest(self, run_id: str | None = None) -> RunManifest:
        """What the run was started with: sources, versions, platform, seeds, plan."""
        run = self._id(run_id)
        env = self.fetch("SELECT kind, key, value FROM main.run_env WHERE run_id = ?", [run]).rows
        rows = self.fetch("SELECT * FROM main.runs WHERE run_id = ?", [run])
        facts = {
            column: _read(value, kind)
            for column, kind, value in zip(rows.columns, rows.types, rows.rows[0], strict=True)
        }
        facts["sources"] = self.specs(run)
        for field, kind in (("versions", "version"), ("platform", "platform"), ("actual", "actual")):
            facts[field] = {key: value for k, key, value in env if k == kind}
        return RunManifest(**facts)

    def specs(self, run_id: str | None = None) -> tuple[SourceText, ...]:
        """The source texts: the .gbx file first, then its imports."""
        sql = "SELECT path, source AS text, sha256 FROM main.specs WHERE run_id = ? ORDER BY ordinal"
        return self._rows(SourceText, sql, [self._id(run_id)])

    def models(self, run_id: str | None = None) -> tuple[ModelRow, ...]:
        """The models of the run, in the order of the file."""
        return self._of(ModelRow, "models", run_id)

    # Data

    def items(
        self, run_id: str | None = None, data: str | None = None, model: str | None = None
    ) -> tuple[ItemRow, ...]:
        """The items with prompts, tokens and answers; of one data set and model, or of all."""
        where, values = _conditions({"run_id": self._id(run_id), "data": data, "model": model})
        prompts: dict[tuple[str, str, int], dict[str, PromptRow]] = {}
        for p in self.fetch(
            "SELECT data, model, item, prompt, any_value(p.text), list(t.token_id ORDER BY t.pos),"
            " list(t.token ORDER BY t.pos), list(t.label ORDER BY t.pos)"
            " FROM main.prompts p LEFT JOIN main.tokens t USING (run_id, data, model, item, prompt)"
            f" WHERE {where} GROUP BY data, model, item, prompt ORDER BY min(p.rowid)",
            values,
        ).rows:
            ids, tokens, labels = (
                tuple(x) if p[4 + i] != [None] else () for i, x in ((1, p[5]), (2, p[6]), (3, p[7]))
            )
            prompts.setdefault((p[0], p[1], p[2]), {})[p[3]] = PromptRow(
                prompt=p[3], text=p[4], token_ids=ids, tokens=tokens, labels=labels
            )
        found = []
        for row in self.fetch(f"SELECT * FROM main.items WHERE {where} ORDER BY rowid", values).dicts():
            row.pop("run_id")
            for name in ("variables", "features", "answers"):
                row[name] = json.loads(row[name])
            row["answers"] = tuple(AnswerRow(answer=name, **facts) for name, facts in row["answers"].items())
            row["prompts"] = tuple(prompts.get((row["data"], row["model"], row["item"]), {}).values())
            found.append(ItemRow(**row))
        return tuple(found)

    # Measures

    def measures(self, run_id: str | None = None) -> tuple[MeasureRow, ...]:
        """The measures of the run, in the order of the file."""
        return self._of(MeasureRow, "measures", run_id, drop=("is_ratio",))

    def measure(self, experiment: str, measure: str, run_id: str | None = None) -> MeasureRow:
        """One measure's definition."""
        known = {(m.experiment, m.measure): m for m in self.measures(run_id)}
        if (experiment, measure) not in known:
            names = [f"{e}.{m}" for e, m in known]
            raise Findings([errors.no_measure("measure", f"{experiment}.{measure}", names)])
        return known[experiment, measure]

    def columns(self, experiment: str, measure: str, run_id: str | None = None) -> tuple[Placed, ...]:
        """The variables of a measure with the names of their columns in `rows` and `summary_table`."""
        return place(self.measure(experiment, measure, run_id))

    def rows(
        self,
        experiment: str,
        measure: str,
        run_id: str | None = None,
        where: Mapping[str, Any] | None = None,
        limit: int | None = None,
    ) -> Table:
        """The measure's view, for any run: run_id, model, data, item, the variables, value (num, den, rank,
        ...).

        `where` fixes columns: `{"model": "smol", "layer": 3}`; None means IS NULL.
        """
        run = self._id(run_id)
        return self._selected(self.select_rows(self.measure(experiment, measure, run), run), where, limit)

    def select_rows(self, measure: MeasureRow, run_id: str) -> str:
        """The SQL of a measure's view, for any run."""
        return measure_select(measure, run_id, found_parts(self._connection, run_id, measure))

    def columns_of(self, measure: MeasureRow, run_id: str) -> dict[str, NDArray[Any]]:
        """The rows of a measure as numpy columns, with `num` and `den` (masked where there are none) always."""
        sql = self.select_rows(measure, run_id)
        if measure.kind != "ratio":
            sql = f"SELECT *, CAST(NULL AS DOUBLE) AS num, CAST(NULL AS DOUBLE) AS den FROM ({sql})"
        return self._connection.execute(sql).fetchnumpy()

    def summary_table(
        self, experiment: str, measure: str, run_id: str | None = None, where: Mapping[str, Any] | None = None
    ) -> Table:
        """The measure's summary view, for any run: run_id, model, data, the variables, n, mean, stderr, lo,
        hi.

        Empty for measures of `top` and `text`, and for a run that was killed.
        """
        run = self._id(run_id)
        return self._selected(summary_select(self.measure(experiment, measure, run), run), where, None)

    def view_name(
        self, experiment: str, measure: str, run_id: str | None = None, summary: bool = False
    ) -> str:
        """How a user's SQL names the measure, quoted where needed: `patch_resid.recovered`.

        The view shows the newest complete run of the file; for another run filter `all_runs` by run_id.
        """
        self.measure(experiment, measure, run_id)
        names = view_names(self.measures(run_id))[experiment, measure]
        name = names.summary if summary and names.summary is not None else names.rows
        return f"{self._identifier(names.schema)}.{self._identifier(name)}"

    # Tensors

    def records(self, run_id: str | None = None, experiment: str | None = None) -> tuple[RecordInfo, ...]:
        """The stored tensors without their numbers."""
        where, values = _conditions({"run_id": self._id(run_id), "experiment": experiment})
        return self._rows(
            RecordInfo,
            "SELECT experiment, record, model, data, item, cell, axes, shape, dtype FROM main.tensors"
            f" WHERE {where} ORDER BY rowid",
            values,
        )

    def tensor(
        self,
        experiment: str,
        record: str,
        model: str | None = None,
        data: str | None = None,
        item: int | None = None,
        cell: Mapping[str, Any] | None = None,
        run_id: str | None = None,
    ) -> TensorRecord:
        """The first tensor of a record that fits what is given. Raises Findings (GB610) when none does."""
        run = self._id(run_id)
        where, values = _conditions(
            {
                "run_id": run,
                "experiment": experiment,
                "record": record,
                "model": model,
                "data": data,
                "item": item,
            }
        )
        for row in self.fetch(
            f"SELECT rowid, cell FROM main.tensors WHERE {where} ORDER BY rowid", values
        ).rows:
            if cell is None or json.loads(row[1]) == dict(cell):
                full = next(self.fetch("SELECT * FROM main.tensors WHERE rowid = ?", [row[0]]).dicts())
                return _tensor(full)
        known = {f"{r.experiment}.{r.record}" for r in self.records(run)}
        raise Findings([errors.no_measure("record", f"{experiment}.{record}", known)])

    # What else a run left

    def verification(self, run_id: str | None = None) -> tuple[CheckRow, ...]:
        """What was checked of each model before its numbers were trusted."""
        return self._of(CheckRow, "verification", run_id)

    def expectations(self, run_id: str | None = None) -> tuple[ExpectationRow, ...]:
        """Each `expect`, per model and data set."""
        return self._of(ExpectationRow, "expectations", run_id)

    def receipts(self, run_id: str | None = None) -> tuple[ReceiptRow, ...]:
        """What each edit did."""
        return self._of(ReceiptRow, "receipts", run_id)

    def cells(self, run_id: str | None = None) -> tuple[CellRow, ...]:
        """The ledger of the run."""
        return self._of(CellRow, "cells", run_id, drop=("flush",))

    def diagnostics(self, run_id: str | None = None) -> tuple[DiagnosticRow, ...]:
        """Warnings and errors that were shown during the run."""
        return self._of(DiagnosticRow, "diagnostics", run_id)

    # Plumbing

    def _identifier(self, name: str) -> str:
        """A name as a person would write it in SQL: quoted only where it must be."""
        if not self._keywords:
            words = self._connection.execute("SELECT keyword_name FROM duckdb_keywords()").fetchall()
            self._keywords = frozenset(word for (word,) in words)
        return quoted(name) if name in self._keywords or not _PLAIN_NAME.match(name) else name

    def _id(self, run_id: str | None) -> str:
        return self.run(run_id).run_id

    def fetch(self, sql: str, values: Sequence[Any]) -> Table:
        """The rows of a statement of our own."""
        result = self._connection.execute(sql, list(values))
        described = result.description or ()
        return Table(
            tuple(d[0] for d in described), tuple(str(d[1]) for d in described), tuple(result.fetchall())
        )

    def _selected(self, sql: str, where: Mapping[str, Any] | None, limit: int | None) -> Table:
        condition, values = _conditions(where or {}, skip_none=False)
        more = "" if limit is None else f" LIMIT {int(limit) + 1}"
        table = self.fetch(f"SELECT * FROM ({sql}) WHERE {condition or 'true'}{more}", values)
        if limit is None or len(table.rows) <= limit:
            return table
        return Table(table.columns, table.types, table.rows[:limit], truncated=True)

    def _of(
        self, kind: type[AnyRow], table: str, run_id: str | None, drop: tuple[str, ...] = ()
    ) -> tuple[AnyRow, ...]:
        """All rows of a table that is shaped like a row type (JSON columns are read by the type's fields)."""
        left_out = ", ".join(("run_id", *drop))
        return self._rows(
            kind,
            f"SELECT * EXCLUDE ({left_out}) FROM main.{table} WHERE run_id = ? ORDER BY rowid",
            [self._id(run_id)],
        )

    def _rows(self, kind: type[AnyRow], sql: str, values: Sequence[Any]) -> tuple[AnyRow, ...]:
        table = self.fetch(sql, values)
        return tuple(
            kind(
                **{
                    column: _read(value, kind_name)
                    for column, kind_name, value in zip(table.columns, table.types, row, strict=True)
                }
            )
            for row in table.rows
        )


def array(record: TensorRecord) -> NDArray[Any]:
    """The numbers of a tensor in its shape. bfloat16, which numpy lacks, comes as the equal float32."""
    if record.dtype == "bfloat16":
        high = np.frombuffer(record.content, dtype="<u2").astype(np.uint32) << 16
        return high.view(np.float32).reshape(record.shape)
    kind = np.dtype(record.dtype).newbyteorder("<")
    return np.frombuffer(record.content, dtype=kind).reshape(record.shape)


def _read(value: Any, kind: str) -> Any:
    """A stored value as the row types have it: JSON parsed, times with their zone (UTC)."""
    if value is not None and kind == "JSON":
        return json.loads(value)
    return value.replace(tzinfo=UTC) if isinstance(value, datetime) else value


def _tensor(row: dict[str, Any]) -> TensorRecord:
    row.pop("run_id")
    content = row.pop("bytes")
    parsed = {name: json.loads(row.pop(name)) for name in ("cell", "axes", "shape", "labels")}
    return TensorRecord(
        **row,
        cell=parsed["cell"],
        axes=tuple(parsed["axes"]),
        shape=tuple(parsed["shape"]),
        labels={axis: tuple(texts) for axis, texts in parsed["labels"].items()},
        content=content,
    )


def _conditions(wanted: Mapping[str, Any], skip_none: bool = True) -> tuple[str, list[Any]]:
    """`a = ? AND b = ?` with its values; None is left out, or asked for as NULL."""
    terms, values = [], []
    for column, value in wanted.items():
        if value is None:
            if not skip_none:
                terms.append(f"{quoted(column)} IS NULL")
        else:
            terms.append(f"{quoted(column)} = ?")
            values.append(value)
    return " AND ".join(terms), values
