"""One figure for a paper, as SVG, PDF or PNG: the chart of a report, without a browser.

Lines and bars are the charts of the pages, drawn by Altair. A matrix, which a page draws as an image with a script, is
drawn here as Vega-Lite rectangles with the same panels, axes, labels and colours. Token grids, patterns and circuits
are what a page shows of them without a script (stills.py).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np

from glassbox_dsl.diagnostics import Findings
from glassbox_dsl.report import errors
from glassbox_dsl.report.chart import charts
from glassbox_dsl.report.charts import bar, heatmap, histogram, line, scatter
from glassbox_dsl.report.colours import scale_of
from glassbox_dsl.report.grid import Panel
from glassbox_dsl.report.material import Material
from glassbox_dsl.report.page import Block
from glassbox_dsl.report.pages import page_specs
from glassbox_dsl.report.panels import axes_of, groups
from glassbox_dsl.report.select import select
from glassbox_dsl.report.series import series
from glassbox_dsl.report.spec import ItemSpec, suited
from glassbox_dsl.report.stills import picture
from glassbox_dsl.report.vega import installed, themed
from glassbox_dsl.report.visible import printed
from glassbox_dsl.store.query import querying
from glassbox_dsl.store.reader import open_reader

FORMATS: Final = ("svg", "pdf", "png")
THEME: Final = "light"
PNG_SCALE: Final = 3.0  # 216 pixels to the inch
MOST_SLANTED: Final = 32
FONT: Final = "Helvetica, Arial, sans-serif"


def write_figure(
    db: Path,
    source: tuple[str, str],
    form: str,
    out: Path,
    options: Mapping[str, Any],
    run_id: str | None = None,
) -> Path:
    """Draw a measure and write it to `out`.

    `source` is an experiment and its measure, record of patterns or circuit. `options` are those of a report's item,
    and `kind`. What they leave open is as in the first item of the file's reports that shows the source, else as suits
    its axes. Raises Findings: the results file, a measure or axis that is not there (GB652 ... GB655), no chart of that
    kind (GB651), no numbers or no extra `charts` (GB658), a file that cannot be written (GB657).
    """
    with open_reader(db) as reader, querying(db) as ask:
        run = reader.run(run_id).run_id
        material = Material(reader, run, lambda sql: ask(sql, None))
        content = _content(_item(material, source, options), material, form)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        temporary = out.with_name(f".{out.name}.new")
        temporary.write_bytes(content)
        temporary.replace(out)
    except OSError as problem:
        raise Findings([errors.not_writable(str(out), problem.strerror or str(problem))]) from None
    return out


Still = Callable[[ItemSpec, Material], tuple[Block, ...]]
INSTALL: Final = "pip install 'glassbox-dsl[charts]'"


def _content(item: ItemSpec, material: Material, form: str) -> bytes:
    """The figure as a file. Only an SVG that is not drawn by Altair needs nothing installed."""
    still = charts()[item.kind].still if item.kind in charts() else None
    if not installed() and (still is None or form != "svg"):
        raise Findings([errors.no_figure(".".join(item.source), "it needs the extra `charts`", INSTALL)])
    return (
        rendered(chart(item, material), form)
        if still is None
        else converted(_still(still, item, material), form)
    )


def _item(material: Material, source: tuple[str, str], options: Mapping[str, Any]) -> ItemSpec:
    """The item to draw: what is asked for, over what the reports of the file say of the source."""
    measures = {(m.experiment, m.measure): m for m in material.measures}
    records = {(r.experiment, r.record) for r in material.records}
    if source not in measures and source not in records:
        known = [".".join(name) for name in (*measures, *sorted(records))]
        raise Findings([errors.no_source("measure", ".".join(source), known)])
    usual = suited(measures[source]) if source in measures else "attention"
    asked = {name: value for name, value in options.items() if name != "kind"}
    kind = options.get("kind")
    for page in page_specs(material.reader.manifest(material.run_id), material):
        for item in page.items:
            if item.source == source and kind in (None, item.kind) and item.kind in drawable():
                return ItemSpec(kind=item.kind, source=source, options={**item.options, **asked})
    return ItemSpec(kind=str(kind or usual), source=source, options=asked)


def drawable() -> tuple[str, ...]:
    """The kinds of items that can be a figure."""
    return (*DRAWN, *(name for name, chart in charts().items() if chart.still is not None))


def _still(still: Still, item: ItemSpec, material: Material) -> str:
    """A figure that lays itself out, as SVG."""
    blocks = still(item, material)
    if not blocks:
        raise Findings([errors.no_figure(".".join(item.source), "the run stored no number for it", "")])
    return picture(blocks, str(item.options.get("title") or ""))


def chart(item: ItemSpec, material: Material) -> Any:
    """The Altair chart of an item, in the colours and letters for print."""
    if item.kind not in DRAWN:
        raise Findings([errors.no_chart(item.kind, drawable())])
    drawn = DRAWN[item.kind](item, material)
    title = item.options.get("title")
    if title:
        drawn = drawn.properties(title=str(title))
    return themed(drawn, THEME)


def rendered(drawn: Any, form: str) -> bytes:
    """An Altair chart as a file; nothing is fetched."""
    import vl_convert

    spec = drawn.to_dict()
    spec["config"] |= {"font": FONT, "background": "white"}
    if form == "svg":
        return str(vl_convert.vegalite_to_svg(spec, allowed_base_urls=[])).encode()
    if form == "pdf":
        return bytes(vl_convert.vegalite_to_pdf(spec, allowed_base_urls=[]))
    return bytes(vl_convert.vegalite_to_png(spec, scale=PNG_SCALE, allowed_base_urls=[]))


def converted(svg: str, form: str) -> bytes:
    """An SVG picture as a file."""
    if form == "svg":
        return svg.encode()
    import vl_convert

    if form == "pdf":
        return bytes(vl_convert.svg_to_pdf(svg))
    return bytes(vl_convert.svg_to_png(svg, scale=PNG_SCALE))


def _line(item: ItemSpec, material: Material) -> Any:
    return line.chart(series(item, _cells(item, material), material))


def _bar(item: ItemSpec, material: Material) -> Any:
    return bar.chart(series(item, _cells(item, material), material), THEME)


def _scatter(item: ItemSpec, material: Material) -> Any:
    if item.role("x") is None:
        raise Findings(
            [
                errors.no_figure(
                    ".".join(item.source), "a scatter needs another measure", "write x=EXPERIMENT.MEASURE"
                )
            ]
        )
    found = scatter.scatter(item, material)
    if not found.pairs:
        raise Findings([errors.no_figure(".".join(item.source), "the run stored no number for it", "")])
    return scatter.chart(found, THEME)


def _histogram(item: ItemSpec, material: Material) -> Any:
    found = histogram.histogram(item, material)
    if not found.counted:
        raise Findings([errors.no_figure(".".join(item.source), "the run stored no number for it", "")])
    return histogram.chart(found, THEME)


def _cells(item: ItemSpec, material: Material) -> Any:
    """The numbers of an item; none at all is a finding here, where a page would only be empty."""
    cells = select(item, material)
    if not cells.cells:
        name = f"{cells.measure.experiment}.{cells.measure.measure}"
        raise Findings([errors.no_figure(name, "the run stored no number for it", "")])
    return cells


def _matrix(item: ItemSpec, material: Material) -> Any:
    """Panels of rectangles side by side, on one scale."""
    import altair as alt

    cells = _cells(item, material)
    x, y = axes_of(item, cells)
    panels = [heatmap.panel(material, cells, group, x, y) for group in groups(item, cells, (x, y))]
    scale = scale_of(np.concatenate([p.values.ravel() for p in panels]))
    name = cells.measure.measure + (f", {cells.measure.unit}" if cells.measure.unit else "")
    colour = alt.Color(
        "v:Q",
        title=name,
        scale=alt.Scale(domain=[scale.low, scale.high], range=list(scale.stops), interpolate="rgb"),
        legend=alt.Legend(gradientLength=140),
    )
    drawn = [_rectangles(panel, colour) for panel in panels]
    return drawn[0] if len(drawn) == 1 else alt.concat(*drawn, columns=2 if len(drawn) < 5 else 3)


def _rectangles(panel: Panel, colour: Any) -> Any:
    import altair as alt

    xs, ys = _names(panel.x.labels, panel.x.marks), list(panel.y.labels)
    rows = [
        {"x": xs[i], "y": ys[j], "v": float(panel.values[j, i])}
        for j in range(len(ys))
        for i in range(len(xs))
        if math.isfinite(panel.values[j, i])
    ]
    base = alt.Chart(alt.InlineData(values=rows), title=panel.title or alt.Undefined)
    width, height = (min(most, max(8, most / n)) * n for n, most in ((len(xs), 360), (len(ys), 260)))
    x = alt.X(
        "x:N", title=panel.x.title, scale=alt.Scale(domain=xs), axis=_axis(len(xs) if panel.x.marks else 0)
    )
    y = alt.Y("y:N", title=panel.y.title, scale=alt.Scale(domain=ys), axis=_axis())
    drawn = base.mark_rect().encode(x=x, y=y, color=colour)
    return drawn.properties(width=min(width, 420), height=min(height, 300))


def _axis(slanted: int = 0) -> Any:
    """An axis without a line; of `slanted` labels all are drawn where they have room beside each other."""
    import altair as alt

    crowded = not 0 < slanted <= MOST_SLANTED
    return alt.Axis(
        labelAngle=-50 if slanted else 0,
        labelOverlap="greedy" if crowded else False,
        ticks=False,
        domain=False,
    )


def _names(labels: tuple[str, ...], marks: tuple[Any, ...]) -> list[str]:
    """Labels with the token or span at each position beside them; they stay different, as their numbers are."""
    if not marks:
        return list(labels)
    texts = (mark.text if mark.strong else printed(mark.text) for mark in marks)
    return [f"{label} {text[:16]}".strip() for label, text in zip(labels, texts, strict=True)]


DRAWN: Final[dict[str, Callable[[ItemSpec, Material], Any]]] = {
    "heatmap": _matrix,
    "line": _line,
    "bar": _bar,
    "scatter": _scatter,
    "histogram": _histogram,
}
