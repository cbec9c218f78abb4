"""What was acknowledged survives; what is lost is seen; nothing is half there.

`GBX_KILLS=100` kills at that many random moments, and at every commit point of a run instead of at some.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path

import duckdb
import numpy as np
import pytest

from glassbox_dsl.diagnostics import Findings
from glassbox_dsl.store import ledger, writer
from glassbox_dsl.store.file import reading, writing
from glassbox_dsl.store.query import query
from glassbox_dsl.store.reader import open_reader
from glassbox_dsl.store.rows import Batch, MeasureRow, new_run_id
from glassbox_dsl.store.writer import Store
from tests.store import example as ex
from tests.store.dying import in_a_child
from tests.store.test_round_trip import measured

ROOT = Path(__file__).parents[2]
KILLS = int(os.environ.get("GBX_KILLS", "12"))
MEASURE = MeasureRow(experiment="e", measure="m")


def write_some(path: Path, flushes: int = 3, rows: int = 50) -> str:
    """A run of a few transactions; ends as complete."""
    store = Store.create_or_open(path)
    run_id = new_run_id()
    store.begin(ex.manifest(run_id))
    for number in range(flushes):
        values = measured(MEASURE, [float(number)] * rows, item=np.arange(rows))
        store.flush(Batch(measures=(MEASURE,), rows=(values,)))
    store.finish("complete")
    return run_id


def check(path: Path, noted: dict[str, int]) -> None:
    """The file opens, holds whole transactions only, and all that were acknowledged."""
    if not path.exists():
        assert noted == {}
        return
    store = Store.create_or_open(path)  # compares the rows with what the transactions say they wrote
    assert store.losses == ()
    with reading(path) as connection:
        found = dict(connection.execute("SELECT run_id, count(*) FROM flushes GROUP BY ALL").fetchall())
        sums = connection.execute(
            "SELECT s.run_id, s.flush, count(*), min(value), max(value) FROM series s"
            " JOIN value_rows USING (series) GROUP BY ALL"
        ).fetchall()
    assert all(found.get(run, 0) >= count for run, count in noted.items())
    assert all(count == 50 and low == high == flush for _, flush, count, low, high in sums)


@pytest.mark.slow
def test_a_kill_at_every_point_of_writing_loses_nothing_and_leaves_no_half(tmp_path: Path) -> None:
    _, _, points = in_a_child(lambda: write_some(tmp_path / "whole.duckdb"))
    assert points > 50
    for point in range(points) if points <= KILLS else random.Random(1).sample(range(points), KILLS):
        path = tmp_path / f"{point}.duckdb"
        noted, killed, _ = in_a_child(lambda path=path: write_some(path), die_at=point)
        assert killed
        check(path, noted)
        write_some(path)
        rows = query(path, "SELECT count(*), sum(value) FROM e.m").rows
        assert rows == ((150, 150.0),)
        left = {p.name for p in tmp_path.iterdir() if p.name.startswith((f"{point}.", f".{point}."))}
        assert left == {path.name}, left
        path.unlink()


@pytest.mark.slow
def test_a_kill_at_random_moments_of_a_migration_leaves_the_old_file_or_the_new(tmp_path: Path) -> None:
    from glassbox_dsl.store.migration import migrate

    path, draw = tmp_path / "x.duckdb", random.Random(3)
    ex.write_example(path)
    good = path.read_bytes()
    with open_reader(path) as reader:
        expected = reader.rows("lens", "by_layer").rows
    for _ in range(4):
        path.write_bytes(good)
        in_a_child(lambda: migrate(path, 3), seconds=draw.uniform(0.0, 0.4))
        with open_reader(path) as reader:
            assert reader.rows("lens", "by_layer").rows == expected


def in_the_log(path: Path) -> tuple[str, int]:
    """A run whose transactions after the first are acknowledged but only in the write-ahead log.

    This is what is left when DuckDB cannot merge its log on closing: it is made here by telling it not to.
    """
    write_some(path)

    def work() -> None:
        original = writer.writing

        def unmerged(path: Path, wait: float):  # type: ignore[no-untyped-def]
            manager = original(path, wait)
            connection = manager.__enter__()
            connection.execute("SET wal_autocheckpoint = '1TB'")
            connection.execute("PRAGMA disable_checkpoint_on_shutdown")

            class Closing:
                def __enter__(self):  # type: ignore[no-untyped-def]
                    return connection

                def __exit__(self, *error: object) -> None:
                    manager.__exit__(*error)

            return Closing()

        writer.writing = unmerged
        store = Store.create_or_open(path)
        store.begin(ex.manifest(new_run_id()))
        for number in range(5):
            values = measured(MEASURE, [float(number)] * 50, item=np.arange(50))
            store.flush(Batch(measures=(MEASURE,), rows=(values,)))
        os.kill(os.getpid(), 9)

    noted, _, _ = in_a_child(work)
    ((run_id, count),) = noted.items()
    assert count == 5 and Path(f"{path}.wal").stat().st_size > 1000
    return run_id, count


def test_a_torn_or_missing_log_is_seen_and_never_accepted_in_silence(tmp_path: Path) -> None:
    path = tmp_path / "x.duckdb"
    run_id, count = in_the_log(path)
    log, note = Path(f"{path}.wal"), tmp_path / f"x.duckdb.{run_id}.ledger"
    whole, torn = path.read_bytes(), log.read_bytes()
    assert note.read_text() == f"{count}\n"
    draw, seen = random.Random(0), set()
    cuts = [0, 1, 7, *(draw.randrange(1, len(torn)) for _ in range(10)), len(torn)]
    for cut in cuts:
        path.write_bytes(whole)
        log.write_bytes(torn[: len(torn) - cut])
        if cut == len(torn):
            log.unlink()
        with duckdb.connect(path) as direct:  # DuckDB itself says nothing
            ((present,),) = direct.execute(
                "SELECT count(*) FROM flushes WHERE run_id = ?", [run_id]
            ).fetchall()
        if cut == 0:
            assert present == count
            with open_reader(path) as reader:
                assert len(reader.rows("e", "m", run_id).rows) == 250
            continue
        assert present < count
        seen.add(present)
        for use in (lambda: query(path, "SELECT 1"), lambda: open_reader(path).__enter__()):
            with pytest.raises(Findings, match=f"GB615 .*lost {count - present} of {count} transactions"):
                use()
        store = Store.create_or_open(path)
        assert [(d.code, d.severity) for d in store.losses] == [("GB615", "warning")]
    assert len(seen) > 2 and 0 in seen
    store.begin(ex.manifest(new_run_id()))  # a new run goes on without what is lost, and says so once
    assert not note.exists()
    assert len(query(path, "FROM run_list").rows) == 2


def test_rows_that_are_not_those_that_were_written_are_damage(tmp_path: Path) -> None:
    path = tmp_path / "x.duckdb"
    ex.write_example(path)
    Store.create_or_open(path)
    good = path.read_bytes()
    for sql in (
        "DELETE FROM value_rows WHERE rowid = 3",
        "INSERT INTO value_rows BY NAME SELECT * FROM value_rows LIMIT 1",
        "DELETE FROM top_rows WHERE rank = 2",
        "DELETE FROM tensors WHERE item = 0",
        "DELETE FROM cells",
    ):
        path.write_bytes(good)
        with writing(path, 1.0) as connection:
            connection.execute(sql)
        with pytest.raises(Findings, match="GB607"):
            Store.create_or_open(path)


def test_notes_of_other_files_are_not_taken_for_ours(tmp_path: Path) -> None:
    path = tmp_path / "[x].duckdb"
    write_some(path)
    (tmp_path / "x.duckdb.0.ledger").write_text("9")
    (tmp_path / "[x].duckdb.notes.ledger").write_text("not a number")
    with open_reader(path) as reader:
        assert len(reader.runs()) == 1
    ledger.acknowledge(path, "0", 1)
    with pytest.raises(Findings, match="GB615"), open_reader(path):
        pass


@pytest.mark.slow
def test_two_writers_and_a_reader_at_once_do_not_disturb_each_other(tmp_path: Path) -> None:
    path = tmp_path / "x.duckdb"
    write_some(path, flushes=1)
    script = (
        "import sys\nfrom pathlib import Path\nfrom tests.store.test_durability import write_some\n"
        "print(write_some(Path(sys.argv[1]), flushes=15))\n"
    )
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", script, str(path)], cwd=ROOT, stdout=subprocess.PIPE, text=True
        )
        for _ in range(2)
    ]
    seen = 0
    while any(process.poll() is None for process in writers):
        try:
            with open_reader(path) as reader:
                for run in (r for r in reader.runs() if reader.measures(r.run_id)):
                    assert len(reader.rows("e", "m", run.run_id).rows) % 50 == 0
            seen += 1
        except Findings as found:
            assert found.diagnostics[0].code == "GB600"  # after two seconds of waiting
    runs = [process.communicate()[0].strip() for process in writers]
    assert [process.returncode for process in writers] == [0, 0] and seen > 3
    with open_reader(path) as reader:
        assert {run.run_id for run in reader.runs()} > set(runs)
        for run in runs:
            values = reader.rows("e", "m", run).column("value")
            assert sorted(values) == sorted(float(n) for n in range(15) for _ in range(50))
    Store.create_or_open(path)
