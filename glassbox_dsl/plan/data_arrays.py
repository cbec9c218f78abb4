"""The kept items of a data set as index arrays: token ids, lengths, spans and answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from glassbox_dsl.plan.named import Integers, Mask
from glassbox_dsl.resolve.data import DataTable, Item


@dataclass(frozen=True)
class PromptArrays:
    """One prompt of every kept item: `ids` [item, pos] padded with 0, `length` [item]; all int64."""

    ids: Integers
    length: Integers
    starts: dict[str, Integers]
    ends: dict[str, Integers]


@dataclass
class DataArrays:
    """The kept items of one data set for one model; rows of every array are in the order of `items`."""

    table: DataTable
    prompts: dict[str, PromptArrays] = field(default_factory=dict)
    counts: dict[str, Integers] = field(default_factory=dict)
    behind: dict[tuple[str, str, int], Integers] = field(default_factory=dict)

    @cached_property
    def items(self) -> tuple[Item, ...]:
        """The kept items."""
        return tuple(item for item in self.table.items if item.kept)

    @property
    def n_items(self) -> int:
        """How many items are kept."""
        return len(self.items)

    @cached_property
    def numbers(self) -> Integers:
        """The number of each kept item in the drawn set."""
        return np.array([item.number for item in self.items], dtype=np.int64)

    @cached_property
    def longest(self) -> int:
        """Tokens of the longest prompt."""
        return max((len(p.ids) for item in self.items for p in item.prompts.values()), default=1)

    def prompt(self, name: str) -> PromptArrays:
        """The arrays of one prompt."""
        if name not in self.prompts:
            self.prompts[name] = self._arrays(name)
        return self.prompts[name]

    def _arrays(self, name: str) -> PromptArrays:
        tokens = [item.prompts[name] for item in self.items]
        labels = dict.fromkeys(label for t in tokens for label in t.spans)
        missing = (-1, -1)
        spans = {label: padded([t.spans.get(label, missing) for t in tokens])[0] for label in labels}
        starts = {label: both[:, 0] for label, both in spans.items()}
        ends = {label: both[:, 1] for label, both in spans.items()}
        ids, valid = padded([t.ids for t in tokens])
        return PromptArrays(ids, valid.sum(1), starts, ends)

    def aligned(self, name: str) -> bool:
        """Whether all items have as many tokens and their labels at the same places."""
        prompt = self.prompt(name)
        columns = [prompt.length, *prompt.starts.values(), *prompt.ends.values()]
        return all(bool((c == c[0]).all()) for c in columns)

    def layout(self, name: str) -> tuple[Any, ...]:
        """How many tokens the first item has, and where its labels stand."""
        prompt = self.prompt(name)
        ends = {label: (int(prompt.starts[label][0]), int(end[0])) for label, end in prompt.ends.items()}
        return int(prompt.length[0]), sorted(ends.items())

    def token_counts(self, name: str) -> Integers:
        """How many tokens each alternative of an answer has, [item, alternative]; 0 where there is none."""
        if name not in self.counts:
            found = [[len(a) for a in item.answers[name].alternatives] for item in self.items]
            self.counts[name] = padded(found)[0]
        return self.counts[name]

    def extended(self, prompt: str, name: str, which: int) -> Integers:
        """Token ids [item, pos] of a prompt with all but the last token of an alternative behind it."""
        key = (prompt, name, which)
        if key not in self.behind:
            found = [item.answers[name].alternatives[which : which + 1] for item in self.items]
            more = [a[0][:-1] if a else () for a in found]
            rows = [(*i.prompts[prompt].ids, *m) for i, m in zip(self.items, more, strict=True)]
            self.behind[key] = padded(rows)[0]
        return self.behind[key]

    def groups(self, feature: str) -> Integers:
        """A number for each item that items with the same value of a feature or variable share."""
        values = [feature_of(item, feature) for item in self.items]
        codes = {value: code for code, value in enumerate(dict.fromkeys(values))}
        return np.array([codes[value] for value in values], dtype=np.int64)


def aligned(several: Sequence[DataArrays], prompts: Sequence[str]) -> bool:
    """Whether every item of some tables has as many tokens, and its labels at the same places, in each prompt."""
    first = several[0]
    return all(
        one.aligned(prompt) and one.layout(prompt) == first.layout(prompt)
        for prompt in prompts
        for one in several
    )


def padded(rows: Any) -> tuple[Integers, Mask]:
    """Sequences of integers as rows of one array, padded with 0, and which of its cells they fill."""
    longest = max((len(row) for row in rows), default=0)
    lengths = np.array([len(row) for row in rows], dtype=np.int64)
    valid = np.arange(longest) < lengths[:, None]
    table = np.zeros(valid.shape, dtype=np.int64)
    table[valid] = [value for row in rows for value in row]
    return table, valid


def feature_of(item: Item, name: str) -> Any:
    """A feature, variable or the template number, as something that can be compared and hashed."""
    return item.template if name == "template" else repr(value_of(item, name))


def value_of(item: Item, name: str) -> Any:
    """A feature, variable or the template number; a feature over positions is a tuple."""
    if name == "template":
        return item.template
    return item.features[name] if name in item.features else item.variables[name]
