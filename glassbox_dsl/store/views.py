"""Views named as in the file: `patch_resid.recovered`, `patch_resid.recovered_summary`, `data.ioi`,
`all_runs.*`.

They are built from the tables alone, so building them again is always safe. The newest complete run of each
.gbx file is shown; where two files have an experiment of one name, the one that finished last. A view's
`all_runs` twin, `all_runs.patch_resid__recovered`, holds every complete run whose measure has the same
variables. Names that SQL or this file needs get a `_` behind them: the schema of an experiment called `main`
is `main_`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from duckdb import DuckDBPyConnection

from glassbox_dsl.store.layout import (
    FIXED_COLUMNS,
    ROW_COLUMNS,
    SUMMARY_COLUMNS,
    VALUE_COLUMNS,
    VALUE_MEANINGS,
    Names,
    literal,
    place,
    quoted,
)
from glassbox_dsl.store.parts import Parts, names_of, parts_of_run, within
from glassbox_dsl.store.rows import MeasureRow, VariableColumn

DATA_SCHEMA: Final = "data"
ALL_RUNS_SCHEMA: Final = "all_runs"
SUMMARISED: Final = ("value", "ratio")
_TAKEN_SCHEMAS: Final = (
    *("main", "information_schema", "pg_catalog", "temp", "system"),
    *(DATA_SCHEMA, ALL_RUNS_SCHEMA),
)
_MARK: Final = "Glassbox "
"""How the comments of our views begin: others in the file are the user's and stay."""


@dataclass(frozen=True)
class ViewNames:
    """Schema and name of a measure's views, unquoted. `summary` is None for measures of `top` and `text`."""

    schema: str
    rows: str
    summary: str | None
    all_runs: str


@dataclass(frozen=True)
class View:
    """A view to be made."""

    schema: str
    name: str
    sql: str
    about: str
    columns: Mapping[str, str]
    """What each column holds."""

    @property
    def comment(self) -> str:
        """What it shows, with a fingerprint of its SQL: equal comments are equal views."""
        made = json.dumps([self.sql, *self.columns.items()])
        return f"{_MARK}{hashlib.sha256(made.encode()).hexdigest()[:12]}: {self.about}"


def view_names(measures: Sequence[MeasureRow]) -> dict[tuple[str, str], ViewNames]:
    """The names of the views of one run's measures, by (experiment, measure)."""
    schemas, spanning = Names(_TAKEN_SCHEMAS), Names()
    experiments = sorted({m.experiment for m in measures}, key=lambda e: (e in _TAKEN_SCHEMAS, e))
    schema = {e: schemas.claim(e) for e in experiments}
    within = {e: Names(m.measure for m in measures if m.experiment == e) for e in experiments}
    return {
        (m.experiment, m.measure): ViewNames(
            schema=schema[m.experiment],
            rows=m.measure,
            summary=within[m.experiment].claim(f"{m.measure}_summary") if m.kind in SUMMARISED else None,
            all_runs=spanning.claim(f"{m.experiment}__{m.measure}"),
        )
        for m in measures
    }


def measure_select(measure: MeasureRow, run_id: str, parts: Parts) -> str:
    """SQL for the rows of a measure in one run, whose series are `parts`."""
    names = f"CAST({literal(run_id)} AS VARCHAR) AS run_id, {names_of(parts)}"
    columns = [names, "item", *_variables(measure, False), *_values(measure)]
    return f"SELECT {', '.join(columns)} FROM main.{_table(measure)} WHERE {within(parts)}"


def spanning_select(measure: MeasureRow) -> str:
    """SQL for the rows of a measure in all complete runs with the same variables."""
    columns = ["s.run_id", "s.model", "s.data", "item", *_variables(measure, False), *_values(measure)]
    named = f"experiment = {literal(measure.experiment)} AND measure = {literal(measure.measure)}"
    return (
        f"SELECT {', '.join(columns)} FROM main.{_table(measure)} r JOIN main.series s ON s.series = r.series"
        " WHERE s.run_id IN (SELECT m.run_id FROM main.measures m JOIN main.run_ends e ON e.run_id = m.run_id"
        f" WHERE e.status = 'complete' AND m.{named.replace(' AND ', ' AND m.')}"
        f" AND m.kind = {literal(measure.kind)}"
        f" AND CAST(m.variables AS VARCHAR) = {literal(variables_json(measure))})"
        f" AND s.{named.replace(' AND ', ' AND s.')}"
    )


def _values(measure: MeasureRow) -> tuple[str, ...]:
    """The columns with the numbers: the score of an edge is its value."""
    return tuple("value AS score" if name == "score" else name for name in VALUE_COLUMNS[measure.kind])


def _table(measure: MeasureRow) -> str:
    return "top_rows" if measure.kind == "top" else "value_rows"


def summary_select(measure: MeasureRow, run_id: str) -> str:
    """SQL for the summary of a measure in one run."""
    columns = ["run_id", "model", "data", *_variables(measure, True), *SUMMARY_COLUMNS]
    return (
        f"SELECT {', '.join(columns)} FROM main.summaries WHERE run_id = {literal(run_id)}"
        f" AND experiment = {literal(measure.experiment)} AND measure = {literal(measure.measure)}"
    )


def refresh(connection: DuckDBPyConnection) -> bool:
    """Make the views show the newest complete runs, in the transaction that is open; True when something changed."""
    wanted = {(v.schema, v.name): v for v in _wanted(connection)}
    present = {
        (schema, name): comment
        for schema, name, comment in connection.execute(
            "SELECT schema_name, view_name, comment FROM duckdb_views()"
            " WHERE database_name = current_database() AND starts_with(coalesce(comment, ''), ?)",
            [_MARK],
        ).fetchall()
    }
    if present == {key: view.comment for key, view in wanted.items()}:
        return False
    for schema, name in present:
        if (schema, name) not in wanted:
            connection.execute(f"DROP VIEW {quoted(schema)}.{quoted(name)}")
    for key, view in wanted.items():
        if present.get(key) != view.comment:
            _make(connection, view)
    _drop_empty_schemas(connection, {schema for schema, _ in present})
    return True


def _make(connection: DuckDBPyConnection, view: View) -> None:
    name = f"{quoted(view.schema)}.{quoted(view.name)}"
    connection.execute(f"CREATE SCHEMA IF NOT EXISTS {quoted(view.schema)}")
    connection.execute(f"CREATE OR REPLACE VIEW {name} AS {view.sql}")
    connection.execute(f"COMMENT ON VIEW {name} IS {literal(view.comment)}")
    for column, meaning in view.columns.items():
        connection.execute(f"COMMENT ON COLUMN {name}.{quoted(column)} IS {literal(meaning)}")


def _drop_empty_schemas(connection: DuckDBPyConnection, schemas: Iterable[str]) -> None:
    used = {
        name
        for (name,) in connection.execute(
            "SELECT schema_name FROM duckdb_views() WHERE database_name = current_database() AND NOT internal"
            " UNION SELECT schema_name FROM duckdb_tables() WHERE database_name = current_database()"
        ).fetchall()
    }
    for schema in sorted(set(schemas) - used - {"main"}):
        connection.execute(f"DROP SCHEMA {quoted(schema)}")


def _wanted(connection: DuckDBPyConnection) -> tuple[View, ...]:
    """All views for what the tables hold. Later runs win over earlier ones, schema by schema."""
    newest = connection.execute(
        "SELECT max(run_id), file FROM main.run_list WHERE status = 'complete' GROUP BY file ORDER BY 1"
    ).fetchall()
    schemas: dict[str, list[View]] = {}
    single: dict[tuple[str, str], View] = {}
    for run_id, file in newest:
        origin = f"run {run_id} of {file}"
        mine: dict[str, list[View]] = {}
        measures, parts = _measures(connection, run_id), parts_of_run(connection, run_id)
        for key, names in view_names(list(measures.values())).items():
            measure = measures[key]
            shown = mine.setdefault(names.schema, [])
            about = measure.title or measure.source or measure.measure
            sql = measure_select(measure, run_id, parts.get(key, ()))
            shown.append(View(names.schema, names.rows, sql, f"{about} ({origin})", measure_columns(measure)))
            if names.summary is not None:
                about = f"means over items of {measure.measure} ({origin})"
                sql = summary_select(measure, run_id)
                shown.append(View(names.schema, names.summary, sql, about, summary_columns(measure)))
            about = f"all complete runs of {measure.experiment}.{measure.measure}"
            sql = spanning_select(measure)
            spanning = View(ALL_RUNS_SCHEMA, names.all_runs, sql, about, measure_columns(measure))
            single[spanning.schema, spanning.name] = spanning
        schemas |= mine
        for view in _data_views(connection, run_id, origin):
            single[view.schema, view.name] = view
    return (*(view for views in schemas.values() for view in views), *single.values())


def _measures(connection: DuckDBPyConnection, run_id: str) -> dict[tuple[str, str], MeasureRow]:
    rows = connection.execute(
        "SELECT experiment, measure, title, variables, kind, source, unit FROM main.measures"
        " WHERE run_id = ? ORDER BY rowid",
        [run_id],
    ).fetchall()
    return {
        (experiment, measure): MeasureRow(
            experiment=experiment,
            measure=measure,
            title=title,
            variables=tuple(VariableColumn(**v) for v in json.loads(variables)),
            kind=kind,
            source=source,
            unit=unit,
        )
        for experiment, measure, title, variables, kind, source, unit in rows
    }


def measure_columns(measure: MeasureRow) -> dict[str, str]:
    """What each column of a measure's view holds."""
    values = {name: VALUE_MEANINGS[name] for name in VALUE_COLUMNS[measure.kind]}
    if measure.unit and measure.kind == "value":
        values["value"] += f"; unit: {measure.unit}"
    return {
        **{name: FIXED_COLUMNS[name] for name in ROW_COLUMNS},
        **_variable_meanings(measure, False),
        **values,
    }


def summary_columns(measure: MeasureRow) -> dict[str, str]:
    """What each column of a measure's summary view holds."""
    context = {name: FIXED_COLUMNS[name] for name in ("run_id", "model", "data")}
    figures = {name: VALUE_MEANINGS[name] for name in SUMMARY_COLUMNS}
    if measure.kind == "ratio":
        figures["mean"] = "ratio of means over items: sum(num) / sum(den)"
    return {**context, **_variable_meanings(measure, True), **figures}


def _variable_meanings(measure: MeasureRow, summary: bool) -> dict[str, str]:
    found = {}
    for placed in place(measure):
        variable = placed.variable
        kind = f"on the axis {variable.axis}" if variable.axis else f"a {variable.kind}"
        shown, shown_label = placed.names(summary)
        found[shown] = f"variable `{variable.name}` of the measure, {kind}"
        if shown_label is not None:
            found[shown_label] = f"span label at `{variable.name}`, such as s2"
    return found


def _variables(measure: MeasureRow, summary: bool) -> tuple[str, ...]:
    return tuple(column for placed in place(measure) for column in placed.selection(summary))


def variables_json(measure: MeasureRow) -> str:
    """The variables as the table `measures` holds them."""
    return json.dumps([v.model_dump() for v in measure.variables])


def _data_views(connection: DuckDBPyConnection, run_id: str, origin: str) -> Iterable[View]:
    names = connection.execute(
        "SELECT data FROM main.items WHERE run_id = ? GROUP BY data ORDER BY min(rowid)", [run_id]
    ).fetchall()
    for (data,) in names:
        sql, columns = _data_select(connection, run_id, data)
        yield View(DATA_SCHEMA, data, sql, f"items of {data} ({origin})", columns)


def _data_select(connection: DuckDBPyConnection, run_id: str, data: str) -> tuple[str, dict[str, str]]:
    """SQL for the items of a data set, and what its columns hold: number, variables, features, template,
    prompts, answers, kept per model."""
    rows = connection.execute(
        "SELECT variables, features, answers FROM main.items WHERE run_id = ? AND data = ?", [run_id, data]
    ).fetchall()
    variables, features, answers = ([json.loads(row[i]) for row in rows] for i in range(3))
    prompts = connection.execute(
        "SELECT prompt FROM main.prompts WHERE run_id = ? AND data = ? GROUP BY prompt ORDER BY min(rowid)",
        [run_id, data],
    ).fetchall()
    fixed = ("run_id", "model", "item", "template", "kept", "dropped_by")
    names = Names(fixed)
    meanings = {name: FIXED_COLUMNS[name] for name in fixed}

    def column(expression: str, name: str, what: str) -> str:
        shown = names.claim(name)
        meanings[shown] = f"{what} `{name}`"
        return f"{expression} AS {quoted(shown)}"

    columns = [
        *("i.run_id", "i.model", "i.item"),
        *(column(_json_column("i.variables", k, variables), k, "variable") for k in _keys(variables)),
        *(
            column(_json_column("i.features", k, features), k, "feature")
            for k in _keys(features)
            if k != "template"
        ),
        "i.template",
        *(
            column(
                "(SELECT any_value(p.text) FROM main.prompts p WHERE p.run_id = i.run_id AND p.data = i.data"
                f" AND p.model = i.model AND p.item = i.item AND p.prompt = {literal(prompt)})",
                prompt,
                "prompt",
            )
            for (prompt,) in prompts
        ),
        *(column(_answer_column(k, answers), k, "answer") for k in _keys(answers)),
        *("i.kept", "i.dropped_by"),
    ]
    sql = (
        f"SELECT {', '.join(columns)} FROM main.items i"
        f" WHERE i.run_id = {literal(run_id)} AND i.data = {literal(data)}"
    )
    return sql, meanings


def _keys(records: Sequence[dict[str, Any]]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(key for record in records for key in record))


def _json_column(source: str, key: str, records: Sequence[dict[str, Any]]) -> str:
    """A key of a JSON column with the type that all its values have."""
    text = f"{source} ->> {literal(_path(key))}"
    kinds = {type(record[key]) for record in records if record.get(key) is not None}
    for kind, name in ((bool, "BOOLEAN"), (int, "BIGINT")):
        if kinds == {kind}:
            return f"CAST({text} AS {name})"
    return f"CAST({text} AS DOUBLE)" if kinds and kinds <= {int, float} else f"({text})"


def _answer_column(key: str, records: Sequence[dict[str, Any]]) -> str:
    """An answer's text, or the list of texts of a set."""
    if all(len(record[key]["texts"]) == 1 for record in records if key in record):
        return f"(i.answers ->> {literal(_path(key) + '.texts[0]')})"
    return f"(i.answers ->> {literal(_path(key) + '.texts')})"


def _path(key: str) -> str:
    return '$."' + key.replace("\\", "\\\\").replace('"', '\\"') + '"'
