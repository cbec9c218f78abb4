"""One experiment on one model and one data set: what its expressions are evaluated in."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from glassbox_dsl.diagnostics import Findings
from glassbox_dsl.language.program import Index, Run
from glassbox_dsl.plan.indexing import Env
from glassbox_dsl.plan.named import Mask
from glassbox_dsl.plan.places import items_elsewhere
from glassbox_dsl.plan.progress import Progress, Silent
from glassbox_dsl.plan.setting import Extension, Setting
from glassbox_dsl.plan.taps import Tap
from glassbox_dsl.run import errors
from glassbox_dsl.run.instrument import Instrument
from glassbox_dsl.run.named import Named
from glassbox_dsl.vocabulary.keys import SiteKey

if TYPE_CHECKING:
    from glassbox_dsl.run.fits import Fitted
    from glassbox_dsl.run.gradients import Gradient
    from glassbox_dsl.run.keeping_values import KeptValue


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
    """What was kept of a run: sites and taps; `made` [cell, item] says which passes exist at all.

    `whole` [cell, item]: those of which the sites are made this time (None: all); taps may be known of the others.
    `waiting`: those of them that no pack has made yet.
    """

    made: Mask
    sites: dict[str, Stored] = field(default_factory=dict)
    taps: dict[Tap, Named] = field(default_factory=dict)
    whole: Mask | None = None
    waiting: Mask | None = None


@dataclass(kw_only=True)
class Context(Setting):
    """A setting with its model and what was run. `other` gives the same experiment's context elsewhere.

    `usable`: whether enough items of a data set are kept for a model. `direct`: metrics of two runs are made from the
    logits of both. `make` makes a run by name, where runs are made when they are first read. `sent` is what
    the run that kept circuits heard last put out. `kept` finds values (by kind and name) that a results file keeps;
    `partly`: cells may be evaluated of which the runs are not there, for nobody looks at them.
    """

    instrument: Instrument
    other: Callable[[str, str, str], Context]
    usable: Callable[[str, str], bool] = lambda data, model: True
    make: Callable[[str], None] | None = None
    results: dict[tuple[str, Extension], RunResults] = field(default_factory=dict)
    cache: dict[object, Named] = field(default_factory=dict)
    scrubbed: dict[object, object] = field(default_factory=dict)
    fitted: dict[str, Fitted] = field(default_factory=dict)
    direct: bool = False
    generated: dict[str, dict[tuple[int, int], tuple[int, ...]]] = field(default_factory=dict)
    gradients: dict[object, Gradient] = field(default_factory=dict)
    scores: dict[object, NDArray[np.float64]] = field(default_factory=dict)
    progress: Progress = field(default_factory=Silent)
    sent: tuple[object, dict[SiteKey, Tensor]] | None = None
    kept: dict[tuple[str, str], KeptValue] = field(default_factory=dict)
    partly: bool = False

    def home(self, experiment: str) -> Context:
        """The context of an experiment on the same model and data."""
        own = experiment == self.experiment.name
        return self if own else self.other(experiment, self.model, self.data_name)


def own_context(context: Context, run: Run, env: Env) -> tuple[Context, Env]:
    """Where a run is made: its own model's context, with this one's items found there by number."""
    if run.data not in (None, context.data_name):
        raise Findings([errors.items_never_meet(run.span, str(run.data), context.data_name)])
    if run.model in (None, context.model):
        return context, env
    other = context.other(context.experiment.name, str(run.model), context.data_name)
    writer = (context.indexer, env.item) if env.coordinates else None
    return other, replace(env, item=items_elsewhere(context, other, env.item), writer=writer)
