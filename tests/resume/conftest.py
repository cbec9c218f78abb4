"""Runs small files into a results file, counts what is computed, and compares what runs left."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import duckdb
import numpy as np
import pytest

from glassbox_dsl import pipeline
from glassbox_dsl.plan.progress import Silent
from glassbox_dsl.run import session as sessions
from glassbox_dsl.run.delta import maker
from tests.semantics.conftest import Family

PEOPLE = [("Anna", "Bob", "Dan"), ("Eve", "Carla", "Zebulon"), ("Bob", "Eve", "Dan"), ("Carla", "Dan", "Eve")]
EXPERIMENTS = """
metric ld(r) = logit(r, yes) - logit(r, no)
experiment e {
  run patched[layer in {0, 1}, pos] = forward(corrupt) { resid_pre[layer, pos] := clean }
  measure p = (ld(patched) - ld(corrupt)) / (ld(clean) - ld(corrupt))
  run named[l: layer in {0, -1}] = forward(corrupt) { attn.z[l, 1, {c, d.span}] := clean  mlp.out[l, last] *= 2 }
  measure q = ld(named)
  measure k = kl(named, clean)
  measure t = top(clean, k: 3)
  measure s = logprob(named, long)
  expect ld(clean) > -1000
}
experiment ablate {
  run off[layer] = forward(clean) { mlp.out[layer, last] := mean(clean.mlp.out[layer, last], over: item) }
  measure o = ld(off)
  measure x = loss(off)
  record w = clean.resid_post[layer, last]
}
"""
COMPARED = {
    "measurements": 1e-4, "lens": 1e-4, "tensors": 0, "expectations": 1e-4, "receipts": 1e-3, "summaries": 1e-3,
    "items": 0, "tokens": 0, "measures": 0, "models": 0, "verification": 0, "diagnostics": 0,
}  # fmt: skip


def data(people=PEOPLE, clean="When {a} and {b} went, {c: a} gave {d} a", more="") -> str:
    rows = ", ".join(f'{{a: "{a}", b: "{b}", d: "{d}"}}' for a, b, d in people)
    return f"""data d {{
  rows [{rows}]
  prompt clean = "{clean}"
  prompt corrupt = "When {{a}} and {{b}} went, {{c: b}} gave {{d}} a"
  answer yes = " {{a}}"
  answer no = " {{b}}"
  answer long = " {{d}}"
  {more}
}}
"""


@dataclass
class Made:
    """What was computed: (run, cell, item) for each cell of each pack, and how many packs there were."""

    cells: list[tuple[str, int, int]] = field(default_factory=list)
    packs: int = 0
    stop_at: int = -1

    def of(self, run: str) -> list[tuple[int, int]]:
        return [(cell, item) for name, cell, item in self.cells if name == run]


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory):
    return Family("llama", tmp_path_factory.mktemp("resume") / "llama").folder


@pytest.fixture
def made(monkeypatch):
    """Counts the climbs; `stop_at` raises Ctrl-C in that pack."""
    monkeypatch.setattr(sessions, "verified", lambda *_: ())
    found = Made()

    class Counted(maker.Climb):
        def run(self):
            if found.packs == found.stop_at:
                raise KeyboardInterrupt
            found.packs += 1
            for share in self.pack.shares:
                if share.job.extension is None:
                    rows = zip(share.cells.tolist(), share.items.tolist(), strict=True)
                    found.cells += [(share.job.run.name, *row) for row in rows]
            return super().run()

    monkeypatch.setattr(maker, "Climb", Counted)
    return found


@pytest.fixture
def gbx(tmp_path, checkpoint, made):
    """Run a text into a results file: returns what was computed for it."""

    def run(text: str, db: str = "r.duckdb", fresh: bool = False, dtype: str = "float32") -> Made:
        path = tmp_path / "test.gbx"
        path.write_text(f'gbx 1\nmodel m = local("{checkpoint}", dtype: {dtype})\n{text}')
        made.cells, made.packs = [], 0
        pipeline.run_file(path, tmp_path / db, None, Silent(), fresh)
        return made

    return run


def rows(db: Path, run: int = -1) -> dict[str, list[tuple]]:
    """Everything that a run (by its place) left, table by table, without what differs between runs by nature."""
    with duckdb.connect(str(db), read_only=True) as connection:
        runs = [r for (r,) in connection.execute("SELECT run_id FROM runs ORDER BY run_id").fetchall()]
        found = {}
        for table in COMPARED:
            sql = f"SELECT * EXCLUDE (run_id) FROM {table} WHERE run_id = ? ORDER BY ALL"
            found[table] = connection.execute(sql, [runs[run]]).fetchall()
        return found


def status(db: Path) -> list[str]:
    with duckdb.connect(str(db), read_only=True) as connection:
        return [s for (s,) in connection.execute("SELECT status FROM run_list ORDER BY run_id").fetchall()]


def assert_same(one: dict[str, list[tuple]], other: dict[str, list[tuple]]) -> None:
    """Row by row: texts and integers equal, numbers as close as float32 in another order is."""
    for table, close in COMPARED.items():
        a, b = (sorted(map(_texts, side[table])) for side in (one, other))
        assert a == b, table
        if close:
            a, b = (sorted(side[table], key=_texts) for side in (one, other))
            for left, right in zip(a, b, strict=True):
                x, y = _numbers(left), _numbers(right)
                assert np.allclose(x, y, rtol=close, atol=close, equal_nan=True), (table, left, right)
        elif table == "tensors" and one[table]:
            a, b = (
                np.concatenate([np.frombuffer(r[-1], "<f4") for r in side[table]]) for side in (one, other)
            )
            assert np.allclose(a, b, atol=1e-4)


def _texts(row: tuple) -> str:
    return repr([v for v in row if not isinstance(v, float | bytes)])


def _numbers(row: tuple) -> list[float]:
    return [v for v in row if isinstance(v, float)]
