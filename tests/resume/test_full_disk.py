"""A disk that becomes full while a run goes on: the run says so and ends, nothing that it acknowledged is lost, and
once there is room again it goes on. Needs the right to mount a small file system; tests/store has one without.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from glassbox_dsl.cli.app import answer
from glassbox_dsl.plan import packing
from glassbox_dsl.store import known
from tests.resume.conftest import assert_same, rows, status
from tests.resume.test_killed import TEXT, nothing_is_lost
from tests.store.dying import in_a_child


@pytest.fixture
def small_disk(tmp_path):
    """Makes a file system of a few bytes; skips where this process may mount none."""
    folder = tmp_path / "disk"

    def mount(size: int) -> Path:
        away()
        folder.mkdir(exist_ok=True)
        command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "none", str(folder)]
        if shutil.which("mount") is None or subprocess.run(command, capture_output=True).returncode:
            pytest.skip("this process may not mount a small file system")
        return folder

    def away() -> None:
        if os.path.ismount(folder):
            subprocess.run(["umount", "-l", str(folder)], check=True)

    yield mount
    away()


def until_full(path: Path, db: Path, said: Path) -> tuple[int, dict[str, int]]:
    """Run a file in a child: its exit code and what it acknowledged; `said` gets its words."""
    code = said.with_suffix(".code")

    def work() -> None:
        sys.stderr = said.open("w", buffering=1)
        code.write_text(str(answer(["run", str(path), "--db", str(db), "--quiet"])))

    noted, killed, _ = in_a_child(work)
    assert not killed
    return int(code.read_text()), noted


@pytest.fixture
def many_writes(monkeypatch):
    monkeypatch.setattr(packing, "ROWS", 400)
    monkeypatch.setattr(known, "EVERY_SECONDS", 0.0)


@pytest.mark.slow
def test_a_full_disk_ends_a_run_that_can_go_on(gbx, tmp_path, many_writes, small_disk):
    small_disk(100_000)  # skips at once where nothing can be mounted
    gbx(TEXT, db="whole.duckdb")
    whole, path = tmp_path / "whole.duckdb", tmp_path / "test.gbx"
    acknowledged = []
    for share in (0.3, 0.6, 0.9):
        disk, said = small_disk(int(whole.stat().st_size * share)), tmp_path / "said.txt"
        code, noted = until_full(path, disk / "r.duckdb", said)
        words = said.read_text()
        assert "error[GB606]" in words and "Traceback" not in words and "internal error" not in words, words
        assert code == 1
        nothing_is_lost(disk / "r.duckdb", noted)
        acknowledged.append(sum(noted.values()))
        folder = tmp_path / str(share)  # a disk with room
        shutil.copytree(disk, folder)
        gbx(TEXT, db=f"{share}/r.duckdb")
        found = status(folder / "r.duckdb")
        assert found[-1] == "complete" and "complete" not in found[:-1]
        assert_same(rows(folder / "r.duckdb"), rows(whole))
    assert acknowledged[0] < acknowledged[-1]
