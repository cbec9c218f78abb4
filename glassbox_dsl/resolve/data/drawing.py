"""Which combinations of values become items, in which order: the same on every machine.

All combinations of a data set are numbered from 0. A draw walks through those numbers in a random order
without repeats (a sparse Fisher-Yates shuffle). Randomness comes from `random.Random(seed).random()` alone,
the one method whose values Python promises to keep.
"""

from __future__ import annotations

import hashlib
import math
import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from glassbox_dsl.language.data.spec import Chunks, DataSpec, RepeatedTokens, RowSource, SlotSource

_WORD = 1 << 32


@dataclass(frozen=True)
class Candidate:
    """One combination: the values of the variables, the template's number, the number of its chunk."""

    values: dict[str, Any]
    template: int
    chunk: int = 0


def below(rng: random.Random, n: int) -> int:
    """A number from 0 to n - 1, each as likely, for any n."""
    words = max(1, -(-(n - 1).bit_length() // 32))
    while True:
        value = 0
        for _ in range(words):
            value = value * _WORD + int(rng.random() * _WORD)
        limit = _WORD**words
        if value < limit - limit % n:
            return value % n


def stream(*parts: object) -> random.Random:
    """Randomness of its own for one purpose, named by `parts`."""
    digest = hashlib.sha256("/".join(str(p) for p in parts).encode()).digest()
    return random.Random(int.from_bytes(digest[:8], "big"))


class Space:
    """All combinations that a data set has; `size` None: without end (random tokens make each one new)."""

    def __init__(self, spec: DataSpec, chunks: int = 0) -> None:
        self.spec = spec
        self.rows = _distinct_rows(spec.source) if isinstance(spec.source, RowSource) else ()
        self.chunks = chunks
        kinds = {type(p) for p in spec.prompts.values()}
        endless = spec.source is None and RepeatedTokens in kinds and Chunks not in kinds
        self.size = None if endless else self._sources() * spec.templates

    def _sources(self) -> int:
        if isinstance(self.spec.source, SlotSource):
            return math.prod(math.perm(len(s.values), len(s.names)) for s in self.spec.source.slots)
        if isinstance(self.spec.source, RowSource):
            return len(self.rows)
        return self.chunks if any(isinstance(p, Chunks) for p in self.spec.prompts.values()) else 1

    def candidate(self, code: int) -> Candidate:
        """The combination with this number."""
        code, template = divmod(code, self.spec.templates)
        if isinstance(self.spec.source, SlotSource):
            return Candidate(_slot_values(self.spec.source, code), template)
        if isinstance(self.spec.source, RowSource):
            return Candidate(self._row(self.rows[code]), template)
        return Candidate({}, template, code)

    def drawn(self, seed: int) -> Iterator[Candidate]:
        """All combinations once, in the random order of a seed."""
        rng = random.Random(seed)
        if self.size is None:
            while True:
                yield self.candidate(below(rng, self.spec.templates))
        moved: dict[int, int] = {}
        for i in range(self.size):
            j = i + below(rng, self.size - i)
            yield self.candidate(moved.get(j, j))
            moved[j] = moved.get(i, i)

    def all(self) -> Iterator[Candidate]:
        """Every row as it stands, each with one template; without rows, every chunk or template once."""
        if not isinstance(self.spec.source, RowSource):
            for code in range(self.size or 0):
                yield self.candidate(code)
            return
        rng = random.Random(0)
        for row in self.spec.source.rows:
            yield Candidate(self._row(row), below(rng, self.spec.templates))

    def _row(self, row: dict[str, Any]) -> dict[str, Any]:
        return {name: row[name] for name in self.spec.variables if name in row}


def _slot_values(source: SlotSource, code: int) -> dict[str, Any]:
    """Values of all slots: names of one line take distinct values."""
    values: dict[str, Any] = {}
    for slot in source.slots:
        left = list(range(len(slot.values)))
        for name in slot.names:
            code, place = divmod(code, len(left))
            values[name] = slot.values[left.pop(place)]
    return values


def _distinct_rows(source: RowSource) -> tuple[dict[str, Any], ...]:
    kept: dict[str, dict[str, Any]] = {}
    for row in source.rows:
        kept.setdefault(repr(sorted(row.items(), key=lambda pair: pair[0])), row)
    return tuple(kept.values())
