"""The attention function of a pack: which kernel mixes the rows of a layer, and where scores and patterns are shown."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor
from torch.nn.functional import pad

from glassbox_dsl.run.attention import Inputs, Tap, softmax, visit_scores
from glassbox_dsl.run.delta.kernels import (
    Bases,
    Owners,
    Parts,
    Rows,
    gathered,
    mixed,
    scores_of,
    shared,
    taken,
)


@dataclass(frozen=True)
class PackedAttention:
    """Mixes the rows of one layer: `groups` hold every owner once, `positions` [row] where each row stands.

    `bases`, where there are any, let long prompts share their keys; then the groups are made only to show something.
    """

    make_groups: Callable[[], Parts[Owners]]
    positions: Tensor
    bases: Parts[Bases] | None = None

    @cached_property
    def groups(self) -> Parts[Owners]:
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
        z = gathered(rows, self.groups) if self.bases is None else shared(rows, self.bases)
        return z.transpose(0, 1)[None]

    def _beyond(self, n_keys: int) -> Tensor:
        """Keys behind the end of a row's prompt, which no edit can bring to life: [1, 1, row, key]."""
        place = torch.arange(n_keys, device=self.positions.device)
        ends = self.groups.by_row(o.ends[:, None].expand(o.rows.shape) for o in self.groups.parts)
        return (place >= ends[:, None])[None, None]

    def _shown(self, tap: Tap, rows: Rows) -> Tensor:
        """z by way of scores and patterns [1, head, row, key] that are visited as a whole."""
        n_keys = max(o.keys.shape[1] for o in self.groups.parts)

        def scores_by_row(owners: Owners) -> Tensor:
            found = scores_of(rows, owners).permute(0, 3, 1, 2, 4).flatten(2, 3)
            return pad(found, (0, n_keys - found.shape[-1]), value=-torch.inf)

        scores = self.groups.by_row(map(scores_by_row, self.groups.parts))
        mask = None if rows.mask is None else rows.mask[self.positions][None, None, :, :n_keys]
        laid_out = scores.transpose(0, 1)[None]
        if "attn.scores" in tap.wanted:
            written = visit_scores(tap, laid_out, mask)
            if written is not laid_out:
                laid_out = written.masked_fill(self._beyond(n_keys), -torch.inf)
        sinks = None if rows.sinks is None else rows.sinks.view(1, -1, 1, 1)
        own_pattern = softmax(laid_out, rows.query.dtype, sinks)
        pattern = tap("attn.pattern", own_pattern)
        if pattern is not own_pattern:
            pattern = pattern.masked_fill(self._beyond(n_keys), 0.0)
        pattern = pattern[0].transpose(0, 1)

        def mixed_by_pattern(owners: Owners) -> Tensor:
            own = taken(pattern, owners.rows)[..., : owners.keys.shape[1]]
            return mixed(rows, owners.keys, own.unflatten(2, (rows.n_kv, -1)).permute(0, 2, 3, 1, 4))

        return self.groups.by_row(map(mixed_by_pattern, self.groups.parts))
