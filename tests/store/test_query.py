"""SQL that a user typed: what it may do, what it may not, and how mistakes look."""

from __future__ import annotations

from pathlib import Path

import duckdb
import pytest

from glassbox_dsl.diagnostics import Diagnostic, Findings
from glassbox_dsl.store.query import query
from glassbox_dsl.store.reader import open_reader


def refusal(path: Path, sql: str, **limits: float) -> Diagnostic:
    with pytest.raises(Findings) as caught:
        query(path, sql, **limits)
    (found,) = caught.value.diagnostics
    return found


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT * FROM read_text('{secret}')",
        "SELECT * FROM read_csv('{secret}')",
        "SELECT * FROM read_blob('{secret}')",
        "SELECT * FROM read_parquet('{secret}')",
        "SELECT * FROM read_json('{secret}')",
        "SELECT * FROM glob('{folder}/*')",
        "SELECT * FROM sniff_csv('{secret}')",
        "SELECT * FROM read_duckdb('{folder}/other.duckdb')",
        "COPY (SELECT 1) TO '{folder}/out.csv'",
        "COPY runs FROM '{secret}'",
        "EXPLAIN ANALYZE COPY (SELECT 1) TO '{folder}/out.csv'",
        "EXPORT DATABASE '{folder}/out'",
        "IMPORT DATABASE '{folder}'",
        "ATTACH '{folder}/out.duckdb'",
        "ATTACH ':memory:' AS m",
        'DETACH "glassbox-results"',
        "USE temp",
        "INSTALL httpfs",
        "LOAD httpfs",
        "SET threads = 4",
        "SET enable_external_access = true",
        "RESET lock_configuration",
        "PRAGMA database_list",
        "CALL pragma_version()",
        "CHECKPOINT",
        "BEGIN",
        "CREATE TABLE t (a INTEGER)",
        "CREATE TEMP TABLE t (a INTEGER)",
        "CREATE MACRO f(a) AS a",
        "CREATE SECRET (TYPE s3)",
        "INSERT INTO runs SELECT * FROM runs",
        "UPDATE runs SET file = ''",
        "DELETE FROM runs",
        "DROP TABLE runs",
        "WITH a AS (SELECT 1) INSERT INTO runs SELECT * FROM runs",
        "PREPARE p AS SELECT 1",
        "SELECT * FROM duckdb_secrets()",
    ],
)
def test_a_query_may_only_read_the_results(example: Path, tmp_path: Path, sql: str) -> None:
    secret = tmp_path / "secret.txt"
    secret.write_text("a,b\n1,2\n")
    before = sorted(p.name for p in tmp_path.iterdir()), example.read_bytes()
    assert refusal(example, sql.format(secret=secret, folder=tmp_path)).code == "GB621"
    assert (sorted(p.name for p in tmp_path.iterdir()), example.read_bytes()) == before


@pytest.mark.parametrize(
    "sql",
    [
        "EXPLAIN ANALYZE INSERT INTO runs SELECT * FROM runs",
        "EXPLAIN ANALYZE CREATE TABLE t AS SELECT 1",
        "SELECT * FROM '{secret}'",
        "SELECT getenv('HOME')",
        "SELECT * FROM local_variable",
        "SELECT * FROM memory.t",
    ],
)
def test_what_does_not_exist_here_is_not_valid(example: Path, tmp_path: Path, sql: str) -> None:
    local_variable = {"a": [1]}
    secret = tmp_path / "secret.txt"
    secret.write_text("a,b\n1,2\n")
    before = example.read_bytes()
    assert refusal(example, sql.format(secret=secret)).code == "GB620"
    assert example.read_bytes() == before and local_variable


@pytest.mark.parametrize(
    ("sql", "columns", "rows"),
    [
        ("SELECT 1 AS a, 'x' AS b", ("a", "b"), ((1, "x"),)),
        ("FROM (VALUES (1), (2)) t(a);", ("a",), ((1,), (2,))),
        ("WITH t AS (SELECT 3 AS a) SELECT a FROM t -- end", ("a",), ((3,),)),
        ("SELECT count(*) AS n FROM patch_resid.recovered", ("n",), ((742,),)),
        ("SELECT TIMESTAMPTZ '2026-01-01 00:00:00+00' AS t, 5 AS a", ("t", "a"), None),
        ("PIVOT patch_resid.gap ON model USING first(data) GROUP BY item", ("item", "gemma", "smol"), None),
    ],
)
def test_reading_works(
    example: Path, sql: str, columns: tuple[str, ...], rows: tuple[object, ...] | None
) -> None:
    table = query(example, sql)
    assert table.columns == columns and not table.truncated
    assert rows is None or table.rows == rows


@pytest.mark.parametrize("sql", ["SHOW ALL TABLES", "DESCRIBE patch_resid.recovered", "EXPLAIN SELECT 1"])
def test_looking_around_works(example: Path, sql: str) -> None:
    assert query(example, sql).rows


def test_rows_are_cut_at_the_limit(example: Path) -> None:
    cut = query(example, "SELECT item FROM patch_resid.recovered", limit=3)
    assert (len(cut.rows), cut.truncated) == (3, True)
    whole = query(example, "SELECT 1 UNION ALL SELECT 2", limit=2)
    assert (len(whole.rows), whole.truncated) == (2, False)


@pytest.mark.parametrize(
    ("sql", "marked"),
    [
        ("SELECT laier FROM patch_resid.recovered", "laier"),
        ("SELEC 1", "SELEC"),
        ("SELECT\n  layer,\n  'ä', valu\nFROM patch_resid.recovered", "valu"),
        ("SELECT " + "1 + " * 120 + "nothing" + " + 1" * 120, "nothing"),
        ("SELECT * FROM patch_resid.recoverd", "patch_resid"),
    ],
)
def test_a_mistake_is_shown_in_its_place(example: Path, sql: str, marked: str) -> None:
    found = refusal(example, sql)
    assert found.code == "GB620"
    assert found.span is not None and found.span.text == marked
    assert found.span.source.text == sql


def test_a_misspelt_name_brings_a_suggestion(example: Path) -> None:
    assert "recovered" in refusal(example, "FROM patch_resid.recoverd").help
    assert '"layer"' in refusal(example, "SELECT laier FROM patch_resid.recovered").help
    assert '"order".heads' in refusal(example, "SELECT value FROM order.heads").help


@pytest.mark.parametrize(
    ("sql", "count"), [("", "empty"), ("-- only this", "empty"), ("SELECT 1; SELECT 2", "2")]
)
def test_one_statement_is_wanted(example: Path, sql: str, count: str) -> None:
    found = refusal(example, sql)
    assert found.code == "GB624" and count in found.headline


def test_limits_of_time_and_memory(example: Path) -> None:
    endless = "SELECT count(*) FROM range(1000000000000) a"
    assert refusal(example, endless, seconds=0.3).code == "GB622"
    large = "SELECT list(a) FROM range(30000000) t(a)"
    assert refusal(example, large, memory="30MB").code == "GB623"


def test_text_that_is_no_utf_8_is_a_finding(example: Path) -> None:
    assert refusal(example, "SELECT '\ud800'").code == "GB620"


def test_a_view_that_a_stranger_put_into_the_file_reads_nothing_outside(
    example: Path, tmp_path: Path
) -> None:
    (tmp_path / "secret.txt").write_text("secret")
    with duckdb.connect(":memory:") as direct:
        direct.execute(f"ATTACH '{example}' AS x")
        direct.execute("USE x")
        direct.execute("DROP VIEW run_list")
        direct.execute(
            "CREATE VIEW run_list AS SELECT content AS run_id, content AS file, 'complete' AS status"
            f" FROM read_text('{tmp_path}/secret.txt')"
        )
    assert refusal(example, "FROM run_list").code == "GB621"
    with pytest.raises(Findings, match="GB607"), open_reader(example) as reader:
        reader.runs()
