"""Places: which cell of a run, and which coordinate of a site, the names and indices of a value stand for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from glassbox_dsl.language.indices import is_point
from glassbox_dsl.language.program import ByValue, Covered, Dimension, Index, Position, Run, SiteRead, Swept
from glassbox_dsl.resolve.cells import Row
from glassbox_dsl.run.context import Context
from glassbox_dsl.run.indexing import Env
from glassbox_dsl.run.named import Named, along, combine, scalar, take
from glassbox_dsl.run.pairing import paired_positions
from glassbox_dsl.vocabulary.axes import ITEM, POSITION_AXES


@dataclass(frozen=True)
class Places:
    """Finds cells and coordinates in one context."""

    context: Context

    def default_prompt(self) -> str:
        """The prompt that positions mean where no run says which: the first of the data set."""
        return next(iter(self.context.data.items[0].prompts))

    def natural(self, axis: str, env: Env, prompt: str) -> Named:
        """The coordinate along an axis that stays a dimension."""
        return self.context.indexer.variable(axis, axis, env, prompt)

    def own_context(self, run: Run, env: Env) -> tuple[Context, Env]:
        """Where a run is made: its own model's context, with this one's items found there by number."""
        context = self.context
        if run.model in (None, context.model):
            return context, env
        other = context.other(context.experiment.name, str(run.model), context.data_name)
        places = {number: place for place, number in enumerate(other.data.numbers.tolist())}
        table = torch.tensor([places.get(n, -1) for n in context.data.numbers.tolist()])
        return other, replace(env, item=take(Named(table, (ITEM,)), {ITEM: env.item}))

    def extra_tokens(self, env: Env) -> Named:
        """How many answer tokens stand behind each item's prompt in this pass."""
        if env.extension is None:
            return scalar(0)
        name, which = env.extension
        counts = []
        for item in self.context.data.items:
            alternatives = item.answers[name].alternatives
            counts.append(max(len(alternatives[which]) - 1, 0) if which < len(alternatives) else 0)
        return take(Named(torch.tensor(counts), (ITEM,)), {ITEM: env.item})

    def run_cell(self, run: Run, where: Sequence[tuple[str, Index]], env: Env) -> Named:
        """The number of the run's cell (dimensions multiplied out) that indices name."""
        prompt = run.variants[0].prompt
        number: Named = scalar(0)
        for dimension in run.dimensions:
            size = len(self.context.rows(dimension))
            cell = self.cell_index(dimension, dict(where), env, prompt)
            number = combine(lambda n, c, size=size: n * size + c, number, cell)
        return number

    def cell_index(self, dimension: Dimension, where: dict[str, Index], env: Env, prompt: str) -> Named:
        """Which cell of a dimension the indices of its variables name; no cell is absent."""
        rows = self.context.rows(dimension)
        same = self._same_cells(dimension, where, env, rows)
        if same is not None:
            return same
        hits: Named = Named(torch.ones(len(rows), dtype=torch.bool), ("#cell",))
        for place, variable in enumerate(dimension.variables):
            hits = combine(
                torch.logical_and,
                hits,
                self._matches(where[variable.name], variable, place, rows, env, prompt),
            )
        data, there = hits.spread((*[d for d in hits.dims if d != "#cell"], "#cell"))
        dims = tuple(d for d in hits.dims if d != "#cell")
        found = data.any(-1)
        present = found if there is None else found & there.squeeze(-1)
        return Named(data.long().argmax(-1), dims, False, present)

    def _same_cells(
        self, dimension: Dimension, where: dict[str, Index], env: Env, rows: Sequence[Row]
    ) -> Named | None:
        """The shortcut for a variable that sweeps the very cells of the dimension."""
        bindings = []
        for place, variable in enumerate(dimension.variables):
            index = where[variable.name]
            if not isinstance(index, Swept) or index.variable not in env.variables:
                return None
            binding = env.variables[index.variable]
            own = tuple(row[place].key for row in rows)
            if binding.cells is None:
                if own != tuple(map(str, range(len(own)))):
                    return None
            elif binding.codes() != own:
                return None
            bindings.append(binding)
        if any(b.ids is not bindings[0].ids for b in bindings[1:]):
            return None
        ids = bindings[0].ids
        return ids.where((ids.data >= 0) & (ids.data < len(rows)))

    def _matches(
        self, index: Index, variable: Any, place: int, rows: Sequence[Row], env: Env, prompt: str
    ) -> Named:
        """Whether each cell of a dimension (along #cell) is the one that an index names."""
        cells = [row[place] for row in rows]
        keys = [c.key for c in cells]
        if isinstance(index, ByValue):
            same = [
                c.number == index.number
                if index.number is not None and c.number is not None
                else c.text == index.text
                for c in cells
            ]
            return Named(torch.tensor(same), ("#cell",))
        if isinstance(index, Swept) and (binding := env.variables[index.variable]).cells is not None:
            codes = {key: i for i, key in enumerate(keys)}
            table = torch.tensor([codes.get(c.key, -1) for c in binding.cells])
            ids = take(Named(table, ("#own",)), {"#own": binding.ids})
            return combine(torch.eq, ids, along("#cell", len(rows)))
        if isinstance(index, Position) and any(c.index == index for c in cells):
            return Named(torch.tensor([c.index == index for c in cells]), ("#cell",))
        axis = str(variable.axis)
        at = [c.at if c.at is not None else -1 for c in cells]
        point = (
            self.context.indexer.point(index, axis, env, prompt)
            if is_point(index)
            else self.context.indexer.variable(variable.name, axis, env, prompt)
        )
        inside = combine(torch.eq, point, Named(torch.tensor(at), ("#cell",)))
        if is_point(index):
            return inside
        chosen = self.context.indexer.member(index, point, axis, env, prompt)
        return combine(torch.logical_and, inside, chosen)

    def coordinates(self, expr: SiteRead, axes: Sequence[str], env: Env, prompt: str) -> dict[str, Named]:
        """The coordinate on each axis of a site that a read takes."""
        found: dict[str, Named] = {}
        for index, axis in zip(expr.index, axes, strict=True):
            if is_point(index) and not isinstance(index, Covered):
                found[axis] = self.context.indexer.point(index, axis, env, prompt)
            elif expr.copied and axis in env.coordinates:
                found[axis] = env.coordinates[axis]
                if axis in POSITION_AXES and env.prompt is not None:
                    found[axis] = paired_positions(index, axis, env, prompt, self.context.indexer)
            else:
                found[axis] = self.natural(axis, env, prompt)
        return found
