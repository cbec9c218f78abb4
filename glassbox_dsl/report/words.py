"""A token grid laid out in pixels, for paper: what the table of the page shows without a script."""

from __future__ import annotations

from dataclasses import dataclass
from unicodedata import east_asian_width

from glassbox_dsl.report.page import Block
from glassbox_dsl.report.squares import Square, View
from glassbox_dsl.report.ticks import Mark
from glassbox_dsl.report.tints import Tint
from glassbox_dsl.report.visible import printed

ROW, GAP = 17, 8
CHARACTER = 6.4  # the width of a usual character at 11 pixels
MOST_CHARACTERS = 11
NARROWEST = 26.0
KEY = 38.0  # the width of a step of the colours


@dataclass(frozen=True)
class Box:
    """A coloured cell; without a colour there is nothing in it."""

    x: float
    y: float
    width: float
    height: float
    colour: str = ""


@dataclass(frozen=True)
class Word:
    """A text at its place: `anchor` as SVG says it, `style` a class of the style sheet."""

    x: float
    y: float
    text: str
    anchor: str = "middle"
    style: str = ""


@dataclass(frozen=True)
class WordGrid:
    """What the macro `words` draws."""

    boxes: tuple[Box, ...]
    texts: tuple[Word, ...]


def grid(view: View, tint: Tint, which: int) -> Block:
    """The cells with their likeliest tokens, coloured by number `which` of each, under the tokens of the columns."""
    tokens = [cut(printed(mark.text)) for mark in view.x.marks or (Mark(),) * len(view.x.labels)]
    heads = [view.x.labels, tokens, [cut(label) for label in view.labels]]
    heads = [line for line in heads if any(line)]
    words = [[best(square) for square in row] for row in view.squares]
    widths = [max(NARROWEST, *(wide(text) for text in column)) for column in zip(*heads, *words, strict=True)]
    left = 22 + CHARACTER * max((len(label) for label in view.y.labels), default=1)
    edges = [left + sum(widths[:i]) for i in range(len(widths) + 1)]
    top = ROW * len(heads) + 4
    middle = [(a + b) / 2 for a, b in zip(edges, edges[1:], strict=False)]
    boxes, texts = [], []
    for line, labels in enumerate(heads):
        style = "strong" if line and labels is heads[-1] and any(view.labels) else "soft" if line else ""
        texts += [Word(x, ROW * line + 13, text, style=style) for x, text in zip(middle, labels, strict=True)]
    for up, row in enumerate(view.squares):
        y = top + ROW * up
        texts.append(Word(left - 5, y + 12, view.y.labels[up], "end"))
        boxes += [
            Box(edges[i], y, widths[i], ROW, colour(square, tint, which)) for i, square in enumerate(row)
        ]
        texts += [Word(x, y + 12, text) for x, text in zip(middle, words[up], strict=True) if text]
    bottom = top + ROW * len(view.squares)
    texts += [
        Word(left - 5, 13, view.y.name, "end", "name"),
        Word((left + edges[-1]) / 2, bottom + 15, view.x.name, style="name"),
    ]
    return Block(edges[-1] + 4, bottom + 20, "words", WordGrid(tuple(boxes), tuple(texts)), view.title)


def key(tint: Tint) -> Block:
    """The steps of the colours with the numbers they stand for."""
    name = f"{tint.name} ({tint.unit})" if tint.unit and tint.unit != tint.name else tint.name
    left = CHARACTER * len(name) + GAP
    boxes = [Box(left + KEY * i, 0, KEY, ROW, tint.paint(step)) for i, (step, _) in enumerate(tint.key)]
    texts = [Word(left + KEY * (i + 0.5), 12, text) for i, (_, text) in enumerate(tint.key)]
    return Block(
        left + KEY * len(boxes) + 4,
        ROW + 2,
        "words",
        WordGrid(tuple(boxes), (Word(0, 12, name, "start", "name"), *texts)),
        below=True,
    )


def heading(text: str) -> Block:
    """A line above several parts."""
    return Block(CHARACTER * len(text), 4, "words", WordGrid((), (Word(0, 8, text, "start", "strong"),)))


def best(square: Square | None) -> str:
    """The likeliest token of a cell."""
    return cut(printed(square.words[0].token)) if square and square.words else ""


def colour(square: Square | None, tint: Tint, which: int) -> str:
    """The colour of a cell on paper, none where it has no token."""
    return tint.paint(tint.step(tint.level(square.number(which)))) if square and square.words else ""


def cut(text: str) -> str:
    """A text with no more characters than a column has room for."""
    return text if len(text) <= MOST_CHARACTERS else text[: MOST_CHARACTERS - 1] + "…"


def wide(text: str) -> float:
    """The pixels that a text takes with its margins; letters of the far East are twice as wide."""
    return GAP + CHARACTER * sum(2 if east_asian_width(c) in "WF" else 1 for c in text)
