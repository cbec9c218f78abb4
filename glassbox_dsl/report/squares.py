"""Grids of ranked tokens: rows of a `top` measure, and of others that say a number of the same cells, in place."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from glassbox_dsl.report.material import Material
from glassbox_dsl.report.ticks import Mark, Ticks, shown
from glassbox_dsl.report.visible import visible, visible_token
from glassbox_dsl.store.rows import MeasureRow


@dataclass(frozen=True)
class Word:
    """One ranked token."""

    token: str
    token_id: int
    prob: float
    logit: float


@dataclass(frozen=True)
class Square:
    """One cell: its ranked tokens, best first, and what other measures say of it."""

    words: tuple[Word, ...]
    others: tuple[float, ...] = ()

    def number(self, which: int) -> float:
        """What a cell is coloured by: the probability of its token (0), or another measure (1, 2, ...)."""
        return (self.words[0].prob if self.words else math.nan) if which == 0 else self.others[which - 1]


@dataclass(frozen=True)
class View:
    """One grid: `squares[row][column]`, the last layer on top; None where the run has no cell."""

    title: str
    prompts: tuple[tuple[str, str], ...]
    x: Ticks
    y: Ticks
    labels: tuple[str, ...]
    squares: tuple[tuple[Square | None, ...], ...]


def grids(
    rows: Sequence[dict[str, Any]],
    x: str,
    y: str,
    measure: MeasureRow,
    material: Material,
    beside: Sequence[Sequence[dict[str, Any]]] = (),
) -> tuple[View, ...]:
    """One grid for every combination of the axes that are neither across nor up; `beside` are the rows of others."""
    placed = material.columns(measure)
    names = ("model", "data", "item", *placed)
    outer = [name for name in names if name not in (x, y)]
    order = {model.model: i for i, model in enumerate(material.models)}
    at: dict[tuple[Any, ...], dict[tuple[Any, Any], list[Word]]] = {}
    labels: dict[tuple[Any, ...], dict[Any, str]] = {}

    def place(row: dict[str, Any]) -> tuple[tuple[Any, ...], Any, Any, str | None]:
        where = {name: row[placed[name].shown if name in placed else name] for name in names}
        label = row[name] if x in placed and (name := placed[x].shown_label) is not None else None
        column = where[x] if where[x] is not None else label
        return tuple(where[name] for name in outer), where[y], column, label

    numbers = [{place(row)[:3]: _number(row["value"]) for row in found} for found in beside]
    for row in rows:
        held, up, column, label = place(row)
        if label is not None:
            labels.setdefault(held, {})[column] = label
        word = Word(visible_token(row["token"]), row["token_id"], _number(row["prob"]), _number(row["logit"]))
        at.setdefault(held, {}).setdefault((up, column), []).append(word)
    keys = sorted(at, key=lambda k: tuple(_rank(order, name, v) for name, v in zip(outer, k, strict=True)))
    several = [
        name for i, name in enumerate(outer) if len({key[i] for key in keys}) > 1 or name in ("model", "item")
    ]
    return tuple(
        grid(
            {
                cell: Square(tuple(words), tuple(found.get((key, *cell), math.nan) for found in numbers))
                for cell, words in at[key].items()
            },
            dict(zip(outer, key, strict=True)),
            labels.get(key, {}),
            x,
            y,
            several,
            material,
        )
        for key in keys
    )


def _rank(order: dict[str, int], name: str, value: Any) -> tuple[Any, ...]:
    if name == "model":
        return (order.get(value, len(order)), "")
    return (value, "") if isinstance(value, int | float) else (math.inf, str(value))


def grid(
    squares: dict[tuple[Any, Any], Square],
    held: dict[str, Any],
    labels: dict[Any, str],
    x: str,
    y: str,
    several: Sequence[str],
    material: Material,
) -> View:
    """One grid."""
    across = sorted({column for _, column in squares}, key=lambda v: (isinstance(v, str), v))
    up = sorted({row for row, _ in squares}, key=lambda v: (isinstance(v, str), v), reverse=True)
    tokens = item_tokens(material, held)
    marks = [Mark(tokens.get(v, "") if isinstance(v, int) else "") for v in across]
    named = tuple(visible(labels.get(v, "")) if labels.get(v) != v else "" for v in across)
    if x == "item":
        marks = [Mark(item_words(material, held, v)) for v in across]
    words = [
        shown(held[n]) if n in ("model", "data") else f"{n} {shown(held[n])}"
        for n in several
        if held[n] is not None
    ]
    return View(
        title=", ".join(words),
        prompts=prompts_of(material, held),
        x=Ticks(x, tuple(shown(v) for v in across), tuple(marks) if any(m.text for m in marks) else ()),
        y=Ticks(y, tuple(shown(v) for v in up)),
        labels=named,
        squares=tuple(tuple(squares.get((row, column)) for column in across) for row in up),
    )


def item_tokens(material: Material, held: dict[str, Any]) -> dict[int, str]:
    """The token at each position of an item; all of them where its prompts differ."""
    found: dict[int, dict[str, None]] = {}
    for item in _items(material, held):
        for prompt in item.prompts:
            for pos, token in enumerate(prompt.tokens):
                found.setdefault(pos, {})[visible_token(token)] = None
    return {pos: " / ".join(texts) for pos, texts in found.items()}


def prompts_of(material: Material, held: dict[str, Any]) -> tuple[tuple[str, str], ...]:
    """The prompts of an item by name."""
    return tuple((p.prompt, visible(p.text)) for item in _items(material, held) for p in item.prompts)


def item_words(material: Material, held: dict[str, Any], number: int) -> str:
    """The first answer of an item, to tell items apart by."""
    for item in _items(material, {**held, "item": number}):
        for answer in item.answers:
            return visible_token(answer.texts[0])
    return ""


def _items(material: Material, held: dict[str, Any]) -> list[Any]:
    keys = {name: held[name] for name in ("model", "data", "item") if held.get(name) is not None}
    if "item" not in keys:
        return []
    return [
        item for item in material.items if all(getattr(item, name) == value for name, value in keys.items())
    ]


def _number(value: Any) -> float:
    return math.nan if value is None else float(value)
