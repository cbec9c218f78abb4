"""Ten million rows: how fast they are written, grouped and drawn. `python -m benchmarks.rows [MILLIONS]`.

Seconds are of processor time, all threads together, so that what else runs on the machine counts little.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from glassbox_dsl.report import render_report
from glassbox_dsl.store.query import query
from glassbox_dsl.store.rows import (
    Batch,
    MeasureRow,
    MeasureRows,
    ModelRow,
    RunManifest,
    SourceText,
    VariableColumn,
    new_run_id,
)
from glassbox_dsl.store.writer import Store

LAYERS, HEADS, POSITIONS = 32, 32, 20
LAYERS_A_FLUSH = 4
LAYER = VariableColumn(name="layer", axis="layer", kind="int")
HEAD = VariableColumn(name="head", axis="head", kind="int")
POS = VariableColumn(name="pos", axis="pos", kind="position")
MEASURE = MeasureRow(experiment="sweep", measure="score", variables=(LAYER, HEAD, POS))
GROUPED = "SELECT layer, head, avg(value) FROM sweep.score GROUP BY layer, head"


def main(millions: float = 10) -> dict[str, float]:
    """Measure, print, and return what was measured."""
    with tempfile.TemporaryDirectory() as folder:
        db = Path(folder) / "rows.duckdb"
        found = measured(db, Path(folder) / "pages", round(millions * 1e6 / (LAYERS * HEADS * POSITIONS)))
    for name, value in found.items():
        print(f"{name:<28}{value:,.2f}")
    return found


def measured(db: Path, pages: Path, items: int) -> dict[str, float]:
    """Write one sweep over layers, heads, positions and items, then ask and draw."""
    store = Store.create_or_open(db)
    store.begin(_manifest())
    store.flush(Batch(models=(MODEL,), measures=(MEASURE,)))
    written = 0.0
    n_rows = 0
    for first in range(0, LAYERS, LAYERS_A_FLUSH):
        rows = _rows(first, items)
        n_rows += len(rows.value)
        written += _seconds(lambda rows=rows: store.flush(Batch(rows=(rows,))))
    summaries = _seconds(lambda: store.finish("complete"))
    grouped = _seconds(lambda: query(db, GROUPED))
    began = time.process_time()
    made = render_report(db, pages)
    return {
        "rows": n_rows,
        "rows per second, written": n_rows / written,
        "seconds for summaries": summaries,
        "seconds, GROUP BY": grouped,
        "seconds, report": time.process_time() - began,
        "MB, report": sum(page.stat().st_size for page in made) / 1e6,
        "MB, results file": db.stat().st_size / 1e6,
    }


def _seconds(work: Callable[[], object]) -> float:
    began = time.process_time()
    work()
    return time.process_time() - began


def _rows(first: int, items: int) -> MeasureRows:
    layer, head, pos, item = (
        axis.ravel() for axis in np.indices((LAYERS_A_FLUSH, HEADS, POSITIONS, items), dtype=np.int32)
    )
    rng = np.random.default_rng(first)
    labels = np.array([None, "s2", "last"], dtype=object)[pos % 3]
    return MeasureRows(
        experiment="sweep",
        measure="score",
        model="smol",
        data="ioi",
        variables=MEASURE.variables,
        item=item,
        columns={"layer": layer + first, "head": head, "pos": pos},
        labels={"pos": labels},
        value=rng.normal(size=layer.size),
    )


MODEL = ModelRow(
    model="smol",
    source='tiny("llama")',
    family="llama",
    model_type="llama",
    config_sha256="",
    weights_sha256="",
    tokenizer_sha256="",
    dtype="float32",
    device="cpu",
    executor="delta",
    facts={"n_layers": LAYERS, "n_heads": HEADS},
)


def _manifest() -> RunManifest:
    return RunManifest(
        run_id=new_run_id(),
        file="/rows.gbx",
        sources=(SourceText(path="rows.gbx", text="gbx 1", sha256=""),),
        glassbox="",
        command="",
        started=datetime.now(UTC),
    )


if __name__ == "__main__":
    main(*(float(argument) for argument in sys.argv[1:]))
