"""What is too large to plan: sweeps are counted before a single cell of them is made. Loads no numpy."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from glassbox_dsl.diagnostics import Diagnostic
from glassbox_dsl.language.program import Dimension, Experiment, Program, Run, RunUse, Value
from glassbox_dsl.plan import errors
from glassbox_dsl.plan.walking import CONDITIONS
from glassbox_dsl.resolve.cells import Sizes, resolve_dimension
from glassbox_dsl.resolve.facts import ModelFacts
from glassbox_dsl.resolve.sources import ModelFiles
from glassbox_dsl.syntax.nodes import every

if TYPE_CHECKING:
    from glassbox_dsl.resolve.data import DataTable

    Tables = Mapping[tuple[str, str], DataTable]

LARGEST = 10**8
"""The most cells, times items, over a file."""


@dataclass(frozen=True)
class Counted:
    """A sweep on a model and a data set: how many cells each dimension has, and how many items there are."""

    of: Run | Value
    model: str
    sizes: tuple[int, ...]
    items: int

    @property
    def cells(self) -> int:
        """All cells on all items."""
        return math.prod(self.sizes) * self.items


def too_large(program: Program, facts: Mapping[str, ModelFacts], tables: Tables) -> list[Diagnostic]:
    """The refusal of a file that expands to too many cells, on its largest sweep; what is not known counts as least.

    Without tables, prompts count as one token, and a data set as the items that it draws.
    """
    made = [e for e in program.experiments if e.wanted or e.name.startswith(CONDITIONS)]
    pairs = [(e, m) for e in made for m in e.models if m in facts]
    counted = [c for e, m in pairs for c in _of(program, e, m, facts, tables)]
    runs = [c for c in counted if isinstance(c.of, Run)]
    values = [c for c in counted if isinstance(c.of, Value) and c.cells > LARGEST]
    total = sum(c.cells for c in runs)
    if total <= LARGEST and not values:
        return []
    largest = max(runs if total > LARGEST else values, key=lambda c: c.cells)
    names = [d.name for d in largest.of.dimensions]
    factors = [f"{n:,} {name}" for n, name in zip(largest.sizes, names, strict=True)]
    factors.append(f"{largest.items:,} items")
    several = max(total, largest.cells) if isinstance(largest.of, Run) else largest.cells
    counts = largest.cells, several, LARGEST
    return [
        errors.too_many_cells(largest.of.span, largest.of.name, counts, factors, largest.model, bool(tables))
    ]


def not_fetched(program: Program, files: Mapping[str, ModelFiles]) -> list[Diagnostic]:
    """Models whose prompts cannot be cut into tokens yet: their tokenizers have to be fetched first."""
    missing = [m for m in program.models if m.name in files and not files[m.name].fetched]
    ids = {"bundled": "target", "tiny": "tokenizer"}
    return [errors.not_fetched(m.span, m.name, getattr(m, ids.get(m.kind, ""), "")) for m in missing]


def _of(
    program: Program, experiment: Experiment, model: str, facts: Mapping[str, ModelFacts], tables: Tables
) -> Iterator[Counted]:
    used = {node.run for node in every(experiment, RunUse)}
    for data in experiment.data:
        spec = next(d for d in program.data if d.name == data)
        table = tables.get((data, model))
        if table is None:
            items, longest = (spec.draw.count if spec.draw is not None else 1), 1
        else:
            items = sum(i.kept for i in table.items)
            longest = max((len(p.ids) for i in table.items for p in i.prompts.values()), default=1)
        sizes = Sizes(facts[model], items, longest, model, experiment.latents)
        for run in experiment.runs:
            here = run.model in (None, model) and run.data in (None, data) and run.name in used
            if here and all(v.prompt in spec.prompts for v in run.variants):
                yield Counted(run, model, _sizes(run.dimensions, sizes), items)
        for value in experiment.values:
            if value.kind != "let":
                yield Counted(value, model, _sizes(value.dimensions, sizes), items if value.has_item else 1)


def _sizes(dimensions: tuple[Dimension, ...], sizes: Sizes) -> tuple[int, ...]:
    return tuple(_size(d, sizes) for d in dimensions)


def _size(dimension: Dimension, sizes: Sizes) -> int:
    if dimension.members_from is not None:
        return 1  # a set from results: how large it is is known once they are there
    if dimension.members is None and not dimension.meets:
        return sizes.of(str(dimension.variables[0].axis))
    return len(resolve_dimension(dimension, sizes)[0])
