"""Edits of a batch: which cells of a site each row writes, with what, and how far that moves it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from glassbox_dsl.language.circuit_nodes import Exchanged
from glassbox_dsl.language.program import Edit, RunVariant
from glassbox_dsl.plan import named as indices
from glassbox_dsl.plan.edges import Edges
from glassbox_dsl.plan.edit_cells import edit_env, selected, touched_layers, written_coordinates
from glassbox_dsl.plan.indexing import Env
from glassbox_dsl.plan.named import Integers
from glassbox_dsl.plan.pack import Twin
from glassbox_dsl.plan.rows import ROW
from glassbox_dsl.run.context import Context
from glassbox_dsl.run.evaluate import Evaluator
from glassbox_dsl.run.kept_edges import Rest, rest_of, watched
from glassbox_dsl.run.named import Named, tensor
from glassbox_dsl.vocabulary.keys import SiteKey
from glassbox_dsl.vocabulary.sites import sites

Floats = NDArray[np.float32]
MOVED = 1e-6
"""An edit that moves a value by less than this share of its size has not moved it (float noise)."""


@dataclass
class Receipt:
    """What an edit did over all rows of a run: how many it fired on, and how far it moved them.

    `fired` counts writes (an edit of many layers writes several times in a row), `fired_rows` rows; `proven` rows
    whose edit was proven to change nothing and was not run; `total` and `relative` sum distances over writes.
    Where there is a `log`, every write is noted in it too: cells, items, distances, relative ones, whether it moved.
    """

    edit: Edit
    fired: int = 0
    fired_rows: int = 0
    moved: int = 0
    proven: int = 0
    largest: float = 0.0
    total: float = 0.0
    relative: float = 0.0
    log: list[tuple[NDArray[Any], ...]] | None = None
    rows: tuple[Integers, Integers] | None = None

    def about(self, cells: Integers, items: Integers) -> Receipt:
        """The same receipt; the next write is about these cells [row] and items [row]."""
        self.rows = cells, items
        return self

    def add(self, fired: Tensor, distance: Tensor, size: Tensor) -> None:
        """Count one write: which rows [row] it fired on, and the norms of the change and of the value before."""
        if not bool(fired.any()):
            return
        share = (distance / size.clamp(min=1e-12))[fired].numpy()
        which = fired.numpy()
        cells, items = (None, None) if self.rows is None else (rows[which] for rows in self.rows)
        self._count(cells, items, distance[fired].numpy(), share)

    def _count(self, cells: Integers | None, items: Integers | None, far: Floats, share: Floats) -> None:
        self.fired += len(far)
        self.moved += int((share > MOVED).sum())
        self.total += float(far.sum())
        self.relative += float(share.sum())
        self.largest = max(self.largest, float(far.max()))
        if self.log is not None and cells is not None and items is not None:
            self.log.append((cells, items, far, share, share > MOVED))

    def echo(self, log: Sequence[tuple[NDArray[Any], ...]], twin: Twin) -> None:
        """Count what the `log` of another edit says of equal cells: it was done once, for both."""
        n_items = 1 + max([int(twin.of_items.max()), *(int(items.max()) for _, items, *_ in log)])
        wanted = twin.of_cells * n_items + twin.of_items
        order, fired = np.argsort(wanted, kind="stable"), np.zeros(len(wanted), dtype=np.bool_)
        for cells, items, far, share, _ in log:
            at = cells * n_items + items
            # Several cells may be equal to one.
            low, high = (np.searchsorted(wanted[order], at, side=side) for side in ("left", "right"))
            entry = np.repeat(np.arange(len(at)), high - low)
            start = np.repeat(np.cumsum(high - low) - (high - low), high - low)
            mine = order[low[entry] + np.arange(len(entry)) - start]
            if len(entry):
                self._count(twin.cells[mine], twin.items[mine], far[entry], share[entry])
            fired[mine] = True
        self.fired_rows += int(fired.sum())


@dataclass
class EditBatch:
    """The edits of one variant on a batch of rows; `env` has the rows' items and variables.

    `logit_positions` says at which positions logits are made, where not at all; `positions` which ones the pass has,
    where it goes on from a cache.
    """

    context: Context
    variant: RunVariant
    env: Env
    receipts: Mapping[Edit, Receipt]
    logit_positions: Sequence[int] | None = None
    positions: Sequence[int] | None = None
    evaluator: Evaluator = field(init=False)
    hit: dict[Edit, Tensor] = field(default_factory=dict)
    rests: dict[tuple[object, object], Rest] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.evaluator = Evaluator(self.context)

    def count_rows(self) -> None:
        """After the pass: count the rows that each edit fired on."""
        for edit, rows in self.hit.items():
            self.receipts[edit].fired_rows += int(rows.sum())

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

    def apply(self, edit: Edit, key: SiteKey, value: Tensor, positions: Integers | None = None) -> Tensor:
        """The value [row, the site's axes, feature] after one edit; the given one is not changed.

        `positions` says which positions (queries) the value has, where it has not all of them.
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
        if not bool(mask.any()):
            return value
        own = Named(value.float().cpu(), dims, site.feature is not None)
        env = replace(env, own=own, site=(edit.site, key.layer))
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
        far, size = (
            torch.linalg.vector_norm(t.detach().float().flatten(1), dim=1).cpu() for t in (change, value)
        )
        fired = torch.ones_like(far, dtype=torch.bool)
        self.hit[edit] = fired
        self.receipts[edit].add(fired, far, size)
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
        self._count(edit, value.detach(), result.detach(), wide, mask)
        return result

    def _count(self, edit: Edit, value: Tensor, result: Tensor, wide: Tensor, mask: Tensor) -> None:
        """Note how far an edit moved each row."""
        difference = torch.where(result == value, 0.0, (result - value).float()).flatten(1)
        difference = torch.where(torch.isfinite(difference), difference, 1e6)
        before = torch.where(wide & torch.isfinite(value), value, 0.0).float().flatten(1)
        fired = mask.flatten(1).any(1).cpu()
        self.hit[edit] = self.hit.get(edit, torch.zeros_like(fired)) | fired
        self.receipts[edit].add(fired, difference.norm(dim=1).cpu(), before.norm(dim=1).cpu())
