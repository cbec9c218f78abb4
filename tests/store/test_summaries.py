"""Means over items: against the hand, against scipy-free formulas, and in coverage."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest

from glassbox_dsl.store.query import query
from glassbox_dsl.store.reader import open_reader
from glassbox_dsl.store.rows import Batch, MeasureRow, MeasureRows, VariableColumn, new_run_id
from glassbox_dsl.store.summaries import bootstrap, quotient, ratio_of_means, summarise, summarise_ratio
from glassbox_dsl.store.writer import Store
from tests.store import example as ex


def test_mean_and_standard_error_by_hand() -> None:
    cell, item = np.array([0, 0, 0, 1, 1]), np.array([0, 1, 2, 0, 1])
    found = summarise(cell, item, np.array([1.0, 2.0, 6.0, 5.0, np.nan]))
    assert found.n.tolist() == [3, 1]
    assert found.mean.tolist() == [3.0, 5.0]
    assert found.stderr[0] == pytest.approx(np.sqrt(7.0) / np.sqrt(3))
    assert np.isnan([found.stderr[1], found.lo[1], found.hi[1]]).all()  # one item says nothing about spread
    assert 1.0 <= found.lo[0] < 3.0 < found.hi[0] <= 6.0


def test_a_ratio_is_the_ratio_of_means_and_not_the_mean_of_quotients() -> None:
    num, den = np.array([1.0, 3.0, 0.5]), np.array([2.0, 4.0, 0.001])
    found = summarise_ratio(np.zeros(3, int), np.arange(3), num, den)
    assert found.mean[0] == pytest.approx(4.5 / 6.001)
    assert found.n[0] == 3
    assert float(ratio_of_means(num, den)) == pytest.approx(4.5 / 6.001)
    residual = num - found.mean[0] * den
    assert found.stderr[0] == pytest.approx(np.sqrt((residual**2).sum() / 2 / 3) / den.mean())


def test_a_denominator_near_zero_is_null_per_item_but_counts_in_the_ratio() -> None:
    num, den = np.array([1.0, 3.0, 0.5]), np.array([2.0, 4.0, 1e-6])
    value = quotient(num, den)
    assert value[:2].tolist() == [0.5, 0.75] and np.isnan(value[2])
    assert summarise_ratio(np.zeros(3, int), np.arange(3), num, den).mean[0] == pytest.approx(4.5 / 6.000001)
    assert np.isnan(quotient(np.ones(2), np.zeros(2))).all()
    assert quotient(np.array([2e-6]), np.array([1e-6])).tolist() == [2.0]  # small throughout is not near 0


def test_a_ratio_whose_denominators_cancel_is_missing() -> None:
    found = summarise_ratio(np.zeros(2, int), np.arange(2), np.ones(2), np.array([1.0, -1.0]))
    assert np.isnan(found.mean[0])


def test_an_item_missing_one_part_does_not_count() -> None:
    found = summarise_ratio(np.zeros(3, int), np.arange(3), np.array([1.0, 2, np.nan]), np.array([2.0, 2, 2]))
    assert (found.n[0], found.mean[0]) == (2, 0.75)


def test_an_infinite_value_makes_the_mean_infinite() -> None:
    found = summarise(np.zeros(3, int), np.arange(3), np.array([1.0, -np.inf, 2.0]))
    assert (found.n[0], found.mean[0]) == (3, -np.inf)


def test_the_bootstrap_repeats_itself_and_equals_a_loop() -> None:
    rng = np.random.default_rng(5)
    num, den = rng.normal(1, 1, (3, 10)), rng.normal(3, 1, (3, 10))
    lo, hi = bootstrap((num, den), resamples=200, seed=7)
    again = bootstrap((num, den), resamples=200, seed=7)
    assert (lo == again[0]).all() and (hi == again[1]).all()
    assert (bootstrap((num, den), resamples=200, seed=8)[0] != lo).any()
    counts = np.random.default_rng(7).multinomial(10, [0.1] * 10, size=200)
    loop = [[(c * num[k]).sum() / (c * den[k]).sum() for c in counts] for k in range(3)]
    np.testing.assert_allclose(lo, np.quantile(loop, 0.025, axis=1), rtol=1e-12)
    np.testing.assert_allclose(hi, np.quantile(loop, 0.975, axis=1), rtol=1e-12)


def test_a_missing_item_is_left_out_of_the_draws() -> None:
    values = np.array([[1.0, 2.0, 3.0, np.nan], [1.0, 2.0, 3.0, 4.0]])
    lo, hi = bootstrap((values,), resamples=500)
    assert 1.0 <= lo[0] < 2.0 < hi[0] <= 3.0
    assert hi[1] > hi[0]


@pytest.mark.parametrize("ratio", [False, True])
def test_intervals_cover_the_truth_about_as_often_as_they_say(ratio: bool) -> None:
    rng = np.random.default_rng(11)
    cells, items = 600, 40
    cell, item = np.repeat(np.arange(cells), items), np.tile(np.arange(items), cells)
    den = rng.normal(4, 1, cells * items)
    num = 0.5 * den + rng.normal(0, 1, cells * items)
    found = summarise_ratio(cell, item, num, den) if ratio else summarise(cell, item, num)
    truth = 0.5 if ratio else 2.0
    covered = np.mean((found.lo <= truth) & (truth <= found.hi))
    assert 0.91 <= covered <= 0.98
    inside = np.mean(np.abs(found.mean - truth) <= 1.96 * found.stderr)
    assert 0.91 <= inside <= 0.98


def test_many_cells_in_chunks_equal_one_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(3)
    order = rng.permutation(700)
    cell, item = np.repeat(np.arange(100), 7)[order], np.tile(np.arange(7), 100)[order]
    value = rng.normal(size=700)
    whole = summarise(cell, item, value)
    monkeypatch.setattr("glassbox_dsl.store.summaries._CHUNK_NUMBERS", 50)
    parts = summarise(cell, item, value)
    for name in ("n", "mean", "stderr", "lo", "hi"):
        np.testing.assert_allclose(getattr(whole, name), getattr(parts, name), rtol=1e-12)
    means = [value[cell == k].mean() for k in range(100)]
    np.testing.assert_allclose(whole.mean, means, rtol=1e-12)


def test_a_usual_heatmap_is_quick() -> None:
    cell, item = np.repeat(np.arange(420), 32), np.tile(np.arange(32), 420)
    num, den = np.random.default_rng(0).normal(3, 1, (2, cell.size))
    times = []
    for _ in range(3):
        start = time.perf_counter()
        summarise_ratio(cell, item, num, den)
        times.append(time.perf_counter() - start)
    assert min(times) < 0.3


def test_stored_summaries_equal_the_rows(example: Path) -> None:
    rows = query(example, "FROM patch_resid.recovered WHERE model = 'gemma' AND layer = 1 AND pos = 9")
    num, den = np.array(rows.column("num")), np.array(rows.column("den"))
    found = query(
        example, "FROM patch_resid.recovered_summary WHERE model = 'gemma' AND layer = 1 AND pos = 9"
    )
    (row,) = found.dicts()
    assert row["n"] == 7
    assert row["pos_label"] == "s2"
    assert row["mean"] == pytest.approx(num.sum() / den.sum(), rel=1e-12)
    expected = bootstrap((num[None], den[None]))
    assert (row["lo"], row["hi"]) == (pytest.approx(expected[0][0]), pytest.approx(expected[1][0]))
    assert row["lo"] < row["mean"] < row["hi"]


def test_summaries_come_in_the_order_of_the_cells(example: Path) -> None:
    found = query(example, "SELECT model, layer, pos FROM patch_resid.recovered_summary")
    assert found.rows == tuple(
        (model, layer, pos)
        for model, layers in ex.LAYERS.items()
        for layer in range(layers)
        for pos in range(14)
    )


def test_named_positions_meet_by_label(example: Path) -> None:
    found = query(
        example, "SELECT pos, pos_label, n FROM lens.at_names_summary WHERE model = 'smol' AND layer = 0"
    )
    assert found.rows == ((None, "s2", 8), (None, "place.span", 8))


def test_a_named_position_with_one_index_shows_it(tmp_path: Path) -> None:
    pos = VariableColumn(name="pos", axis="pos", kind="position", named=True)
    measure = MeasureRow(experiment="e", measure="m", variables=(pos,))
    labels = np.array(["s2", "s2", None, None, "last", "last"], dtype=object)
    rows = MeasureRows(
        "e", "m", "smol", "ioi", (pos,), np.array([0, 1] * 3), {"pos": np.array([5, 5, 3, 3, 8, 9])},
        {"pos": labels}, np.arange(6.0),
    )  # fmt: skip
    store = Store.create_or_open(tmp_path / "x.duckdb")
    store.begin(ex.manifest(new_run_id()))
    store.flush(Batch(measures=(measure,), rows=(rows,)))
    store.finish("complete")
    with open_reader(tmp_path / "x.duckdb") as reader:
        table = reader.summary_table("e", "m")
    assert [row[3:7] for row in table.rows] == [(5, "s2", 2, 0.5), (3, None, 2, 2.5), (None, "last", 2, 4.5)]


def test_without_items_the_mean_is_the_value(example: Path) -> None:
    value = query(example, "SELECT value FROM patch_resid.gap WHERE model = 'smol'").rows[0][0]
    found = query(example, "SELECT n, mean, stderr, lo, hi FROM patch_resid.gap_summary WHERE model = 'smol'")
    assert found.rows == ((None, value, None, None, None),)
