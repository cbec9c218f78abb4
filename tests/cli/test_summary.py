"""The table that a run ends with: what it says, in which characters, and that nothing in it can drive a terminal."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest

from glassbox_dsl.cli.app import answer
from glassbox_dsl.cli.summary import BARS, PLAIN_BARS, bars_for, drawn, summary
from glassbox_dsl.pipeline import RunOutcome
from glassbox_dsl.store.query import query
from glassbox_dsl.store.rows import Batch, MeasureRow, new_run_id
from glassbox_dsl.store.writer import Store
from tests.store import example as ex
from tests.store.test_round_trip import measured


@pytest.fixture
def outcome(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunOutcome:
    db = tmp_path / "r.duckdb"
    made = RunOutcome(1, db, headlines=("a claim: holds",), run_id=ex.write_example(db))
    monkeypatch.setattr("glassbox_dsl.pipeline.run_file", lambda *_: made)
    return made


def test_each_measure_stands_with_its_largest_mean(outcome: RunOutcome) -> None:
    lines = {
        (f"{x.measure.experiment}.{x.measure.measure}", x.model): x
        for x in summary(outcome.db, outcome.run_id)
    }
    assert len(lines) == 12  # `lens.shown` holds tokens, not numbers
    line = lines["patch_resid.recovered", "smol"]
    sql = "SELECT layer, pos, mean, lo, hi, n FROM patch_resid.recovered_summary WHERE model = 'smol'"
    layer, pos, mean, low, high, n = query(outcome.db, sql + " ORDER BY mean DESC").rows[0]
    label = ex.LABELS[pos]
    assert (line.mean, line.low, line.high, line.n, line.cells) == (mean, low, high, n, 56)
    assert line.at == {"layer": layer, "pos": label if label is not None else pos}
    assert len(line.along) == 4
    assert lines["patch_resid.gap", "smol"].row(BARS)[4:] == ("", "", None, "")


def test_the_table_goes_to_stdout_and_quiet_leaves_it_out(
    outcome: RunOutcome, capsys: pytest.CaptureFixture[str]
) -> None:
    assert answer(["run", "a.gbx"]) == 1
    text = capsys.readouterr().out
    assert "a claim: holds" in text and "patch_resid.recovered" in text and "nats" in text
    assert any(bar in text for bar in BARS[1:]) and "\x1b" not in text
    assert answer(["run", "a.gbx", "--quiet"]) == 1
    assert capsys.readouterr().out == f"results: {outcome.db}\n"


def test_json_is_one_object_with_every_measure(
    outcome: RunOutcome, capsys: pytest.CaptureFixture[str]
) -> None:
    assert answer(["run", "a.gbx", "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert (found["run_id"], found["exit_code"], found["headlines"]) == (
        outcome.run_id,
        1,
        ["a claim: holds"],
    )
    assert len(found["measures"]) == 12 and found["format_version"] == 1
    assert {"at", "mean", "lo", "hi"} == set(found["measures"][0]["largest"])


def test_bars_run_from_the_lowest_or_zero_to_the_highest() -> None:
    assert drawn([0.0, 0.5, 1.0], BARS) == "▁▅█"
    assert drawn([-1.0, 0.0, 1.0], BARS) == "▁▅█"
    assert drawn([2.0, 2.0], BARS) == "██"
    assert drawn([1.0, float("nan"), 0.0], PLAIN_BARS) == "#_"
    assert drawn([1.0], BARS) == drawn([], BARS) == ""
    many = drawn([float(i == 70) for i in range(100)], BARS)
    assert len(many) == 25 and many.count("█") == 1  # the highest of four stands for them


def test_a_terminal_that_lacks_the_blocks_gets_plain_ones() -> None:
    assert bars_for(io.TextIOWrapper(io.BytesIO(), encoding="ascii")) == PLAIN_BARS
    assert bars_for(io.TextIOWrapper(io.BytesIO(), encoding="utf-8")) == BARS
    assert PLAIN_BARS.isascii() and len(PLAIN_BARS) == len(BARS)


def test_escapes_in_names_are_shown_and_not_sent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    db, run, bad = tmp_path / "x.duckdb", new_run_id(), "\x1b]0;x\x07\u202e\r"
    measure = MeasureRow(experiment="e", measure="m", unit=bad)
    rows = measured(measure, [1.0, 2.0], item=ex.np.arange(2))
    store = Store.create_or_open(db)
    store.begin(ex.manifest(run))
    store.flush(Batch(measures=(measure,), rows=(type(rows)(**{**vars(rows), "model": bad}),)))
    store.finish("complete")
    outcome = RunOutcome(0, db, headlines=(bad,), run_id=run)
    monkeypatch.setattr("glassbox_dsl.pipeline.run_file", lambda *_: outcome)
    for more in ([], ["--json"]):
        assert answer(["run", "a.gbx", *more]) == 0
        streams = capsys.readouterr()
        assert not set("\x1b\x07\u202e\r") & set(streams.out + streams.err)
