"""Positions as columns: the token index of each row of a measure, and the name of the position beside it.

Both are those of the prompts that the row's own cell reads; where it reads several that differ there, it has none.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from glassbox_dsl.language.program import Value
from glassbox_dsl.plan.indexing import Binding, Env
from glassbox_dsl.plan.named import Integers, Mask, along
from glassbox_dsl.plan.places import Places
from glassbox_dsl.run.context import Context
from glassbox_dsl.vocabulary.axes import ITEM

NOWHERE = -1
"""The position of a row that has no one token index."""

Labels = NDArray[np.object_]


def label_at(spans: dict[str, tuple[int, int]], position: int, length: int) -> str | None:
    """The name of a position: the span that ends there, else the span it starts or lies in, else `last`."""
    for label, (start, end) in spans.items():
        if start < end and position == end - 1:
            return label
    for label, (start, end) in spans.items():
        if start <= position < end:
            return f"{label}.first" if position == start else f"{label}.span"
    return "last" if position == length - 1 else None


@dataclass
class PositionColumns:
    """Positions and their names in one context."""

    context: Context
    tables: dict[str, Labels] = field(default_factory=dict)

    def read_by(self, value: Value, order: Sequence[str], index: Sequence[Integers]) -> dict[str, Mask]:
        """The prompts that a measure reads, each with the rows whose cell reads it; `index` [row] along `order`."""
        places = Places(self.context)
        dims = [d.name for d in value.dimensions]
        at = tuple(index[order.index(d)] for d in dims)
        n = len(index[0]) if index else 1
        found = {}
        for prompt, read in places.prompts_at(value, self.context.env(value.dimensions)).items():
            data, _ = read.spread(dims)
            inside = tuple(i if size > 1 else 0 * i for i, size in zip(at, data.shape, strict=True))
            found[prompt] = np.broadcast_to(data[inside], n)
        return found or {places.default_prompt(): np.ones(n, dtype=np.bool_)}

    def column(
        self,
        name: str,
        axis: str,
        binding: Binding,
        place: Integers,
        items: Integers | None,
        read: dict[str, Mask],
    ) -> tuple[Integers, Labels]:
        """The index and the name of a position in each row: `place` [row] are its cells, `items` [row] its items."""
        values: Integers = np.full(len(place), NOWHERE, dtype=np.int64)
        labels: Labels = np.full(len(place), None, dtype=object)
        done = np.zeros(len(place), dtype=np.bool_)
        for prompt, rows in read.items():
            some = None if items is None else items[rows]
            mine, theirs = self._in_prompt(name, axis, binding, place[rows], some, prompt)
            again = done[rows]
            values[rows] = np.where(again & (values[rows] != mine), NOWHERE, mine)
            theirs[again & (labels[rows] != theirs)] = None
            labels[rows] = theirs
            done |= rows
        return values, labels

    def _in_prompt(
        self, name: str, axis: str, binding: Binding, place: Integers, items: Integers | None, prompt: str
    ) -> tuple[Integers, Labels]:
        """The same in one prompt. Without items an index is one that all items share, a name the first item's."""
        count = len(binding.cells) if binding.cells is not None else self.context.sizes.of(axis)
        env = Env(
            item=self.context.all_items(), variables={name: Binding(along("#c", count), "#c", binding.cells)}
        )
        at = self.context.indexer.variable(name, axis, env, prompt)
        table = np.broadcast_to(at.spread(("#c", ITEM))[0], (count, self.context.data.n_items))
        if items is None:
            same = (table == table[:, :1]).all(1)
            values = np.where(same, table[:, 0], NOWHERE)[place]
            items = np.zeros_like(place)
        else:
            values = table[place, items]
        known = self._labels(prompt)
        labels = known[items, values.clip(0, known.shape[1] - 1)]
        labels[(values < 0) | (values >= known.shape[1])] = None
        if binding.cells is not None:
            written = np.array([c.text if c.at is None else None for c in binding.cells], dtype=object)
            by_name = np.array([c.at is None for c in binding.cells])[place]
            labels[by_name] = written[place][by_name]
        return values, labels

    def _labels(self, prompt: str) -> Labels:
        """The name of every position of every item's prompt, [item, pos]."""
        if prompt not in self.tables:
            found = [item.prompts[prompt] for item in self.context.data.items]
            table: Any = np.full((len(found), self.context.data.longest), None, dtype=object)
            for row, tokens in enumerate(found):
                for position in range(len(tokens.ids)):
                    table[row, position] = label_at(tokens.spans, position, len(tokens.ids))
            self.tables[prompt] = table
        return self.tables[prompt]
