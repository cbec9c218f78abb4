"""Values of whole tensors that a results file keeps: which, under which keys, and how they are laid out there.

A measure or record that reads sites of each item for itself is kept piece by piece: the numbers of one cell on one
item. Sweeps over all positions of a prompt are not cut up: what they give for an item lies together, as long as its
prompt is, so that an item is the same in a data set with longer ones.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from glassbox_dsl.language.program import Dimension, Experiment, Expr, MetricCall, Reference, SiteRead, Value
from glassbox_dsl.plan.canonical import SIZE, digest, written
from glassbox_dsl.plan.content import Contents, Keys, numbers
from glassbox_dsl.plan.named import Integers, Mask
from glassbox_dsl.plan.places import Places
from glassbox_dsl.plan.setting import Setting
from glassbox_dsl.plan.taps import host_order, tap_of
from glassbox_dsl.plan.whole_uses import PLAIN, uses
from glassbox_dsl.syntax import nodes
from glassbox_dsl.vocabulary.axes import ITEM, POSITION_AXES

MOST = 2**20
"""A value with more numbers than this for one item is made again instead of kept twice."""

MOST_EARLY = 2**24
"""A value with more numbers than this is evaluated in one go, when all of its runs are there."""


@dataclass(frozen=True, eq=False)
class ValueLayout:
    """How a value is kept: `keys` [cell, item, 2], keyed dimensions multiplied out; `names` are its pieces'.

    `flat` are its dimensions that run along whole prompts; `lengths` [item] says how long those are for each item.
    `early`: an item can be evaluated as soon as its cells of `runs` are made, whatever is still to be made of others.
    """

    value: Value
    names: tuple[str, ...]
    keys: Keys
    keyed: tuple[str, ...]
    flat: tuple[str, ...]
    lengths: Integers
    runs: frozenset[str]
    early: bool

    @property
    def order(self) -> tuple[str, ...]:
        """The order of axes in which it is laid out."""
        return (*self.keyed, ITEM, *self.flat)

    def inside(self, longest: int) -> Mask:
        """Which cells along its flat dimensions an item has, [item, flat dimensions...]."""
        found = np.ones((len(self.lengths), *[longest] * len(self.flat)), dtype=np.bool_)
        for axis in range(len(self.flat)):
            shape = [-1 if a == axis else 1 for a in range(len(self.flat))]
            along = np.arange(longest).reshape(1, *shape)
            found &= along < self.lengths.reshape(-1, *[1] * len(self.flat))
        return found


def pieces(value: Value) -> int:
    """In how many pieces a value is evaluated: a measure that is a ratio has a numerator and a denominator."""
    return 2 if value.kind == "measure" and value.ratio else 1


def layouts(contents: Contents, setting: Setting, values: Sequence[Value]) -> Iterator[ValueLayout]:
    """How those of some values are kept that are."""
    for value in values:
        if is_kept(contents, setting.experiment, value):
            layout = _layout(contents, setting, value)
            if layout is None or (size := _size(layout, setting)) > MOST:
                continue
            small = size * setting.data.n_items <= MOST_EARLY
            yield replace(layout, early=small and _is_early(setting.experiment, value))


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
    """Everything that a value is made of, through the lets that it names; a measure is kept by itself."""
    for node in nodes.everything(value):
        yield node
        if isinstance(node, Reference) and (node.experiment, node.kind) == (experiment.name, "let"):
            yield from _parts(experiment, experiment.value(node.kind, node.name))


def _is_early(experiment: Experiment, value: Value) -> bool:
    """Whether a value reads whole tensors alone: lets of other things are made for all items, metrics at the end."""

    def fits(part: nodes.Node) -> bool:
        if isinstance(part, Reference):
            # Logits that a let names are made where they are used, at the cells asked for.
            own = part.experiment == experiment.name and part.feature == "vocab"
            return own and len(experiment.value(part.kind, part.name).variants) == 1
        return not isinstance(part, MetricCall) or part.run is None or _reads_tensors(experiment, part)

    return all(fits(part) for part in _parts(experiment, value))


def _reads_tensors(experiment: Experiment, node: nodes.Node) -> bool:
    if isinstance(node, MetricCall):
        return node.run is not None and tap_of(node, host_order(experiment.runs)) is None
    return isinstance(node, SiteRead)


def _layout(contents: Contents, setting: Setting, value: Value) -> ValueLayout | None:
    prompts = setting.prompts_read(value)
    flat = [d for d in value.dimensions if _along_prompts(d)]
    keyed = [d for d in value.dimensions if not _along_prompts(d)]
    along = [d.name for d in flat]
    names = [contents.of_piece(setting, value, n, along) for n in range(pieces(value))]
    if not prompts or None in names:
        return None
    reads = contents.writer(setting.experiment).value(value).reads
    cells, items = contents.cells(setting, keyed), contents.items(setting, reads, b"value")
    layout = ValueLayout(
        value,
        tuple(n for n in names if n is not None),
        cells.reshape(-1, 1, 2) ^ items[None],
        tuple(d.name for d in keyed),
        tuple(along),
        np.max([setting.data.prompt(p).length for p in prompts], axis=0),
        frozenset(use.run for v in value.variants for use, _ in uses(v.value, setting.experiment, ())),
        False,
    )
    return replace(layout, keys=layout.keys ^ _lacking(layout, setting))


def _lacking(layout: ValueLayout, setting: Setting) -> Keys:
    """Which cells of runs are not there to be read, as part of the keys [cell, item, 2]: 0 where all are.

    A value is named by what it reads at its own cells, not by the other cells that those runs have.
    """
    value, found = layout.value, np.zeros_like(layout.keys)
    sizes = {d.name: len(setting.rows(d)) for d in value.dimensions} | {ITEM: setting.data.n_items}
    shape = tuple(sizes[name] for name in layout.order)
    inside = layout.inside(setting.data.longest)
    for variant in value.variants:
        env = replace(setting.env(value.dimensions), around=variant.value)
        for place, (use, direct) in enumerate(uses(variant.value, setting.experiment, ())):
            run = setting.run(use.run)
            there = Places(setting).run_cell(run, use.where, env).spread(layout.order)[1] if direct else None
            if there is None or there.all():
                continue
            gone = (~np.broadcast_to(there, shape) & inside).reshape(*found.shape[:2], *inside.shape[1:])
            kinds, which = np.unique(gone.reshape(-1, *inside.shape[1:]), axis=0, return_inverse=True)
            keys = numbers([_where(kind, place) for kind in kinds])
            found ^= keys[which.reshape(-1)].reshape(found.shape)
    return found


def _where(gone: Mask, place: int) -> bytes:
    """The digest of the places along flat dimensions where a use of a run has no cell; zeros where there is none."""
    return digest(b"gone", written((place, np.argwhere(gone).tolist()))) if gone.any() else bytes(SIZE)


def _along_prompts(dimension: Dimension) -> bool:
    """Whether a dimension is every position of a prompt."""
    [*axes] = [v.axis for v in dimension.variables]
    return len(axes) == 1 and axes[0] in POSITION_AXES and dimension.members is None and not dimension.meets


def _size(layout: ValueLayout, setting: Setting) -> int:
    longest = int(layout.lengths.max(initial=0))
    places: int = longest ** len(layout.flat)
    return len(layout.keys) * places * _width(layout.value, setting)


def _width(value: Value, setting: Setting) -> int:
    """How many numbers a cell has."""
    facts = setting.sizes.facts
    return {None: 1, "vocab": facts.vocab_size}.get(value.feature, facts.d_model)
