"""A run that is killed with SIGKILL, again and again, at random moments and at each commit point: nothing that it
acknowledged is lost, no half of anything is there, and it ends with the rows of a run that was left alone.

`GBX_KILLS=100` kills that often; less is enough day by day.
"""

import os
import random
import time

import duckdb
import pytest
import torch

from glassbox_dsl import pipeline
from glassbox_dsl.plan import packing
from glassbox_dsl.plan.progress import Silent
from glassbox_dsl.store import known
from glassbox_dsl.store.writer import Store
from tests.resume.conftest import EXPERIMENTS, assert_same, data, rows, status
from tests.store.dying import in_a_child

TEXT = data() + EXPERIMENTS
KILLS = int(os.environ.get("GBX_KILLS", "6"))


@pytest.fixture
def often(monkeypatch):
    """Small packs, each written at once: most of the time goes into transactions."""
    monkeypatch.setattr(packing, "ROWS", 40)
    monkeypatch.setattr(known, "EVERY_SECONDS", 0.0)
    torch.set_num_threads(1)


def nothing_is_lost(db, noted):
    if not db.exists():
        assert noted == {}
        return
    assert Store.create_or_open(db).losses == ()  # counts the rows too
    with duckdb.connect(str(db), read_only=True) as connection:
        found = dict(connection.execute("SELECT run_id, count(*) FROM flushes GROUP BY ALL").fetchall())
    for run, count in noted.items():
        assert found[run] in (count, count + 1)  # the last one may be stored and not yet acknowledged


def ended_like(db, whole):
    assert status(db)[-1] == "complete"
    assert_same(rows(db), rows(whole))


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_kills_at_random_moments(gbx, tmp_path, often):
    whole, db, path = tmp_path / "whole.duckdb", tmp_path / "r.duckdb", tmp_path / "test.gbx"
    gbx(TEXT, db="whole.duckdb")
    began = time.monotonic()
    in_a_child(lambda: pipeline.run_file(path, tmp_path / "timed.duckdb", None, Silent()))
    seconds, draw, kills, last = time.monotonic() - began, random.Random(0), 0, 0
    while kills < KILLS:
        noted, killed, _ = in_a_child(
            lambda: pipeline.run_file(path, db, None, Silent()), seconds=draw.uniform(0, seconds)
        )
        nothing_is_lost(db, noted)
        kills += killed
        last = sum(noted.values()) or last
        if not killed or kills % 10 == 0:  # from the beginning, so that kills fall everywhere
            gbx(TEXT)
            ended_like(db, whole)
            db.unlink()
    gbx(TEXT)
    ended_like(db, whole)
    assert last > 0


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_kills_at_each_commit_point(gbx, tmp_path, often):
    whole, path = tmp_path / "whole.duckdb", tmp_path / "test.gbx"
    gbx(TEXT, db="whole.duckdb")
    _, _, points = in_a_child(lambda: pipeline.run_file(path, tmp_path / "timed.duckdb", None, Silent()))
    assert points > 200
    chosen = range(points) if points <= KILLS else sorted(random.Random(0).sample(range(points), KILLS))
    for point in chosen:
        db = tmp_path / f"{point}.duckdb"
        noted, killed, _ = in_a_child(lambda db=db: pipeline.run_file(path, db, None, Silent()), die_at=point)
        assert killed
        nothing_is_lost(db, noted)
        gbx(TEXT, db=db.name)
        ended_like(db, whole)
        assert [p.name for p in tmp_path.iterdir() if p.name.startswith((f"{point}.", f".{point}."))] == [
            db.name
        ]
        db.unlink()
