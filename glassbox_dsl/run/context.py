"""One experiment on one model and one data set: what its expressions are evaluated in."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from glassbox_dsl.language.program import Dimension, Experiment, Index, Reference, Run, RunUse, TokenAt, Value
from glassbox_dsl.plan.taps import Tap
from glassbox_dsl.resolve.cells import Row, Sizes, resolve_dimension
from glassbox_dsl.run.data_arrays import DataArrays
from glassbox_dsl.run.indexing import Binding, Env, Indexer
from glassbox_dsl.run.instrument import Instrument
from glassbox_dsl.run.named import Named, along
from glassbox_dsl.syntax import nodes
from glassbox_dsl.vocabulary.axes import ITEM

Extension = tuple[str, int] | None
"""An answer and which of its alternatives stands behind the prompt, teacher-forced; None: the prompt alone."""


@dataclass
class Stored:
    """The values of a site on every cell and item of a run, on the CPU.

    `data`: [cell, item, the site's axes, feature]; `layers`: which layers its layer axis holds (None: the site has
    none); `position`: the one position kept, when only that was wanted.
    """

    data: Tensor
    axes: tuple[str, ...]
    feature: bool
    layers: tuple[int, ...] | None
    position: Index | None


@dataclass
class RunResults:
    """What was kept of a run: sites and taps; `made` [cell, item] says which passes exist at all."""

    made: Tensor
    sites: dict[str, Stored] = field(default_factory=dict)
    taps: dict[Tap, Named] = field(default_factory=dict)


@dataclass
class Context:
    """An experiment on a model and a data set. `other` gives the same experiment's context elsewhere."""

    experiment: Experiment
    model: str
    data_name: str
    instrument: Instrument
    data: DataArrays
    sizes: Sizes
    other: Callable[[str, str, str], Context]
    results: dict[tuple[str, Extension], RunResults] = field(default_factory=dict)
    cells: dict[Dimension, tuple[Row, ...]] = field(default_factory=dict)
    cache: dict[object, Named] = field(default_factory=dict)

    @property
    def indexer(self) -> Indexer:
        """Evaluates indices here."""
        return Indexer(self.sizes, self.data)

    def rows(self, dimension: Dimension) -> tuple[Row, ...]:
        """The cells of a dimension on this model."""
        if dimension not in self.cells:
            self.cells[dimension] = resolve_dimension(dimension, self.sizes)[0]
        return self.cells[dimension]

    def run(self, name: str) -> Run:
        """A run of the experiment."""
        return self.experiment.run(name)

    def shape(self, run: Run) -> tuple[int, ...]:
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
            rows = self.rows(dimension)
            ids = along(dimension.name, len(rows))
            for place, variable in enumerate(dimension.variables):
                whole = dimension.members is None and not dimension.meets
                cells = None if whole else tuple(row[place] for row in rows)
                found[variable.name] = Binding(ids, dimension.name, cells)
        return found

    def variant_of(self, run: Run | Value, cell: Mapping[str, str]) -> int:
        """Which variant of a declaration a choice of names selects."""
        for number, variant in enumerate(run.variants):
            if all(cell.get(name) == text for name, text in variant.when):
                return number
        raise KeyError(f"{run.name} has no variant for {dict(cell)}")

    def cell_variants(self, run: Run | Value) -> Tensor:
        """The variant of every cell of a declaration, in the shape of its dimensions."""
        shape = tuple(len(self.rows(d)) for d in run.dimensions)
        if len(run.variants) == 1:
            return torch.zeros(shape, dtype=torch.long)
        table = torch.empty(shape, dtype=torch.long)
        for index in torch.cartesian_prod(*(torch.arange(n) for n in shape)).reshape(-1, len(shape)).tolist():
            texts = {
                variable.name: self.rows(d)[i][place].text
                for d, i in zip(run.dimensions, index, strict=True)
                for place, variable in enumerate(d.variables)
            }
            table[tuple(index)] = self.variant_of(run, texts)
        return table


def answer_table(context: Context, name: str, prompt: str) -> tuple[Tensor, Tensor]:
    """First tokens of every item's alternatives [item, n] (0 where there are fewer), and which exist."""
    found = context.data.answers(name, prompt)
    n = max(len(a) for a in found)
    ids = torch.tensor(
        [[*(a[0] for a in alternatives), *[0] * (n - len(alternatives))] for alternatives in found]
    )
    valid = torch.tensor([[i < len(alternatives) for i in range(n)] for alternatives in found])
    return ids, valid


def prompts_read(expr: nodes.Node, context: Context) -> list[str]:
    """The prompts of the runs that an expression reads, in order."""
    if isinstance(expr, RunUse):
        return [v.prompt for v in context.run(expr.run).variants]
    if isinstance(expr, TokenAt):
        return [expr.prompt]
    if isinstance(expr, Reference) and expr.experiment == context.experiment.name:
        value = context.experiment.value(expr.kind, expr.name)
        return [p for v in value.variants for p in prompts_read(v.value, context)]
    return list(dict.fromkeys(p for child in nodes.children(expr) for p in prompts_read(child, context)))
