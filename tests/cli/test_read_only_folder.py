"""Results in a folder that nobody may write to: reading works, writing says so before anything is loaded."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from glassbox_dsl.cli.app import answer
from tests.store.example import write_example

FILE = """gbx 1
model m = tiny("llama", layers: 1)
data d { rows [{a: "x"}, {a: "y"}]  prompt p = "{a} b" }
experiment e { measure s = entropy(p) }
"""


@pytest.fixture
def shelf(tmp_path: Path) -> Iterator[Path]:
    """A folder with results.duckdb and test.gbx, read-only: by a mount for root, whom no mode keeps out."""
    folder = tmp_path / "shelf"
    folder.mkdir()
    write_example(folder / "results.duckdb")
    (folder / "test.gbx").write_text(FILE, encoding="utf-8")
    mounted = False
    folder.chmod(0o555)
    if os.geteuid() == 0:
        steps = (["--bind", str(folder), str(folder)], ["-o", "remount,bind,ro", str(folder)])
        mounted = shutil.which("mount") is not None and not any(
            subprocess.run(["mount", *step], capture_output=True).returncode for step in steps
        )
    try:
        if os.geteuid() == 0 and not mounted:
            pytest.skip("root may write everywhere, and this process may not mount a folder read-only")
        yield folder
    finally:
        if mounted:
            subprocess.run(["umount", "-l", str(folder)], check=True)
        folder.chmod(0o755)


def test_results_can_be_read(shelf: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    db = str(shelf / "results.duckdb")
    before = (shelf / "results.duckdb").read_bytes()
    assert answer(["query", db, "SELECT count(*) AS n FROM patch_resid.recovered", "--json"]) == 0
    assert "742" in capsys.readouterr().out
    assert answer(["report", db, "-o", str(tmp_path / "pages")]) == 0
    assert answer(["index", db, "-o", str(tmp_path / "pages")]) == 0
    assert {path.name for path in (tmp_path / "pages").iterdir()} >= {"ioi.html", "index.html"}
    assert answer(["diff", f"{db}", f"{db}"]) == 0
    capsys.readouterr()
    assert {path.name for path in shelf.iterdir()} == {"results.duckdb", "test.gbx"}
    assert (shelf / "results.duckdb").read_bytes() == before


@pytest.mark.parametrize("name", ["results.duckdb", "new.duckdb"])
def test_a_run_into_it_is_refused_before_a_model_is_loaded(
    shelf: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    from glassbox_dsl.run import session

    monkeypatch.setattr(session, "verified", lambda *_: pytest.fail("a model was loaded"))
    assert answer(["run", str(shelf / "test.gbx"), "--db", str(shelf / name), "--quiet"]) == 1
    said = capsys.readouterr().err
    assert "error[GB602]" in said and "read-only" in said.lower() and "Traceback" not in said
    assert {path.name for path in shelf.iterdir()} == {"results.duckdb", "test.gbx"}


def test_a_report_into_it_is_refused_before_the_run(
    shelf: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    db = tmp_path / "other.duckdb"
    command = ["run", str(shelf / "test.gbx"), "--db", str(db), "--report", str(shelf / "pages"), "--quiet"]
    assert answer(command) == 1
    assert "error[GB657]" in capsys.readouterr().err and not db.exists()
    assert answer(["report", str(shelf / "results.duckdb"), "-o", str(shelf / "pages")]) == 1
    assert "error[GB657]" in capsys.readouterr().err
