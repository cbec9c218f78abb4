"""The page of `gbx gap`: models side by side and what their differences break, with the look of every other page."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from glassbox_dsl import __version__
from glassbox_dsl.report.charts.markdown import Prose, prose
from glassbox_dsl.report.page import Fact, Figure, Page, Section, Table
from glassbox_dsl.report.pages import write
from glassbox_dsl.report.render import render_page
from glassbox_dsl.resolve.anatomy import Anatomy
from glassbox_dsl.resolve.gap import Break, Comparison


def write_gap_page(found: Comparison, path: Path, command: str) -> Path:
    """Write the page to a file. Raises Findings (GB657) where it cannot be written."""
    return write(path, render_page(gap_page(found, command)))


def gap_page(found: Comparison, command: str) -> Page:
    """The page as data."""
    names = [model.shown for model in found.models]
    differing = sum(line.differs for line in found.lines)
    return Page(
        name="gap",
        title="Architecture gaps: " + ", ".join(names),
        subtitle="from the configs and the family files alone; no weight was read",
        status="complete",
        facts=(
            Fact("models", str(len(names))),
            Fact("features that differ", f"{differing}", f"of {len(found.lines)}"),
            Fact("gaps to GPT-2", str(len(found.breaks))),
        ),
        alarms=(),
        claims=None,
        figures=tuple(_figures(found, names)),
        provenance=(_making(command), *(_model(model) for model in found.models)),
        sources=(),
    )


def _figures(found: Comparison, names: list[str]) -> Iterator[Figure]:
    lines = [line for line in found.lines if line.worth_showing]
    rows = tuple(
        ("differs" if line.differs else "", line.group, line.title, *(_shown(v) for v in line.values))
        for line in lines
    )
    yield _table("features", "Side by side", ("", "of", "what", *names), rows)
    for number, entry in enumerate(found.breaks):
        yield _break(f"gap-{number}", entry, names, first=number == 0)
    sites = tuple((line.name, *line.values) for line in found.sites)
    yield _table("sites", "Sites, with the lengths of their axes", ("site", *names), sites)


def _table(key: str, title: str, columns: tuple[str, ...], rows: tuple[tuple[str, ...], ...]) -> Figure:
    table = Table(columns=columns, rows=rows, numeric=tuple(False for _ in columns), caption=title)
    return Figure(key=key, kind="table", title=title, opened=True, tables=(table,))


def _break(key: str, entry: Break, names: list[str], first: bool) -> Prose:
    gap = entry.gap
    whose = "every model here" if list(entry.models) == names else ", ".join(entry.models)
    text = (
        f"**Breaks:** {gap.technique}. {gap.breaks}\n\n**Instead:** {gap.instead}\n\n"
        f"```\n{gap.gbx}\n```\n\nSource: {gap.source}"
    )
    title = gap.says[0].upper() + gap.says[1:]
    group = "What breaks in methods made for GPT-2" if first else ""
    return Prose(key=key, kind="markdown", title=title, group=group, caption=f"In {whose}.", html=prose(text))


def _making(command: str) -> Section:
    return Section("Page", facts=(Fact("make it again", command), Fact("glassbox", __version__)))


def _model(model: Anatomy) -> Section:
    counted = f"{model.n_parameters:,}" if model.parameters else f"not counted: {model.uncounted}"
    facts = (
        Fact("model_type", model.model_type),
        Fact("family file", f"specs/families/{model.family}.toml"),
        Fact("parameters", counted),
    )
    return Section(f"Model {model.shown}", facts=facts)


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value is None:
        return "?"
    return (
        f"{value:,}" if isinstance(value, int) else f"{value:g}" if isinstance(value, float) else str(value)
    )
