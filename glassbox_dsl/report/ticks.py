"""What stands beside the cells of an axis: numbers or names, and for positions the tokens and span labels
there.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from glassbox_dsl.report.material import Material
from glassbox_dsl.report.select import Cells
from glassbox_dsl.report.visible import visible, visible_token


@dataclass(frozen=True)
class Mark:
    """A second text at a position: a span label (`strong`) or the token that all items have there."""

    text: str = ""
    strong: bool = False


@dataclass(frozen=True)
class Ticks:
    """One axis of a grid. `labels` has one entry per cell, and so has `marks` unless there are none."""

    name: str
    labels: tuple[str, ...]
    marks: tuple[Mark, ...] = ()

    def spoken(self) -> tuple[str, ...]:
        """Each cell's place in words: `pos 9 (s2)`."""
        marks = self.marks or (Mark(),) * len(self.labels)
        pairs = zip(self.labels, marks, strict=True)
        return tuple(
            f"{self.name} {label}" + (f" ({mark.text})" if mark.text else "") for label, mark in pairs
        )


def ticks(material: Material, cells: Cells, axis: str, values: Iterable[Any], held: dict[str, Any]) -> Ticks:
    """The axis of a panel in which `held` axes have one value."""
    values = tuple(values)
    labels = tuple(shown(value) for value in values)
    if cells.kind[axis] != "position":
        return Ticks(axis, labels)
    known = position_marks(material, held.get("model"), held.get("data"))
    marks = tuple(known.get(value, Mark()) for value in values)
    return Ticks(axis, labels, marks if any(mark.text for mark in marks) else ())


def position_marks(material: Material, model: str | None, data: str | None) -> dict[int, Mark]:
    """For each position what all kept items (of a model and data set, or of all) have in common there."""
    labels: dict[int, set[str]] = defaultdict(set)
    tokens: dict[int, set[str]] = defaultdict(set)
    for item in material.items:
        if not item.kept or model not in (None, item.model) or data not in (None, item.data):
            continue
        for prompt in item.prompts:
            for pos, (token, label) in enumerate(zip(prompt.tokens, prompt.labels, strict=True)):
                tokens[pos].add(token)
                labels[pos].update([label] if label is not None else [])
    found = {}
    for pos, texts in tokens.items():
        if len(labels[pos]) == 1:
            found[pos] = Mark(visible(next(iter(labels[pos]))), strong=True)
        elif len(texts) == 1 and not labels[pos]:
            found[pos] = Mark(visible_token(next(iter(texts))))
    return found


def shown(value: Any) -> str:
    """A value of an axis as text."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return f"{value:g}"
    return visible(str(value))
