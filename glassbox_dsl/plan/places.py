"""Places: which cell of a run, and which coordinate of a site, the names and indices of a value stand for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from glassbox_dsl.language.indices import is_point
from glassbox_dsl.language.program import ByValue, Covered, Dimension, Index, Position, Run, SiteRead, Swept
from glassbox_dsl.plan.indexing import CELL, Binding, Env
from glassbox_dsl.plan.named import Named, along, combine, scalar, take, union
from glassbox_dsl.plan.pairing import paired_positions, sweeps_sets
from glassbox_dsl.plan.setting import Setting
from glassbox_dsl.resolve.cells import Cell, Row
from glassbox_dsl.vocabulary.axes import ITEM, POSITION_AXES


@dataclass(frozen=True)
class Places:
    """Finds cells and coordinates in one setting."""

    setting: Setting

    def default_prompt(self) -> str:
        """The prompt that positions mean where no run says which: the first of the data set."""
        return next(iter(self.setting.data.items[0].prompts))

    def natural(self, axis: str, env: Env, prompt: str) -> Named:
        """The coordinate along an axis that stays a dimension."""
        return self.setting.indexer.variable(axis, axis, env, prompt)

    def extra_tokens(self, env: Env) -> Named:
        """How many answer tokens stand behind each item's prompt in this pass."""
        if env.extension is None:
            return scalar(0)
        return take(Named(self.setting.extra_tokens(env.extension), (ITEM,)), {ITEM: env.item})

    def run_cell(self, run: Run, where: Sequence[tuple[str, Index]], env: Env) -> Named:
        """The number of the run's cell (dimensions multiplied out) that indices name."""
        prompts = list(dict.fromkeys(v.prompt for v in run.variants))
        parts = [self._run_cell(run, dict(where), env, prompt) for prompt in prompts]
        result = parts[0]
        for number, part in enumerate(parts[1:], start=1):
            result = _chosen(self.prompt_of(run, result), number, part, result)
        return result

    def _run_cell(self, run: Run, where: dict[str, Index], env: Env, prompt: str) -> Named:
        """The cell, its positions found in one of the run's prompts."""
        number: Named = scalar(0)
        for dimension in run.dimensions:
            size = len(self.setting.rows(dimension))
            cell = self.cell_index(dimension, where, env, prompt)
            number = combine(lambda n, c, size=size: n * size + c, number, cell)
        return number

    def prompt_of(self, run: Run, cell: Named) -> Named:
        """Which of a run's prompts, in order of first appearance, the pass of each cell is over."""
        prompts = list(dict.fromkeys(v.prompt for v in run.variants))
        own = np.array([prompts.index(v.prompt) for v in run.variants], dtype=np.int64)
        return take(Named(own[self.setting.cell_variants(run).reshape(-1)], ("#run",)), {"#run": cell})

    def cell_index(self, dimension: Dimension, where: dict[str, Index], env: Env, prompt: str) -> Named:
        """Which cell of a dimension the indices of its variables name; no cell is absent."""
        rows = self.setting.rows(dimension)
        same = self._same_cells(dimension, where, env)
        if same is not None:
            return same
        hits: Named = Named(np.ones(len(rows), dtype=np.bool_), (CELL,))
        for place, variable in enumerate(dimension.variables):
            hits = combine(
                np.logical_and,
                hits,
                self._matches(where[variable.name], variable, place, rows, env, prompt),
            )
        data, there = hits.spread((*[d for d in hits.dims if d != CELL], CELL))
        dims = tuple(d for d in hits.dims if d != CELL)
        present = np.asarray((data if there is None else data & there).any(-1))
        return Named(data.argmax(-1), dims, present)

    def _same_cells(self, dimension: Dimension, where: dict[str, Index], env: Env) -> Named | None:
        """The shortcut for a variable that sweeps the very cells of the dimension."""
        bindings = []
        for variable, own in zip(dimension.variables, self.setting.cells_of(dimension), strict=True):
            index = where[variable.name]
            if not isinstance(index, Swept) or index.variable not in env.variables:
                return None
            binding = env.variables[index.variable]
            if binding.cells is not own and binding.codes(len(own)) != tuple(c.key for c in own):
                return None
            bindings.append(binding)
        if any(b.ids is not bindings[0].ids for b in bindings[1:]):
            return None
        ids = bindings[0].ids
        return ids.where((ids.data >= 0) & (ids.data < len(self.setting.rows(dimension))))

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
            return Named(np.array(same, dtype=np.bool_), (CELL,))
        named = isinstance(index, Swept) and _names_places(env.variables[index.variable], cells)
        if (
            isinstance(index, Swept)
            and not named
            and (binding := env.variables[index.variable]).cells is not None
        ):
            codes = {key: i for i, key in enumerate(keys)}
            table = np.array([codes.get(c.key, -1) for c in binding.cells], dtype=np.int64)
            ids = take(Named(table, ("#own",)), {"#own": binding.ids})
            return combine(np.equal, ids, along(CELL, len(rows)))
        if isinstance(index, Position) and any(c.index == index for c in cells):
            return Named(np.array([c.index == index for c in cells]), (CELL,))
        axis = str(variable.axis)
        at = [c.at if c.at is not None else -1 for c in cells]
        point = (
            self.setting.indexer.point(index, axis, env, prompt)
            if is_point(index)
            else self.setting.indexer.variable(variable.name, axis, env, prompt)
        )
        inside = combine(np.equal, point, Named(np.array(at, dtype=np.int64), (CELL,)))
        if is_point(index):
            return inside
        chosen = self.setting.indexer.member(index, point, axis, env, prompt)
        return combine(np.logical_and, inside, chosen)

    def coordinates(self, expr: SiteRead, axes: Sequence[str], env: Env, prompt: str) -> dict[str, Named]:
        """The coordinate on each axis of a site that a read takes."""
        found: dict[str, Named] = {}
        for index, axis in zip(expr.index, axes, strict=True):
            whole = sweeps_sets(index, env)  # spans and sets used whole: the cells that the edit writes
            if is_point(index) and not isinstance(index, Covered) and not whole:
                found[axis] = self.setting.indexer.point(index, axis, env, prompt)
            elif (expr.copied or whole) and axis in env.coordinates:
                found[axis] = env.coordinates[axis]
                if axis in POSITION_AXES and env.prompt is not None:
                    found[axis] = paired_positions(
                        index, axis, env, prompt, self.setting.indexer, self.extra_tokens(env)
                    )
            else:
                found[axis] = self.natural(axis, env, prompt)
        return found


def _chosen(chosen: Named, number: int, part: Named, rest: Named) -> Named:
    """`part` where `chosen` is a number, `rest` elsewhere; presence goes with the indices."""
    dims = union([chosen, part, rest])
    mine = chosen.spread(dims)[0] == number
    there = [Named(n.full_presence(), n.dims).spread(dims)[0] for n in (part, rest)]
    data = np.where(mine, part.spread(dims)[0], rest.spread(dims)[0])
    return Named(data, dims, np.broadcast_to(np.where(mine, *there), data.shape))


def items_elsewhere(here: Setting, there: Setting, item: Named) -> Named:
    """Where the items of one setting stand in another of the same data set; absent where it does not keep them."""
    places = {number: place for place, number in enumerate(there.data.numbers.tolist())}
    table = np.array([places.get(n, -1) for n in here.data.numbers.tolist()], dtype=np.int64)
    return take(Named(table, (ITEM,)), {ITEM: item})


def _names_places(binding: Binding, cells: Sequence[Cell]) -> bool:
    """Whether a variable sweeps positions by name while the cells are positions by number: they meet item by item."""
    own = binding.cells or ()
    return (
        any(c.index is not None for c in own)
        and not any(c.whole for c in own)
        and all(c.at is not None for c in cells)
    )
