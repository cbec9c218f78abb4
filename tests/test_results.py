"""Results in Python: no model library is imported, nothing but reading is possible."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import glassbox_dsl
from glassbox_dsl.diagnostics import Findings
from tests.store.example import write_example


@pytest.fixture(scope="module")
def db(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("results") / "r.duckdb"
    write_example(path)
    return path


def test_rows_columns_and_mappings(db: Path) -> None:
    answer = glassbox_dsl.open(db).sql(
        "SELECT layer, count(*) AS n FROM lens.by_layer GROUP BY layer ORDER BY layer"
    )
    assert (answer.columns, answer.types) == (("layer", "n"), ("INTEGER", "BIGINT"))
    assert list(answer) == [(0, 15), (1, 15), (2, 15), (3, 8)] and len(answer) == 4
    assert answer.dicts()[3] == {"layer": 3, "n": 8}
    assert [run.status for run in glassbox_dsl.open(db).runs()] == ["complete"]


def test_it_imports_neither_torch_nor_transformers(db: Path) -> None:
    script = (
        "import sys, glassbox_dsl\n"
        f"glassbox_dsl.open({str(db)!r}).sql('SELECT 1 AS a').rows\n"
        "print(sorted({m.split('.')[0] for m in sys.modules} & {'torch', 'transformers', 'tokenizers', 'altair'}))\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_mistakes_are_found_at_once(db: Path, tmp_path: Path) -> None:
    with pytest.raises(Findings, match="GB620"):
        glassbox_dsl.open(db).sql("SELECT nothing FROM lens.by_layer")
    with pytest.raises(Findings, match="GB621"):
        glassbox_dsl.open(db).sql("DROP TABLE runs")
    with pytest.raises(Findings, match="GB622"):
        glassbox_dsl.open(db).sql("SELECT count(*) FROM range(1000000000000)", seconds=0.2)
    with pytest.raises(Findings, match="GB608"):
        glassbox_dsl.open(tmp_path / "nowhere.duckdb")


@pytest.mark.parametrize(
    ("method", "package", "rows"),
    [("df", "pandas", len), ("pl", "polars", len), ("arrow", "pyarrow", lambda table: table.num_rows)],
)
def test_frames_where_their_packages_are_installed(db: Path, method: str, package: str, rows) -> None:  # type: ignore[no-untyped-def]
    answer = glassbox_dsl.open(db).sql("FROM patch_resid.recovered")
    try:
        __import__(package)
    except ImportError:
        with pytest.raises(ImportError, match=f"pip install .*{package}"):
            getattr(answer, method)()
        return
    assert rows(getattr(answer, method)()) == 742


FRAME = """SELECT model, item, layer, pos, pos_label, value, value > 0.5 AS high, [layer, pos] AS place
FROM patch_resid.recovered ORDER BY ALL"""
"""Texts, integers, floats with NULLs, truth values and lists."""


def test_pandas_has_the_rows(db: Path) -> None:
    pandas = pytest.importorskip("pandas")
    answer = glassbox_dsl.open(db).sql(FRAME)
    frame = answer.df()
    assert tuple(frame.columns) == answer.columns and len(frame) == 742
    assert pandas.api.types.is_integer_dtype(frame["layer"]) and pandas.api.types.is_float_dtype(
        frame["value"]
    )
    missing = frame["value"].isna()
    assert 0 < missing.sum() == sum(row[5] is None for row in answer.rows)
    assert frame["value"][~missing].tolist() == [row[5] for row in answer.rows if row[5] is not None]
    assert frame["model"].tolist() == [row[0] for row in answer.rows]
    assert [list(place) for place in frame["place"]] == [row[7] for row in answer.rows]
    mean = frame[frame.model == "smol"].groupby("layer")["value"].mean()
    sql = "SELECT avg(value) FROM patch_resid.recovered WHERE model = 'smol' AND layer = 2"
    assert mean[2] == pytest.approx(glassbox_dsl.open(db).sql(sql).rows[0][0])


def test_polars_has_the_rows(db: Path) -> None:
    polars = pytest.importorskip("polars")
    answer = glassbox_dsl.open(db).sql(FRAME)
    frame = answer.pl()
    assert tuple(frame.columns) == answer.columns and frame.rows() == list(answer.rows)
    assert frame.schema["model"] == polars.String and frame.schema["high"] == polars.Boolean
    assert frame.schema["value"].is_float() and frame.schema["place"] == polars.List(polars.Int32)


def test_arrow_has_the_rows(db: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    answer = glassbox_dsl.open(db).sql(FRAME)
    table = answer.arrow()
    assert isinstance(table, pyarrow.Table) and tuple(table.column_names) == answer.columns
    assert [tuple(row.values()) for row in table.to_pylist()] == list(answer.rows)
    assert table.schema.field("layer").type == pyarrow.int32() and table.column("value").null_count > 0


@pytest.mark.parametrize("method", ["df", "pl", "arrow"])
def test_a_frame_of_no_rows_keeps_its_columns(db: Path, method: str) -> None:
    pytest.importorskip({"df": "pandas", "pl": "polars", "arrow": "pyarrow"}[method])
    frame = getattr(glassbox_dsl.open(db).sql("FROM patch_resid.recovered WHERE layer = 99"), method)()
    names = frame.column_names if method == "arrow" else list(frame.columns)
    assert "value" in names and "pos_label" in names and len(frame) == 0
