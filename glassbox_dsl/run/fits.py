"""Fits made and used: examples from values, a split by group that depends on nothing but the seed, and predictions."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from glassbox_dsl.diagnostics import Findings
from glassbox_dsl.language.program import Dimension, Expr, Run
from glassbox_dsl.language.technique_nodes import Auroc, Fit, FitValue, FitVariant
from glassbox_dsl.library.fit import Solution, Unfit, fit_kinds
from glassbox_dsl.plan import named as indices
from glassbox_dsl.plan.data_arrays import value_of
from glassbox_dsl.plan.fits_read import fits_read
from glassbox_dsl.plan.indexing import Env
from glassbox_dsl.plan.named import Mask
from glassbox_dsl.plan.progress import Silent
from glassbox_dsl.run import errors
from glassbox_dsl.run.asked import asked_of
from glassbox_dsl.run.context import Context
from glassbox_dsl.run.fit_labels import Labels, Numbers, classes, numbers
from glassbox_dsl.run.fit_scores import area, rated
from glassbox_dsl.run.named import Named, both, combine, take, tensor
from glassbox_dsl.syntax import nodes
from glassbox_dsl.vocabulary.axes import ITEM

if TYPE_CHECKING:
    from glassbox_dsl.run.evaluate import Evaluator

CELL = "#cell"
DIRECTION = "#direction"


@dataclass(frozen=True)
class Fitted:
    """A fit in one context.

    `directions` [cell, k, dim] and `offsets` [cell, k] (0 behind the number of a cell's own directions and the width of
    its values), `accuracy` and `score` [cell]; `held_out` says of each item whether it was kept from the fit.
    """

    directions: Tensor
    offsets: Tensor
    accuracy: Tensor
    score: Tensor
    held_out: Mask

    def applied(self, rows: Tensor, cell: int) -> Tensor:
        """Vectors [n, dim] as coordinates [n, k]."""
        offsets = self.offsets[cell].to(rows)
        return offsets + rows @ self.directions[cell, :, : rows.shape[1]].to(rows).mT

    def projected(self, rows: Tensor, cell: int) -> Tensor:
        """What of vectors [n, dim] lies in the basis."""
        basis = self.directions[cell, :, : rows.shape[1]].to(rows)
        return rows @ basis.mT @ basis


@dataclass(frozen=True)
class Fits:
    """Makes and uses the fits of one context."""

    evaluator: Evaluator

    @property
    def context(self) -> Context:
        """Where fits are used."""
        return self.evaluator.context

    # ------------------------------------------------------------ uses

    def value(self, expr: FitValue, env: Env) -> Named:
        """What a fit gives at its cells."""
        fit = self.context.experiment.fit(expr.use.fit)
        fitted = self.fitted(fit)
        cell = self.evaluator.places.cell(
            fit.dimensions, dict(expr.use.where), env, self._prompt(expr)
        )  # fmt: skip
        if expr.use.rank is not None:
            fitted = self.inverted(fit, fitted, expr.use.rank)
        at = {CELL: cell}
        if expr.part in ("accuracy", "score"):
            return take(Named(getattr(fitted, expr.part), (CELL,)), at)
        if expr.part == "direction":
            found = take(Named(fitted.directions, (CELL, DIRECTION), True), at)
            return Named(found.data.select(found.dims.index(DIRECTION), 0),
                         tuple(d for d in found.dims if d != DIRECTION), True, _squeezed(found))  # fmt: skip
        assert expr.body is not None
        body = self.evaluator.value(expr.body, env)
        if expr.part == "apply":
            return self._applied(fit, at_cells(body, cell, len(fitted.score), fitted.applied))
        inside = at_cells(body, cell, len(fitted.score), fitted.projected)
        return inside if expr.part == "project" else combine(torch.sub, body, inside)

    @staticmethod
    def _applied(fit: Fit, rows: Named) -> Named:
        """Coordinates [.., direction] as predictions, or as a vector."""
        if fit.gives in ("basis", "map"):
            return rows
        data = rows.data[..., 0]
        return Named(data.sigmoid() if fit.gives == "classes" else data, rows.dims, False, rows.present)

    def inverted(self, fit: Fit, fitted: Fitted, rank: int) -> Fitted:
        """The pseudo-inverse of a map in every cell; of `rank` of its singular values, or of all for 0."""
        name = f"{fit.name} inverse {rank}"
        if name not in self.context.fitted:
            u, s, v = torch.linalg.svd(fitted.directions.double(), full_matrices=False)
            if rank > s.shape[-1]:
                self._refuse(fit, f"its map has {s.shape[-1]} singular values, `rank: {rank}` asks for more")
            s = s[:, : rank or None]
            s = torch.where(s > 1e-7 * s[:, :1], s, torch.inf)  # what a map loses does not come back
            inverse = v[:, : s.shape[-1]].mT / s[:, None] @ u[..., : s.shape[-1]].mT
            offsets = -(inverse @ fitted.offsets.double()[..., None])[..., 0]
            self.context.fitted[name] = replace(fitted, directions=inverse.float(), offsets=offsets.float())
        return self.context.fitted[name]

    def _prompt(self, expr: FitValue) -> str:
        """The prompt in which positions among a fit's cells are found."""
        found = self.context.prompts_read(expr.body) if expr.body is not None else []
        return found[0] if found else self.evaluator.places.default_prompt()

    def held_out(self, found: Named, node: nodes.Node) -> Named:
        """A value without the items that a fit which it uses was made from."""
        if ITEM not in found.dims:
            return found
        context = self.context
        for name in fits_read(node, context.experiment):
            fit = context.experiment.fit(name)
            if fit.data in (None, context.data_name):
                kept = Named(tensor(self.fitted(fit).held_out), (ITEM,))
                found = found.where(kept.spread(found.dims)[0])
        return found

    def split_shown(self, node: nodes.Node) -> str | None:
        """Which items count in a value: `test`, those that were held out; `other`, all; None: no fit is used."""
        context = self.context
        names = fits_read(node, context.experiment)
        own = any(context.experiment.fit(n).data in (None, context.data_name) for n in names)
        return ("test" if own else "other") if names else None

    def auroc(self, expr: Auroc, env: Env) -> Named:
        """The share of pairs, one example of each label, in which the later label has the larger number (ties half)."""
        inner = env.with_variables(self.context.bindings([d for d in expr.over if d.name != ITEM]))
        inner = Env(item=self.context.all_items(), variables=inner.variables, extension=env.extension)
        body = self.held_out(self.evaluator.value(expr.body, inner), expr.body)
        places = [d for d in expr.over if d.name != ITEM]
        labels = self.labels(expr.label, places, expr)
        y = classes(labels, expr.label, expr)
        stays = tuple(d for d in body.dims if d not in {o.name for o in expr.over})
        gone = (ITEM, *(d.name for d in places))
        data, present = body.spread((*stays, *gone))
        shape = (*data.shape[: len(stays)], *y.shape)
        there = np.ones(shape, dtype=np.bool_) if present is None else present.expand(shape).numpy()
        flat = data.expand(shape).double().numpy().reshape(*shape[: len(stays)], -1)
        there = there.reshape(flat.shape) & ~np.isnan(y).reshape(-1)
        result = np.array(
            [area(flat[i][there[i]], y.reshape(-1)[there[i]]) for i in np.ndindex(flat.shape[:-1])]
        )
        return Named(torch.from_numpy(result.reshape(flat.shape[:-1])).float(), stays)

    # ------------------------------------------------------------ fits

    def before(self, run: Run) -> None:
        """Make the fits that a run's edits read and that run the model themselves: that cannot be inside of a pass."""
        for variant in run.variants:
            for edit in variant.edits:
                for name in fits_read(edit, self.context.experiment):
                    fit = self.context.experiment.fit(name)
                    if any(fit_kinds()[v.kind].asks for v in fit.variants):
                        self.fitted(fit)

    def fitted(self, fit: Fit) -> Fitted:
        """The fit, made once in the context of the data set that it is fitted on."""
        context = self.context
        if fit.data not in (None, context.data_name):
            other = context.other(context.experiment.name, context.model, str(fit.data))
            return self.evaluator.at(other).fits.fitted(fit)
        if fit.name not in context.fitted:
            context.fitted[fit.name] = self._made(fit)
        return context.fitted[fit.name]

    def _made(self, fit: Fit) -> Fitted:
        shape = self.context.shape(fit)
        variants = self.context.cell_variants(fit)
        held_out = self.split(fit.variants[0])
        found: dict[tuple[int, ...], tuple[Solution, float, float]] = {}
        for number, variant in enumerate(fit.variants):
            mine = [c for c in product(*map(range, shape)) if variants[c] == number]
            if not mine:
                continue
            x, there = self.examples(fit, variant.body)
            y = self.targets(fit, variant)
            test = np.broadcast_to(held_out.reshape(-1, *[1] * len(fit.examples)), there.shape[len(shape) :])
            known = there & np.isfinite(x).all(-1) & ~np.isnan(y.reshape(*there.shape, -1)).any(-1)
            asked = asked_of(self, fit, variant, x, y, known & ~test)
            with self._told(fit, variant, len(mine)) as advance:
                for cell in mine:
                    found[cell] = self.one(
                        fit, variant, x[cell], y[cell], known[cell], test, partial(asked, cell)
                    )
                    advance(1)
        cells = [found[c] for c in product(*map(range, shape))]
        width = max(s.directions.shape[1] for s, _, _ in cells)
        count = max(len(s.offsets) for s, _, _ in cells)
        rows = [padded(s.directions, (count, width)) for s, _, _ in cells]
        starts = [padded(s.offsets, (count,)) for s, _, _ in cells]
        columns = rows, starts, [a for _, a, _ in cells], [s for _, _, s in cells]
        directions, offsets, accuracy, score = (torch.from_numpy(np.array(c)).float() for c in columns)
        return Fitted(directions, offsets, accuracy, score, held_out)

    def _told(
        self, fit: Fit, variant: FitVariant, cells: int
    ) -> AbstractContextManager[Callable[[int], None]]:
        """Progress of a fit that takes long: one that the model takes part in."""
        progress = self.context.progress if fit_kinds()[variant.kind].asks else Silent()
        return progress.within(f"{fit.name} fitted", cells)

    def one(
        self, fit: Fit, variant: FitVariant, x: Numbers, y: Numbers, known: Mask, test: Mask,
        asked: Callable[[Mask], Any],
    ) -> tuple[Solution, float, float]:  # fmt: skip
        """The fit of one cell, with its accuracy and score on the examples that were held out."""
        kind = fit_kinds()[variant.kind]
        train, apart = known & ~test, known & test
        if fit.gives == "classes" and len(set(y[train].tolist())) < 2:
            self._refuse(fit, "all training items have the same label")
        if train.sum() < 2:
            self._refuse(fit, f"it has {int(train.sum())} training examples")
        more = [asked(train)] if kind.asks else []
        try:
            solution = kind.compute(
                x[train], y[train], {**dict(variant.options), "seed": variant.seed}, *more
            )
        except Unfit as problem:
            self._refuse(fit, str(problem))
        if kind.score is None:
            return solution, *rated(fit.gives, solution, x[apart], y[apart], x[train].mean(0))
        if not apart.any():
            return solution, np.nan, np.nan
        return solution, np.nan, kind.score(solution, x[apart], y[apart], asked(apart))

    def _refuse(self, fit: Fit, why: str) -> None:
        raise Findings([errors.unfit(fit.span, fit.name, self.context.model, why)])

    def examples(self, fit: Fit, value: Expr) -> tuple[Numbers, Mask]:
        """A value [the fit's cells, item, positions, (dim)] and where it exists."""
        dimensions = (*fit.dimensions, *fit.examples)
        found = self.evaluator.value(value, self.context.env(dimensions))
        order = (*(d.name for d in fit.dimensions), ITEM, *(d.name for d in fit.examples))
        sizes = [len(self.context.rows(d)) for d in dimensions]
        sizes.insert(len(fit.dimensions), self.context.data.n_items)
        data, present = found.spread(order)
        there = np.ones(sizes, dtype=np.bool_) if present is None else present.expand(sizes).numpy()
        return data.expand(*sizes, *data.shape[len(order) :]).double().numpy(), there

    # ------------------------------------------------------------ labels and splits

    def targets(self, fit: Fit, variant: FitVariant) -> Numbers:
        """What is predicted for each example [the fit's cells, item, positions, (dim)]; NaN where there is none."""
        cells, shape = self.context.shape(fit), (self.context.data.n_items, *self._counts(fit.examples))
        if variant.target is not None:
            y, there = self.examples(fit, variant.target)
            y = np.where(there if variant.target.feature is None else there[..., None], y, np.nan)
        elif variant.label is None:
            return np.zeros((*cells, *shape))
        else:
            labels = self.labels(variant.label, fit.examples, fit)
            convert = classes if fit.gives == "classes" else numbers
            y = np.broadcast_to(convert(labels, variant.label, fit), (*cells, *shape))
        return y if variant.control is None else self.drawn(y, variant, len(cells))

    def _counts(self, dimensions: tuple[Dimension, ...]) -> tuple[int, ...]:
        return tuple(len(self.context.rows(d)) for d in dimensions)

    def drawn(self, y: Numbers, variant: FitVariant, n_axes: int) -> Numbers:
        """Other labels from the same ones, one for each value of the control feature: what can be learnt by heart.

        The axis of items stands behind `n_axes` others.

        Hewitt and Liang 2019, arXiv:1909.03368.
        """
        pool = np.sort(y[~np.isnan(y)])
        keys = self.keys(None if variant.control == ITEM else variant.control)
        picks = [pool[_hash(variant.seed, "control", key) % len(pool)] for key in keys]
        column = np.array(picks).reshape(-1, *[1] * (y.ndim - n_axes - 1))
        return np.where(np.isnan(y), np.nan, np.broadcast_to(column, y.shape))

    def labels(
        self, name: str, examples: tuple[Dimension, ...] | list[Dimension], node: nodes.Node
    ) -> Labels:
        """The values of a feature or variable [item, positions]; None where there is none."""
        values = [value_of(item, name) for item in self.context.data.items]
        shape = (len(values), *(len(self.context.rows(d)) for d in examples))
        table = np.empty(shape, dtype=object)
        if not any(isinstance(v, tuple) for v in values):
            table[...] = np.array([*values, None], dtype=object)[:-1].reshape(-1, *[1] * len(examples))
            return table
        if len(examples) != 1:
            why = f"`{name}` has a value for each position: leave one axis of positions free"
            raise Findings([errors.unfit(node.span, name, self.context.model, why)])
        [dimension] = examples
        [variable] = dimension.variables
        prompts = self.context.prompts_read(node)
        env = self.context.env(examples)
        prompt = prompts[0] if prompts else self.evaluator.places.default_prompt()
        at = self.context.indexer.variable(variable.name, str(variable.axis), env, prompt)
        places = np.broadcast_to(at.spread((ITEM, dimension.name))[0], shape)
        for item, place in np.ndindex(*shape):
            own, position = values[item], places[item, place]
            table[item, place] = own[position] if 0 <= position < len(own) else None
        return table

    def keys(self, feature: str | None) -> list[str]:
        """What an item has in common with those of its group; its number where it has none."""
        items = self.context.data.items
        return [repr(value_of(i, feature)) if feature else str(i.number) for i in items]

    def split(self, variant: FitVariant) -> Mask:
        """Which items are held out: whole groups, in an order that only the seed and the groups decide."""
        keys = self.keys(variant.group)
        order = sorted(set(keys), key=lambda key: _hash(variant.seed, "split", key))
        if len(order) < 2:
            why = f"all items agree on `{variant.group}`" if variant.group else "there is one item"
            raise Findings([errors.unfit(variant.span, "a split", self.context.model, why)])
        held: set[str] = set()
        for key in order[:-1]:
            if sum(k in held for k in keys) >= variant.test * len(keys):
                break
            held.add(key)
        return np.array([key in held for key in keys])


def padded(numbers: Numbers, shape: tuple[int, ...]) -> Numbers:
    """Numbers with zeros behind them."""
    return np.pad(numbers, [(0, most - n) for n, most in zip(numbers.shape, shape, strict=True)])


def _hash(seed: int, what: str, key: str) -> int:
    return int.from_bytes(hashlib.sha256(f"{seed} {what} {key}".encode()).digest()[:8], "little")


def at_cells(value: Named, cell: indices.Named, n: int, make: Callable[[Tensor, int], Tensor]) -> Named:
    """A value [.., dim] with its vectors taken through the fit of their own cell, of n: `make(rows [n, dim], cell)`."""
    cell = indices.Named(
        cell.data.clip(0, n - 1), cell.dims, indices.both(cell.present, (cell.data >= 0) & (cell.data < n))
    )
    dims = tuple(dict.fromkeys((*value.dims, *cell.dims)))
    (data, there), (cells, named) = value.spread(dims), cell.spread(dims)
    sizes = np.broadcast_shapes(data.shape[:-1], cells.shape)
    rows = data.expand(*sizes, data.shape[-1]).reshape(-1, data.shape[-1])
    own = torch.from_numpy(np.broadcast_to(cells, sizes).reshape(-1).copy())
    used = own.unique().tolist()
    if len(used) == 1:
        made = make(rows, used[0])
    else:
        parts = [(own == one).nonzero()[:, 0] for one in used]
        made = torch.cat([make(rows[part], one) for part, one in zip(parts, used, strict=True)])
        made = made[torch.cat(parts).argsort()]
    present = both(there, None if named is None else tensor(named))
    return Named(made.reshape(*sizes, -1), dims, True, present)


def _squeezed(value: Named) -> Tensor | None:
    """Presence without the axis of directions."""
    if value.present is None:
        return None
    return value.present.any(value.dims.index(DIRECTION))
