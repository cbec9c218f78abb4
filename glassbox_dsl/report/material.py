"""What a run stored, read once, and the door for the queries behind the figures."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

from glassbox_dsl.diagnostics import Findings
from glassbox_dsl.report import errors
from glassbox_dsl.store.layout import Placed, place, quoted
from glassbox_dsl.store.reader import Reader, RecordInfo
from glassbox_dsl.store.rows import ItemRow, MeasureRow, ModelRow
from glassbox_dsl.store.table import Table
from glassbox_dsl.store.views import summary_select, view_names

Ask = Callable[[str], Table]


@dataclass(frozen=True)
class Material:
    """One run of a results file. `ask` runs SQL as a user's would be: reading only, shut off from everything
    else.
    """

    reader: Reader
    run_id: str
    ask: Ask

    @cached_property
    def measures(self) -> tuple[MeasureRow, ...]:
        """The measures, in the order of the file."""
        return self.reader.measures(self.run_id)

    @cached_property
    def models(self) -> tuple[ModelRow, ...]:
        """The models, in the order of the file."""
        return self.reader.models(self.run_id)

    @cached_property
    def items(self) -> tuple[ItemRow, ...]:
        """The items of all data sets for all models, dropped ones included."""
        return self.reader.items(self.run_id)

    @cached_property
    def records(self) -> tuple[RecordInfo, ...]:
        """The stored tensors without their numbers."""
        return self.reader.records(self.run_id)

    def measure(self, source: tuple[str, str] | str) -> MeasureRow:
        """The measure that an item of the report names. Raises Findings (GB652)."""
        for measure in self.measures:
            if (measure.experiment, measure.measure) == tuple(source):
                return measure
        known = [f"{m.experiment}.{m.measure}" for m in self.measures]
        raise Findings([errors.no_source("measure", ".".join(source), known)])

    def columns(self, measure: MeasureRow) -> dict[str, Placed]:
        """The variables of a measure by name, with the columns that hold them."""
        return {placed.variable.name: placed for placed in place(measure)}

    def table(self, measure: MeasureRow, summary: bool) -> str:
        """What stands behind FROM: the view named as in the file, or for a run it does not show, its
        definition.
        """
        names = view_names(self.measures)[measure.experiment, measure.measure]
        view = names.summary if summary else names.rows
        if view is not None and self._shown(name := f"{self.name(names.schema)}.{self.name(view)}"):
            return name
        if summary:
            return f"({summary_select(measure, self.run_id)})"
        return f"({self.reader.select_rows(measure, self.run_id)})"

    def data_table(self, data: str) -> str:
        """The view of a data set's items, None when it shows another run."""
        name = f"data.{self.name(data)}"
        if self._shown(name):
            return name
        raise Findings([errors.no_data_view(data)])

    def name(self, name: str) -> str:
        """A name as SQL wants it: bare where that reads the same, else in quotes."""
        bare = name.isascii() and name.isidentifier() and name.islower() and name not in self._words
        return name if bare else quoted(name)

    @cached_property
    def _words(self) -> frozenset[str]:
        """The words of SQL that cannot stand for a column or table."""
        sql = "SELECT keyword_name FROM duckdb_keywords() WHERE keyword_category <> 'unreserved'"
        return frozenset(self.ask(sql).column("keyword_name"))

    @cached_property
    def _views(self) -> dict[str, bool]:
        return {}

    def _shown(self, view: str) -> bool:
        """Whether a view exists and shows this run and no other."""
        if view not in self._views:
            try:
                runs = self.ask(f"SELECT DISTINCT run_id FROM {view}").column("run_id")
            except Findings:
                runs = ()
            self._views[view] = runs == (self.run_id,)
        return self._views[view]


def text_literal(text: str) -> str:
    """A text as an SQL literal."""
    return "'" + text.replace("'", "''") + "'"
