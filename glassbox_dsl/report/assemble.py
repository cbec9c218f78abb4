"""One page from one run: what must be seen first, the figures, and where everything comes from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

from glassbox_dsl.diagnostics import Findings, render
from glassbox_dsl.report import errors
from glassbox_dsl.report.chart import charts
from glassbox_dsl.report.grid import brief
from glassbox_dsl.report.material import Material
from glassbox_dsl.report.page import Alarm, Fact, Figure, Page, Table
from glassbox_dsl.report.provenance import provenance
from glassbox_dsl.report.select import select
from glassbox_dsl.report.spec import ItemSpec, PageSpec
from glassbox_dsl.store.reader import RunInfo
from glassbox_dsl.store.rows import ExpectationRow, RunManifest
from glassbox_dsl.store.views import SUMMARISED

MOST_FACTS = 12
MOST_DETAILS = 8


@dataclass(frozen=True)
class FailedFigure(Figure):
    """A line of a report that could not be drawn, and why."""

    text: str = ""


def page(spec: PageSpec, material: Material, run: RunInfo, manifest: RunManifest) -> Page:
    """The page of a report block; a figure that cannot be made says so in its place and at the top."""
    figures = tuple(figure(item, material, f"figure-{i}") for i, item in enumerate(spec.items, 1))
    claims = material.reader.expectations(material.run_id)
    experiments = {item.source[0] for item in spec.items if not isinstance(item.source, str)}
    shown = [c for c in claims if not experiments or c.experiment in experiments]
    models = ", ".join(model.model for model in material.models)
    started = f"{run.started:%Y-%m-%d %H:%M}"
    return Page(
        name=spec.name,
        title=spec.title or _title(spec, material),
        subtitle=f"{PurePath(manifest.sources[0].path).name}, run of {started}, on {models}",
        status=run.status,
        facts=headlines(material, run, experiments),
        alarms=alarms(material, run, manifest, figures, claims),
        claims=_claims(shown),
        figures=figures,
        provenance=provenance(material, run, manifest),
        sources=tuple((source.path, source.text) for source in manifest.sources),
    )


def _title(spec: PageSpec, material: Material) -> str:
    """The title of the one experiment shown, else the page's name."""
    titles = {m.title for m in material.measures if m.title}
    experiments = {m.experiment for m in material.measures}
    return titles.pop() if len(titles) == 1 and len(experiments) == 1 else spec.name


def figure(item: ItemSpec, material: Material, key: str) -> Figure:
    """One item of a report, or why there is none."""
    try:
        if item.kind not in charts():
            raise Findings([errors.no_chart(item.kind, charts())])
        return charts()[item.kind].build(item, material, key)
    except Findings as found:
        name = item.source if isinstance(item.source, str) else ".".join(item.source)
        text = "\n\n".join(render(d) for d in found.diagnostics)
        return FailedFigure(key=key, kind="failed", title=f"{item.kind} {name}"[:120], text=text)


def headlines(material: Material, run: RunInfo, experiments: set[str]) -> tuple[Fact, ...]:
    """The single numbers of the experiments shown, each with its interval."""
    facts = []
    for measure in material.measures:
        if (
            measure.variables
            or measure.kind not in SUMMARISED
            or (experiments and measure.experiment not in experiments)
        ):
            continue
        cells = select(ItemSpec(kind="table", source=(measure.experiment, measure.measure)), material)
        for cell in cells.cells:
            detail = f"{brief(cell.low)} to {brief(cell.high)}" if cells.has_interval else ""
            detail = ", ".join(
                part for part in (measure.unit, detail, f"n = {cell.n}" if cell.n is not None else "") if part
            )
            where = ", ".join(str(v) for k, v in cell.at.items() if len(cells.values[k]) > 1 or k == "model")
            facts.append(Fact(f"{measure.experiment}.{measure.measure}, {where}", brief(cell.value), detail))
    return tuple(facts[:MOST_FACTS])


def alarms(
    material: Material,
    run: RunInfo,
    manifest: RunManifest,
    figures: tuple[Figure, ...],
    claims: tuple[ExpectationRow, ...],
) -> tuple[Alarm, ...]:
    """Everything that must not be overlooked, the worst first."""
    found = []
    if run.status != "complete":
        found.append(Alarm(_unfinished(material, run, manifest)))
    failed = [cell for cell in material.reader.cells(material.run_id) if cell.status == "failed"]
    checks = [check for check in material.reader.verification(material.run_id) if not check.ok]
    still = [r for r in material.reader.receipts(material.run_id) if r.cells and not r.cells_fired]
    broken = [claim for claim in claims if not claim.holds]
    problems = [d for d in material.reader.diagnostics(material.run_id) if d.severity == "error"]
    found += _alarm("expectation{s} broken", [_broken(claim) for claim in broken])
    found += _alarm(
        "cell{s} failed: their numbers are missing",
        [f"{c.experiment}.{c.run} {_place(c.cell)}on {c.model}: {c.error}" for c in failed],
    )
    found += _alarm(
        "verification check{s} did not hold",
        [f"{c.model}, {c.check} {c.subject}: {brief(c.value)}, allowed {brief(c.tolerance)}" for c in checks],
    )
    found += _alarm(
        "edit{s} never moved anything", [f"{r.experiment}.{r.run} on {r.model}: {r.edit}" for r in still]
    )
    found += _alarm("error{s} during the run", [f"{d.code}: {d.headline}" for d in problems])
    found += _alarm("figure{s} could not be drawn", [f.title for f in figures if f.kind == "failed"])
    return tuple(found)


def _alarm(what: str, details: list[str]) -> list[Alarm]:
    if not details:
        return []
    more = [f"and {len(details) - MOST_DETAILS} more"] if len(details) > MOST_DETAILS else []
    return [
        Alarm(
            f"{len(details)} " + what.format(s="" if len(details) == 1 else "s"),
            (*details[:MOST_DETAILS], *more),
        )
    ]


def _unfinished(material: Material, run: RunInfo, manifest: RunManifest) -> str:
    done, planned = len(material.reader.cells(material.run_id)), manifest.planned.get("cells")
    of = f" {done} of {planned} planned cells are stored." if planned else ""
    end = "What is missing is missing from the figures below."
    return f"This run did not finish (status: {run.status}).{of} {end}"


def _broken(claim: ExpectationRow) -> str:
    where = ", ".join(part for part in (claim.model, claim.data) if part)
    sides = (
        f": {brief(claim.left)} against {brief(claim.right)}"
        if claim.left is not None or claim.right is not None
        else ""
    )
    cells = f", in {claim.broken} of {claim.cells} cells" if claim.cells > 1 else ""
    at = f", first at {_place(claim.example).strip()}" if claim.example else ""
    return (
        f"{claim.experiment}, line {claim.line}: expect {_one_line(claim.text)} ({where}){sides}{cells}{at}"
    )


def _one_line(text: str) -> str:
    """A statement that may stand over several lines, as one."""
    return " ".join(text.split())


def _place(cell: Mapping[str, Any]) -> str:
    return "".join(f"{name} = {value} " for name, value in cell.items())


def _claims(claims: list[ExpectationRow]) -> Table | None:
    """The table of all claims, held or not."""
    rows = [
        (
            c.experiment,
            _one_line(c.text),
            c.model or "all",
            c.data or "all",
            brief(c.left),
            brief(c.right),
            "yes" if c.holds else "NO",
        )
        for c in claims
    ]
    columns = ("experiment", "expected", "model", "data", "left", "right", "holds")
    return Table(columns, tuple(rows), (False, False, False, False, True, True, False)) if rows else None
