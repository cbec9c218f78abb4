"""The attention function of a pack: which kernel mixes the rows of a layer, and where scores and patterns are shown."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from glassbox_dsl.run.attention import Inputs, Tap, softmax, visit_scores
from glassbox_dsl.run.delta.kernels import (
    Bases,
    Owners,
    Rows,
    gathered,
    mixed,
    scatter,
    scores_of,
    shared,
)


@dataclass(frozen=True)
class PackedAttention:
    """Mixes the rows of one layer: `groups` hold every owner once, `positions` [row] where each row stands.

    `bases`, where there are any, let long prompts share their keys; then the groups are made only to show something.
    """

    make_groups: Callable[[], Sequence[Owners]]
    positions: Tensor
    bases: Sequence[Bases] = ()

    @cached_property
    def groups(self) -> Sequence[Owners]:
        """Every owner once, each with its keys."""
        return self.make_groups()

    def __call__(self, tap: Tap, inputs: Inputs) -> Tensor:
        """z [1, head, row, d_head]."""
        query, key, value = (t[0].transpose(0, 1) for t in (inputs.query, inputs.key, inputs.value))
        mask = None if inputs.mask is None else inputs.mask[0, 0]
        scale = inputs.scaling if inputs.softcap is None else None
        rows = Rows(query, key, value, mask, inputs.turned, inputs.sinks, scale)
        shown = {"attn.scores", "attn.pattern"} & tap.wanted
        if shown:
            return self._shown(tap, rows).transpose(0, 1)[None]
        z = shared(rows, self.bases) if self.bases else gathered(rows, self.groups)
        return z.transpose(0, 1)[None]

    def _beyond(self, rows: Rows, n_keys: int) -> Tensor:
        """Keys behind the end of a row's prompt, which no edit can bring to life: [1, 1, row, key]."""
        beyond = torch.ones(len(rows.query), n_keys, dtype=torch.bool, device=rows.query.device)
        for owners in self.groups:
            assert owners.ends is not None
            n, own = owners.rows.shape
            place = torch.arange(owners.keys.shape[1], device=beyond.device)
            gone = (place >= owners.ends[:, None])[:, None].expand(n, own, -1)
            scatter(beyond[:, : gone.shape[-1]], owners.rows, owners.real, gone)
        return beyond[None, None]

    def _shown(self, tap: Tap, rows: Rows) -> Tensor:
        """z by way of scores and patterns [1, head, row, key] that are visited as a whole."""
        n_keys = max(g.keys.shape[1] for g in self.groups)
        scores = rows.query.new_full((*rows.query.shape[:2], n_keys), -torch.inf)
        for owners in self.groups:
            found = scores_of(rows, owners).permute(0, 3, 1, 2, 4).flatten(2, 3)
            scatter(scores[..., : found.shape[-1]], owners.rows, owners.real, found)
        mask = None if rows.mask is None else rows.mask[self.positions][None, None, :, :n_keys]
        laid_out = scores.transpose(0, 1)[None]
        if "attn.scores" in tap.wanted:
            written = visit_scores(tap, laid_out, mask)
            if written is not laid_out:
                laid_out = written.masked_fill(self._beyond(rows, n_keys), -torch.inf)
        sinks = None if rows.sinks is None else rows.sinks.view(1, -1, 1, 1)
        own_pattern = softmax(laid_out, rows.query.dtype, sinks)
        pattern = tap("attn.pattern", own_pattern)
        if pattern is not own_pattern:
            pattern = pattern.masked_fill(self._beyond(rows, n_keys), 0.0)
        pattern = pattern[0].transpose(0, 1)
        z = rows.empty()
        for owners in self.groups:
            own = pattern[owners.rows][..., : owners.keys.shape[1]]
            own = own.view(*own.shape[:2], rows.n_kv, -1, own.shape[-1]).permute(0, 2, 3, 1, 4)
            scatter(z, owners.rows, owners.real, mixed(rows, owners.keys, own))
        return z
