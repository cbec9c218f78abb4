"""`gbx explain`: what a file would run and what that costs, before any weight is loaded."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from glassbox_dsl.cli.memory import memory_budget
from glassbox_dsl.cli.output import Format, complain, say, write_json, write_table
from glassbox_dsl.cli.values import PATH
from glassbox_dsl.cli.with_families import with_families
from glassbox_dsl.diagnostics import render

BESIDE = ("experiment", "name", "data", "passes", "back", "token_layers", "flops", "executor", "reason")
RUNS = ("experiment", "run", "data", "sweep", "items", "cells", "no-ops", "stage", "executor", "reason")


@click.command()
@click.argument("file", metavar="FILE", type=PATH, help="The .gbx file to plan.")
@click.option("--json", is_flag=True, help="Write the plan as one JSON object.")
@memory_budget
@with_families
def explain(file: Path, json: bool, memory: int | None) -> None:
    """Show the plan of a file: cells, sharing, cost in time and memory. Loads no weights."""
    from glassbox_dsl.pipeline import explain_file
    from glassbox_dsl.plan.document import document

    plan, warnings = explain_file(file, memory)
    for diagnostic in warnings:
        complain(render(diagnostic) + "\n")
    content = document(plan)
    if json:
        write_json(content)
        return
    for model in content["models"]:
        say("\n".join(_model(model)))
        write_table(RUNS, [_row(run) for run in model["runs"]], Format.table)
        if model["beside"]:
            say("\nbeside the packs")
            write_table(BESIDE, [[one[name] for name in BESIDE] for one in model["beside"]], Format.table)
        say("")
    say("\n".join(_totals(content)))


def _model(model: dict[str, Any]) -> Iterator[str]:
    sizes = model["sizes"]
    yield f"model {model['model']} = {model['source']}"
    yield (
        f"  {model['family']}: {sizes['n_layers']} layers, {sizes['n_heads']} heads, width {sizes['d_model']}, "
        f"vocabulary {sizes['vocab_size']:,}; {_short(model['parameters'])} parameters in {model['dtype']}, "
        f"{_room(model['weight_bytes'])}"
    )
    yield f"  executor: {model['executor']} ({model['reason']})"


def _row(run: dict[str, Any]) -> list[Any]:
    sweep = " x ".join(f"{n} {name}" for name, n in run["shape"].items())
    return [
        run["experiment"], run["run"], run["data"], sweep, run["items"], run["cells"], run["noops"],
        run["stage"], run["executor"], run["reason"],
    ]  # fmt: skip


def _totals(content: dict[str, Any]) -> Iterator[str]:
    planned, naive, budget = content["planned"], content["naive"], content["budget"]
    about = "" if content["exact"] else "about "
    yield (
        f"cells         {planned['cells']:,} (cells x items), of which {about}{planned['noops']:,} "
        "provably change nothing and are not computed"
    )
    yield f"base runs     {content['planned']['base_runs']:,} distinct prompts"
    yield (
        f"passes        {about}{planned['packs']:,} packs climb the layers: {planned['layer_calls']:,} layer calls, "
        f"{planned['rows']:,} rows"
    )
    yield f"token-layers  {about}{_against(planned['token_layers'], naive['token_layers'])}"
    yield f"FLOPs         {about}{_against(planned['flops'], naive['flops'])}"
    yield f"time          about {_time(planned['seconds'])} (one pass per cell: {_time(naive['seconds'])})"
    if any(model["beside"] for model in content["models"]):
        layers = sum(one["token_layers"] for model in content["models"] for one in model["beside"])
        flops = sum(one["flops"] for model in content["models"] for one in model["beside"])
        time = _time(sum(model["seconds_beside"] for model in content["models"]))
        yield f"beside        {_short(layers)} token-layers, {_short(flops)} FLOPs, about {time}, in no pack"
    for model in content["models"]:
        speed = model["speed"]
        source = (
            "seen in earlier runs here" if speed["measured"] else "assumed, nothing was measured here yet"
        )
        yield (
            f"              {model['model']}: {speed['flops_per_second'] / 1e9:,.1f} GFLOP/s on {speed['device']} "
            f"in {model['dtype']} ({source})"
        )
    chosen = "chosen" if budget["chosen"] else "most of what is free"
    yield f"memory        about {_room(planned['peak_bytes'])} at most, of {_room(budget['bytes'])} ({chosen})"
    for model in content["models"]:
        yield (
            f"              {model['model']}: weights {_room(model['weight_bytes'])}, kept results "
            f"{_room(model['kept_bytes'])}, the largest pack {_room(model['pack_bytes'])}, freed and still held "
            f"{_room(model['spare_bytes'])}"
            + (
                ""
                if model["budget_rows"] is None
                else f"; the budget asks for packs of {model['budget_rows']:,} rows"
            )
        )
    if not content["exact"]:
        yield "The first packs were planned row by row; the rest is reckoned from them."
    yield from (f"note: {note}" for note in content["notes"])


def _against(planned: int, naive: int) -> str:
    ratio = f", {naive / planned:.1f} times less" if planned and naive > planned else ""
    return f"{_short(planned)} instead of {_short(naive)} with one full pass per cell{ratio}"


def _short(number: float) -> str:
    """A large number as a person says it."""
    for factor, unit in ((1e15, " quadrillion"), (1e12, " trillion"), (1e9, " billion"), (1e6, " million")):
        if number >= factor:
            return f"{number / factor:,.2f}{unit}"
    return f"{number:,.0f}"


def _room(n: float) -> str:
    from glassbox_dsl.plan.room import shown_bytes

    return shown_bytes(n)


def _time(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
