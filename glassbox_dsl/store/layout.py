"""Which columns of the wide tables hold the variables of a measure, so that `GROUP BY layer, head` works on
them.

The first variable on the axes `layer`, `head` and `pos` takes the column of that name. Every other variable takes
the next entry of the lists `numbers` and `texts`: two lists that are mostly NULL cost less than a column for each
axis, of which a measure has few. The views show all of them under the variables' own names.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from glassbox_dsl.store.rows import MeasureRow, VariableColumn

COLUMN_AXES: Final = ("layer", "head", "pos")
LISTS: Final = {"numbers": "number_", "texts": "text_"}
"""The list columns by the beginning of the names that their entries have on the way in: `number_2`."""

ROW_COLUMNS: Final = ("run_id", "model", "data", "item")
VALUE_COLUMNS: Final = {
    "value": ("value",),
    "ratio": ("value", "num", "den"),
    "top": ("value", "rank", "token_id", "token", "logit", "prob"),
    "text": ("value", "text"),
    "edges": ("score",),
}
SUMMARY_COLUMNS: Final = ("n", "mean", "stderr", "lo", "hi")
FIXED_COLUMNS: Final = {
    "run_id": "the run",
    "model": "name of the model",
    "data": "name of the data set",
    "item": "number in the drawn set, from 0, the same for all models",
    "template": "which of several templates, from 0",
    "kept": "false when `keep where` dropped it for this model",
    "dropped_by": "the condition that dropped it",
}
VALUE_MEANINGS: Final = {
    "value": "the number; NULL where missing, and for a ratio where the denominator is near 0",
    "num": "numerator of the ratio",
    "den": "denominator of the ratio",
    "rank": "1 is the most likely",
    "token_id": "number in the vocabulary of the model",
    "token": "text of the token",
    "logit": "logit of the token",
    "prob": "probability of the token, 0 to 1",
    "text": "the text",
    "score": "what the search found of the edge: how far it changes the metric; NULL where it was not looked at",
    "n": "items that count; NULL for a measure without items",
    "mean": "mean over items",
    "stderr": "standard error of the mean over items",
    "lo": "2.5% point of the bootstrap over items",
    "hi": "97.5% point of the bootstrap over items",
}
"""What columns hold, for the comments of the views."""


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
    """A variable with its table columns (`column`, `label`) and its view columns (`shown`, `shown_label`).

    A name that the figures of a summary have, such as `n`, is its own in the view of the rows; beside those figures
    it has another (`beside`, `beside_label`).

    `column` and `label` are what SQL reads: `layer`, or `numbers[2]` for a slot; `stored` and `stored_label` name
    them on the way in: `layer`, `number_2`.
    """

    variable: VariableColumn
    column: str
    label: str | None
    stored: str
    stored_label: str | None
    shown: str
    shown_label: str | None
    beside: str
    beside_label: str | None

    def selection(self, summary: bool) -> tuple[str, ...]:
        """The expressions for this variable of the view of the rows, or of the summary."""
        shown, shown_label = self.names(summary)
        whole = self.column != self.stored and self.variable.kind in ("int", "position")
        value = f"CAST({self.column} AS INTEGER)" if whole else self.column
        chosen = (f"{value} AS {quoted(shown)}",)
        if self.label is None or shown_label is None:
            return chosen
        return (*chosen, f"{self.label} AS {quoted(shown_label)}")

    def names(self, summary: bool) -> tuple[str, str | None]:
        """The columns of the variable and its label in the view of the rows, or of the summary."""
        return (self.beside, self.beside_label) if summary else (self.shown, self.shown_label)

    @property
    def group_keys(self) -> tuple[str, ...]:
        """The columns whose agreement makes two items' rows one cell."""
        if self.variable.named and self.label is not None:
            return (self.label, f"CASE WHEN {self.label} IS NULL THEN {self.column} END")
        return (self.column,)


def place(measure: MeasureRow, axes: Sequence[str] = COLUMN_AXES) -> tuple[Placed, ...]:
    """Give every variable of a measure its columns; `axes` are those that have one of their own."""
    shown = _shown(measure, (*ROW_COLUMNS, *VALUE_COLUMNS[measure.kind]))
    beside = _shown(measure, (*ROW_COLUMNS, *VALUE_COLUMNS[measure.kind], *SUMMARY_COLUMNS))
    free_axes, slot, placed = set(axes), 0, []
    for variable in measure.variables:
        position = variable.kind == "position"
        if variable.axis in free_axes and variable.kind in ("int", "position"):
            free_axes.discard(variable.axis)
            stored, label = variable.axis, f"{variable.axis}_label" if position else None
        else:
            slot += 1
            stored = f"text_{slot}" if variable.kind == "text" else f"number_{slot}"
            label = f"text_{slot}" if position else None
        read = (read_as(stored), read_as(label) if label else None)
        placed.append(Placed(variable, *read, stored, label, *shown[variable.name], *beside[variable.name]))
    return tuple(placed)


def _shown(measure: MeasureRow, taken: Sequence[str]) -> dict[str, tuple[str, str | None]]:
    """The view columns of every variable and of its label, beside those that are taken."""
    names = Names(taken)
    own = {v.name: names.claim(v.name) for v in measure.variables}
    labelled = [v.name for v in measure.variables if v.kind == "position"]
    labels = {name: names.claim(f"{name}_label") for name in labelled}
    return {name: (column, labels.get(name)) for name, column in own.items()}


def read_as(stored: str) -> str:
    """What SQL reads for the name that a column has on the way in: `numbers[2]` for `number_2`."""
    for column, beginning in LISTS.items():
        if stored.startswith(beginning):
            return f"{column}[{stored.removeprefix(beginning)}]"
    return stored
