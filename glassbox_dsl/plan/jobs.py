"""Jobs: the runs to be made on a model."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

from glassbox_dsl.language.program import Run
from glassbox_dsl.plan.demand import Wanted
from glassbox_dsl.plan.named import Mask
from glassbox_dsl.plan.rows import RowMaker
from glassbox_dsl.plan.setting import Extension, Setting


@dataclass(frozen=True, eq=False)
class Job:
    """A run in a setting, with or without an answer behind its prompt.

    `rank` orders the writes of a layer: the runs that a run is set from come before it.
    """

    setting: Setting
    wanted: Wanted
    extension: Extension
    rank: int

    @property
    def run(self) -> Run:
        """The run."""
        return self.wanted.run

    @property
    def key(self) -> tuple[str, Extension]:
        """The name of its results in the setting."""
        return (self.run.name, self.extension)

    @cached_property
    def made(self) -> Mask:
        """Which cells exist for which items, [cell, item]."""
        return RowMaker(self.setting).made(self.run, self.extension)

    @property
    def n_cells(self) -> int:
        """How many cells the run has."""
        return math.prod(self.setting.shape(self.run))
