"""What changed between two runs: measure by measure, by how much, and whether that is more than noise.

Items that both runs have are compared with themselves: the difference of a cell is the mean over these items of
(after - before), with the same bootstrap over items as everywhere (`store.summaries`). For ratios the means are
ratios of means, and each item stands with its share of the difference, linearised (Cochran, Sampling Techniques,
1977, section 6.4). A cell has *moved* when its difference is above what float32 in another order gives, and its
95% interval excludes 0. Of cells that have not changed, 5% look moved by chance: a measure has *changed* when
clearly more of its cells have.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import duckdb
import numpy as np
from numpy.typing import NDArray

from glassbox_dsl.diagnostics import Findings
from glassbox_dsl.store import errors
from glassbox_dsl.store.layout import Placed, literal, place, quoted
from glassbox_dsl.store.reader import Reader, open_reader
from glassbox_dsl.store.rows import MeasureRow
from glassbox_dsl.store.summaries import bootstrap, ratio_of_means
from glassbox_dsl.store.views import SUMMARISED

FLOAT_NOISE: Final = 1e-4
"""What executors may differ by, as a part of the size of the numbers of a measure (LANGUAGE.md, verification)."""
BY_CHANCE: Final = 0.05

F64 = NDArray[np.float64]


@dataclass(frozen=True)
class Moved:
    """One cell: where it is, its mean before and after, and the interval of the difference."""

    at: Mapping[str, Any]
    before: float
    after: float
    low: float
    high: float

    @property
    def by(self) -> float:
        """The difference."""
        return self.after - self.before


@dataclass(frozen=True)
class Change:
    """One measure on one model and data set. `cells` are in both runs, `moved` of them beyond noise.

    `paired`: the items are the same in both runs; `n`: how many there are (of the run that has fewer, if not).
    `largest` is the cell that moved most, or the one that differs most where none did.
    """

    experiment: str
    measure: str
    model: str
    data: str
    cells: int
    moved: int
    mean_size: float
    largest: Moved
    n: int
    paired: bool

    @property
    def changed(self) -> bool:
        """Whether clearly more cells moved than by chance."""
        expected = BY_CHANCE * self.cells
        return self.moved > expected + 2 * math.sqrt(expected * (1 - BY_CHANCE))


@dataclass(frozen=True)
class Difference:
    """Two runs side by side. `only_before`, `only_after`: measures of one of them; `setup`: facts that differ."""

    before: str
    after: str
    changes: tuple[Change, ...]
    only_before: tuple[str, ...]
    only_after: tuple[str, ...]
    setup: tuple[tuple[str, str, str], ...]


def difference(before: Path, after: Path, run_before: str | None, run_after: str | None) -> Difference:
    """Compare two runs (None: the newest complete one) of one results file or two.

    Raises Findings: the files (GB600, GB603 ... GB609), and GB617 where the runs have no measure in common.
    """
    with open_reader(before) as left, open_reader(after) as right:
        runs = left.run(run_before).run_id, right.run(run_after).run_id
        one = {(m.experiment, m.measure): m for m in left.measures(runs[0])}
        other = {(m.experiment, m.measure): m for m in right.measures(runs[1])}
        shared = [m for key, m in other.items() if key in one and _comparable(one[key], m)]
        if not shared:
            raise Findings([errors.nothing_shared(*runs, map(".".join, one), map(".".join, other))])
        return Difference(
            before=runs[0],
            after=runs[1],
            changes=tuple(change for m in shared for change in _changes(m, (left, right), runs)),
            only_before=tuple(".".join(key) for key in one if key not in other),
            only_after=tuple(".".join(key) for key in other if key not in one),
            setup=tuple(_setup((left, right), runs)),
        )


def _comparable(one: MeasureRow, other: MeasureRow) -> bool:
    return (one.kind, one.variables) == (other.kind, other.variables) and one.kind in SUMMARISED


def _setup(readers: tuple[Reader, Reader], runs: tuple[str, str]) -> Iterator[tuple[str, str, str]]:
    """Facts of the two runs that are not the same: texts, versions, models."""
    facts = []
    for reader, run in zip(readers, runs, strict=True):
        manifest = reader.manifest(run)
        found = {f"text of {source.path}": source.sha256[:12] for source in manifest.sources}
        found |= {
            "glassbox": manifest.glassbox,
            **{f"version of {k}": v for k, v in manifest.versions.items()},
        }
        for model in reader.models(run):
            found |= {
                f"{model.model}: weights": model.weights_sha256[:12],
                f"{model.model}: tokenizer": model.tokenizer_sha256[:12],
                f"{model.model}: dtype": model.dtype,
                f"{model.model}: executor": model.executor,
            }
        facts.append(found)
    for name in dict.fromkeys([*facts[0], *facts[1]]):
        one, other = (side.get(name, "none") for side in facts)
        if one != other:
            yield name, one, other


def _changes(measure: MeasureRow, readers: tuple[Reader, Reader], runs: tuple[str, str]) -> Iterator[Change]:
    """The changes of a measure for each model and data set that both runs have."""
    placed = place(measure)
    with duckdb.connect(":memory:") as connection:
        for name, reader, run in zip(("one", "other"), readers, runs, strict=True):
            columns = reader.columns_of(measure, run)
            connection.register("batch", columns)
            connection.execute(f"CREATE TABLE {name} AS SELECT * FROM batch")
            connection.unregister("batch")
        pairs = connection.execute(
            "SELECT model, data FROM one INTERSECT SELECT model, data FROM other ORDER BY ALL"
        ).fetchall()
        for model, data in pairs:
            paired = measure.has_items and _same_items(readers, runs, data, model)
            made = _compared(connection, measure, placed, model, data, paired)
            if made is not None:
                yield made


def _same_items(readers: tuple[Reader, Reader], runs: tuple[str, str], data: str, model: str) -> bool:
    """Whether equal numbers stand for equal items in both runs."""
    texts = [
        {
            item.item: [(p.prompt, p.token_ids) for p in item.prompts]
            for item in reader.items(run, data, model)
        }
        for reader, run in zip(readers, runs, strict=True)
    ]
    shared = texts[0].keys() & texts[1].keys()
    return bool(shared) and all(texts[0][item] == texts[1][item] for item in shared)


def _compared(
    connection: duckdb.DuckDBPyConnection,
    measure: MeasureRow,
    placed: tuple[Placed, ...],
    model: str,
    data: str,
    paired: bool,
) -> Change | None:
    """One measure on one model and data set; None where no cell is in both runs."""
    keys = [_key(p) for p in placed]
    chosen = f"model = {literal(model)} AND data = {literal(data)}"
    key = f"[{', '.join(keys)}]" if keys else "['']"
    connection.execute(
        "CREATE OR REPLACE TEMP TABLE cell AS SELECT row_number() OVER (ORDER BY key) - 1 AS cell, key, place FROM ("
        f"SELECT {key} AS key, {_place(placed)} AS place FROM one WHERE {chosen} GROUP BY ALL) a"
        f" SEMI JOIN (SELECT DISTINCT {key} AS key FROM other WHERE {chosen}) b USING (key)"
        " QUALIFY row_number() OVER (PARTITION BY key ORDER BY place) = 1"
    )
    places = [at for (at,) in connection.execute("SELECT place FROM cell ORDER BY cell").fetchall()]
    if not places:
        return None
    sides: list[Mapping[str, Any]] = [
        connection.execute(
            f"SELECT cell, coalesce(item, 0) AS item, value, num, den FROM {name} JOIN cell ON key = {key}"
            f" WHERE {chosen}"
        ).fetchnumpy()
        for name in ("one", "other")
    ]
    before, after, shares, n = (_paired if paired else _apart)(sides, len(places), measure.kind == "ratio")
    low, high = bootstrap((shares[0],)) if paired else _of_errors(before, after, shares)
    return _change(measure, model, data, places, (before, after, low, high), n, paired)


def _change(
    measure: MeasureRow,
    model: str,
    data: str,
    places: list[str],
    figures: tuple[F64, F64, F64, F64],
    n: int,
    paired: bool,
) -> Change:
    before, after, low, high = figures
    by = after - before
    size = np.nanmax(np.abs(np.concatenate([before, after])), initial=0.0)
    above = np.abs(by) > FLOAT_NOISE * max(size, 1e-6)
    sure = (low > 0) | (high < 0) if measure.has_items else np.ones(len(by), dtype=bool)
    moved = above & sure
    rank = np.where(moved, np.abs(by) + size, np.nan_to_num(np.abs(by)))
    most = int(np.argmax(rank))
    at = dict(part.split("=", 1) for part in places[most].split("\x1f") if part)
    return Change(
        experiment=measure.experiment,
        measure=measure.measure,
        model=model,
        data=data,
        cells=len(places),
        moved=int(moved.sum()),
        mean_size=float(np.nanmean(np.abs(by))) if np.isfinite(by).any() else math.nan,
        largest=Moved(at, *(float(figure[most]) for figure in figures)),
        n=n,
        paired=paired,
    )


def _key(placed: Placed) -> str:
    """What makes a cell the same in both runs: a named position is its label, wherever it lies."""
    value = f"CAST({quoted(placed.shown)} AS VARCHAR)"
    if placed.variable.named and placed.shown_label is not None:
        value = f"coalesce({quoted(placed.shown_label)}, {value})"
    return f"coalesce({value}, '')"


def _place(placed: tuple[Placed, ...]) -> str:
    """A cell in words, `layer=3` and so on, with a character between that no name has."""
    terms = [f"{literal(p.variable.name + '=')} || {_key(p)}" for p in placed]
    return f"concat_ws(chr(31), {', '.join(terms)})" if terms else "''"


def _matrix(side: Mapping[str, Any], name: str, cells: int, items: F64) -> F64:
    """A column as (cells, items), NaN where there is none."""
    matrix = np.full((cells, len(items)), np.nan)
    values = np.ma.filled(np.ma.asarray(side[name], dtype=np.float64), np.nan)
    matrix[np.asarray(side["cell"]), np.searchsorted(items, np.asarray(side["item"]))] = values
    return matrix


def _means(side: Mapping[str, Any], cells: int, items: F64, ratio: bool) -> tuple[F64, F64]:
    """The mean of each cell, and what each item stands for in it: (cells,) and (cells, items)."""
    if not ratio:
        values = _matrix(side, "value", cells, items)
        known = ~np.isnan(values)
        with np.errstate(invalid="ignore"):
            return np.where(known, values, 0).sum(1) / np.where(known.any(1), known.sum(1), np.nan), values
    num, den = (_matrix(side, name, cells, items) for name in ("num", "den"))
    mean = ratio_of_means(num, den)
    known = ~(np.isnan(num) | np.isnan(den))
    with np.errstate(divide="ignore", invalid="ignore"):
        scale = np.where(known, den, 0).sum(1) / known.sum(1)
        return mean, mean[:, None] + (num - mean[:, None] * den) / scale[:, None]


def _paired(sides: list[Mapping[str, Any]], cells: int, ratio: bool) -> tuple[F64, F64, list[F64], int]:
    """Means over the items that both runs have, and each item's share of the difference."""
    items = np.intersect1d(np.asarray(sides[0]["item"]), np.asarray(sides[1]["item"]))
    kept = [
        {name: np.ma.asarray(column)[np.isin(side["item"], items)] for name, column in side.items()}
        for side in sides
    ]
    (before, ones), (after, others) = (_means(side, cells, items, ratio) for side in kept)
    both = ~(np.isnan(ones) | np.isnan(others))
    if not ratio:
        with np.errstate(invalid="ignore"):
            counts = np.where(both.any(1), both.sum(1), np.nan)
            before, after = (np.where(both, m, 0).sum(1) / counts for m in (ones, others))
    return before, after, [others - ones], len(items)


def _apart(sides: list[Mapping[str, Any]], cells: int, ratio: bool) -> tuple[F64, F64, list[F64], int]:
    """Means over the items that each run has, and what each item stands for."""
    items = [np.unique(np.asarray(side["item"])) for side in sides]
    (before, ones), (after, others) = (
        _means(side, cells, known, ratio) for side, known in zip(sides, items, strict=True)
    )
    return before, after, [ones, others], min(len(known) for known in items)


def _of_errors(before: F64, after: F64, shares: list[F64]) -> tuple[F64, F64]:
    """95% intervals of differences of means over different items, from the two standard errors."""
    squares = np.zeros(len(before))
    for values in shares:
        n = (~np.isnan(values)).sum(1)
        with np.errstate(divide="ignore", invalid="ignore"):
            centred = values - np.nanmean(np.where(n[:, None] > 0, values, 0), axis=1)[:, None]
            squares += np.nansum(np.square(centred), axis=1) / np.where(n > 1, n * (n - 1), np.nan)
    reach = 1.96 * np.sqrt(squares)
    return after - before - reach, after - before + reach
