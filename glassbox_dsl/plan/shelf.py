"""Where readings are kept between runs: the store has one; the run stage sees no more than this of it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Readings:
    """Numbers of one reading: `keys` [n, 2] of cells on items (see plan/content.py), `numbers` [n, width]."""

    name: str
    keys: NDArray[np.uint64]
    numbers: NDArray[np.float32]


class Shelf(Protocol):
    """Keeps readings by name and key."""

    def find(self, names: Sequence[str]) -> Iterable[Readings]:
        """Everything that is known of some readings, older ones first."""

    def put(self, readings: Sequence[Readings]) -> None:
        """Keep what one pack gave; all of it or nothing, soon."""
