"""Draws of items that agree on features: for each datum another item of its class, itself allowed.

What is drawn depends on the seed, the node and what it is drawn for (reference, sample, position), never on batches.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from glassbox_dsl.language.program import Agree
from glassbox_dsl.plan.data_arrays import DataArrays, feature_of
from glassbox_dsl.plan.named import Integers

Key = tuple[int, ...]
"""What a draw is for: the reference's item number, the sample, and positions where instances were split up."""


@dataclass(frozen=True)
class Classes:
    """The classes of items under some features, for the whole item or at every position.

    `codes` [item, place]; the members of a class at a place are `order[start : start + count]` of that place.
    """

    codes: Integers
    order: Integers
    starts: Integers
    counts: Integers
    by_position: bool

    def draw(self, data: Integers, uniform: NDArray[np.float64]) -> Integers:
        """For items [n] or [n, place] others of their classes [n, place]; `uniform` [n, place] decides which."""
        places = np.arange(self.codes.shape[1])
        data = data[:, None] if data.ndim == 1 else data
        code = self.codes[data, places]
        start, count = self.starts[code, places], self.counts[code, places]
        return self.order[start + (uniform * count).astype(np.int64), places]

    def sizes(self) -> Integers:
        """How many items agree with each item, itself counted, [item, place]."""
        places = np.arange(self.codes.shape[1])
        return self.counts[self.codes, places]


def classes_of(data: DataArrays, features: Sequence[Agree], length: int) -> Classes:
    """The classes of the kept items under features; with none of them all items are one class."""
    by_position = any(f.by_position for f in features)
    places = length if by_position else 1
    codes = np.zeros((data.n_items, places), dtype=np.int64)
    for place in range(places):
        known: dict[tuple[str, ...], int] = {}
        for number, item in enumerate(data.items):
            value = tuple(
                repr(item.features[f.name][place]) if f.by_position else str(feature_of(item, f.name))
                for f in features
            )
            codes[number, place] = known.setdefault(value, len(known))
    order = codes.argsort(axis=0, kind="stable")
    counts = np.stack([np.bincount(column, minlength=data.n_items) for column in codes.T], 1)
    starts = np.cumsum(counts, 0) - counts
    return Classes(codes, order, starts, counts, by_position)


def uniform(seed: int, node: str, keys: Sequence[Key], places: int) -> NDArray[np.float64]:
    """Numbers in [0, 1) for instances of a node [n, place]."""
    return np.stack([_generator(seed, node, key).random(places) for key in keys])


def _generator(seed: int, node: str, key: Key) -> np.random.Generator:
    digest = hashlib.sha256(repr(("scrub", seed, node, key)).encode()).digest()
    return np.random.Generator(np.random.Philox(key=int.from_bytes(digest[:16], "little")))
