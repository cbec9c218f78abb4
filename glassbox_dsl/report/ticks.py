"""What stands beside the cells of an axis: numbers or names, and for positions the tokens and span labels
there.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from glassbox_dsl.report.material import Material
from glassbox_dsl.report.select import DEPTH, Cells
from glassbox_dsl.report.visible import visible, visible_token
from glassbox_dsl.store.rows import ItemRow


@dataclass(frozen=True)
class Mark:
    """A second text at a position: a span label (`strong`) or the token that all items have there."""

    text: str = ""
    strong: bool = False


@dataclass(frozen=True)
class Ticks:
    """One axis of a grid. `labels` has one entry per cell, and so have `marks` and `notes` unless there are none.

    A note is said of a cell, and not drawn. `axis`: the axis of a variable that has a name of its own.
    """

    name: str
    labels: tuple[str, ...]
    marks: tuple[Mark, ...] = ()
    notes: tuple[str, ...] = ()
    axis: str = ""

    @property
    def title(self) -> str:
        """What is drawn beside the axis: `l (layer)`."""
        return titled(self.name, self.axis)

    def spoken(self) -> tuple[str, ...]:
        """Each cell's place in words: `pos 9 (s2)`."""
        said = self.notes or tuple(mark.text for mark in self.marks) or ("",) * len(self.labels)
        pairs = zip(self.labels, said, strict=True)
        return tuple(f"{self.name} {label}" + (f" ({note})" if note else "") for label, note in pairs)


def ticks(material: Material, cells: Cells, axis: str, values: Iterable[Any], held: dict[str, Any]) -> Ticks:
    """The axis of a panel in which `held` axes have one value."""
    values = tuple(values)
    if axis == DEPTH and cells.kind[axis] == "number":
        return Ticks(axis, tuple(f"{value:.0f}%" for value in values), notes=_layers(material, values, held))
    labels = tuple(shown(value) for value in values)
    of = cells.axis_of(axis)
    if cells.kind[axis] != "position":
        return Ticks(axis, labels, axis=of)
    known = position_marks(material, held.get("model"), held.get("data"))
    marks = tuple(known.get(value, Mark()) for value in values)
    return Ticks(axis, labels, marks if any(mark.text for mark in marks) else (), axis=of)


def titled(name: str, axis: str) -> str:
    """The name of a variable, and the axis that it is on where the name does not say."""
    return f"{name} ({axis})" if axis and axis != name else name


def _layers(material: Material, depths: tuple[float, ...], held: dict[str, Any]) -> tuple[str, ...]:
    """Which layers stand at some depths, in a panel of one model."""
    count = next(
        (int(m.facts.get("n_layers", 0)) for m in material.models if m.model == held.get("model")), 0
    )
    return tuple(f"layer {round(depth / 100 * (count - 1))}" for depth in depths) if count else ()


def position_marks(material: Material, model: str | None, data: str | None) -> dict[int, Mark]:
    """For each position what all kept items (of a model and data set, or of all) have in common there."""
    items = [
        item
        for item in material.items
        if item.kept and item.prompts and model in (None, item.model) and data in (None, item.data)
    ]
    shared: list[dict[int, tuple[set[str], set[str]]]] = [_at_positions(item) for item in items]
    found = {}
    for pos in set.intersection(*(set(places) for places in shared)) if shared else ():
        labels = set.intersection(*(places[pos][0] for places in shared))
        tokens = set.union(*(places[pos][1] for places in shared))
        if labels:
            found[pos] = Mark(visible("/".join(sorted(labels))), strong=True)
        elif len(tokens) == 1:
            found[pos] = Mark(visible_token(next(iter(tokens))))
    return found


def _at_positions(item: ItemRow) -> dict[int, tuple[set[str], set[str]]]:
    """The labels and the tokens that the prompts of an item have at each position."""
    places: dict[int, tuple[set[str], set[str]]] = {}
    for prompt in item.prompts:
        for pos, (token, label) in enumerate(zip(prompt.tokens, prompt.labels, strict=True)):
            labels, tokens = places.setdefault(pos, (set(), set()))
            tokens.add(token)
            if label is not None:
                labels.add(label)
    return places


def shown(value: Any) -> str:
    """A value of an axis as text."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return f"{value:g}"
    return visible(str(value))
