"""The kept items of a data set as index arrays: token ids, lengths, spans and answers."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from glassbox_dsl.resolve.data import DataTable, Item


@dataclass(frozen=True)
class PromptArrays:
    """One prompt of every kept item: `ids` [item, pos] padded with 0, `length` [item]."""

    ids: Tensor
    length: Tensor
    starts: dict[str, Tensor]
    ends: dict[str, Tensor]


@dataclass
class DataArrays:
    """The kept items of one data set for one model; rows of every tensor are in the order of `items`."""

    table: DataTable
    prompts: dict[str, PromptArrays] = field(default_factory=dict)

    @cached_property
    def items(self) -> tuple[Item, ...]:
        """The kept items."""
        return tuple(item for item in self.table.items if item.kept)

    @property
    def n_items(self) -> int:
        """How many items are kept."""
        return len(self.items)

    @cached_property
    def numbers(self) -> Tensor:
        """The number of each kept item in the drawn set."""
        return torch.tensor([item.number for item in self.items])

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
        longest = max(len(t.ids) for t in tokens)
        ids = torch.tensor([[*t.ids, *[0] * (longest - len(t.ids))] for t in tokens])
        labels = dict.fromkeys(label for t in tokens for label in t.spans)
        missing = (-1, -1)
        starts = {label: torch.tensor([t.spans.get(label, missing)[0] for t in tokens]) for label in labels}
        ends = {label: torch.tensor([t.spans.get(label, missing)[1] for t in tokens]) for label in labels}
        return PromptArrays(ids, torch.tensor([len(t.ids) for t in tokens]), starts, ends)

    def aligned(self, name: str) -> bool:
        """Whether all items have as many tokens and their labels at the same places."""
        prompt = self.prompt(name)
        columns = [prompt.length, *prompt.starts.values(), *prompt.ends.values()]
        return all(bool((c == c[0]).all()) for c in columns)

    def answers(self, name: str, prompt: str) -> tuple[tuple[tuple[int, ...], ...], ...]:
        """For each item the alternatives of an answer, as token ids behind the prompt."""
        return tuple(alternatives(item, name, prompt) for item in self.items)

    def groups(self, feature: str) -> Tensor:
        """A number for each item that items with the same value of a feature or variable share."""
        values = [feature_of(item, feature) for item in self.items]
        codes = {value: code for code, value in enumerate(dict.fromkeys(values))}
        return torch.tensor([codes[value] for value in values])


def alternatives(item: Item, name: str, prompt: str) -> tuple[tuple[int, ...], ...]:
    """The alternatives of an item's answer behind a prompt."""
    answer = item.answers[name]
    by_prompt = getattr(answer, "by_prompt", None)
    if by_prompt and prompt in by_prompt:
        return tuple(tuple(a) for a in by_prompt[prompt])
    return tuple(tuple(a) for a in answer.alternatives)


def feature_of(item: Item, name: str) -> Any:
    """A feature, variable or the template number, as something that can be compared and hashed."""
    if name == "template":
        return item.template
    value = item.features[name] if name in item.features else item.variables[name]
    return repr(value)
