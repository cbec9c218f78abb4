"""From a line of a report to the query behind its figure, and from the answer to cells.

The query is the one that is shown under the figure: nothing is computed afterwards but sorting. Means over
items come from the summary view, with their intervals; a figure that averages more, or groups by a column of
the data, says so in SQL.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from glassbox_dsl.diagnostics import Findings
from glassbox_dsl.report import errors
from glassbox_dsl.report.material import Material, text_literal
from glassbox_dsl.report.spec import ItemSpec
from glassbox_dsl.store.layout import Placed
from glassbox_dsl.store.rows import MeasureRow
from glassbox_dsl.store.views import SUMMARISED

CONTEXT = ("model", "data", "item")
GROUPING = ("x", "y", "color", "facet", "row")
DEPTH = "depth"
"""A layer's place in its model, in percent: 0 is the first layer, 100 the last."""


@dataclass(frozen=True)
class Cell:
    """One number: where it stands, and how sure it is. NaN stands for a missing number."""

    at: dict[str, Any]
    value: float
    n: int | None = None
    low: float = math.nan
    high: float = math.nan


@dataclass(frozen=True)
class Cells:
    """The numbers of a figure. `axes` are free, `fixed` and `over` are what the item says of the others.

    `values[axis]`: the axis's values in the order to draw them. `kind[axis]`: "number", "position" or "text".
    """

    measure: MeasureRow
    sql: str
    cells: tuple[Cell, ...]
    axes: tuple[str, ...]
    fixed: dict[str, Any]
    over: tuple[str, ...]
    values: dict[str, tuple[Any, ...]]
    kind: dict[str, str]

    @property
    def missing(self) -> int:
        """How many cells have no number."""
        return sum(not math.isfinite(cell.value) for cell in self.cells)

    @property
    def has_interval(self) -> bool:
        """Whether some cell has an interval over items."""
        return any(math.isfinite(cell.low) for cell in self.cells)

    def axis_of(self, name: str) -> str:
        """The axis that a variable of the measure is on; nothing for what is no variable."""
        return next((v.axis or "" for v in self.measure.variables if v.name == name), "")


@dataclass(frozen=True)
class Question:
    """A select statement in the making."""

    item: ItemSpec
    measure: MeasureRow
    material: Material

    @property
    def name(self) -> str:
        """The measure as the file calls it."""
        return f"{self.measure.experiment}.{self.measure.measure}"

    @property
    def columns(self) -> dict[str, Placed]:
        """The measure's variables."""
        return self.material.columns(self.measure)

    @property
    def known(self) -> tuple[str, ...]:
        """All axes of the measure."""
        context = CONTEXT if self.measure.has_items else CONTEXT[:2]
        return (*context, *self.columns)

    @property
    def layer(self) -> Placed | None:
        """The variable that the figure lays out by depth; None where it asks for none."""
        if DEPTH not in (self.item.role("x"), self.item.role("y")) or DEPTH in self.known:
            return None
        return next((p for p in self.columns.values() if p.variable.axis == "layer"), None)

    @property
    def data_columns(self) -> tuple[str, ...]:
        """Columns of the data set that the item names: its features and variables."""
        wanted = [self.item.role(role) for role in GROUPING]
        wanted = [name for name in wanted if name != DEPTH or self.layer is None]
        named = [name for name in (*wanted, *self.item.fixed) if name is not None and name not in self.known]
        return tuple(dict.fromkeys(named))

    @property
    def over(self) -> tuple[str, ...]:
        """The axes averaged over: what is written, without what the item shows or fixes."""
        shown = {self.item.role(role) for role in GROUPING} | set(self.item.fixed)
        return tuple(name for name in self.item.over if name in self.known and name not in shown)

    @property
    def axes(self) -> tuple[str, ...]:
        """The axes left free: what the figure has to lay out."""
        taken = {*self.over, *self.item.fixed}
        free = tuple(name for name in (*self.known, *self.data_columns) if name not in taken)
        swept = self.layer.variable.name if self.layer else None
        return tuple(DEPTH if name == swept else name for name in free)


def select(item: ItemSpec, material: Material) -> Cells:
    """Ask for the numbers of an item. Raises Findings (GB652 ... GB654, GB656)."""
    question = Question(item, material.measure(item.numbers), material)
    _check(question)
    for summary in (True, False):
        if summary and not _summarised(question):
            continue
        sql = statement(question, summary)
        answer = material.ask(sql)
        if answer.rows:
            return _cells(question, sql, list(answer.dicts()))
    if item.fixed:
        raise Findings([_absent(question)])
    return _cells(question, sql, [])


def _check(question: Question) -> None:
    wanted = [name for name in question.item.over if name not in question.known and name != "item"]
    problems = [errors.no_axis(question.name, name, question.known) for name in wanted]
    if question.data_columns:
        known = _data_names(question)
        problems += [
            errors.no_axis(question.name, name, (*question.known, *known))
            for name in question.data_columns
            if name not in known
        ]
    if problems:
        raise Findings(problems)


def _data_names(question: Question) -> tuple[str, ...]:
    """The columns of the data sets of the measure, but for those that every one has."""
    names: dict[str, None] = {}
    for item in question.material.items:
        names.update(dict.fromkeys((*item.variables, *item.features, "template")))
    return tuple(names)


def _summarised(question: Question) -> bool:
    """Whether the summary view answers the question: a plain mean over the items and nothing else."""
    plain = question.over == ("item",) or not question.measure.has_items
    return plain and not question.data_columns and question.measure.kind in SUMMARISED


def statement(question: Question, summary: bool) -> str:
    """The SQL of a question, from the summary view or from the rows."""
    grouped = not summary and bool(question.over or question.data_columns)
    source = question.material.table(question.measure, summary)
    chosen, keys = _axis_columns(question, grouped, summary)
    lines = ["SELECT " + ", ".join((*chosen, *_numbers(question, summary, grouped))), f"FROM {source}"]
    if question.data_columns:
        lines[1] += " AS m"
        lines.append(f"JOIN {_data_of(question)} AS d ON d.model = m.model AND d.item = m.item")
    held = conditions(question, summary)
    if held:
        lines.append("WHERE " + " AND ".join(held))
    if grouped:
        lines += ["GROUP BY " + ", ".join(keys)] if keys else []
        lines += ["ORDER BY ALL"] if keys else []
    return "\n".join(lines)


def _axis_columns(question: Question, grouped: bool, summary: bool) -> tuple[list[str], list[str]]:
    """What to select for the free axes, and what to group by."""
    prefix = "m." if question.data_columns else ""
    chosen, keys = [], []
    for name in question.axes:
        if name == DEPTH and question.layer is not None:
            chosen.append(f"{_depth(question, prefix)} AS {DEPTH}")
            keys.append(DEPTH)
            continue
        placed = question.columns.get(name)
        if placed is None:
            column = question.material.name(name) if name not in CONTEXT else prefix + name
            column = f"d.{question.material.name(name)}" if name in question.data_columns else column
            chosen.append(column)
            keys.append(column)
            continue
        shown, shown_label = placed.names(summary)
        column = prefix + question.material.name(shown)
        label = prefix + question.material.name(shown_label) if shown_label else None
        named = grouped and label is not None and placed.variable.named
        chosen.append(_as(f"min({column})" if named else column, shown, placed.beside, question))
        if label is not None:
            any_label = grouped and not placed.variable.named
            chosen.append(
                _as(f"any_value({label})" if any_label else label, shown_label, placed.beside_label, question)
            )
        keys.append(label if named and label is not None else column)
    return chosen, keys


def _as(expression: str, column: str | None, name: str | None, question: Question) -> str:
    """An expression under a name, which a column of that name has already."""
    plain = expression.endswith(question.material.name(column or ""))
    return expression if plain and column == name else f"{expression} AS {question.material.name(name or '')}"


def _depth(question: Question, prefix: str) -> str:
    """A layer's place in its model in percent, as SQL."""
    assert question.layer is not None
    counts = {m.model: int(m.facts.get("n_layers", 0)) for m in question.material.models}
    last = " ".join(f"WHEN {text_literal(name)} THEN {max(1, count - 1)}" for name, count in counts.items())
    column = prefix + question.material.name(question.layer.shown)
    return f"round(100 * {column} / CASE {prefix}model {last} END, 2)"


def _numbers(question: Question, summary: bool, grouped: bool) -> tuple[str, ...]:
    if summary:
        return ("n", "mean", "stderr", "lo", "hi")
    prefix = "m." if question.data_columns else ""
    if not grouped:
        return (f"{prefix}value",)
    if question.measure.kind == "ratio":
        return (f"count({prefix}num) AS n", f"sum({prefix}num) / sum({prefix}den) AS mean")
    return (f"count({prefix}value) AS n", f"avg({prefix}value) AS mean")


def _data_of(question: Question) -> str:
    sets = {item.data for item in question.material.items}
    fixed = question.item.fixed.get("data")
    if fixed is not None:
        sets &= {str(fixed)}
    if len(sets) != 1:
        raise Findings(
            [errors.wrong_axes(question.name, "a column of the data", "several data sets", "one: fix `data`")]
        )
    return question.material.data_table(next(iter(sets)))


def conditions(question: Question, summary: bool = False) -> list[str]:
    """What stands behind WHERE: one condition for each axis that the item holds."""
    prefix = "m." if question.data_columns else ""
    held = []
    for name, value in question.item.fixed.items():
        placed = question.columns.get(name)
        if name in question.data_columns:
            held.append(f"d.{question.material.name(name)} = {literal(value)}")
        elif placed is None:
            held.append(f"{prefix}{name} = {literal(value)}")
        else:
            shown, shown_label = placed.names(summary)
            labelled = shown_label is not None and isinstance(value, str)
            column = prefix + question.material.name(shown_label if labelled and shown_label else shown)
            held.append(
                f"{column} = {literal(value)}" if labelled else _on_axis(question, placed, column, value)
            )
    if (
        question.measure.kind == "ratio"
        and (question.over or question.data_columns)
        and not _summarised(question)
    ):
        held += [f"{prefix}num IS NOT NULL", f"{prefix}den IS NOT NULL"]
    return held


def _on_axis(question: Question, placed: Placed, column: str, value: Any) -> str:
    """`layer = 3`; for `-1` and `50%`, which layer that is in each model."""
    layers = placed.variable.axis == "layer"
    if (
        not layers
        or isinstance(value, bool)
        or not (isinstance(value, str) or (isinstance(value, int) and value < 0))
    ):
        return f"{column} = {literal(value)}"
    terms = []
    for model in question.material.models:
        at = layer_at(value, int(model.facts.get("n_layers", 0)))
        terms.append(f"(model = {text_literal(model.model)} AND {column} = {at})")
    return "(" + " OR ".join(terms) + ")"


def layer_at(value: Any, count: int) -> Any:
    """The layer that a number or depth (`-1`, `50%`) names in a model of `count` layers."""
    if isinstance(value, str) and value.endswith("%"):
        return math.floor(float(value.rstrip("%")) / 100 * (count - 1) + 0.5)
    return count + value if isinstance(value, int) and value < 0 else value


def literal(value: Any) -> str:
    """A plain value as an SQL literal."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return repr(value) if isinstance(value, int | float) else text_literal(str(value))


def _absent(question: Question) -> Any:
    """Why a fixed axis leaves nothing: the value, and the values there are."""
    name, value = next(iter(question.item.fixed.items()))
    placed = question.columns.get(name)
    known = ""
    if name not in question.data_columns:
        column = question.material.name(placed.shown) if placed else name
        table = question.material.table(question.measure, False)
        found = question.material.ask(
            f"SELECT DISTINCT {column} AS v FROM {table} ORDER BY v LIMIT 200"
        ).column("v")
        numbers = [v for v in found if isinstance(v, int)]
        contiguous = len(numbers) == len(found) > 3 and numbers[-1] - numbers[0] == len(numbers) - 1
        known = f"{numbers[0]} to {numbers[-1]}" if contiguous else ", ".join(str(v) for v in found[:20])
    return errors.no_such_cell(question.name, name, str(value), known)


def _cells(question: Question, sql: str, rows: list[dict[str, Any]]) -> Cells:
    cells = tuple(_cell(question, row) for row in rows)
    values = {name: _ordered(question, name, [cell.at[name] for cell in cells]) for name in question.axes}
    return Cells(
        measure=question.measure,
        sql=sql,
        cells=cells,
        axes=question.axes,
        fixed=question.item.fixed,
        over=question.over,
        values=values,
        kind={name: _kind(question, name) for name in question.axes},
    )


def _cell(question: Question, row: dict[str, Any]) -> Cell:
    at: dict[str, Any] = {}
    for name in question.axes:
        placed = question.columns.get(name)
        at[name] = row[placed.beside if placed else name]
        label = row[placed.beside_label] if placed is not None and placed.beside_label else None
        if placed is not None and placed.variable.named and label is not None:
            at[name] = label
    value = row["mean"] if "mean" in row else row["value"]
    return Cell(at, number(value), row.get("n"), number(row.get("lo")), number(row.get("hi")))


def number(value: Any) -> float:
    """A number of an answer, NaN where it is NULL."""
    return math.nan if value is None else float(value)


def _kind(question: Question, name: str) -> str:
    placed = question.columns.get(name)
    if placed is None:
        return "number" if name == "item" or (name == DEPTH and question.layer) else "text"
    if placed.variable.kind == "position":
        return "text" if placed.variable.named else "position"
    return "text" if placed.variable.kind == "text" else "number"


def _ordered(question: Question, name: str, found: Iterable[Any]) -> tuple[Any, ...]:
    """The values of an axis: numbers by size, models as in the file, names as they come."""
    values = list(dict.fromkeys(found))
    if name == "model":
        order = [model.model for model in question.material.models]
        return tuple(sorted(values, key=lambda v: order.index(v) if v in order else len(order)))
    if all(isinstance(v, int | float) and not isinstance(v, bool) for v in values):
        return tuple(sorted(values))
    return tuple(values)
