"""Makes the sets of one setting from the values they read, when they are first asked for.

Everything but the values is known without running the model. The run stage gives those (`SetValues`); a set that
reads nothing is made without them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from glassbox_dsl.diagnostics import Diagnostic, Findings, InternalError
from glassbox_dsl.language.circuit_nodes import Found
from glassbox_dsl.language.program import Constant, Dimension, Expr, Index, Run
from glassbox_dsl.language.set_nodes import (
    Largest,
    LiteralSet,
    Sample,
    SetExpr,
    SetIndex,
    SetOperation,
    SetReference,
    Where,
)
from glassbox_dsl.plan import errors, sets
from glassbox_dsl.plan.indexing import Binding, Env
from glassbox_dsl.plan.named import Mask, Named, along, exchange, take
from glassbox_dsl.plan.places import Places
from glassbox_dsl.plan.rows import ROW
from glassbox_dsl.plan.sets import Members, SetFamily
from glassbox_dsl.resolve.cells import Cell, Row
from glassbox_dsl.vocabulary.axes import EDGE, ITEM
from glassbox_dsl.vocabulary.sites import sites

if TYPE_CHECKING:
    from glassbox_dsl.plan.setting import Setting


class SetValues(Protocol):
    """What a set reads. Both give arrays with an axis for each of `dims`, over all their cells in `env`."""

    def numbers(self, expr: Expr, dims: Sequence[str], env: Env) -> NDArray[np.float64]:
        """A value; NaN where there is no cell."""

    def truth(self, expr: Expr, dims: Sequence[str], env: Env) -> Mask:
        """Where a truth value holds; `+` and `-` in it are union and difference."""

    def search(self, expr: Found, dims: Sequence[str], env: Env) -> Searched:
        """What a search for a circuit finds."""

    def elsewhere(self, experiment: str) -> Setting:
        """Another experiment of the file on the same model and data set."""


@dataclass(frozen=True)
class Searched:
    """What a search finds, both with the axis `edge`: which edges it keeps, and what it found of each (float64)."""

    kept: Named
    scores: Named


@dataclass
class SetMaker:
    """The sets of one setting. `notes`: warnings about those that were made."""

    setting: Setting
    values: SetValues | None = None
    families: dict[object, SetFamily] = field(default_factory=dict)
    masks: dict[object, Named] = field(default_factory=dict)
    searched: dict[object, Searched] = field(default_factory=dict)
    notes: list[Diagnostic] = field(default_factory=list)

    # ------------------------------------------------------------ what is asked for

    def family(self, expr: SetExpr, env: Env) -> SetFamily:
        """The set for every cell of the variables that it depends on; `env` says what those are."""
        full = self._full(expr.dims, env)
        key = (expr, _codes(full))
        if key not in self.families:
            self.families[key] = self._made(expr, full)
        return self.families[key]

    def rows(self, dimension: Dimension) -> tuple[Row, ...]:
        """The cells of a dimension whose domain is a set; an empty one cannot be swept."""
        assert dimension.members_from is not None
        members = self.family(dimension.members_from, Env(item=self.setting.all_items())).only()
        if not members:
            span = dimension.members_from.span
            raise Findings([errors.empty_sweep(span, span.text, self.setting.model)])
        return tuple(members.values())

    def contains(self, expr: SetExpr, coordinates: Sequence[Named], env: Env, prompt: str) -> Named:
        """Whether joint coordinates, one for each axis of a set, belong to it."""
        table = self._mask(expr, env, prompt)
        picks = {f"#{place}": c for place, c in enumerate(coordinates)}
        picks |= {b.dimension: b.ids for b in env.variables.values() if b.dimension in table.dims}
        found = take(table, picks | {ITEM: env.item})
        return Named(found.data if found.present is None else found.data & found.present, found.dims)

    def has_cells(self, expr: SetExpr, variables: Sequence[str], env: Env) -> Named:
        """Whether the joint cells that some variables stand for belong to a set: positions by name as such."""
        made = self.family(expr, env)
        bound = {b.dimension: b for b in (env.variables[v] for v in variables)}
        counts = [self._count(b) for b in bound.values()]
        shape = (*made.sets.shape, *counts)
        data = np.zeros(shape, dtype=np.bool_)
        for place in np.ndindex(*shape):
            ids = dict(zip(bound, place[made.sets.ndim :], strict=True))
            key = tuple(_cell(env.variables[v], ids[env.variables[v].dimension]).key for v in variables)
            data[place] = key in made.sets.item(*place[: made.sets.ndim])
        table = Named(data, (*made.dims, *(f"#{d}" for d in bound)))
        picks = {b.dimension: b.ids for b in env.variables.values() if b.dimension in made.dims}
        return take(table, picks | {f"#{d}": b.ids for d, b in bound.items()})

    def sizes(self, expr: SetExpr, env: Env) -> Named:
        """How many members a set has, at the cells of an environment."""
        made = self.family(expr, env)
        counts = np.array([len(m) for m in made.sets.flat], dtype=np.int64).reshape(made.sets.shape)
        picks = {b.dimension: b.ids for b in env.variables.values() if b.dimension in made.dims}
        return take(Named(counts, made.dims), picks)

    def check_edits(self, run: Run) -> None:
        """Refuse edits that write to a set without a member in any cell of a run."""
        for variant in run.variants:
            for edit in variant.edits:
                axes = {a: Binding(along(a, self.setting.sizes.of(a)), a) for a in sites()[edit.site].axes}
                env = self.setting.env(run.dimensions)
                env = env.with_variables({n: b for n, b in axes.items() if n not in env.variables})
                for index in edit.index:
                    if isinstance(index, SetIndex) and self.family(index.members, env).empty:
                        raise Findings([errors.empty_edit(index.span, index.span.text, self.setting.model)])

    # ------------------------------------------------------------ making

    def _made(self, expr: SetExpr, env: Env) -> SetFamily:
        match expr:
            case Where():
                return self._where(expr, env)
            case Largest():
                return self._largest(expr, env)
            case Sample():
                return self._sample(expr, env)
            case LiteralSet():
                return self._written(expr, env)
            case SetReference():
                return self._named(expr, env)
            case Found():
                return self._found(expr, env)
            case SetOperation(op="not", operands=(operand,)):
                whole = sets.everything(expr.axes, self.setting.sizes)
                return sets.join(lambda members: sets.difference(whole, members), [self.family(operand, env)])
            case SetOperation():
                return sets.join(sets.OPERATIONS[expr.op], [self.family(o, env) for o in expr.operands])
        raise InternalError(f"{type(expr).__name__} is not a set")

    def _where(self, expr: Where, env: Env) -> SetFamily:
        dims, shape = _shape(env)
        rows, inner, over = self._joint(expr.over, env)
        truth = self._known.truth(expr.body, (*dims, *over), inner).reshape((*shape, -1))
        return sets.family(
            dims, shape, lambda place: sets.members_at(rows, np.flatnonzero(truth[place]).tolist())
        )

    def _largest(self, expr: Largest, env: Env) -> SetFamily:
        dims, shape = _shape(env)
        rows, inner, over = self._joint(expr.over, env)
        numbers = self._known.numbers(expr.body, (*dims, *over), inner).reshape((*shape, -1))
        counts = self._counts(expr.k, dims, shape, env)

        def chosen(place: tuple[int, ...]) -> Members:
            places = sets.largest(numbers[place], int(counts[place]))
            self._enough(expr, len(places), int(counts[place]))
            return sets.members_at(rows, places)

        return sets.family(dims, shape, chosen)

    def _sample(self, expr: Sample, env: Env) -> SetFamily:
        dims, shape = _shape(env)
        bodies = np.broadcast_to(self.family(expr.body, env).spread(dims), shape)
        counts = self._counts(expr.k, dims, shape, env)

        def chosen(place: tuple[int, ...]) -> Members:
            found = sets.sample(bodies[place], int(counts[place]), expr.seed)
            self._enough(expr, len(found), int(counts[place]))
            return found

        return sets.family(dims, shape, chosen)

    def _found(self, expr: Found, env: Env) -> SetFamily:
        dims, shape = _shape(env)
        kept = np.broadcast_to(self.found(expr, env).kept.spread((*dims, EDGE))[0], (*shape, self._n_edges))
        rows = list(sets.everything(expr.axes, self.setting.sizes).values())
        return sets.family(
            dims, shape, lambda place: sets.members_at(rows, np.flatnonzero(kept[place]).tolist())
        )

    def found(self, expr: Found, env: Env) -> Searched:
        """What a search finds at every cell of the variables that it depends on; it is made once."""
        full = self._full(expr.dims, env)
        key = (expr, _codes(full))
        if key not in self.searched:
            self.searched[key] = self._known.search(expr, _shape(full)[0], full)
        return self.searched[key]

    @property
    def _n_edges(self) -> int:
        return self.setting.sizes.of(EDGE)

    def edges(self, expr: SetExpr, env: Env) -> Mask:
        """A set of edges at the rows of an environment, [row or 1, edge]."""
        table = self._mask(expr, env, "")
        picks = {b.dimension: b.ids for b in env.variables.values() if b.dimension in table.dims}
        found: Mask = take(table, picks).spread((ROW, "#0"))[0]
        return found

    def _written(self, expr: LiteralSet, env: Env) -> SetFamily:
        dims, shape = _shape(env)

        def at(place: tuple[int, ...]) -> Members:
            cells = {
                name: _cell(binding, place[dims.index(binding.dimension)])
                for name, binding in env.variables.items()
            }
            return sets.written(expr.items, expr.axes, cells, self.setting.sizes, self._single)

        return sets.family(dims, shape, at)

    def _single(self, index: SetIndex) -> list[Cell]:
        """The cells of a set over one axis that is a member of a written one."""
        members = self.family(index.members, Env(item=self.setting.all_items())).only()
        return [cell for (cell,) in members.values()]

    def _named(self, expr: SetReference, env: Env) -> SetFamily:
        setting = self.setting
        if expr.experiment != setting.experiment.name:
            setting = self._known.elsewhere(expr.experiment)
        value = setting.experiment.value(expr.kind, expr.name)
        whole = setting.env(value.dimensions)
        parts = [setting.sets.family(v.value, whole) for v in value.variants if isinstance(v.value, SetExpr)]
        chosen = parts[0]
        if len(parts) > 1:
            dims = tuple(d.name for d in value.dimensions)
            which = setting.cell_variants(value)
            spread = [np.broadcast_to(p.spread(dims), which.shape) for p in parts]
            chosen = sets.family(dims, which.shape, lambda place: spread[which[place]][place])
        own = [d for d in value.dimensions if d.name in chosen.dims]
        picks = Places(self.setting).family_cells(value, own, dict(expr.where), env, setting)
        for dimension in own:
            if ITEM in picks[dimension.name].dims:
                [written, *_] = [i for n, i in expr.where if n in {v.name for v in dimension.variables}]
                picks[dimension.name] = _of_every_item(picks[dimension.name], written)
        return _picked(chosen, picks)

    # ------------------------------------------------------------ parts

    @property
    def _known(self) -> SetValues:
        if self.values is None:
            raise InternalError("a set was asked for before what it reads was run")
        return self.values

    def _full(self, dims: Sequence[str], env: Env) -> Env:
        """Every cell of some dimensions of an environment, and every item."""
        found: dict[str, Binding] = {}
        for name, binding in env.variables.items():
            if binding.dimension in dims:
                ids = along(binding.dimension, self._count(binding))
                found[name] = Binding(ids, binding.dimension, binding.cells)
        return Env(item=self.setting.all_items(), variables=found)

    def _count(self, binding: Binding) -> int:
        """How many cells the dimension of a variable has."""
        return len(binding.cells) if binding.cells is not None else self.setting.sizes.of(binding.dimension)

    def _joint(self, over: Sequence[Dimension], env: Env) -> tuple[list[Row], Env, list[str]]:
        """The joint cells of the dimensions that members are made of, and an environment with all of them."""
        rows = sets.rows_of([self.setting.rows(d) for d in over])
        return rows, env.with_variables(self.setting.bindings(over)), [d.name for d in over]

    def _counts(self, k: Expr, dims: Sequence[str], shape: Sequence[int], env: Env) -> NDArray[np.int64]:
        """How many members are asked for in every cell; a number that is not there asks for none."""
        if isinstance(k, Constant):
            return np.full(tuple(shape), int(k.value))
        return np.nan_to_num(self._known.numbers(k, dims, env)).round().clip(0).astype(np.int64)

    def _enough(self, expr: Largest | Sample, found: int, wanted: int) -> None:
        """Note where a set has fewer members than were asked for."""
        note = errors.fewer_members(expr.span, found, wanted, self.setting.model)
        if found < wanted and note not in self.notes:
            self.notes.append(note)

    def _mask(self, expr: SetExpr, env: Env, prompt: str) -> Named:
        """A set as a table over its axes (`#0`, `#1`, ...), what it depends on, and items where those matter."""
        full = self._full(expr.dims, env)
        key = (expr, _codes(full), prompt if expr.by_name else "")
        if key not in self.masks:
            made, n_items = self.family(expr, full), self.setting.data.n_items if expr.by_name else None
            places = self.setting.indexer
            data = sets.mask(
                made,
                expr.axes,
                self.setting.sizes,
                n_items,
                lambda c, axis: places.positions(c, axis, prompt),
            )
            axes = [f"#{place}" for place in range(len(expr.axes))]
            self.masks[key] = Named(data, (*made.dims, *((ITEM,) if expr.by_name else ()), *axes))
        return self.masks[key]


def _cell(binding: Binding, number: int) -> Cell:
    """What a variable stands for in one of its cells."""
    return binding.cells[number] if binding.cells is not None else Cell(text=str(number), at=number)


def _codes(env: Env) -> tuple[object, ...]:
    """What the variables of an environment stand for, as part of a key."""
    return tuple((name, b.dimension, b.codes(len(b.ids.data))) for name, b in env.variables.items())


def _shape(env: Env) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """The dimensions of an environment's variables and their sizes."""
    sizes = {b.dimension: len(b.ids.data) for b in env.variables.values()}
    return tuple(sizes), tuple(sizes.values())


def _of_every_item(cell: Named, written: Index) -> Named:
    """An index that is the same for all items, without their axis; Findings (GB559) where it is not."""
    first = take(cell, {ITEM: Named(np.array(0))})
    was, _ = Named(np.where(first.full_presence(), first.data, -1), first.dims).spread(cell.dims)
    if (np.where(cell.full_presence(), cell.data, -1) != was).any():
        raise Findings([errors.set_differs(written.span)])
    return first


def _picked(made: SetFamily, picks: dict[str, Named]) -> SetFamily:
    """The sets of a family at some cells; where there is no cell the set is empty."""
    how = exchange(made.dims, made.sets.shape, picks)
    if how is None:
        return made
    # With an axis of length 1 behind them, one set alone stays in an array too.
    found = made.sets[..., None].transpose((*how.axes, made.sets.ndim))[how.index][..., 0]
    if how.present is None:
        return SetFamily(how.dims, found)
    there = np.broadcast_to(how.present, found.shape)
    return sets.family(how.dims, found.shape, lambda place: found[place] if there[place] else {})
