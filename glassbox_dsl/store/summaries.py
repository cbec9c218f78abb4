"""Means over items with bootstrap intervals: what `<measure>_summary` shows.

A ratio's mean is the ratio of means, sum(num) / sum(den) over items: the mean of quotients lets an item with
a denominator near 0 decide the figure. Its standard error is that of the linearised ratio (Cochran, Sampling
Techniques, 1977, section 6.4). Intervals are percentile intervals of the bootstrap over items (Efron 1979):
whole items are drawn, the same draws for all cells, so that cells can be compared.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

RESAMPLES: Final = 2000
SEED: Final = 0
INTERVAL: Final = (0.025, 0.975)
NEAR_ZERO: Final = 1e-3
_CHUNK_NUMBERS: Final = 4_000_000

F64 = NDArray[np.float64]


@dataclass(frozen=True)
class Summary:
    """One entry per cell. `n` items count; NaN where nothing can be said (too few items)."""

    n: NDArray[np.int64]
    mean: F64
    stderr: F64
    lo: F64
    hi: F64


def quotient(num: NDArray[Any], den: NDArray[Any]) -> F64:
    """num / den per item, NaN where |den| is below 0.001 of the root mean square of all `den` handed over."""
    num, den = np.asarray(num, np.float64), np.asarray(den, np.float64)
    known = den[~np.isnan(den)]
    floor = NEAR_ZERO * np.sqrt(np.mean(np.square(known))) if known.size else 0.0
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(np.abs(den) > floor, num / den, np.nan)


def ratio_of_means(num: NDArray[Any], den: NDArray[Any], axis: int = -1) -> F64:
    """sum(num) / sum(den) along an axis, over the entries where both are known; NaN where the sum of den is
    0."""
    known = ~(np.isnan(num) | np.isnan(den))
    total = np.where(known, num, 0.0).sum(axis), np.where(known, den, 0.0).sum(axis)
    return _divide(*total)


def summarise(cell: NDArray[Any], item: NDArray[Any], value: NDArray[Any]) -> Summary:
    """Means of rows by cell (numbered from 0). A NaN value does not count. Cells come out in the order of
    number."""
    return _by_cell(cell, item, (value,))


def summarise_ratio(cell: NDArray[Any], item: NDArray[Any], num: NDArray[Any], den: NDArray[Any]) -> Summary:
    """Ratios of means of rows by cell. An item counts when both parts are known, however small its
    denominator."""
    return _by_cell(cell, item, (num, den))


def bootstrap(parts: tuple[F64, ...], resamples: int = RESAMPLES, seed: int = SEED) -> tuple[F64, F64]:
    """95% intervals of the mean (one part) or ratio of means (two parts).

    parts: (cells, items) each, NaN = missing. Returns lo, hi: (cells,), NaN where a cell has fewer than 2
    items. A cell draws as many items as it has, from those it has; cells that have the same items get the
    same draws, and the same seed always gives the same.
    """
    known = ~np.logical_or.reduce([np.isnan(part) for part in parts])
    lo = np.full(len(known), np.nan)
    hi = lo.copy()
    _, examples, which = np.unique(np.packbits(known, axis=1), axis=0, return_index=True, return_inverse=True)
    draws: dict[int, F64] = {}
    for number, pattern in enumerate(known[examples]):
        n_items = int(pattern.sum())
        if n_items < 2:
            continue
        if n_items not in draws:
            draws[n_items] = _draws(n_items, resamples, seed)
        cells = np.flatnonzero(which.ravel() == number)
        step = max(1, _CHUNK_NUMBERS // resamples)
        for chunk in (cells[start : start + step] for start in range(0, len(cells), step)):
            own = tuple(part[np.ix_(chunk, pattern)] for part in parts)
            lo[chunk], hi[chunk] = _intervals(own, draws[n_items])
    return lo, hi


def _draws(n_items: int, resamples: int, seed: int) -> F64:
    """How often each item is drawn in each resample: (items, resamples)."""
    rng = np.random.default_rng(seed)
    counts = rng.multinomial(n_items, [1 / n_items] * n_items, size=resamples)
    return np.ascontiguousarray(counts.T, dtype=np.float64)


def _intervals(parts: tuple[F64, ...], draws: F64) -> tuple[F64, F64]:
    """Interval ends of cells that have all items."""
    with np.errstate(invalid="ignore"):  # infinite values times 0 draws
        sums = [part @ draws for part in parts]
    estimates = _divide(sums[0], sums[1]) if len(parts) == 2 else sums[0] / len(draws)
    lo, hi = _quantiles(estimates)
    for row in np.flatnonzero(np.isnan(estimates).any(axis=1)):
        ends = _quantiles(estimates[row : row + 1, ~np.isnan(estimates[row])])
        lo[row], hi[row] = (float(end[0]) for end in ends)
    return lo, hi


def _quantiles(estimates: F64) -> tuple[F64, F64]:
    """The two interval ends of each row, interpolated linearly; rows with NaN give nonsense."""
    if estimates.shape[1] == 0:
        return np.full(len(estimates), np.nan), np.full(len(estimates), np.nan)
    last = estimates.shape[1] - 1
    at = np.array(INTERVAL) * last
    low, high = np.floor(at).astype(int), np.ceil(at).astype(int)
    ordered = np.partition(estimates, sorted({*low, *high}), axis=1)
    with np.errstate(invalid="ignore"):  # infinite ends
        ends = ordered[:, low] + (ordered[:, high] - ordered[:, low]) * (at - low)
    return ends[:, 0], ends[:, 1]


def _by_cell(cell: NDArray[Any], item: NDArray[Any], parts: tuple[NDArray[Any], ...]) -> Summary:
    n_cells = int(cell.max()) + 1 if cell.size else 0
    items, column = np.unique(item, return_inverse=True)
    step = max(1, _CHUNK_NUMBERS // max(1, len(items)))
    order = np.argsort(cell, kind="stable")
    starts = np.searchsorted(cell[order], np.arange(0, n_cells + step, step))
    pieces = []
    for first, (begin, end) in zip(
        range(0, n_cells, step), zip(starts[:-1], starts[1:], strict=True), strict=False
    ):
        rows = order[begin:end]
        shape = (min(step, n_cells - first), len(items))
        pieces.append(_summary(tuple(_matrix(part, cell - first, column, rows, shape) for part in parts)))
    return _joined(pieces)


def _matrix(
    values: NDArray[Any], cell: NDArray[Any], column: NDArray[Any], rows: NDArray[Any], shape: tuple[int, int]
) -> F64:
    """Rows as (cells, items), NaN where there is none."""
    matrix = np.full(shape, np.nan)
    matrix[cell[rows], column[rows]] = values[rows]
    return matrix


def _summary(parts: tuple[F64, ...]) -> Summary:
    known = ~np.logical_or.reduce([np.isnan(part) for part in parts])
    n = known.sum(axis=1)
    if len(parts) == 2:
        mean = ratio_of_means(*parts)
        scale = _divide(np.where(known, parts[1], 0.0).sum(axis=1), n)
        residual = (parts[0] - mean[:, None] * parts[1]) / scale[:, None]
    else:
        mean = _divide(np.where(known, parts[0], 0.0).sum(axis=1), n)
        with np.errstate(invalid="ignore"):  # infinite values
            residual = parts[0] - mean[:, None]
    squares = np.where(known, np.square(residual), 0.0).sum(axis=1)
    stderr = np.sqrt(_divide(squares, np.where(n > 1, (n - 1) * n, 0)))
    lo, hi = bootstrap(parts)
    return Summary(n, mean, stderr, lo, hi)


def _joined(pieces: list[Summary]) -> Summary:
    empty = np.empty(0)
    columns = [
        np.concatenate([getattr(piece, name) for piece in pieces] or [empty])
        for name in ("n", "mean", "stderr", "lo", "hi")
    ]
    return Summary(columns[0].astype(np.int64), *columns[1:])


def _divide(above: NDArray[Any], below: NDArray[Any]) -> F64:
    """above / below, NaN where below is 0."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.where(below == 0, np.nan, above / np.where(below == 0, 1, below)), np.float64)
