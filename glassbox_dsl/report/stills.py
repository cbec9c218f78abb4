"""Figures that lay themselves out - token grids, patterns, circuits - as one SVG picture for a paper.

They are drawn by the macros that draw them in a page that runs no script; only the style sheet is another one. A part
stands beside the one before it while there is room, else in a new row.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from markupsafe import Markup

from glassbox_dsl.report.page import Block
from glassbox_dsl.report.render import asset, environment

WIDEST: Final = 700.0
"""Pixels to which parts are set side by side: as wide as a page at letters of 8 points."""
GAP, MARGIN, HEADING, TITLE = 16.0, 8.0, 18.0, 24.0


def picture(blocks: Sequence[Block], title: str = "") -> str:
    """The parts as an SVG file of its own: no script, and nothing that is fetched."""
    places, width, height = laid_out(blocks, MARGIN + (TITLE if title else 0))
    return environment().get_template("still.svg").render(
        placed=list(zip(blocks, places, strict=True)), width=width, height=height, title=title,
        margin=MARGIN, style=Markup(asset(("still.css",))),
    ).lstrip()  # fmt: skip


def laid_out(blocks: Sequence[Block], top: float) -> tuple[list[tuple[float, float]], float, float]:
    """Where each part stands, and the width and height of them all."""
    places: list[tuple[float, float]] = []
    x, y, row, widest = MARGIN, top, 0.0, 0.0
    for block in blocks:
        if x > MARGIN and (block.below or x + block.width > WIDEST):
            x, y, row = MARGIN, y + row + GAP, 0.0
        above = HEADING if block.title else 0.0
        places.append((x, y + above))
        widest = max(widest, x + block.width)
        row = max(row, above + block.height)
        x += block.width + GAP
    return places, round(widest + MARGIN, 1), round(y + row + MARGIN, 1)
