"""One measure against another, a point for each cell, with the line on which both are equal."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from glassbox_dsl.diagnostics import Findings
from glassbox_dsl.report import errors
from glassbox_dsl.report.chart import Chart
from glassbox_dsl.report.cloud import ALONE, CODE, SIDE, beside, place, pooled, reach, tinted, within
from glassbox_dsl.report.grid import exact
from glassbox_dsl.report.material import Material
from glassbox_dsl.report.page import Table
from glassbox_dsl.report.panels import MOST_PANELS, Group, caption, heading, lacking, panel_title
from glassbox_dsl.report.select import Cell, Cells, select
from glassbox_dsl.report.spec import ItemSpec
from glassbox_dsl.report.tables import MOST_ROWS
from glassbox_dsl.report.ticks import shown
from glassbox_dsl.report.vega import INK, INSTALL, PictureFigure, installed, pictures

LETTERS = 10
NAMED = 5  # points of a panel that are named: those farthest out
FEW = 60  # points of a panel that are drawn with their intervals
ALIKE = 4.0  # one measure's spread over the other's up to which one scale serves both


@dataclass(frozen=True)
class Pair:
    """One point: the cell of the source (upwards) and that of the other measure (across)."""

    up: Cell
    across: Cell


@dataclass(frozen=True)
class Scatter:
    """Points by panel. `equal`: both measures have one unit and spread alike, so that one scale serves both."""

    up: Cells
    across: Cells
    panels: tuple[tuple[str, tuple[Pair, ...]], ...]
    inside: tuple[str, ...]
    color: str | None
    equal: bool
    lost: int

    @property
    def whiskers(self) -> bool:
        """Whether the points are few enough for their intervals to be seen."""
        few = all(len(pairs) <= FEW for _, pairs in self.panels)
        return few and (self.up.has_interval or self.across.has_interval)

    @property
    def pairs(self) -> tuple[Pair, ...]:
        """All points."""
        return tuple(pair for _, pairs in self.panels for pair in pairs)


def build(item: ItemSpec, material: Material, key: str) -> PictureFigure:
    """The figure of one item. Raises Findings (GB652 ... GB656)."""
    found = scatter(item, material)
    up, across = name_of(found.up), name_of(found.across)
    sides = (caption(found.up, intervals=False), caption(found.across, intervals=False))
    meaning = (
        f"Each point is one {' and '.join(found.inside) or 'model'}. Upwards {sides[0]} Across {sides[1]}"
    )
    if found.equal:
        meaning += " On the dashed line both are equal."
    if found.whiskers:
        meaning += " Whiskers are 95% bootstrap intervals over items."
    meaning += " r is Pearson's correlation over the points of a panel; the points farthest out are named."
    notes = [*lacking(found.up)]
    if found.lost:
        notes.append(f"{found.lost} cells of {up} or {across} have no partner and are not shown.")
    if len(found.panels) > MOST_PANELS:
        notes.append(f"{MOST_PANELS} of {len(found.panels)} panels are shown; fix an axis to see the others.")
    return PictureFigure(
        key=key,
        kind="scatter",
        **{
            **heading(item, found.up.measure),
            "title": str(item.options.get("title") or f"{up} against {across}"),
        },
        opened=not installed(),
        caption=meaning,
        sql=statement(found, material),
        notes=(*notes, *(() if installed() else (INSTALL,))),
        tables=(table(found),),
        **(pictures((CODE, found), lambda theme: chart(found, theme)) if found.pairs else {}),
    )


def scatter(item: ItemSpec, material: Material) -> Scatter:
    """Ask for both measures and set them against each other. Raises Findings (GB652 ... GB656)."""
    up = select(_only(item, item.source), material)
    across = select(_only(item, _other(item)), material)
    if set(up.axes) != set(across.axes):
        raise Findings([errors.wrong_axes(name_of(across), "scatter", _listed(across), _listed(up))])
    partner = {_key(cell, up.axes): cell for cell in across.cells if math.isfinite(cell.value)}
    found = pooled(item, up)
    panels = tuple((panel_title(group, up), _pairs(group, partner, up.axes)) for group in found)
    paired = sum(len(pairs) for _, pairs in panels)
    return Scatter(
        up=up,
        across=across,
        panels=tuple((title, pairs) for title, pairs in panels if pairs),
        inside=within(up, found),
        color=item.role("color"),
        equal=_alike([p for _, pairs in panels for p in pairs], up, across),
        lost=len(up.cells) + len(across.cells) - up.missing - across.missing - 2 * paired,
    )


def _only(item: ItemSpec, source: Any) -> ItemSpec:
    """The item as a question for one of its measures."""
    left = {name: value for name, value in item.options.items() if name != "x"}
    if source != item.source:
        left.pop("value", None)
    return ItemSpec(kind=item.kind, source=source, options=left)


def _other(item: ItemSpec) -> tuple[str, str]:
    """The measure that goes across, of the source's experiment where none is named."""
    names = (item.role("x") or "").split(".")
    return (names[0], names[1]) if len(names) == 2 else (item.source[0], names[0])


def _key(cell: Cell, axes: Sequence[str]) -> tuple[Any, ...]:
    return tuple(cell.at[axis] for axis in axes)


def _pairs(group: Group, partner: dict[tuple[Any, ...], Cell], axes: Sequence[str]) -> tuple[Pair, ...]:
    found = ((cell, partner.get(_key(cell, axes))) for cell in group.cells if math.isfinite(cell.value))
    return tuple(Pair(cell, other) for cell, other in found if other is not None)


def _listed(cells: Cells) -> str:
    return ", ".join(cells.axes) or "no axis"


def _alike(pairs: Sequence[Pair], up: Cells, across: Cells) -> bool:
    if up.measure.unit != across.measure.unit or not pairs:
        return False
    (a, b), (c, d) = reach([p.up.value for p in pairs]), reach([p.across.value for p in pairs])
    spreads = sorted((b - a, d - c))
    return max(a, c) < min(b, d) and spreads[1] <= ALIKE * spreads[0]


def name_of(cells: Cells) -> str:
    """A measure as the file calls it."""
    return f"{cells.measure.experiment}.{cells.measure.measure}"


def statement(found: Scatter, material: Material) -> str:
    """The query that gives the points: both measures, joined where they meet."""
    sides = ((found.up, "u"), (found.across, "a"))
    up, across = (indented(cells.sql) for cells, _ in sides)
    value = ["mean" if any(c.n is not None for c in cells.cells) else "value" for cells, _ in sides]
    columns = [[keyed(cells, axis, side, material) for axis in found.up.axes] for cells, side in sides]
    on = " AND ".join(f"{one} = {other}" for one, other in zip(*columns, strict=True)) or "true"
    chosen = f"u.*, u.{value[0]} AS upwards, a.{value[1]} AS across"
    return f"SELECT {chosen}\nFROM (\n{up}\n) AS u JOIN (\n{across}\n) AS a ON {on}"


def keyed(cells: Cells, axis: str, side: str, material: Material) -> str:
    """Where a cell stands on an axis, as SQL: a position with a name of its own by that name."""
    placed = material.columns(cells.measure).get(axis)
    column = f"{side}.{material.name(placed.beside if placed else axis)}"
    if placed is None or not placed.variable.named or placed.beside_label is None:
        return column
    return f"coalesce({side}.{material.name(placed.beside_label)}, {column}::VARCHAR)"


def indented(sql: str) -> str:
    """A query as a part of another."""
    return "\n".join(f"  {line}" for line in sql.splitlines())


def correlation(pairs: Sequence[Pair]) -> float:
    """Pearson's r over the points, NaN for fewer than three or where a measure does not vary."""
    points = np.array([(p.across.value, p.up.value) for p in pairs]).T
    if len(pairs) < 3 or not points.std(axis=1).all():
        return math.nan
    return float(np.corrcoef(points)[0, 1])


def headline(title: str, pairs: Sequence[Pair]) -> str:
    """What stands above a panel: `smol: 270 points, r = 0.42`."""
    r = correlation(pairs)
    count = f"{len(pairs)} points" + (f", r = {r:.2f}".replace("-", "−") if math.isfinite(r) else "")
    return f"{title}: {count}" if title else count


def farthest(pairs: Sequence[Pair]) -> tuple[int, ...]:
    """The points to name: farthest from the middle of the cloud, each measure in its own spread."""
    points = np.array([(p.across.value, p.up.value) for p in pairs])
    spread = points.std(axis=0)
    away = (((points - np.median(points, axis=0)) / np.where(spread > 0, spread, 1.0)) ** 2).sum(axis=1)
    return tuple(np.argsort(-away, kind="stable")[:NAMED].tolist())


def spaced(pairs: Sequence[Pair], words: Sequence[str], ends: Any, side: int) -> dict[int, tuple[str, str]]:
    """The names that find room, farthest first: on the side of their point that looks to the middle, else on the
    other.
    """
    (left, right), (bottom, top) = ends
    xs = [(p.across.value - left) / (right - left) * side for p in pairs]
    ys = [(p.up.value - bottom) / (top - bottom) * side for p in pairs]
    taken: list[tuple[float, float, float]] = [*zip(xs, xs, ys, strict=True)]
    found = {}
    for i in farthest(pairs):
        width = 0.62 * LETTERS * len(words[i])
        for before in (xs[i] > side / 2, xs[i] <= side / 2):
            start = xs[i] - width - 5 if before else xs[i] + 5
            end, height = start + width, ys[i] + 4
            blocked = (abs(height - h) < LETTERS and start < b and a < end for a, b, h in taken)
            if start >= 0 and end <= side and not any(blocked):
                taken.append((start, end, height))
                found[i] = (words[i], "") if before else ("", words[i])
                break
    return found


def table(found: Scatter) -> Table:
    """One row per point."""
    names = [name_of(cells).split(".")[1] for cells in (found.up, found.across)]
    names = names if names[0] != names[1] else [name_of(cells) for cells in (found.up, found.across)]
    rows = [
        (*(shown(p.up.at[axis]) for axis in found.up.axes), exact(p.up.value), exact(p.across.value))
        for p in found.pairs
    ]  # fmt: skip
    numeric = tuple(found.up.kind[axis] != "text" for axis in found.up.axes)
    return Table(
        columns=(*found.up.axes, *names),
        rows=tuple(rows[:MOST_ROWS]),
        numeric=(*numeric, True, True),
        left_out=max(0, len(rows) - MOST_ROWS),
    )


def chart(found: Scatter, theme: str) -> Any:
    """The panels as an Altair chart, all on the same scales."""
    across = [v for p in found.pairs for v in extent(p.across, found.whiskers)]
    up = [v for p in found.pairs for v in extent(p.up, found.whiskers)]
    ends = (reach([*across, *up]),) * 2 if found.equal else (reach(across), reach(up))
    side = ALONE if len(found.panels) == 1 else SIDE
    shown_panels = found.panels[:MOST_PANELS]
    return beside([_panel(found, title, pairs, ends, side, theme) for title, pairs in shown_panels])


def extent(cell: Cell, whiskers: bool) -> tuple[float, ...]:
    """What must find room on an axis: the value, and the ends of its interval where they are drawn."""
    return (cell.value, cell.low, cell.high) if whiskers else (cell.value,)


def _panel(found: Scatter, title: str, pairs: tuple[Pair, ...], ends: Any, side: int, theme: str) -> Any:
    import altair as alt

    names = spaced(pairs, [place(p.up, found.inside or found.up.axes) for p in pairs], ends, side)
    rows = [
        {
            "x": p.across.value, "y": p.up.value, "xlow": p.across.low, "xhigh": p.across.high,
            "low": p.up.low, "high": p.up.high, "color": shown(p.up.at[found.color]) if found.color else "",
            "before": names.get(i, ("", ""))[0], "behind": names.get(i, ("", ""))[1],
        }
        for i, p in enumerate(pairs)
    ]  # fmt: skip
    rows = [{k: v for k, v in row.items() if not isinstance(v, float) or math.isfinite(v)} for row in rows]
    base = alt.Chart(alt.InlineData(values=rows))
    named = alt.Chart(alt.InlineData(values=[row for row in rows if row["before"] or row["behind"]]))
    scales = [alt.Scale(domain=list(end), nice=False, zero=False) for end in ends]
    x = alt.X("x:Q", title=_axis_title(found.across), scale=scales[0])
    y = alt.Y("y:Q", title=_axis_title(found.up), scale=scales[1])
    tint = tinted(found.up, found.color)
    layers = [line(ends, theme)] if found.equal else []
    if found.whiskers:
        rules = base.mark_rule(opacity=0.35)
        layers += [rules.encode(x=x, y=alt.Y("low:Q", scale=scales[1]), y2="high:Q", **tint)]
        layers += [rules.encode(y=y, x=alt.X("xlow:Q", scale=scales[0]), x2="xhigh:Q", **tint)]
    layers.append(base.mark_circle(size=26, opacity=0.6).encode(x=x, y=y, **tint))
    sides: tuple[tuple[str, Any, int], ...] = (("before", "right", -5), ("behind", "left", 5))
    for text, align, dx in sides:
        letters = named.mark_text(align=align, dx=dx, dy=-4, fontSize=LETTERS, color=INK[theme])
        layers.append(letters.encode(x=x, y=y, text=f"{text}:N"))
    return alt.layer(*layers).properties(
        width=side, height=side, title=alt.TitleParams(headline(title, pairs), color=INK[theme], fontSize=12)
    )


def line(ends: Any, theme: str) -> Any:
    """Where both measures are equal, from corner to corner."""
    import altair as alt

    points = alt.Chart(alt.InlineData(values=[{"x": end, "y": end} for end in ends[0]]))
    return points.mark_line(color=INK[theme], opacity=0.45, strokeDash=[5, 4], strokeWidth=1.25).encode(
        x="x:Q", y="y:Q"
    )


def _axis_title(cells: Cells) -> str:
    return name_of(cells) + (f" ({cells.measure.unit})" if cells.measure.unit else "")


TEMPLATE = """
{% import "parts.html" as parts %}
{{ parts.picture(figure) }}
"""

CHART = Chart("scatter", "one measure against another, with the line where they are equal", build, TEMPLATE)
