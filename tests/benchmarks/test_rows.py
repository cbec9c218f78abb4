"""The benchmark of many rows runs, and its figures are of the right order on any machine."""

from pathlib import Path

from benchmarks import rows


def test_half_a_million_rows_are_written_grouped_and_drawn(tmp_path: Path) -> None:
    found = rows.measured(tmp_path / "rows.duckdb", tmp_path / "pages", 25)
    assert found["rows"] == 512_000
    assert found["rows per second, written"] > 200_000  # row by row it would be hundreds
    assert found["seconds, GROUP BY"] < 1
    assert found["seconds, report"] < 10 and found["MB, report"] < 5
    assert found["MB, results file"] < 30
