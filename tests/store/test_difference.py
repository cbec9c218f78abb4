"""What `gbx diff` says has changed, against what was changed, and against plain numpy."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from glassbox_dsl.diagnostics import Findings
from glassbox_dsl.store.difference import Change, difference
from glassbox_dsl.store.rows import Batch, MeasureRow, MeasureRows, VariableColumn, new_run_id
from glassbox_dsl.store.summaries import quotient
from glassbox_dsl.store.writer import Store
from tests.store import example as ex

PLAIN = MeasureRow(experiment="e", measure="plain", variables=(ex.LAYER, ex.HEAD))
RATIO = MeasureRow(experiment="e", measure="ratio", variables=(ex.NAMED_POS,), kind="ratio")
SCALAR = MeasureRow(experiment="e", measure="scalar", has_items=False)
LAYERS, HEADS, ITEMS = 4, 5, 8
TEXTS = np.array(["s2", "last"], dtype=object)


def store_run(
    path: Path,
    plain: np.ndarray,
    num: np.ndarray,
    den: np.ndarray,
    scalar: float,
    shift: int = 0,
    more: object = (),
) -> str:
    """A run: `plain` (layer, head, item), `num`, `den` (label, item); `shift` moves the labels to other positions."""
    store, run_id = Store.create_or_open(path), new_run_id()
    store.begin(ex.manifest(run_id))
    layer, head, item = ex.grid(*plain.shape)
    which, own = ex.grid(*num.shape)

    def rows(measure: MeasureRow, **columns: object) -> MeasureRows:
        return MeasureRows(
            experiment="e",
            measure=measure.measure,
            model="smol",
            data="ioi",
            variables=measure.variables,
            **columns,
        )

    value = np.concatenate([quotient(n, d) for n, d in zip(num, den, strict=True)])
    store.flush(
        Batch(
            models=ex.MODELS[:1],
            items=tuple(i for i in ex.items() if i.model == "smol"),
            measures=(PLAIN, RATIO, SCALAR, *more),
            rows=(
                rows(PLAIN, item=item, columns={"layer": layer, "head": head}, labels={}, value=plain.ravel()),
                rows(RATIO, item=own, columns={"pos": which + 4 + shift}, labels={"pos": TEXTS[which]}, value=value,
                     num=num.ravel(), den=den.ravel()),
                rows(SCALAR, item=None, columns={}, labels={}, value=np.array([scalar])),
            ),
        )
    )  # fmt: skip
    store.finish("complete")
    return run_id


@pytest.fixture
def made() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {
        "plain": rng.normal(1, 1, (LAYERS, HEADS, ITEMS)),
        "num": rng.normal(2, 0.3, (2, ITEMS)),
        "den": rng.normal(4, 0.3, (2, ITEMS)),
    }


def compared(path: Path, one: str, other: str, after: Path | None = None) -> dict[str, Change]:
    found = difference(path, after or path, one, other)
    return {change.measure: change for change in found.changes}


def test_float_noise_is_no_change_and_labels_may_lie_elsewhere(
    tmp_path: Path, made: dict[str, np.ndarray]
) -> None:
    path = tmp_path / "x.duckdb"
    one = store_run(path, **made, scalar=3.0)
    noisy = {name: values * (1 + 1e-6) for name, values in made.items()}
    other = store_run(path, **noisy, scalar=3.0 * (1 + 1e-6), shift=1)
    for change in compared(path, one, other).values():
        assert (change.moved, change.changed) == (0, False)
    assert compared(path, one, other)["ratio"].cells == 2


def test_a_shift_of_one_cell_is_found_with_its_place_and_size(
    tmp_path: Path, made: dict[str, np.ndarray]
) -> None:
    path = tmp_path / "x.duckdb"
    one = store_run(path, **made, scalar=3.0)
    plain = made["plain"].copy()
    rng = np.random.default_rng(1)
    plain[2:, :] += 0.2 + rng.normal(0, 0.02, plain[2:, :].shape)  # far below the spread between items
    plain[2, 3] += 0.1
    num = made["num"] * np.array([[1.0], [1.5]])
    other = store_run(tmp_path / "y.duckdb", plain, num, made["den"], scalar=3.3)
    found = compared(path, one, other, tmp_path / "y.duckdb")
    change = found["plain"]
    assert (change.cells, change.moved, change.changed, change.n, change.paired) == (
        20,
        10,
        True,
        ITEMS,
        True,
    )
    assert change.largest.at == {"layer": "2", "head": "3"}
    by = plain.mean(-1) - made["plain"].mean(-1)
    assert change.largest.by == pytest.approx(by[2, 3], abs=1e-12)
    assert change.mean_size == pytest.approx(np.abs(by).mean(), abs=1e-12)
    assert change.largest.low < by[2, 3] < change.largest.high < 0.4
    ratio = found["ratio"]
    assert (ratio.moved, ratio.changed, ratio.largest.at) == (1, True, {"pos": "last"})
    means = num.sum(1) / made["den"].sum(1) - made["num"].sum(1) / made["den"].sum(1)
    assert ratio.largest.by == pytest.approx(means[1], abs=1e-12)
    assert (found["scalar"].changed, found["scalar"].largest.by) == (True, pytest.approx(0.3))


def test_chance_is_not_called_change(tmp_path: Path, made: dict[str, np.ndarray]) -> None:
    """Fresh noise around the same means: about one cell in twenty looks moved, few measures look changed."""
    path, rng, called = tmp_path / "x.duckdb", np.random.default_rng(2), 0
    one = store_run(path, **made, scalar=3.0)
    for _ in range(6):
        again = {**made, "plain": made["plain"] + rng.normal(0, 0.1, made["plain"].shape)}
        called += compared(path, one, store_run(path, **again, scalar=3.0))["plain"].changed
    assert called <= 3


def test_what_only_one_run_has_and_how_they_were_set_up(tmp_path: Path, made: dict[str, np.ndarray]) -> None:
    path = tmp_path / "x.duckdb"
    extra = MeasureRow(experiment="e", measure="more", variables=(VariableColumn(name="a", kind="float"),))
    one = store_run(path, **made, scalar=3.0)
    other = store_run(path, **made, scalar=3.0, more=(extra,))
    found = difference(path, path, one, other)
    assert (found.only_before, found.only_after, found.setup) == ((), ("e.more",), ())


def test_runs_without_a_common_measure_are_refused(
    tmp_path: Path, example: Path, made: dict[str, np.ndarray]
) -> None:
    store_run(tmp_path / "x.duckdb", **made, scalar=1.0)
    with pytest.raises(Findings, match="GB617"):
        difference(tmp_path / "x.duckdb", example, None, None)
