"""What a run measured, as a small table: the largest mean of each measure, and bars along its first axis."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from glassbox_dsl.store.reader import Reader, open_reader
from glassbox_dsl.store.rows import MeasureRow
from glassbox_dsl.store.views import SUMMARISED

COLUMNS = ("measure", "model", "data", "largest", "95% interval", "at", "n", "bars")
BARS = "▁▂▃▄▅▆▇█"
PLAIN_BARS = "_.-:=+*#"
MOST_BARS = 32


@dataclass(frozen=True)
class Line:
    """A measure on a model and data set: its largest mean, where that is, and the means along its first variable.

    `along`: for each value of that variable the mean that is farthest from 0, of those that stand.
    """

    measure: MeasureRow
    model: str
    data: str
    cells: int
    n: int | None
    mean: float
    low: float
    high: float
    at: dict[str, Any]
    along: tuple[float, ...]

    def row(self, bars: str) -> tuple[object, ...]:
        """The line of the table."""
        interval = f"{self.low:.4g} to {self.high:.4g}" if math.isfinite(self.low) else ""
        unit = f" {self.measure.unit}" if self.measure.unit else ""
        return (
            f"{self.measure.experiment}.{self.measure.measure}",
            self.model,
            self.data,
            f"{self.mean:.4g}{unit}",
            interval,
            ", ".join(f"{name} {value}" for name, value in self.at.items()),
            self.n,
            drawn(self.along, bars),
        )

    def document(self) -> dict[str, Any]:
        """The line as plain data."""
        return {
            **{
                "experiment": self.measure.experiment,
                "measure": self.measure.measure,
                "unit": self.measure.unit,
            },
            **{"model": self.model, "data": self.data, "cells": self.cells, "n": self.n},
            "largest": {"at": self.at, "mean": self.mean, "lo": self.low, "hi": self.high},
        }


def summary(db: Path, run_id: str) -> tuple[Line, ...]:
    """The measures of a run, in the order of the file. Raises what opening the results file raises."""
    with open_reader(db, with_losses=True) as reader:
        return tuple(line for measure in reader.measures(run_id) for line in _lines(reader, measure, run_id))


def _lines(reader: Reader, measure: MeasureRow, run_id: str) -> Iterator[Line]:
    if measure.kind not in SUMMARISED:
        return
    parts: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in reader.summary_table(measure.experiment, measure.measure, run_id).dicts():
        if row["mean"] is not None:
            parts.setdefault((row["model"], row["data"]), []).append(row)
    placed = reader.columns(measure.experiment, measure.measure, run_id)
    for (model, data), rows in parts.items():
        most = max(rows, key=lambda row: row["mean"])
        at = {
            p.variable.name: (most[p.beside_label] if p.beside_label else None) or most[p.beside]
            for p in placed
        }
        along: dict[Any, float] = {}
        for row in rows if placed else ():
            value, mean = row[placed[0].beside], row["mean"]
            along[value] = max(along.get(value, 0.0), mean, key=abs)
        low, high = (math.nan if most[name] is None else float(most[name]) for name in ("lo", "hi"))
        yield Line(
            measure=measure,
            model=model,
            data=data,
            cells=len(rows),
            n=most["n"],
            mean=most["mean"],
            low=low,
            high=high,
            at=at,
            along=tuple(along.values()),
        )


def bars_for(stream: Any = None) -> str:
    """The characters for bars that the stream can write."""
    encoding = getattr(stream if stream is not None else sys.stdout, "encoding", None) or "ascii"
    try:
        BARS.encode(encoding)
    except (UnicodeEncodeError, LookupError):
        return PLAIN_BARS
    return BARS


def drawn(values: Sequence[float], bars: str) -> str:
    """One bar for each value (or for several, the highest), from the lowest of them and 0 to the highest."""
    finite = [value for value in values if math.isfinite(value)]
    if len(finite) < 2:
        return ""
    step = math.ceil(len(finite) / MOST_BARS)
    shown = [max(finite[i : i + step]) for i in range(0, len(finite), step)]
    low, high = min(0.0, *finite), max(0.0, *finite)
    width = high - low or 1.0
    return "".join(bars[round((value - low) / width * (len(bars) - 1))] for value in shown)
