"""Edits of a batch: which cells of a site each row writes, with what, and how far that moves it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor

from glassbox_dsl.language.circuit_nodes import Exchanged
from glassbox_dsl.language.program import Edit, RunVariant
from glassbox_dsl.plan import named as indices
from glassbox_dsl.plan.edges import Edges
from glassbox_dsl.plan.edit_cells import edit_env, selected, touched_layers, written_coordinates
from glassbox_dsl.plan.indexing import Env
from glassbox_dsl.plan.named import Integers
from glassbox_dsl.plan.rows import ROW
from glassbox_dsl.run.context import Context
from glassbox_dsl.run.evaluate import Evaluator
from glassbox_dsl.run.kept_edges import Rest, rest_of, watched
from glassbox_dsl.run.named import Named, tensor
from glassbox_dsl.run.receipts import Line
from glassbox_dsl.vocabulary.keys import SiteKey
from glassbox_dsl.vocabulary.sites import sites


@dataclass
class EditBatch:
    """The edits of one variant on a batch of rows; `env` has the rows' items and variables.

    `logit_positions` says at which positions logits are made, where not at all; `positions` which ones the pass has,
    where it goes on from a cache. `receipts` take note of what edits write.
    """

    context: Context
    variant: RunVariant
    env: Env
    logit_positions: Sequence[int] | None = None
    positions: Sequence[int] | None = None
    receipts: Mapping[Edit, Line] = field(default_factory=dict)
    evaluator: Evaluator = field(init=False)
    rests: dict[tuple[object, object], Rest] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.evaluator = Evaluator(self.context)

    def writes(self) -> dict[SiteKey, Callable[[Tensor], Tensor]]:
        """What to write where, edits at one site in the order written."""
        by_key: defaultdict[SiteKey, list[Edit]] = defaultdict(list)
        for edit in self.variant.edits:
            if not sites()[edit.site].has_layer:
                by_key[SiteKey(edit.site, None)].append(edit)
                continue
            touched = touched_layers(self.context, edit, self.variant, self.env)
            for layer in np.flatnonzero(touched.any(0)).tolist():
                by_key[SiteKey(edit.site, layer)].append(edit)
        found = {key: self._writer(key, edits) for key, edits in by_key.items()}
        for rest in self._rests().values():
            for key in watched(rest.instrument, rest.edges):
                found[key] = rest.watching(key, found.get(key))
        return found

    def _rests(self) -> dict[tuple[object, object], Rest]:
        """The edges outside of each circuit that is kept; the runs that they carry pass first."""
        for edit in self.variant.edits:
            value = edit.value
            if isinstance(value, Exchanged) and (value.members, value.other) not in self.rests:
                edges = Edges.of(self.context.sizes.facts)
                kept = self.context.sets.edges(value.members, self.env)
                outside = torch.from_numpy(edges.table(~kept))
                self.rests[value.members, value.other] = rest_of(self.context, outside, value.other, self.env)
        return self.rests

    def _writer(self, key: SiteKey, edits: Sequence[Edit]) -> Callable[[Tensor], Tensor]:
        kept = self.logit_positions if key.site == "logits" else self.positions
        positions = None if kept is None else np.array(kept, dtype=np.int64)

        def write(value: Tensor) -> Tensor:
            for edit in edits:
                value = self.apply(edit, key, value, positions)
            return value

        return write

    def apply(
        self,
        edit: Edit,
        key: SiteKey,
        value: Tensor,
        positions: Integers | None = None,
        own: Tensor | None = None,
    ) -> Tensor:
        """The value [row, the site's axes, feature] after one edit; the given one is not changed.

        `positions` says which positions (queries) the value has, where it has not all of them, `own` (broadcast to
        [row, the site's axes]) which of its cells may be written, where not all of them may.
        """
        if isinstance(edit.value, Exchanged):
            return self._exchanged(edit, edit.value, key, value)
        site = sites()[edit.site]
        inner = [a for a in site.axes if a != "layer"]
        lengths = dict(zip(inner, value.shape[1:], strict=False))
        layer = None if key.layer is None else indices.scalar(key.layer)
        coordinates = written_coordinates(edit, layer, lengths)
        if positions is not None:
            axis = "query" if "query" in inner else "pos"
            coordinates[axis] = indices.Named(positions, (axis,))
        env = edit_env(self.context, self.variant, self.env, coordinates)
        chosen = selected(self.context, edit, self.variant, env, coordinates)
        dims = (ROW, *inner)
        mask = tensor(chosen.spread(dims)[0]).expand(value.shape[: len(dims)])
        mask = mask if own is None else mask & own
        if not bool(mask.any()):
            return value
        here = Named(value.float().cpu(), dims, site.feature is not None)
        env = replace(env, own=here, site=(edit.site, key.layer))
        new = self.evaluator.value(edit.value, env)
        data, there = new.spread(dims)
        if site.feature is not None and not new.feature:
            data = data[..., None]
        mask = mask if there is None else mask & there
        return self._written(edit, value, data.to(value.device, value.dtype), mask.to(value.device))

    def _exchanged(self, edit: Edit, what: Exchanged, key: SiteKey, value: Tensor) -> Tensor:
        """What a receiver reads [row, (head,) pos, dim] when the edges outside of a circuit carry another run's."""
        change = self.rests[what.members, what.other].carried(key)
        if change is None:
            return value
        change = change.to(value)
        if edit in self.receipts:
            far, size = (
                torch.linalg.vector_norm(t.detach().float().flatten(1), dim=1).cpu() for t in (change, value)
            )
            self.receipts[edit].add(torch.ones_like(far, dtype=torch.bool), far, size)
        return value + change

    def _written(self, edit: Edit, value: Tensor, new: Tensor, mask: Tensor) -> Tensor:
        changed = {
            ":=": lambda: new,
            "+=": lambda: value + new,
            "-=": lambda: value - new,
            "*=": lambda: value * new,
        }
        wide = mask if mask.ndim == value.ndim else mask[..., None]
        result = torch.where(wide, changed[edit.op]().expand(value.shape), value)
        if edit in self.receipts:
            self._count(edit, value.detach(), result.detach(), wide, mask)
        return result

    def _count(self, edit: Edit, value: Tensor, result: Tensor, wide: Tensor, mask: Tensor) -> None:
        """Note how far an edit moved each row."""
        # What stands behind the end of a prompt may be anything, and infinities that stay have not moved.
        moved = wide & (result != value)
        difference = torch.where(moved, (result - value).float(), 0.0).flatten(1)
        difference = torch.where(torch.isfinite(difference), difference, 1e6)
        before = torch.where(wide & torch.isfinite(value), value, 0.0).float().flatten(1)
        fired = mask.flatten(1).any(1).cpu()
        self.receipts[edit].add(fired, difference.norm(dim=1).cpu(), before.norm(dim=1).cpu())
