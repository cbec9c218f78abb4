"""The views that a user's SQL sees: named as in the file, showing the newest complete run."""

from __future__ import annotations

from pathlib import Path

import duckdb
import numpy as np
import pytest

from glassbox_dsl.store.query import query
from glassbox_dsl.store.reader import open_reader
from glassbox_dsl.store.rows import Batch, MeasureRow, VariableColumn, new_run_id
from glassbox_dsl.store.writer import Store
from tests.store import example as ex
from tests.store.test_round_trip import measured


def one_run(
    path: Path, measures: tuple[MeasureRow, ...], value: float, file: str = "/f.gbx", status: str = "complete"
) -> str:
    """A run whose measures each have one row."""
    run = new_run_id()
    store = Store.create_or_open(path)
    store.begin(ex.manifest(run, file))
    rows = tuple(
        measured(m, [value], item=np.zeros(1, int), columns={v.name: np.zeros(1, int) for v in m.variables})
        for m in measures
    )
    store.flush(Batch(measures=measures, rows=rows))
    store.finish(status)
    return run


def view_list(path: Path) -> set[str]:
    with duckdb.connect(path, read_only=True) as direct:
        rows = direct.execute(
            "SELECT schema_name, view_name FROM duckdb_views() WHERE NOT internal"
        ).fetchall()
    return {f"{schema}.{view}" for schema, view in rows}


def test_the_sql_of_the_language_reference_works(example: Path) -> None:
    table = query(example, "SELECT model, item, layer, pos, value FROM patch_resid.recovered")
    assert len(table.rows) == 4 * 14 * 8 + 3 * 14 * 7
    grouped = query(example, "SELECT layer, avg(value) FROM patch_resid.recovered GROUP BY layer")
    assert len(grouped.rows) == 4
    heads = query(example, 'SELECT layer, head, max(value) FROM "order".heads GROUP BY layer, head')
    assert len(heads.rows) == 8
    assert (
        len(query(example, "SELECT layer, head, max(value) FROM measurements GROUP BY layer, head").rows)
        == 13
    )


def test_columns_are_those_of_the_language_reference(example: Path) -> None:
    def columns(view: str) -> tuple[str, ...]:
        return query(example, f"FROM {view}", limit=0).columns

    row = ("run_id", "model", "data", "item")
    summary = ("n", "mean", "stderr", "lo", "hi")
    assert columns("patch_resid.recovered") == (*row, "layer", "pos", "pos_label", "value", "num", "den")
    assert columns("patch_resid.recovered_summary") == (*row[:3], "layer", "pos", "pos_label", *summary)
    assert columns("patch_resid.gap") == (*row, "value")
    assert columns("lens.shown")[7:] == ("value", "rank", "token_id", "token", "logit", "prob")
    assert columns('"order".heads_summary') == (*row[:3], "layer", "head", "alpha", *summary)
    assert columns("all_runs.patch_resid__recovered") == columns("patch_resid.recovered")


def test_top_measures_have_no_summary(example: Path) -> None:
    assert "lens.shown" in view_list(example)
    assert "lens.shown_summary" not in view_list(example)


def test_items_are_a_view(example: Path) -> None:
    table = query(example, "FROM data.ioi WHERE model = 'gemma' ORDER BY item")
    assert table.columns == (
        *("run_id", "model", "item", "io", "s", "place", "year", "abba", "template", "clean", "corrupt"),
        *("target", "names", "kept", "dropped_by"),
    )
    last = dict(zip(table.columns, table.rows[7], strict=True))
    assert (last["year"], last["abba"], last["target"], last["kept"]) == (1907, False, " Mary", False)
    assert last["names"] == '[" Mary"," John"]'
    assert last["clean"] == "".join(ex.TOKENS)
    assert len(table.rows) == 8


def test_views_show_the_newest_complete_run(tmp_path: Path) -> None:
    path = tmp_path / "x.duckdb"
    old = MeasureRow(experiment="e", measure="m")
    gone = MeasureRow(experiment="gone", measure="m")
    one_run(path, (old, gone), 1.0)
    newest = one_run(path, (old,), 2.0)
    one_run(path, (old,), 3.0, status="failed")
    table = query(path, "SELECT run_id, value FROM e.m")
    assert table.rows == ((newest, 2.0),)
    assert query(path, "SELECT mean FROM e.m_summary").rows == ((2.0,),)
    assert sorted(query(path, "SELECT value FROM all_runs.e__m").column("value")) == [1.0, 2.0]
    assert not any(view.startswith("gone.") for view in view_list(path))
    assert "gone" not in query(path, "SELECT schema_name FROM duckdb_schemas()").column("schema_name")


def test_runs_of_two_files_are_both_shown(tmp_path: Path) -> None:
    path = tmp_path / "x.duckdb"
    one_run(
        path,
        (MeasureRow(experiment="a", measure="m"), MeasureRow(experiment="shared", measure="m")),
        1.0,
        "/a.gbx",
    )
    one_run(
        path,
        (MeasureRow(experiment="b", measure="m"), MeasureRow(experiment="shared", measure="m")),
        2.0,
        "/b.gbx",
    )
    assert query(path, "SELECT value FROM a.m").rows == ((1.0,),)
    assert query(path, "SELECT value FROM b.m").rows == ((2.0,),)
    assert query(path, "SELECT value FROM shared.m").rows == ((2.0,),)


def test_all_runs_leaves_out_runs_with_other_variables(tmp_path: Path) -> None:
    path = tmp_path / "x.duckdb"
    one_run(path, (MeasureRow(experiment="e", measure="m", variables=(ex.HEAD,)),), 1.0)
    one_run(path, (MeasureRow(experiment="e", measure="m", variables=(ex.LAYER,)),), 2.0)
    assert query(path, "SELECT layer, value FROM all_runs.e__m").rows == ((0, 2.0),)


@pytest.mark.parametrize(
    "name", ["main", "data", "all_runs", "information_schema", "pg_catalog", "temp", "system"]
)
def test_taken_names_get_an_underscore(tmp_path: Path, name: str) -> None:
    path = tmp_path / "x.duckdb"
    measure = MeasureRow(experiment=name, measure="runs")
    one_run(path, (measure,), 4.0)
    with open_reader(path) as reader:
        assert reader.view_name(name, "runs") == f"{name}_.runs"
    assert query(path, f"SELECT value FROM {name}_.runs").rows == ((4.0,),)


@pytest.mark.parametrize("name", ["memory", "order", "select", "lens", "measurements", "x"])
def test_names_that_sql_knows_work(tmp_path: Path, name: str) -> None:
    path = tmp_path / f"{name}.duckdb"
    variables = (VariableColumn(name=name, axis="layer", kind="int"),)
    one_run(path, (MeasureRow(experiment=name, measure=name, variables=variables),), 4.0)
    with open_reader(path) as reader:
        view = reader.view_name(name, name)
    assert query(path, f'SELECT "{name}", value FROM {view}').rows == ((0, 4.0),)


def test_a_variable_called_like_a_figure_of_the_summary_keeps_its_name_among_the_rows(tmp_path: Path) -> None:
    variables = tuple(VariableColumn(name=name, axis=None, kind="int") for name in ("n", "mean"))
    measure = MeasureRow(experiment="e", measure="m", variables=variables)
    one_run(tmp_path / "r.duckdb", (measure,), 2.5)
    rows = query(tmp_path / "r.duckdb", "SELECT n, mean, value FROM e.m").rows
    summary = query(tmp_path / "r.duckdb", "SELECT n_, mean_, n, mean FROM e.m_summary").rows
    assert ([tuple(r) for r in rows], [tuple(r) for r in summary]) == ([(0, 0, 2.5)], [(0, 0, 1, 2.5)])


def test_a_measure_called_like_a_summary_keeps_its_name(tmp_path: Path) -> None:
    path = tmp_path / "x.duckdb"
    one_run(
        path, (MeasureRow(experiment="e", measure="m"), MeasureRow(experiment="e", measure="m_summary")), 5.0
    )
    assert query(path, "SELECT value FROM e.m_summary").rows == ((5.0,),)
    assert query(path, "SELECT mean FROM e.m_summary_").rows == ((5.0,),)


def test_views_of_the_user_stay(example: Path) -> None:
    with duckdb.connect(":memory:") as direct:
        direct.execute(f"ATTACH '{example}' AS x")
        direct.execute("CREATE VIEW x.patch_resid.mine AS SELECT 1")
        direct.execute("CREATE VIEW x.main.own AS SELECT 1")
    one_run(example, (MeasureRow(experiment="e", measure="m"),), 1.0, file=ex.manifest("").file)
    assert {"patch_resid.mine", "main.own", "main.run_list", "e.m"} <= view_list(example)
    assert "patch_resid.recovered" not in view_list(example)


def test_views_that_a_kill_left_behind_are_mended(example: Path) -> None:
    with duckdb.connect(":memory:") as direct:
        direct.execute(f"ATTACH '{example}' AS x")
        direct.execute("DROP SCHEMA x.patch_resid CASCADE")
    Store.create_or_open(example)
    assert len(query(example, "FROM patch_resid.gap").rows) == 2
