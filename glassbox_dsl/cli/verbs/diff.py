"""`gbx diff`: which measures changed between two runs, by how much, beyond noise."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from glassbox_dsl.cli.output import Format, say, write_json, write_table
from glassbox_dsl.cli.values import PATH, PATH_OR_NAME

if TYPE_CHECKING:
    from glassbox_dsl.store.difference import Change, Difference

COLUMNS = ("measure", "model", "data", "changed", "moved", "mean size", "largest", "interval", "at", "n")
RUN = "A run: the beginning of its id in --db, or a DuckDB file (its newest complete run), or FILE@RUN."


@click.command()
@click.argument("before", metavar="BEFORE", type=PATH_OR_NAME, help=RUN)
@click.argument("after", metavar="AFTER", type=PATH_OR_NAME, help="The other run, likewise.")
@click.option(
    "--db",
    type=PATH,
    default="results.duckdb",
    help="The DuckDB file of runs that are given by their ids.",
)
@click.option("--json", is_flag=True, help="Write one JSON object.")
def diff(before: str, after: str, db: Path, json: bool) -> None:
    """Compare two runs: which measures changed, by how much, and whether that is more than noise."""
    from glassbox_dsl.store.difference import difference

    (one, run_one), (other, run_other) = _place(before, db), _place(after, db)
    found = difference(one, other, run_one, run_other)
    if json:
        write_json(_document(found))
        return
    say(f"before  {found.before}\nafter   {found.after}")
    for name, was, now in found.setup:
        say(f"{name}: {was} -> {now}")
    for side, measures in (("before", found.only_before), ("after", found.only_after)):
        if measures:
            say(f"only {side}: {', '.join(measures)}")
    say("")
    write_table(COLUMNS, [_row(change) for change in found.changes], Format.table)
    changed = sum(change.changed for change in found.changes)
    say(
        f"\n{changed} of {len(found.changes)} changed; largest: the cell that moved most, after - before, 95% interval"
    )


def _place(text: str, db: Path) -> tuple[Path, str | None]:
    """The file and the run that an argument names; None is the newest complete one."""
    if Path(text).is_file():
        return Path(text), None
    file, _, run = text.rpartition("@")
    return (Path(file), run) if file else (db, text)


def _row(change: Change) -> tuple[object, ...]:
    largest = change.largest
    interval = f"{largest.low:.4g} to {largest.high:.4g}" if largest.low == largest.low else ""
    return (
        f"{change.experiment}.{change.measure}",
        change.model,
        change.data,
        "yes" if change.changed else "no",
        f"{change.moved} of {change.cells}",
        change.mean_size,
        largest.by,
        interval,
        ", ".join(f"{name} {value}" for name, value in largest.at.items()),
        f"{change.n}"
        + ("" if change.paired or change.largest.low != change.largest.low else ", other items"),
    )


def _document(found: Difference) -> dict[str, object]:
    changes = [
        {
            **{"experiment": c.experiment, "measure": c.measure, "model": c.model, "data": c.data},
            **{"changed": c.changed, "cells": c.cells, "moved": c.moved, "mean_size": c.mean_size, "n": c.n},
            "paired": c.paired,
            "largest": {
                **{"at": dict(c.largest.at), "before": c.largest.before, "after": c.largest.after},
                **{"by": c.largest.by, "lo": c.largest.low, "hi": c.largest.high},
            },
        }
        for c in found.changes
    ]
    setup = [{"name": name, "before": was, "after": now} for name, was, now in found.setup]
    return {
        **{"before": found.before, "after": found.after, "changes": changes, "setup": setup},
        **{"only_before": list(found.only_before), "only_after": list(found.only_after)},
    }
