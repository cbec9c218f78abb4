"""A run that was interrupted or killed anywhere goes on where it stopped, and ends as one that was not."""

import multiprocessing
import os
import random
import signal
import time

import pytest
import torch

from glassbox_dsl import pipeline
from glassbox_dsl.cli.app import answer
from glassbox_dsl.plan import packing
from glassbox_dsl.plan.progress import Silent, Stopped
from glassbox_dsl.store import known
from glassbox_dsl.store.keep import Keeper
from glassbox_dsl.store.unfinished import unfinished
from tests.resume.conftest import EXPERIMENTS, assert_same, data, rows, status

TEXT = data() + EXPERIMENTS


@pytest.fixture
def small_packs(monkeypatch):
    """Many packs, each written at once."""
    monkeypatch.setattr(packing, "ROWS", 40)
    monkeypatch.setattr(known, "EVERY_SECONDS", 0.0)


def test_after_ctrl_c_only_the_rest_is_computed(gbx, made, tmp_path, small_packs):
    db = tmp_path / "r.duckdb"
    whole = gbx(TEXT, db="whole.duckdb").cells
    made.stop_at = made.packs // 2
    with pytest.raises(KeyboardInterrupt):
        gbx(TEXT)
    done, made.stop_at = set(made.cells), -1
    assert status(db) == ["interrupted"] and done < set(whole)
    rest = gbx(TEXT).cells
    # a cell of `named` stands once the last alternative of its answers of several tokens is scored
    assert {run for run, _, _ in done & set(rest)} <= {"clean", "corrupt", "named"}
    assert done | set(rest) == set(whole)
    assert status(db) == ["interrupted", "complete"]
    assert_same(rows(db), rows(tmp_path / "whole.duckdb"))


def test_answers_of_several_tokens_are_kept_cell_by_cell(gbx, made, tmp_path, small_packs):
    text = (
        data()
        + """
experiment e {
  run named[layer, pos] = forward(corrupt) { resid_pre[layer, pos] := clean }
  measure s = logprob(named, long)
}
"""
    )
    whole = gbx(text, db="whole.duckdb")
    n_packs, every = whole.packs, {cell for cell in whole.cells if cell[0] == "named"}
    made.stop_at = n_packs - 2
    with pytest.raises(KeyboardInterrupt):
        gbx(text)
    made.stop_at = -1
    again = {cell for cell in gbx(text).cells if cell[0] == "named"}
    assert again and len(again) < len(every) / 2
    assert_same(rows(tmp_path / "r.duckdb"), rows(tmp_path / "whole.duckdb"))


def test_what_is_older_than_a_second_survives_kill_9(gbx, tmp_path, small_packs, monkeypatch):
    gbx(TEXT, db="whole.duckdb")
    torch.set_num_threads(1)
    slow = packing.Packing.packs

    def slowly(self):
        for pack in slow(self):
            time.sleep(0.01)
            yield pack

    monkeypatch.setattr(packing.Packing, "packs", slowly)
    draw, db, path = random.Random(0), tmp_path / "r.duckdb", tmp_path / "test.gbx"
    fork = multiprocessing.get_context("fork")
    for _ in range(4):
        child = fork.Process(target=pipeline.run_file, args=(path, db, None, Silent()))
        child.start()
        child.join(draw.uniform(0.3, 1.5))
        if child.is_alive():
            os.kill(child.pid, signal.SIGKILL)
        child.join()
    gbx(TEXT)
    assert status(db)[-1] == "complete"
    assert_same(rows(db), rows(tmp_path / "whole.duckdb"))


def test_resume_finds_the_file_and_says_when_it_has_changed(gbx, made, tmp_path, small_packs, capsys):
    db, path = tmp_path / "r.duckdb", tmp_path / "test.gbx"
    made.stop_at = 2
    with pytest.raises(KeyboardInterrupt):
        gbx(TEXT)
    made.stop_at = -1
    found = unfinished(db)
    assert found is not None and found == unfinished(db, path)
    assert (found.file, found.status, found.warnings, found.others) == (path, "interrupted", (), ())
    assert found.finished == () and found.kept > 0
    path.write_text(path.read_text() + "# more\n")
    assert answer(["resume", str(path), "--db", str(db)]) == 0
    said = capsys.readouterr().err
    assert "GB613" in said and f"{path}: the run of " in said and " UTC was interrupted" in said
    assert said.count("  unfinished: ") == TEXT.count("experiment ") and "  finished: " not in said
    assert f"  {found.kept:,} numbers of single cells are kept" in said
    for named in ([], [str(path)]):
        assert answer(["resume", *named, "--db", str(db)]) == 0
        assert "nothing to resume" in capsys.readouterr().out


def test_resume_tells_finished_experiments_from_others(gbx, made, tmp_path, small_packs, monkeypatch, capsys):
    db = tmp_path / "r.duckdb"
    later = """experiment later {
      run swapped[layer] = forward(corrupt) { resid_post[layer, last] := mean(clean, over: {item}) }
      measure back = logit(swapped, yes) - mean(sooner.score)
    }"""
    first = "experiment sooner { measure score = logit(clean, yes) }\n"
    keep = Keeper.keep

    def stop_at_the_second(self, results):
        if "later" in str(getattr(results, "context", results).experiment.name):
            raise KeyboardInterrupt
        keep(self, results)

    monkeypatch.setattr(Keeper, "keep", stop_at_the_second)
    with pytest.raises(KeyboardInterrupt):
        gbx(data() + first + later)
    monkeypatch.setattr(Keeper, "keep", keep)
    assert answer(["resume", "--db", str(db)]) == 0
    said = capsys.readouterr().err
    assert "  finished: sooner on " in said and "  unfinished: later on " in said
    assert status(db) == ["interrupted", "complete"]


def test_resume_of_what_was_never_run_says_where_to_look(gbx, tmp_path, capsys):
    gbx(TEXT)
    other = tmp_path / "other.gbx"
    assert answer(["resume", str(other), "--db", str(tmp_path / "r.duckdb")]) == 1
    said = capsys.readouterr().err
    assert "GB619" in said and f"`{tmp_path / 'test.gbx'}`" in said
    assert answer(["resume", str(tmp_path / "r.duckdb")]) == 2
    assert "--db" in capsys.readouterr().err


def test_resume_without_the_file_says_so(gbx, made, tmp_path, capsys):
    made.stop_at = 0
    with pytest.raises(KeyboardInterrupt):
        gbx(TEXT)
    (tmp_path / "test.gbx").unlink()
    assert answer(["resume", "--db", str(tmp_path / "r.duckdb")]) == 1
    assert "GB614" in capsys.readouterr().err


def test_a_request_to_end_leaves_a_run_that_can_be_resumed(monkeypatch, capsys):
    def stopped(*_):
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(1)

    monkeypatch.setattr(pipeline, "run_file", stopped)
    assert answer(["run", "a.gbx", "--quiet"]) == 3
    assert "gbx resume --db results.duckdb" in capsys.readouterr().err


def test_a_stopped_run_is_incomplete(gbx, tmp_path, monkeypatch):
    def stop(*_):
        raise Stopped

    monkeypatch.setattr("glassbox_dsl.run.delta.maker.Climb.run", stop)
    with pytest.raises(Stopped):
        gbx(TEXT)
    assert status(tmp_path / "r.duckdb") == ["incomplete"]
