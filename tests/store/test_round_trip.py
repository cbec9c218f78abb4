"""What goes into the store comes out again, value by value."""

from __future__ import annotations

import hashlib
from pathlib import Path

import duckdb
import numpy as np
import pytest

from glassbox_dsl.diagnostics import Findings, InternalError
from glassbox_dsl.store.reader import array, open_reader
from glassbox_dsl.store.rows import Batch, MeasureRow, MeasureRows, TensorRecord, VariableColumn, new_run_id
from glassbox_dsl.store.writer import Store
from tests.store import example as ex


def measured(measure: MeasureRow, value: list[float], **columns: object) -> MeasureRows:
    arrays = {"item": None, "columns": {}, "labels": {}} | columns
    return MeasureRows(
        measure.experiment, measure.measure, "smol", "ioi", measure.variables, value=np.array(value), **arrays
    )


def texts(*values: str | None) -> np.ndarray:
    column = np.empty(len(values), dtype=object)
    column[:] = values
    return column


def stored(path: Path, *batches: Batch) -> None:
    store = Store.create_or_open(path)
    store.begin(ex.manifest(new_run_id()))
    for batch in batches:
        store.flush(batch)
    store.finish("complete")


def test_small_rows_come_back_equal(example: Path) -> None:
    batch = ex.numbers(np.random.default_rng(0), "smol")
    with open_reader(example) as reader:
        assert reader.models() == ex.MODELS
        assert reader.measures() == ex.MEASURES
        assert reader.items() == ex.items()
        assert reader.items(data="ioi", model="gemma") == tuple(i for i in ex.items() if i.model == "gemma")
        assert reader.verification() == ex.CHECKS
        assert reader.expectations() == ex.EXPECTATIONS
        assert reader.diagnostics() == ex.DIAGNOSTICS
        assert reader.receipts()[:1] == batch.receipts
        assert reader.cells()[: len(batch.cells)] == batch.cells
        run = reader.run()
        manifest = reader.manifest()
    assert manifest == ex.manifest(run.run_id).model_copy(update={"started": run.started})
    assert run.status == "complete"
    assert run.finished is not None and run.finished >= run.started


def test_what_a_plan_came_to_stands_beside_it(tmp_path: Path) -> None:
    stored(tmp_path / "a.duckdb", Batch(actual={"packs": 5, "token_layers": 250_080}))
    with open_reader(tmp_path / "a.duckdb") as reader:
        manifest = reader.manifest()
    assert manifest.planned["climbs"] == 2
    assert manifest.actual == {"packs": 5, "token_layers": 250_080}


def test_report_blocks_are_kept_as_they_are(tmp_path: Path) -> None:
    figure = {"kind": "heatmap", "source": ["e", "m"], "options": {"x": "pos"}}
    block = {"name": "page", "title": None, "items": [figure]}
    store = Store.create_or_open(tmp_path / "x.duckdb")
    store.begin(ex.manifest(new_run_id()).model_copy(update={"reports": (block,)}))
    with open_reader(tmp_path / "x.duckdb") as reader:
        assert reader.manifest().reports == (block,)


def test_numbers_come_back_with_their_coordinates(example: Path) -> None:
    rows = ex.numbers(np.random.default_rng(0), "smol").rows[0]
    with open_reader(example) as reader:
        table = reader.rows("patch_resid", "recovered", where={"model": "smol"})
    assert table.columns == (
        *("run_id", "model", "data", "item", "layer", "pos", "pos_label", "value", "num", "den"),
    )
    for name, expected in (
        ("item", rows.item),
        ("layer", rows.columns["layer"]),
        ("pos", rows.columns["pos"]),
    ):
        assert table.column(name) == tuple(expected.tolist())
    assert table.column("pos_label") == tuple(rows.labels["pos"])
    assert table.column("num") == tuple(rows.num.tolist())
    assert table.column("value") == tuple(None if np.isnan(v) else v for v in rows.value)
    assert table.column("value").count(None) == 4 * 14  # the one item whose denominator is near 0


def test_rows_can_be_narrowed_and_cut(example: Path) -> None:
    with open_reader(example) as reader:
        cut = reader.rows("patch_resid", "recovered", limit=5)
        few = reader.rows("patch_resid", "recovered", where={"model": "gemma", "layer": 1, "pos_label": None})
    assert (len(cut.rows), cut.truncated) == (5, True)
    assert set(few.column("pos")) == {0, 2, 4, 5, 6, 8, 10, 11, 12}
    assert len(few.rows) == 9 * 7 and not few.truncated


def test_top_rows_have_rank_token_and_probability(example: Path) -> None:
    with open_reader(example) as reader:
        table = reader.rows("lens", "shown", where={"model": "smol", "layer": 3, "pos": 13, "item": 2})
    assert [row[7:] for row in table.rows] == [
        (0.6, 1, 7, " Mary", pytest.approx(np.log(0.6) + 9), 0.6),
        (0.25, 2, 8, " John", pytest.approx(np.log(0.25) + 9), 0.25),
        (0.1, 3, 9, " the", pytest.approx(np.log(0.1) + 9), 0.1),
    ]


def test_tensors_come_back_bit_for_bit(example: Path) -> None:
    sent = ex.numbers(np.random.default_rng(0), "smol").tensors[1]
    with open_reader(example) as reader:
        found = reader.tensor("order", "patterns", model="smol", item=1)
        assert len(reader.records()) == 4
        with pytest.raises(Findings, match="GB610"):
            reader.tensor("order", "patterns", model="smol", item=99)
    assert found == sent
    assert array(found).shape == (4, 2, 14, 14)
    np.testing.assert_allclose(array(found).sum(-1), 1, rtol=1e-6)


def test_bfloat16_tensors_read_as_the_same_float32(tmp_path: Path) -> None:
    numbers = np.array([1.0, -2.5, 0.0, 3.140625], dtype="<f4")  # all exact in bfloat16
    halves = (numbers.view("<u4") >> 16).astype("<u2")
    record = TensorRecord(
        "e", "r", "m", "d", None, {"head": 3}, ("dim",), (4,), "bfloat16", {}, halves.tobytes()
    )
    stored(tmp_path / "x.duckdb", Batch(tensors=(record,)))
    with open_reader(tmp_path / "x.duckdb") as reader:
        np.testing.assert_array_equal(array(reader.tensor("e", "r", cell={"head": 3})), numbers)
        with pytest.raises(Findings, match="GB610"):
            reader.tensor("e", "r", cell={"head": 4})


def test_hostile_texts_and_numbers_are_kept(tmp_path: Path) -> None:
    measure = MeasureRow(experiment="order", measure="select", kind="text", variables=(ex.ALPHA,))
    nasty = ['"; DROP TABLE runs; --', "a\0b", "x\ud800y", "\u202e", "'", "", None]
    rows = measured(
        measure,
        [np.nan] * 7,
        item=np.arange(7),
        columns={"alpha": np.array([-np.inf, np.inf, np.nan, 0.5, 1, 2, 3])},
        text=texts(*nasty),
    )
    item = ex.items()[0].model_copy(
        update={"variables": {"a'\"b": "x\ud800y", "inf": float("inf"), "l": [1, None]}}
    )
    stored(tmp_path / "x.duckdb", Batch(measures=(measure,), rows=(rows,), items=(item,)))
    with open_reader(tmp_path / "x.duckdb") as reader:
        table = reader.rows("order", "select")
        assert table.column("text") == ('"; DROP TABLE runs; --', "a\0b", "x?y", "\u202e", "'", "", None)
        assert table.column("alpha") == (-np.inf, np.inf, None, 0.5, 1, 2, 3)
        assert reader.items()[0].variables == {"a'\"b": "x?y", "inf": "inf", "l": [1, None]}
        assert len(reader.runs()) == 1


def test_a_failed_batch_leaves_nothing(tmp_path: Path) -> None:
    measure = MeasureRow(experiment="e", measure="m")
    good = measured(measure, [1.0, 2.0], item=np.arange(2))
    other = measured(measure.model_copy(update={"measure": "unknown"}), [1.0])
    store = Store.create_or_open(tmp_path / "x.duckdb")
    store.begin(ex.manifest(new_run_id()))
    with pytest.raises(InternalError, match="before its definition"):
        store.flush(Batch(measures=(measure,), rows=(good, other), checks=ex.CHECKS))
    with open_reader(tmp_path / "x.duckdb") as reader:
        assert reader.measures() == () and reader.verification() == ()
    store.flush(Batch(measures=(measure,), rows=(good,)))
    with open_reader(tmp_path / "x.duckdb") as reader:
        assert reader.rows("e", "m").column("value") == (1.0, 2.0)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"item": np.arange(3)}, "differ in length"),
        ({"num": np.ones(2), "den": np.ones(2)}, "do not fit its kind"),
    ],
)
def test_rows_that_break_the_contract_are_bugs(tmp_path: Path, change: dict[str, object], words: str) -> None:
    measure = MeasureRow(experiment="e", measure="m")
    store = Store.create_or_open(tmp_path / "x.duckdb")
    store.begin(ex.manifest(new_run_id()))
    with pytest.raises(InternalError, match=words):
        store.flush(Batch(measures=(measure,), rows=(measured(measure, [1.0, 2.0], **change),)))


def test_second_variable_on_an_axis_and_positions_in_slots(tmp_path: Path) -> None:
    src = VariableColumn(name="src", axis="pos", kind="position")
    dst = VariableColumn(name="dst", axis="pos", kind="position")
    site = VariableColumn(name="site", kind="text")
    value = VariableColumn(
        name="value", axis="layer", kind="int"
    )  # the name of a column that is there already
    measure = MeasureRow(experiment="e", measure="m", variables=(src, dst, site, value))
    rows = measured(
        measure,
        [1.0, 2.0],
        columns={
            "src": np.array([0, -1]),
            "dst": np.array([5, -1]),
            "site": texts("resid_post", "mlp.out"),
            "value": np.array([7, 8]),
        },
        labels={"src": None, "dst": texts("last", "s.span")},
    )
    stored(tmp_path / "x.duckdb", Batch(measures=(measure,), rows=(rows,)))
    with open_reader(tmp_path / "x.duckdb") as reader:
        table = reader.rows("e", "m")
        assert [p.shown for p in reader.columns("e", "m")] == ["src", "dst", "site", "value_"]
    assert table.columns[4:] == ("src", "src_label", "dst", "dst_label", "site", "value_", "value")
    assert [row[4:] for row in table.rows] == [
        (0, None, 5, "last", "resid_post", 7, 1.0),
        (None, None, None, "s.span", "mlp.out", 8, 2.0),
    ]
    with duckdb.connect(tmp_path / "x.duckdb", read_only=True) as direct:
        assert direct.execute("SELECT layer, numbers, texts FROM measurements").fetchall() == [
            (7, [5], ["last", "resid_post"]),
            (8, [None], ["s.span", "mlp.out"]),
        ]


def test_a_measure_may_have_many_variables(tmp_path: Path) -> None:
    variables = tuple(VariableColumn(name=f"v{i}", kind="float") for i in range(12))
    measure = MeasureRow(experiment="e", measure="m", variables=variables)
    columns = {v.name: np.array([i + 0.5]) for i, v in enumerate(variables)}
    stored(
        tmp_path / "x.duckdb", Batch(measures=(measure,), rows=(measured(measure, [1.0], columns=columns),))
    )
    with open_reader(tmp_path / "x.duckdb") as reader:
        assert reader.rows("e", "m").rows[0][4:] == (*(i + 0.5 for i in range(12)), 1.0)


def test_run_ids_sort_by_time_and_are_uuids_of_version_7() -> None:
    ids = [new_run_id() for _ in range(3)]
    assert all(i[14] == "7" and i[19] in "89ab" for i in ids)
    assert len(set(ids)) == 3 and ids[0][:8] <= ids[2][:8]


def test_runs_are_found_by_the_beginning_of_their_id(example: Path) -> None:
    older = "00000000-0000-7000-8000-000000000000"
    ex.write_example(example, run_id=older, status="failed")
    with open_reader(example) as reader:
        assert reader.run("0000").run_id == older
        assert reader.run().run_id != older  # the newest complete one
        assert len(reader.runs()) == 2
        with pytest.raises(Findings, match="GB609 .*beginning of 2 runs"):
            reader.run("0")
        with pytest.raises(Findings, match="GB609 .*holds no run"):
            reader.run("nothing")
        with pytest.raises(Findings, match="GB610"):
            reader.rows("patch_resid", "recoverd")


def test_every_table_and_its_meaning_is_documented_and_filled(example: Path) -> None:
    with duckdb.connect(example, read_only=True) as direct:
        tables = direct.execute(
            "SELECT table_name, comment, estimated_size FROM duckdb_tables() WHERE schema_name = 'main'"
        ).fetchall()
        version = direct.execute("SELECT tags FROM duckdb_databases() WHERE NOT internal").fetchone()
        keys = direct.execute("FROM duckdb_constraints() WHERE constraint_type <> 'NOT NULL'").fetchall()
        indexes = direct.execute("FROM duckdb_indexes()").fetchall()
        columns = direct.execute(
            "SELECT schema_name, table_name, column_name, comment FROM duckdb_columns() WHERE NOT internal"
        ).fetchall()
    assert keys == [] and indexes == []
    assert len(tables) == 24
    assert len(columns) > 300 and [c for c in columns if not c[3]] == []
    assert {"main", "data", "all_runs", "patch_resid", "lens"} <= {c[0] for c in columns}
    assert [name for name, comment, _ in tables if not comment] == []
    assert [name for name, _, size in tables if size == 0] == []
    assert version is not None and version[0]["storage_version"].startswith("v1.5")


def test_the_manifest_keeps_the_source_text(example: Path) -> None:
    with open_reader(example) as reader:
        (spec,) = reader.specs()
    assert spec.text == ex.SOURCE
    assert spec.sha256 == hashlib.sha256(ex.SOURCE.encode()).hexdigest()
