"""What the cells of a token grid can be coloured by: the probability of their token, or another measure of the cell.

Eleven steps each; of signed numbers eleven to either side of 0. A rank has logarithmic steps, and the best is darkest.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from glassbox_dsl.report.colours import scale_of
from glassbox_dsl.report.grid import brief

STEPS: Final = 10
SHADE, LESS, RAISED = "#2171b5", "#b2182b", "#f6f7f9"
"""What colours of cells are mixed from: of large numbers, of those below 0, and of nothing at all."""


@dataclass(frozen=True)
class Tint:
    """One way to colour: `name` and `unit` of the number, its ends, and how it goes from one to the other."""

    name: str
    unit: str = ""
    low: float = 0.0
    high: float = 1.0
    signed: bool = False
    log: bool = False

    def level(self, value: float) -> int:
        """The step of a value, -10 to 10; 0 for one that is missing."""
        if not math.isfinite(value):
            return 0
        if self.signed:
            return round(STEPS * max(-1.0, min(1.0, value / self.high)))
        low, high, at = (math.log(max(v, 1.0)) if self.log else v for v in (self.low, self.high, value))
        part = max(0.0, min(1.0, (at - low) / (high - low if high > low else 1.0)))
        return math.floor(STEPS * (1 - part if self.log else part) + 0.5)

    def step(self, level: int) -> str:
        """The class of a step in the style sheet."""
        return f"m{-level}" if level < 0 else f"p{level}"

    def paint(self, step: str) -> str:
        """The colour of a step on paper, as the style sheet of a light page mixes it."""
        part = 0.06 * int(step[1:])
        mixed = (
            round(part * ink + (1 - part) * plain)
            for ink, plain in zip(rgb(LESS if step[0] == "m" else SHADE), rgb(RAISED), strict=True)
        )
        return "#" + "".join(f"{one:02x}" for one in mixed)

    @property
    def key(self) -> tuple[tuple[str, str], ...]:
        """The steps with the numbers they stand for, from low to high."""
        levels = range(-STEPS, STEPS + 1, 2) if self.signed else range(STEPS + 1)
        return tuple((self.step(level), brief(float(f"{self.value(level):.3g}"))) for level in levels)

    def value(self, level: int) -> float:
        """The number in the middle of a step."""
        if self.signed:
            return level / STEPS * self.high
        if self.log:
            low, high = math.log(max(self.low, 1.0)), math.log(max(self.high, 1.0))
            return math.exp(low + (1 - level / STEPS) * (high - low))
        return self.low + level / STEPS * (self.high - self.low)

    def packed(self) -> dict[str, Any]:
        """What the script reads."""
        return {"name": self.name, "unit": self.unit, "low": self.low, "high": self.high, "signed": self.signed,
                "log": self.log, "key": self.key}  # fmt: skip


def rgb(colour: str) -> tuple[int, ...]:
    """`#2171b5` as three numbers."""
    return tuple(int(colour[i : i + 2], 16) for i in (1, 3, 5))


PROBABILITY: Final = Tint("probability")


def tint_of(name: str, unit: str, values: Iterable[float]) -> Tint:
    """The colours of a measure, over all the numbers that a page shows of it."""
    scale = scale_of(np.array(list(values), dtype=np.float64))
    if unit == "rank":
        return Tint(name, unit, 1.0, max(scale.high, 2.0), log=True)
    return Tint(name, unit, scale.low, scale.high, scale.signed)
