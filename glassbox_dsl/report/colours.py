"""Numbers to colours: 255 steps from pale to dark for amounts, red and blue around a pale 0 for signed
values.

Both scales are told apart with every common kind of colour blindness (ColorBrewer `Blues` and `RdBu`). Dark
pages do not get other colours: the style sheet inverts image and colour bar together, so they always agree.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

AMOUNT = ("#f7fbff", "#deebf7", "#c6dbef", "#9ecae1", "#6baed6", "#4292c6", "#2171b5", "#08519c", "#08306b")
SIGNED = (
    *("#67001f", "#b2182b", "#d6604d", "#f4a582", "#fddbc7", "#f7f7f7"),
    *("#d1e5f0", "#92c5de", "#4393c3", "#2166ac", "#053061"),
)
STEPS = 255  # palette entry 0 is transparent: no value


@dataclass(frozen=True)
class Scale:
    """Which value has which colour: `low` and `high` are the ends; a signed scale has 0 in its middle."""

    low: float
    high: float
    signed: bool

    @property
    def stops(self) -> tuple[str, ...]:
        """The colours from low to high."""
        return SIGNED if self.signed else AMOUNT

    def palette(self) -> NDArray[np.uint8]:
        """256 colours [256, 3]: entry 0 stands for no value, entries 1 to 255 run from low to high."""
        stops = np.array([[int(s[i : i + 2], 16) for i in (1, 3, 5)] for s in self.stops], dtype=np.float64)
        at = np.linspace(0, len(stops) - 1, STEPS)
        colours = np.stack([np.interp(at, range(len(stops)), stops[:, c]) for c in range(3)], axis=1)
        return np.concatenate([np.full((1, 3), 255.0), colours]).round().astype(np.uint8)

    def steps(self, values: NDArray[np.float64]) -> NDArray[np.uint8]:
        """The palette entry of every value, 0 where a value is missing or not finite. Any shape."""
        width = self.high - self.low
        finite = np.isfinite(values)
        part = (np.where(finite, values, self.low) - self.low) / (width if width > 0 else 1.0)
        return np.where(finite, 1 + np.round(np.clip(part, 0, 1) * (STEPS - 1)), 0).astype(np.uint8)


def scale_of(values: NDArray[np.float64]) -> Scale:
    """The scale that covers all finite values: around 0 where both signs occur, else from 0 unless that is
    far off.
    """
    finite = values[np.isfinite(values)]
    if finite.size == 0:
        return Scale(0.0, 1.0, False)
    low, high = float(finite.min()), float(finite.max())
    if low < 0 < high:
        reach = max(-low, high)
        return Scale(-reach, reach, True)
    if low == high == 0:
        return Scale(0.0, 1.0, False)
    if low >= 0:
        return Scale(0.0 if low < high / 2 or low == high else low, high, False)
    return Scale(low, 0.0 if high > low / 2 or low == high else high, False)
