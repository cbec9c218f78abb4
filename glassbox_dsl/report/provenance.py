"""Where the numbers come from: everything a reader needs to trust a run, or to make it again."""

from __future__ import annotations

from collections import Counter
from typing import Any

from glassbox_dsl.report.grid import brief
from glassbox_dsl.report.material import Material
from glassbox_dsl.report.page import Fact, Section, Table
from glassbox_dsl.report.tables import MOST_ROWS, answer
from glassbox_dsl.store.reader import RunInfo
from glassbox_dsl.store.rows import ModelRow, RunManifest


def provenance(material: Material, run: RunInfo, manifest: RunManifest) -> tuple[Section, ...]:
    """The sections at the end of a page, in the order of their use."""
    sections = [
        making(material, run, manifest),
        *(model(row) for row in material.models),
        data(material),
        verification(material),
        receipts(material),
        ledger(material),
        diagnostics(material),
        environment(manifest),
    ]
    return tuple(section for section in sections if section is not None)


def making(material: Material, run: RunInfo, manifest: RunManifest) -> Section:
    """How to make the page and its numbers again."""
    seconds = "" if run.seconds is None else f"{run.seconds:.1f} s"
    facts = [
        Fact("make it again", manifest.command or f"gbx run {manifest.sources[0].path}"),
        Fact("ask more", f'gbx query {material.reader.path.name} "SELECT ..."'),
        Fact("run", run.run_id),
        Fact("status", run.status),
        Fact("started", f"{run.started:%Y-%m-%d %H:%M:%S %Z}", seconds and f"took {seconds}"),
        *(
            Fact("file" if i == 0 else "import", s.path, f"sha256 {s.sha256}")
            for i, s in enumerate(manifest.sources)
        ),
        *(Fact(f"seed of {name}", str(seed)) for name, seed in manifest.seeds.items()),
        *(
            Fact(f"planned {name.replace('_', ' ')}", f"{count:,}", came_to(manifest, name))
            for name, count in manifest.planned.items()
        ),
    ]
    return Section("Run", facts=tuple(facts))


def came_to(manifest: RunManifest, name: str) -> str:
    """What a count of the plan came to, once the run is over."""
    actual = manifest.actual.get(name)
    return "" if actual is None else f"came to {actual:,}"


def model(row: ModelRow) -> Section:
    """One model, down to the fingerprints of what was read."""
    counts = ", ".join(f"{name} {value}" for name, value in row.facts.items())
    facts = (
        Fact("source", row.source),
        Fact("family", row.family, f"model_type {row.model_type}"),
        Fact("numbers", f"{row.dtype} on {row.device}", row.executor and f"{row.executor} executor"),
        *((Fact("size", counts),) if counts else ()),
        Fact("config", f"sha256 {row.config_sha256}"),
        Fact("weights", f"sha256 {row.weights_sha256}"),
        Fact("tokenizer", f"sha256 {row.tokenizer_sha256}"),
    )
    return Section(f"Model {row.model}", facts=facts)


def data(material: Material) -> Section | None:
    """How many items each data set has, and which were dropped for which model."""
    rows = []
    for name, model in dict.fromkeys((item.data, item.model) for item in material.items):
        mine = [item for item in material.items if (item.data, item.model) == (name, model)]
        dropped = [item for item in mine if not item.kept]
        why = "; ".join(
            f"{count} by `{reason}`" for reason, count in Counter(i.dropped_by for i in dropped).items()
        )
        lengths = {len(prompt.tokens) for item in mine for prompt in item.prompts}
        tokens = (
            f"{min(lengths)}"
            if len(lengths) == 1
            else f"{min(lengths)} to {max(lengths)}"
            if lengths
            else "–"
        )
        rows.append((name, model, len(mine), len(mine) - len(dropped), why or "none", tokens))
    columns = ("data", "model", "drawn", "kept", "dropped", "tokens per prompt")
    return Section("Data", tables=(answer(columns, rows),)) if rows else None


def verification(material: Material) -> Section | None:
    """What was checked of each model before its numbers were trusted."""
    checks = material.reader.verification(material.run_id)
    columns = ("model", "check", "what", "largest deviation", "allowed", "holds", "detail")
    rows = [
        (c.model, c.check, c.subject, _short(c.value), _short(c.tolerance), "yes" if c.ok else "NO", c.detail)
        for c in checks
    ]
    text = (
        "Each model was compared with its untouched original;"
        " a check holds when the deviation is at most what is allowed."
    )
    if not rows:
        return Section("Verification", text="The run stored no verification of its models.")
    facts = [
        Fact(model, f"{sum(c.ok for c in mine)} of {len(mine)} checks hold")
        for model in dict.fromkeys(c.model for c in checks)
        for mine in [[c for c in checks if c.model == model]]
    ]
    all_ = "All checks, with their deviations"
    return Section("Verification", tuple(facts), (_cut(columns, rows, {3, 4}),), text, all_)


def receipts(material: Material) -> Section | None:
    """What each edit did."""
    found = material.reader.receipts(material.run_id)
    columns = (
        "experiment",
        "run",
        "edit",
        "model",
        "data",
        "cells",
        "fired",
        "proven to do nothing",
        "moved, mean",
        "moved, most",
        "relative",
    )
    rows = [
        (
            *(r.experiment, r.run, r.edit, r.model, r.data, r.cells, r.cells_fired, r.cells_proven),
            *(_short(v) for v in (r.moved_mean, r.moved_max, r.relative)),
        )
        for r in found
    ]
    text = (
        "How far each edit moved what it wrote to: L2 norm of the change,"
        " and its mean share of what was there."
    )
    return Section("Edits", text=text, tables=(_cut(columns, rows, {8, 9, 10}),)) if rows else None


def ledger(material: Material) -> Section | None:
    """How many cells of each run were done, proven unnecessary, or failed; what never occurs has no column."""
    counts: dict[tuple[str, ...], Counter[str]] = {}
    seconds: Counter[tuple[str, ...]] = Counter()
    for cell in material.reader.cells(material.run_id):
        key = (cell.experiment, cell.run, cell.model, cell.data)
        counts.setdefault(key, Counter())[cell.status] += int(cell.cell.get("cells", 1))
        seconds[key] += cell.seconds  # type: ignore[assignment]
    states = [s for s in ("done", "proven", "failed") if s == "done" or any(c[s] for c in counts.values())]
    timed = any(seconds.values())
    columns = ("experiment", "run", "model", "data", *states, *(["seconds"] if timed else []))
    rows = [
        (*key, *(count[state] for state in states), *([f"{seconds[key]:.2f}"] if timed else []))
        for key, count in counts.items()
    ]
    text = "Cells of each run: one for each value of what it sweeps."
    return Section("Work done", text=text, tables=(_cut(columns, rows, {4 + len(states)}),)) if rows else None


def diagnostics(material: Material) -> Section | None:
    """Warnings and errors that were shown during the run."""
    found = material.reader.diagnostics(material.run_id)
    rows = [(d.severity, d.code, d.headline) for d in found]
    return (
        Section("Warnings of the run", tables=(answer(("severity", "code", "what"), rows),)) if rows else None
    )


def environment(manifest: RunManifest) -> Section:
    """Versions and machine."""
    facts = [Fact("glassbox", manifest.glassbox)]
    facts += [Fact(name, value) for name, value in (*manifest.versions.items(), *manifest.platform.items())]
    return Section("Versions and machine", facts=tuple(facts))


def _short(value: float | None) -> str:
    return brief(value)


def _cut(columns: tuple[str, ...], rows: list[tuple[Any, ...]], numeric: set[int]) -> Table:
    """A table of at most MOST_ROWS rows; columns in `numeric` hold numbers that are already text."""
    table = answer(columns, rows[:MOST_ROWS], left_out=max(0, len(rows) - MOST_ROWS))
    flags = tuple(flag or i in numeric for i, flag in enumerate(table.numeric))
    return Table(table.columns, table.rows, flags, table.caption, table.left_out)
