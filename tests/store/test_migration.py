"""Older results files are brought to this version, with everything that is in them, and the old file is kept."""

from __future__ import annotations

import logging
from pathlib import Path

import duckdb
import pytest

from glassbox_dsl.diagnostics import Findings
from glassbox_dsl.store import file, migration
from glassbox_dsl.store.layout import place
from glassbox_dsl.store.query import query
from glassbox_dsl.store.reader import open_reader
from glassbox_dsl.store.writer import Store
from glassbox_dsl.vocabulary.axes import SITE_AXES
from tests.store import example as ex

OLD = Path(__file__).parent / "old" / "version_2.sql"


@pytest.fixture(params=[1, 2])
def old(example: Path, tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """The example as an older version would have written it."""
    path = tmp_path / "old.duckdb"
    with open_reader(example) as reader:
        measures = reader.measures()
    with duckdb.connect(":memory:") as connection:
        connection.execute(f"ATTACH '{example}' AS new (READ_ONLY)")
        connection.execute(f"ATTACH '{path}' AS old")
        connection.execute("USE old")
        connection.execute(OLD.read_text(encoding="utf-8"))
        tables = connection.execute(
            "SELECT table_name FROM duckdb_tables() WHERE database_name = 'old'"
        ).fetchall()
        for (table,) in tables:
            if table not in migration.OLD_TABLES:
                connection.execute(f"INSERT INTO old.{table} SELECT * FROM new.{table} ORDER BY rowid")
        for measure in measures:
            for table in ("lens",) if measure.kind == "top" else ("measurements", "summaries"):
                columns = ["run_id", "experiment", "measure", "model", "data"]
                columns += {"lens": ["item", "value", "rank", "token_id", "token", "logit", "prob"],
                            "measurements": ["item", "value", "num", "den", "text"],
                            "summaries": ["cell", "n", "mean", "stderr", "lo", "hi"]}[table]  # fmt: skip
                for then, now in zip(place(measure, axes=SITE_AXES), place(measure), strict=True):
                    columns.append(f"{now.column} AS {then.stored}")
                    if then.stored_label is not None:
                        columns.append(f"{now.label} AS {then.stored_label}")
                connection.execute(
                    f"INSERT INTO old.{table} BY NAME SELECT {', '.join(columns)} FROM new.{table}"
                    f" WHERE experiment = '{measure.experiment}' AND measure = '{measure.measure}'"
                )
        connection.execute("UPDATE old.store_version SET version = ?", [request.param])
        if request.param == 1:
            connection.execute("DROP TABLE old.readings")
            connection.execute("DROP TABLE old.contexts")
    return path


def everything(path: Path) -> list[object]:
    """All that the reader and the views show."""
    with open_reader(path) as reader:
        found: list[object] = [
            reader.runs(),
            reader.manifest(),
            reader.items(),
            reader.models(),
            reader.cells(),
        ]
        found += [reader.receipts(), reader.expectations(), reader.verification(), reader.diagnostics()]
        for measure in reader.measures():
            found.append(measure)
            found.append(sorted(map(repr, reader.rows(measure.experiment, measure.measure).rows)))
            found.append(reader.summary_table(measure.experiment, measure.measure).rows)
            name = reader.view_name(measure.experiment, measure.measure)
            found.append(sorted(map(repr, query(path, f"FROM {name}").rows)))
    return found


def test_an_older_file_is_migrated_when_it_is_opened_and_kept(
    old: Path, example: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with duckdb.connect(old, read_only=True) as direct:
        (version,) = direct.execute("SELECT max(version) FROM store_version").fetchone() or (0,)
    before = old.read_bytes()
    with caplog.at_level(logging.WARNING):
        assert everything(old) == everything(example)
    backup = old.with_name(f"old.duckdb.version-{version}")
    assert backup.read_bytes() == before
    assert f"from version {version} to 3" in caplog.text and str(backup) in caplog.text
    assert sorted(p.name for p in old.parent.iterdir()) == sorted([example.name, old.name, backup.name])
    ex.write_example(old)  # and it can be written to
    assert len(query(old, "FROM run_list").rows) == 2


def test_a_migrated_file_has_the_schema_of_a_new_one(old: Path, example: Path) -> None:
    sql = (
        "SELECT table_name, column_name, data_type, is_nullable, comment FROM duckdb_columns()"
        " WHERE schema_name = 'main' AND NOT internal AND database_name = current_database() ORDER BY ALL"
    )
    assert query(old, sql).rows == query(example, sql).rows


def test_a_migration_that_fails_leaves_the_old_file(old: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = old.read_bytes()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(migration.shutil, "copyfile", full)
    with pytest.raises(Findings, match="GB616"):
        Store.create_or_open(old)
    assert old.read_bytes() == before and len(list(old.parent.iterdir())) == 2


def test_a_second_backup_does_not_replace_the_first(old: Path) -> None:
    first = migration.migrate(old, 7)
    kept = first.read_bytes()
    old.write_bytes(kept)
    second = migration.migrate(old, 7)
    assert (first.name, second.name) == ("old.duckdb.version-7", "old.duckdb.version-7-2")
    assert first.read_bytes() == second.read_bytes() == kept
    assert query(old, "SELECT max(version) FROM store_version").rows == ((file.SCHEMA_VERSION,),)
