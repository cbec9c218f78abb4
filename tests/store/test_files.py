"""Opening, claiming and losing the file: locks, kills, places that cannot be written, damage."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import duckdb
import numpy as np
import pytest

from glassbox_dsl.diagnostics import Findings
from glassbox_dsl.store import file, writer
from glassbox_dsl.store.errors import StoreLocked
from glassbox_dsl.store.query import query
from glassbox_dsl.store.reader import open_reader
from glassbox_dsl.store.rows import Batch, MeasureRow, new_run_id
from glassbox_dsl.store.writer import Store
from tests.store import example as ex
from tests.store.test_round_trip import measured

ROOT = Path(__file__).parents[2]
HOLD = """
import sys, duckdb
held = duckdb.connect(sys.argv[1])
print("held", flush=True)
sys.stdin.read()
"""
FLUSH = """
import sys
import numpy as np
from glassbox_dsl.store.rows import Batch, CellRow, MeasureRow, new_run_id
from glassbox_dsl.store.writer import Store
from tests.store.example import manifest
from tests.store.test_round_trip import measured
measure = MeasureRow(experiment="e", measure="m")
store = Store.create_or_open(sys.argv[1])
store.begin(manifest(new_run_id()))
number = 0
while True:
    rows = measured(measure, [float(number)] * 50, item=np.arange(50))
    cell = CellRow(key=str(number), experiment="e", run="r", model="smol", data="ioi")
    store.flush(Batch(measures=(measure,), rows=(rows,), cells=(cell,)))
    print(number, flush=True)
    number += 1
"""


@pytest.fixture
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "CLAIM_SECONDS", 0.1)
    monkeypatch.setattr(writer, "FLUSH_SECONDS", 0.3)


def code(path: Path) -> str:
    """The code that claiming a file ends with."""
    with pytest.raises(Findings) as caught:
        Store.create_or_open(path)
    return caught.value.diagnostics[0].code


@pytest.fixture
def holder(example: Path) -> subprocess.Popen[str]:
    """Another process that has the example open for writing."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(example)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None and process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()
    process.stdout.close()
    if process.stdin is not None:
        process.stdin.close()


@pytest.mark.usefixtures("short_waits")
def test_a_held_file_names_the_holder_and_asks_for_exit_code_4(
    example: Path, holder: subprocess.Popen[str]
) -> None:
    for use in (Store.create_or_open, lambda path: query(path, "SELECT 1")):
        with pytest.raises(StoreLocked) as caught:
            use(example)
        assert caught.value.exit_code == 4
        assert caught.value.diagnostics[0].code == "GB600"
        assert f"process {holder.pid}" in caught.value.diagnostics[0].headline


def test_a_claim_waits_for_a_holder_that_lets_go(example: Path, holder: subprocess.Popen[str]) -> None:
    assert holder.stdin is not None
    threading.Timer(0.3, holder.stdin.close).start()
    start = time.monotonic()
    Store.create_or_open(example)
    assert time.monotonic() - start > 0.25


@pytest.mark.usefixtures("short_waits")
def test_a_reader_in_this_process_is_named_as_such(example: Path) -> None:
    with open_reader(example), pytest.raises(StoreLocked, match="GB600 .*in use by this process"):
        Store.create_or_open(example)
    Store.create_or_open(example)


def test_readers_do_not_disturb_each_other(example: Path) -> None:
    with open_reader(example) as one, open_reader(example) as other:
        assert one.runs() == other.runs()


def test_the_file_is_free_between_flushes(tmp_path: Path) -> None:
    path = tmp_path / "x.duckdb"
    measure = MeasureRow(experiment="e", measure="m")
    store = Store.create_or_open(path)
    store.begin(ex.manifest(new_run_id()))
    for number in range(3):
        store.flush(Batch(measures=(measure,), rows=(measured(measure, [1.0], item=np.array([number])),)))
        with open_reader(path) as reader:
            assert reader.run().status == "started"
            assert len(reader.rows("e", "m").rows) == number + 1
    assert not (tmp_path / "x.duckdb.wal").exists()


def test_claiming_and_failing_leave_nothing(tmp_path: Path) -> None:
    Store.create_or_open(tmp_path / "new.duckdb")
    assert list(tmp_path.iterdir()) == []
    assert code(tmp_path / "nowhere" / "x.duckdb") == "GB601"
    (tmp_path / "folder.duckdb").mkdir()
    assert code(tmp_path / "folder.duckdb") == "GB603"
    assert [p.name for p in tmp_path.iterdir()] == ["folder.duckdb"]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs a folder in which nobody may write")
def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    assert code(Path("/proc/x.duckdb")) == "GB602"


@pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() == 0, reason="the superuser may write everything"
)
def test_a_file_that_may_not_be_written(example: Path) -> None:
    example.chmod(0o400)
    assert code(example) == "GB602"


def test_a_folder_that_loses_its_permission_before_the_run_begins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store.create_or_open(tmp_path / "x.duckdb")

    def refuse(self: Path, **_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "touch", refuse)
    with pytest.raises(Findings, match="GB602"):
        store.begin(ex.manifest(new_run_id()))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", [b"", b"hello", b"\0" * 10_000])
def test_a_file_of_another_kind_is_left_as_it_is(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.duckdb"
    path.write_bytes(content)
    assert code(path) == "GB603"
    assert path.read_bytes() == content and len(list(tmp_path.iterdir())) == 1


def test_a_database_of_something_else_is_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "x.duckdb"
    with duckdb.connect(path) as other:
        other.execute("CREATE TABLE runs (a INTEGER)")
    assert code(path) == "GB604"
    with pytest.raises(Findings, match="GB604"), open_reader(path):
        pass
    with duckdb.connect(path) as other:
        assert other.execute("SELECT table_name FROM duckdb_tables()").fetchall() == [("runs",)]


def test_a_newer_schema_is_refused(example: Path) -> None:
    with duckdb.connect(":memory:") as direct:
        direct.execute(f"ATTACH '{example}' AS x")
        direct.execute("INSERT INTO x.store_version SELECT 999, '', '', created FROM x.store_version")
    before = example.read_bytes()
    assert code(example) == "GB605"
    with pytest.raises(Findings, match="GB605"):
        query(example, "SELECT 1")
    assert example.read_bytes() == before and len(list(example.parent.iterdir())) == 1


def test_reading_what_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(Findings, match="GB608"):
        query(tmp_path / "x.duckdb", "SELECT 1")
    with pytest.raises(Findings, match="GB608"), open_reader(tmp_path / "x.duckdb"):
        pass
    file.create(tmp_path / "x.duckdb", "0")
    with open_reader(tmp_path / "x.duckdb") as reader, pytest.raises(Findings, match="GB609 .*holds no run"):
        reader.run()


def test_a_store_that_another_process_made_meanwhile_is_kept(example: Path) -> None:
    before = example.read_bytes()
    file.create(example, "0")
    assert example.read_bytes() == before
    assert [p.name for p in example.parent.iterdir()] == [example.name]


def test_kill_9_loses_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    path = tmp_path / "x.duckdb"
    rng = random.Random(1)
    acknowledged = []
    for _ in range(5):
        process = subprocess.Popen(
            [sys.executable, "-c", FLUSH, str(path)], stdout=subprocess.PIPE, text=True, cwd=ROOT
        )
        assert process.stdout is not None
        before = [process.stdout.readline() for _ in range(rng.randrange(1, 5))]
        time.sleep(rng.uniform(0.0, 0.2))
        process.send_signal(signal.SIGKILL)
        acknowledged.append(len(before) + len(process.communicate()[0].splitlines()))
    Store.create_or_open(path)
    with open_reader(path) as reader:
        runs = reader.runs()
        assert [run.status for run in runs] == ["started"] * 5
        for run, count in zip(runs, acknowledged, strict=True):
            cells = len(reader.cells(run.run_id))
            assert count <= cells <= count + 1  # the last one may have been stored but not yet said so
            assert reader.rows("e", "m", run.run_id).column("value") == tuple(
                float(number) for number in range(cells) for _ in range(50)
            )
    assert max(acknowledged) > 1


def test_damage_is_named_and_never_a_traceback(example: Path) -> None:
    good = example.read_bytes()
    rng = random.Random(0)
    seen = set()

    def use() -> None:
        with open_reader(example) as reader:
            reader.items()
            reader.manifest()
            for measure in reader.measures():
                reader.rows(measure.experiment, measure.measure)
        ex.write_example(example)

    for kind in ("cut", "flip", "noise") * 3:
        bad = bytearray(good)
        at = rng.randrange(len(bad))
        if kind == "cut":
            del bad[at:]
        elif kind == "flip":
            bad[at] ^= 255
        else:
            bad[at : at + 9000] = rng.randbytes(len(bad[at : at + 9000]))
        example.write_bytes(bad)
        example.with_name(example.name + ".wal").unlink(missing_ok=True)
        try:
            use()
        except Findings as found:
            seen.add(found.diagnostics[0].code)
    assert "GB607" in seen
    assert seen <= {"GB603", "GB605", "GB606", "GB607"}


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a small file system")
def test_a_full_disk_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """RLIMIT_FSIZE in a child stands in for a full disk: writes beyond it fail."""
    script = (
        "import resource, signal, sys\n"
        "from tests.store.test_files import *\n"
        "store = Store.create_or_open(sys.argv[1])\n"
        "store.begin(ex.manifest(new_run_id()))\n"
        "measure = MeasureRow(experiment='e', measure='m')\n"
        "store.flush(Batch(measures=(measure,), rows=(measured(measure, [7.0]),)))\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "size = Path(sys.argv[1]).stat().st_size\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))\n"
        "values = list(np.random.default_rng(0).normal(size=300_000))\n"
        "try: store.flush(Batch(rows=(measured(measure, values),)))\n"
        "except Findings as f: print(f.diagnostics[0].code)\n"
    )
    path = tmp_path / "x.duckdb"
    done = subprocess.run([sys.executable, "-c", script, str(path)], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout == "GB606\n", done.stderr
    with open_reader(path) as reader:
        assert reader.rows("e", "m").column("value") == (7.0,)


def test_a_million_rows_take_seconds(tmp_path: Path) -> None:
    count = 1_000_000
    measure = MeasureRow(experiment="e", measure="m", variables=(ex.LAYER, ex.POS))
    item = np.arange(count) % 32
    layer, pos = np.arange(count) // 32 % 30, np.arange(count) // 960
    labels = np.array(["s2", None], dtype=object)[pos % 2]
    store = Store.create_or_open(tmp_path / "x.duckdb")
    store.begin(ex.manifest(new_run_id()))
    rows = measured(
        measure, [], item=item, columns={"layer": layer, "pos": pos}, labels={"pos": labels}
    )  # fmt: skip
    rows = type(rows)(**{**vars(rows), "value": np.linspace(0, 1, count)})
    start = time.process_time()
    store.flush(Batch(measures=(measure,), rows=(rows,)))
    assert time.process_time() - start < 8  # row by row it would be half an hour
    assert query(tmp_path / "x.duckdb", "SELECT count(*), max(value) FROM measurements").rows == (
        (count, 1.0),
    )
