"""Sets from results in a plan: their members are not known yet, so as many as may be are supposed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from glassbox_dsl.language.circuit_nodes import Found
from glassbox_dsl.language.program import Experiment, Expr, Program
from glassbox_dsl.language.set_nodes import SetExpr
from glassbox_dsl.plan.data_arrays import DataArrays
from glassbox_dsl.plan.indexing import Env
from glassbox_dsl.plan.named import Mask, Named
from glassbox_dsl.plan.set_maker import Searched
from glassbox_dsl.plan.setting import Setting
from glassbox_dsl.resolve.cells import Sizes
from glassbox_dsl.resolve.facts import ModelFacts
from glassbox_dsl.syntax.nodes import everything
from glassbox_dsl.vocabulary.axes import EDGE

SUPPOSED = (
    "sets from results are not known before a run: of a condition, every second cell is counted as a member"
)


def supposes(program: Program) -> bool:
    """Whether any set of a program depends on results."""
    return any(isinstance(n, SetExpr) for e in program.experiments for n in everything(e))


def supposed_setting(
    program: Program, experiment: Experiment, model: str, data: str, arrays: DataArrays, facts: ModelFacts
) -> Setting:
    """A setting whose sets from results have supposed members."""
    setting = Setting(
        experiment,
        model,
        data,
        arrays,
        Sizes(facts, arrays.n_items, arrays.longest, model, experiment.latents),
    )
    setting.sets.values = Supposed(program, setting)
    return setting


@dataclass(frozen=True)
class Supposed:
    """Stands in for what sets read (`SetValues`): all numbers are equal, every second truth holds."""

    program: Program
    setting: Setting

    def numbers(self, expr: Expr, dims: Sequence[str], env: Env) -> NDArray[np.float64]:
        """Numbers that are all equal: `largest` takes as many as it is asked for."""
        return np.zeros(_shape(dims, env))

    def truth(self, expr: Expr, dims: Sequence[str], env: Env) -> Mask:
        """Every second cell, so that neither a set nor its complement is empty."""
        shape = _shape(dims, env)
        found: Mask = np.arange(int(np.prod(shape))) % 2 == 0
        return found.reshape(shape)

    def search(self, expr: Found, dims: Sequence[str], env: Env) -> Searched:
        """Every second edge: how many are kept does not change what a pass takes."""
        every = np.arange(self.setting.sizes.of(EDGE))
        return Searched(Named(every % 2 == 0, (EDGE,)), Named(np.zeros(len(every)), (EDGE,)))

    def elsewhere(self, experiment: str) -> Setting:
        """Another experiment of the file on the same model and data set."""
        here = self.setting
        other = next(e for e in self.program.experiments if e.name == experiment)
        return supposed_setting(self.program, other, here.model, here.data_name, here.data, here.sizes.facts)


def _shape(dims: Sequence[str], env: Env) -> list[int]:
    sizes = {b.dimension: len(b.ids.data) for b in env.variables.values()}
    return [sizes[d] for d in dims]
