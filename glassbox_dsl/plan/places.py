"""Places: which cell of a run, and which coordinate of a site, the names and indices of a value stand for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np

from glassbox_dsl.diagnostics import Findings
from glassbox_dsl.language.indices import is_point
from glassbox_dsl.language.program import ByValue, Covered, Dimension, Index, Position, Run, SiteRead, Swept
from glassbox_dsl.plan import errors
from glassbox_dsl.plan.indexing import CELL, FALSE, TRUE, Binding, Env
from glassbox_dsl.plan.named import Named, along, combine, scalar, take, union
from glassbox_dsl.plan.pairing import paired_positions, sweeps_sets
from glassbox_dsl.plan.setting import Setting
from glassbox_dsl.resolve.cells import Cell, Row
from glassbox_dsl.syntax import nodes
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

    def _run_cell(self, run: Run, where: Mapping[str, Index], env: Env, prompt: str) -> Named:
        """The cell, its positions found in one of the run's prompts."""
        return self.cell(run.dimensions, where, env, prompt)

    def cell(
        self, dimensions: Sequence[Dimension], where: Mapping[str, Index], env: Env, prompt: str
    ) -> Named:
        """The number of the cell (dimensions multiplied out) of a family that indices name."""
        number: Named = scalar(0)
        for dimension in dimensions:
            size = len(self.setting.rows(dimension))
            cell = self.cell_index(dimension, where, env, prompt)
            number = combine(lambda n, c, size=size: n * size + c, number, cell)
        return number

    def prompt_of(self, run: Run, cell: Named) -> Named:
        """Which of a run's prompts, in order of first appearance, the pass of each cell is over."""
        prompts = list(dict.fromkeys(v.prompt for v in run.variants))
        own = np.array([prompts.index(v.prompt) for v in run.variants], dtype=np.int64)
        return take(Named(own[self.setting.cell_variants(run).reshape(-1)], ("#run",)), {"#run": cell})

    # ------------------------------------------------------------ cells of values

    def prompts_at(self, read: nodes.Node, env: Env, home: Setting | None = None) -> dict[str, Named]:
        """The prompts that a value reads, each with the cells of an environment in which it reads it.

        `home` is the setting that the value belongs to, where that is another one.
        """
        home = home or self.setting
        prompts = home.prompts_read(read)
        if len(prompts) < 2:
            return dict.fromkeys(prompts, TRUE)
        named = {name: b for name, b in env.variables.items() if _stands_for_names(b)}
        shape = [len(b.cells or ()) for b in named.values()]
        tables = {prompt: np.zeros(shape, dtype=np.bool_) for prompt in prompts}
        for place in product(*map(range, shape)):
            texts = {name: (b.cells or ())[i].text for i, (name, b) in zip(place, named.items(), strict=True)}
            for prompt in home.prompts_read(read, texts):
                tables[prompt][place] = True
        dims = tuple(f"#{name}" for name in named)
        picks = {f"#{name}": b.ids for name, b in named.items()}
        return {prompt: take(Named(table, dims), picks) for prompt, table in tables.items()}

    def variable(self, name: str, axis: str, env: Env, read: nodes.Node | None) -> tuple[Named, Named]:
        """The index that a variable stands for in the prompts that a value reads, and where these differ."""
        if env.prompt is not None:
            return self.setting.indexer.variable(name, axis, env, env.prompt), FALSE
        reads = {} if read is None else self.prompts_at(read, env)
        prompts = [*reads] or [self.default_prompt()]
        parts = {prompt: self.setting.indexer.variable(name, axis, env, prompt) for prompt in prompts}
        return agreed(parts, reads)

    def family_cells(
        self,
        read: nodes.Node,
        dimensions: Sequence[Dimension],
        where: Mapping[str, Index],
        env: Env,
        home: Setting | None = None,
    ) -> dict[str, Named]:
        """For each dimension of a value the cells that indices name, positions found in the prompts it reads there.

        Raises Findings (GB548) where a position lies elsewhere in one of those prompts than in another.
        """
        prompts = (home or self.setting).prompts_read(read) or [self.default_prompt()]
        found: dict[str, dict[str, Named]] = {prompt: {} for prompt in prompts}
        for dimension in dimensions:
            for place, prompt in enumerate(prompts):
                again = place > 0 and not any(v.axis in POSITION_AXES for v in dimension.variables)
                found[prompt][dimension.name] = (
                    found[prompts[0]][dimension.name]
                    if again
                    else self.cell_index(dimension, where, env, prompt)
                )
        if all(_alike([found[p][d.name] for p in prompts]) for d in dimensions):
            return found[prompts[0]]
        reads = {}
        for prompt, cells in found.items():
            inner = env.with_variables(self.bound(dimensions, cells))
            reads[prompt] = self.prompts_at(read, inner, home)[prompt]
        chosen = {}
        for dimension in dimensions:
            one, clash = agreed({prompt: cells[dimension.name] for prompt, cells in found.items()}, reads)
            if clash.data.any():
                [written, *_] = [where[v.name] for v in dimension.variables if v.axis in POSITION_AXES]
                raise Findings([errors.places_differ(written.span, prompts)])
            chosen[dimension.name] = one
        return chosen

    def bound(self, dimensions: Sequence[Dimension], cells: Mapping[str, Named]) -> dict[str, Binding]:
        """The variables of dimensions at given cells of each."""
        return {
            variable.name: Binding(cells[dimension.name], dimension.name, own)
            for dimension in dimensions
            for variable, own in zip(dimension.variables, self.setting.cells_of(dimension), strict=True)
        }

    def read_at(self, read: SiteRead, env: Env) -> Named:
        """The position at which logits of a run are read: in the prompt of its cell."""
        run = self.setting.run(read.run.run)
        prompts = list(dict.fromkeys(v.prompt for v in run.variants))
        parts = [self.setting.indexer.point(read.index[0], "pos", env, prompt) for prompt in prompts]
        found = parts[0]
        for number, part in enumerate(parts[1:], start=1):
            own = self.prompt_of(run, self.run_cell(run, read.run.where, env))
            found = _chosen(own, number, part, found)
        return found

    def cell_index(self, dimension: Dimension, where: Mapping[str, Index], env: Env, prompt: str) -> Named:
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

    def _same_cells(self, dimension: Dimension, where: Mapping[str, Index], env: Env) -> Named | None:
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


def agreed(parts: Mapping[str, Named], reads: Mapping[str, Named]) -> tuple[Named, Named]:
    """Of indices found in each of some prompts, for each cell that of the prompts it reads; and where these differ."""
    if len(parts) == 1:
        return next(iter(parts.values())), FALSE
    dims = union([*parts.values(), *reads.values()])
    found: Any = np.zeros((), dtype=np.int64)
    there: Any = np.zeros((), dtype=np.bool_)
    clash: Any = there
    for prompt, part in parts.items():
        data, present = part.spread(dims)
        mine = reads[prompt].spread(dims)[0] & (True if present is None else present)
        clash = clash | (mine & there & (data != found))
        found = np.where(mine & ~there, data, found)
        there = there | mine
    found, there, clash = np.broadcast_arrays(found, there, clash)
    return Named(found, dims, there), Named(clash, dims)


def _alike(found: Sequence[Named]) -> bool:
    """Whether some indices are all the same."""
    first = found[0]
    return all(
        one is first
        or (
            one.dims == first.dims
            and np.array_equal(one.full_presence(), first.full_presence())
            and np.array_equal(
                np.where(one.full_presence(), one.data, -1), np.where(first.full_presence(), first.data, -1)
            )
        )
        for one in found[1:]
    )


def _stands_for_names(binding: Binding) -> bool:
    """Whether the cells of a variable are names: prompts, runs, sites, answers."""
    cells = binding.cells or ()
    return bool(cells) and all(c.at is None and c.index is None and c.number is None for c in cells)


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
