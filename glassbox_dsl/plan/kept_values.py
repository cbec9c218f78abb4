"""Values of whole tensors that a results file keeps: which, under which keys, and how they are laid out there.

A measure or record that reads sites of each item for itself is kept piece by piece: the numbers of one cell on one
item. Sweeps over all positions of a prompt are not cut up: what they give for an item lies together, as long as its
prompt is, so that an item is the same in a data set with longer ones.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from glassbox_dsl.language.program import (
    Constant,
    Dimension,
    Direction,
    Experiment,
    Expr,
    InContext,
    Load,
    MetricCall,
    Operation,
    OverDimension,
    Reduce,
    Reference,
    SiteRead,
    TokenAt,
    Unembed,
    Value,
    VariableValue,
)
from glassbox_dsl.language.technique_nodes import CodeRead
from glassbox_dsl.plan.content import Contents, Keys
from glassbox_dsl.plan.named import Mask
from glassbox_dsl.plan.setting import Setting
from glassbox_dsl.plan.taps import host_order, tap_of
from glassbox_dsl.syntax import nodes
from glassbox_dsl.vocabulary.axes import ITEM, POSITION_AXES

PLAIN = (
    *(SiteRead, MetricCall, Operation, Unembed, Direction, Load, Constant, VariableValue, TokenAt),
    *(Reduce, OverDimension, InContext, Reference, CodeRead),
)  # fmt: skip
"""Values that read runs where their tensors are kept, and no others."""
MOST = 2**20
"""A value with more numbers than this for one item is made again instead of kept twice."""


@dataclass(frozen=True, eq=False)
class ValueLayout:
    """How a value is kept: `cells` [keyed dimensions..., 2] and `items` [item, 2] are its keys, `names` its pieces'.

    `flat` are its dimensions that run along whole prompts; `lengths` [item] says how long those are for each item.
    """

    value: Value
    names: tuple[str, ...]
    cells: Keys
    items: Keys
    keyed: tuple[str, ...]
    flat: tuple[str, ...]
    lengths: np.ndarray[tuple[int], np.dtype[np.int64]]

    @property
    def order(self) -> tuple[str, ...]:
        """The order of axes in which it is laid out."""
        return (*self.keyed, ITEM, *self.flat)

    def keys(self) -> Keys:
        """The keys [cell, item, 2], keyed dimensions multiplied out."""
        found: Keys = self.cells.reshape(-1, 1, 2) ^ self.items[None]
        return found

    def inside(self, longest: int) -> Mask:
        """Which cells along its flat dimensions an item has, [item, flat dimensions...]."""
        found = np.ones((len(self.lengths), *[longest] * len(self.flat)), dtype=np.bool_)
        for axis in range(len(self.flat)):
            shape = [-1 if a == axis else 1 for a in range(len(self.flat))]
            along = np.arange(longest).reshape(1, *shape)
            found &= along < self.lengths.reshape(-1, *[1] * len(self.flat))
        return found


def layouts(contents: Contents, setting: Setting, values: list[Value]) -> Iterator[ValueLayout]:
    """How those of some values are kept that are."""
    for value in values:
        if is_kept(contents, setting.experiment, value):
            layout = _layout(contents, setting, value)
            if layout is not None and _size(layout, setting) <= MOST:
                yield layout


def is_kept(contents: Contents, experiment: Experiment, value: Value) -> bool:
    """Whether a value reads whole tensors, of each item for itself, and in nothing but plain ways."""
    if value.kind not in ("measure", "record") or not value.has_item or value.table == "text":
        return False
    parts = list(_parts(experiment, value))
    reads = contents.writer(experiment).value(value).reads
    return (
        not (reads.every or reads.world)
        and all(isinstance(p, PLAIN) for p in parts if isinstance(p, Expr))
        and any(_reads_tensors(experiment, p) for p in parts)
    )


def _parts(experiment: Experiment, value: Value) -> Iterator[nodes.Node]:
    """Everything that a value is made of, through the lets and measures that it names."""
    for node in nodes.everything(value):
        yield node
        if isinstance(node, Reference) and node.experiment == experiment.name:
            yield from _parts(experiment, experiment.value(node.kind, node.name))


def _reads_tensors(experiment: Experiment, node: nodes.Node) -> bool:
    if isinstance(node, MetricCall):
        return node.run is not None and tap_of(node, host_order(experiment.runs)) is None
    return isinstance(node, SiteRead)


def _layout(contents: Contents, setting: Setting, value: Value) -> ValueLayout | None:
    prompts = setting.prompts_read(value)
    flat = [d for d in value.dimensions if _along_prompts(d)]
    keyed = [d for d in value.dimensions if not _along_prompts(d)]
    along = [d.name for d in flat]
    names = [contents.of_piece(setting, value, n, along) for n in range(2 if value.ratio else 1)]
    if not prompts or None in names:
        return None
    return ValueLayout(
        value,
        tuple(n for n in names if n is not None),
        contents.cells(setting, keyed),
        contents.items(setting, contents.writer(setting.experiment).value(value).reads, b"value"),
        tuple(d.name for d in keyed),
        tuple(along),
        np.max([setting.data.prompt(p).length for p in prompts], axis=0),
    )


def _along_prompts(dimension: Dimension) -> bool:
    """Whether a dimension is every position of a prompt."""
    [*axes] = [v.axis for v in dimension.variables]
    return len(axes) == 1 and axes[0] in POSITION_AXES and dimension.members is None and not dimension.meets


def _size(layout: ValueLayout, setting: Setting) -> int:
    longest = int(layout.lengths.max(initial=0))
    return math.prod(layout.cells.shape[:-1]) * longest ** len(layout.flat) * _width(layout.value, setting)


def _width(value: Value, setting: Setting) -> int:
    """How many numbers a cell has."""
    facts = setting.sizes.facts
    return {None: 1, "vocab": facts.vocab_size}.get(value.feature, facts.d_model)
