"""One experiment on one model and one data set, as far as it is known without running the model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from glassbox_dsl.diagnostics import InternalError
from glassbox_dsl.language.program import Dimension, Experiment, Run, Value
from glassbox_dsl.language.prompts_read import Names, prompts_read
from glassbox_dsl.language.technique_nodes import Fit
from glassbox_dsl.plan.data_arrays import DataArrays, padded
from glassbox_dsl.plan.indexing import Binding, Env, Indexer
from glassbox_dsl.plan.named import Integers, Mask, Named, along
from glassbox_dsl.resolve.cells import Cell, Row, Sizes, resolve_dimension
from glassbox_dsl.syntax import nodes
from glassbox_dsl.vocabulary.axes import ITEM

if TYPE_CHECKING:
    from glassbox_dsl.plan.set_maker import SetMaker

Extension = tuple[str, int] | None
"""An answer and which of its alternatives stands behind the prompt, teacher-forced; None: the prompt alone."""


@dataclass
class Setting:
    """An experiment on a model and a data set: what its indices are evaluated in."""

    experiment: Experiment
    model: str
    data_name: str
    data: DataArrays
    sizes: Sizes
    cells: dict[Dimension, tuple[Row, ...]] = field(default_factory=dict)
    columns: dict[Dimension, tuple[tuple[Cell, ...], ...]] = field(default_factory=dict)
    answers: dict[str, tuple[Integers, Mask]] = field(default_factory=dict)

    @cached_property
    def indexer(self) -> Indexer:
        """Evaluates indices here."""
        return Indexer(self.sizes, self.data, lambda *where: self.sets.contains(*where))

    @cached_property
    def sets(self) -> SetMaker:
        """Makes the sets from results here."""
        from glassbox_dsl.plan.set_maker import SetMaker

        return SetMaker(self)

    def rows(self, dimension: Dimension) -> tuple[Row, ...]:
        """The cells of a dimension on this model; those of a set are there once what it reads was run."""
        if dimension not in self.cells:
            if dimension.members_from is not None:
                rows = self.sets.rows(dimension)
            else:
                rows = resolve_dimension(dimension.changed(meets=()), self.sizes)[0]
            for other in dimension.meets:
                keys = {tuple(c.key for c in row) for row in self.rows(other)}
                rows = tuple(row for row in rows if tuple(c.key for c in row) in keys)
            self.cells[dimension] = rows
        return self.cells[dimension]

    def cells_of(self, dimension: Dimension) -> tuple[tuple[Cell, ...], ...]:
        """For each variable of a dimension what it stands for in its cells; always the same objects."""
        if dimension not in self.columns:
            rows = self.rows(dimension)
            self.columns[dimension] = tuple(
                tuple(row[place] for row in rows) for place in range(len(dimension.variables))
            )
        return self.columns[dimension]

    def home(self, experiment: str) -> Setting | None:
        """The setting of an experiment on the same model and data, where it is known from here."""
        return self if experiment == self.experiment.name else None

    def prompts_read(self, read: nodes.Node, names: Names | None = None) -> list[str]:
        """The prompts that a value reads, in order; `names`: in cells where variables stand for these names."""

        def home(experiment: str) -> Experiment | None:
            found = self.home(experiment)
            return None if found is None else found.experiment

        return prompts_read(read, self.experiment, home, self.data_name, names)

    def run(self, name: str) -> Run:
        """A run of the experiment."""
        return self.experiment.run(name)

    def shape(self, run: Run | Value | Fit) -> tuple[int, ...]:
        """How many cells each dimension of a run has."""
        return tuple(len(self.rows(d)) for d in run.dimensions)

    def all_items(self) -> Named:
        """Every kept item, along a dimension of its own."""
        return along(ITEM, self.data.n_items)

    def env(self, dimensions: Sequence[Dimension], extension: Extension = None) -> Env:
        """Every cell of some dimensions and every item."""
        return Env(item=self.all_items(), variables=self.bindings(dimensions), extension=extension)

    def bindings(self, dimensions: Sequence[Dimension]) -> dict[str, Binding]:
        """The variables of some dimensions, each over all its cells."""
        found: dict[str, Binding] = {}
        for dimension in dimensions:
            ids = along(dimension.name, len(self.rows(dimension)))
            # A variable of another name than its axis does not say how many cells it has.
            named = [v.name for v in dimension.variables] != [v.axis for v in dimension.variables]
            whole = dimension.members is None and not dimension.meets and not named
            for variable, cells in zip(dimension.variables, self.cells_of(dimension), strict=True):
                found[variable.name] = Binding(ids, dimension.name, None if whole else cells)
        return found

    def cell_variants(self, run: Run | Value | Fit) -> Integers:
        """The variant of every cell of a declaration, in the shape of its dimensions."""
        if len(run.variants) == 1:
            return np.zeros(self.shape(run), dtype=np.int64)
        table = np.full(self.shape(run), -1, dtype=np.int64)
        for number, variant in reversed(tuple(enumerate(run.variants))):
            table[self._selects(run, variant.when)] = number
        if (table < 0).any():
            raise InternalError(f"{run.name} has cells without a variant")
        return table

    def _selects(self, run: Run | Value | Fit, when: Sequence[tuple[str, str]]) -> Mask:
        """Whether each cell of a declaration has the names that a variant is for."""
        chosen = np.ones(self.shape(run), dtype=np.bool_)
        wanted = dict(when)
        for place, dimension in enumerate(run.dimensions):
            for variable, cells in zip(dimension.variables, self.cells_of(dimension), strict=True):
                if variable.name in wanted:
                    text = wanted.pop(variable.name)
                    same = np.array([c.text == text for c in cells], dtype=np.bool_)
                    chosen &= same.reshape([-1 if i == place else 1 for i in range(chosen.ndim)])
        return chosen if not wanted else np.zeros_like(chosen)

    def answer_table(self, name: str) -> tuple[Integers, Mask]:
        """First tokens of every item's alternatives [item, n] (0 where there are fewer), and which exist.

        They are the same behind every prompt that the answer follows: the data were refused otherwise.
        """
        if name not in self.answers:
            found = [item.answers[name].alternatives for item in self.data.items]
            self.answers[name] = padded([[tokens[0] for tokens in each] for each in found])
        return self.answers[name]

    def extra_tokens(self, extension: Extension) -> Integers:
        """How many answer tokens stand behind each item's prompt, [item]; the last one is only predicted."""
        if extension is None:
            return np.zeros(self.data.n_items, dtype=np.int64)
        return np.maximum(self.answer_lengths(extension) - 1, 0)

    def answer_lengths(self, extension: tuple[str, int]) -> Integers:
        """Tokens of an alternative of an answer in every item, [item]; 0 where an item has fewer alternatives."""
        name, which = extension
        counts = self.data.token_counts(name)
        return counts[:, which] if which < counts.shape[1] else np.zeros(len(counts), dtype=np.int64)
