"""Which columns of the wide tables hold the variables of a measure, so that `GROUP BY layer, head` works on
them.

The first variable on an axis takes that axis's column. Every other variable takes the next of six slots, each
a number and a text. The views show all of them under the variables' own names.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from glassbox_dsl.diagnostics import Findings
from glassbox_dsl.store.errors import too_many_variables
from glassbox_dsl.store.rows import MeasureRow, VariableColumn
from glassbox_dsl.vocabulary.axes import POSITION_AXES, SITE_AXES

SLOTS: Final = 6
COORDINATES: Final = (
    *(c for a in SITE_AXES for c in ((a, f"{a}_label") if a in POSITION_AXES else (a,))),
    *(c for i in range(1, SLOTS + 1) for c in (f"number_{i}", f"text_{i}")),
)
"""The coordinate columns of `measurements`, `lens` and `summaries`."""

ROW_COLUMNS: Final = ("run_id", "model", "data", "item")
VALUE_COLUMNS: Final = {
    "value": ("value",),
    "ratio": ("value", "num", "den"),
    "top": ("value", "rank", "token_id", "token", "logit", "prob"),
    "text": ("value", "text"),
}
SUMMARY_COLUMNS: Final = ("n", "mean", "stderr", "lo", "hi")


def quoted(name: str) -> str:
    """A name as an SQL identifier, whatever it holds."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """A text as an SQL literal, for the bodies of views, where nothing can be bound."""
    return "'" + text.replace("'", "''") + "'"


class Names:
    """Hands out names that do not collide (case does not count in SQL): a taken one gets underscores behind
    it."""

    def __init__(self, taken: Iterable[str] = ()) -> None:
        self._taken = {name.lower() for name in taken}

    def claim(self, name: str) -> str:
        """The name, or the first free one made from it by appending `_`."""
        while name.lower() in self._taken:
            name += "_"
        self._taken.add(name.lower())
        return name


@dataclass(frozen=True)
class Placed:
    """A variable with its table columns (`column`, `label`) and its view columns (`shown`, `shown_label`)."""

    variable: VariableColumn
    column: str
    label: str | None
    shown: str
    shown_label: str | None

    def selection(self) -> tuple[str, ...]:
        """The view's expressions for this variable."""
        whole = self.column.startswith("number_") and self.variable.kind in ("int", "position")
        value = f"CAST({self.column} AS INTEGER)" if whole else self.column
        chosen = (f"{value} AS {quoted(self.shown)}",)
        if self.label is None or self.shown_label is None:
            return chosen
        return (*chosen, f"{self.label} AS {quoted(self.shown_label)}")

    @property
    def group_keys(self) -> tuple[str, ...]:
        """The columns whose agreement makes two items' rows one cell."""
        if self.variable.named and self.label is not None:
            return (self.label, f"CASE WHEN {self.label} IS NULL THEN {self.column} END")
        return (self.column,)


def place(measure: MeasureRow, taken: Sequence[str] = ()) -> tuple[Placed, ...]:
    """Give every variable of a measure its columns. Raises Findings (GB612) when they do not fit."""
    names = Names(taken or (*ROW_COLUMNS, *VALUE_COLUMNS[measure.kind], *SUMMARY_COLUMNS))
    shown = {v.name: names.claim(v.name) for v in measure.variables}
    free_axes, slot, placed = set(SITE_AXES), 0, []
    for variable in measure.variables:
        position = variable.kind == "position"
        if variable.axis in free_axes and variable.kind in ("int", "position"):
            column = variable.axis
            free_axes.discard(column)
            label = f"{column}_label" if position else None
        else:
            slot += 1
            column = f"text_{slot}" if variable.kind == "text" else f"number_{slot}"
            label = f"text_{slot}" if position else None
        shown_label = names.claim(f"{variable.name}_label") if position else None
        placed.append(Placed(variable, column, label, shown[variable.name], shown_label))
    if slot > SLOTS:
        raise Findings([too_many_variables(measure.experiment, measure.measure, slot, SLOTS)])
    return tuple(placed)
