"""What every side is asked to compute: prompts, where to patch, and which logits to read."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

Site = Literal["resid_pre", "resid_post", "z", "lens"]
BATCH_TOKENS = 4096
"""Rows of a forward pass that a side makes up by itself; more did not go faster on two cores."""


@dataclass(frozen=True)
class Task:
    """One sweep. At each layer, each of `cells` (positions, or heads for `z`) of `base` is set to that of `source`.

    `base` and `source` are token ids [item, pos]. With `spoiled`, the embedding of `base` at `subject` is first set
    to that of those ids. `lens` patches nothing: the target's logit is read after each layer at each position.
    """

    name: str
    site: Site
    base: Tensor
    source: Tensor
    target: Tensor
    distractor: Tensor | None
    n_layers: int
    cells: tuple[int, ...]
    spoiled: Tensor | None = None
    subject: tuple[int, ...] = ()

    @property
    def shape(self) -> tuple[int, int]:
        """How many items and cells there are."""
        return len(self.base), len(self.cells)

    def first(self, n_items: int) -> Task:
        """The same with its first items only."""
        parts = ("base", "source", "target", "distractor", "spoiled")
        cut = {p: None if getattr(self, p) is None else getattr(self, p)[:n_items] for p in parts}
        return replace(self, **cut)

    def batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        """All pairs of an item and the place of a cell, in as few parts as `BATCH_TOKENS` allows."""
        pairs = torch.cartesian_prod(*(torch.arange(n) for n in self.shape))
        for part in pairs.split(max(1, BATCH_TOKENS // self.base.shape[1])):
            yield part[:, 0], part[:, 1]

    def metric(self, logits: Tensor, items: Tensor | None = None) -> Tensor:
        """The logit difference of each row, from logits [row, vocab] of these items (default: one row each)."""
        items = torch.arange(len(self.base)) if items is None else items
        rows = torch.arange(len(items))
        value = logits[rows, self.target[items]]
        return value if self.distractor is None else value - logits[rows, self.distractor[items]]
