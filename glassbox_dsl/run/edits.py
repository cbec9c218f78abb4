"""Edits of a batch: which cells of a site each row writes, with what, and how far that moves it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from glassbox_dsl.language.program import Edit, RunVariant
from glassbox_dsl.run.context import Context
from glassbox_dsl.run.evaluate import Evaluator
from glassbox_dsl.run.indexing import Binding, Env
from glassbox_dsl.run.keys import SiteKey
from glassbox_dsl.run.named import Named, along, scalar
from glassbox_dsl.vocabulary.sites import sites

MOVED = 1e-6
"""An edit that moves a value by less than this share of its size has not moved it (float noise)."""


@dataclass
class Receipt:
    """What an edit did over all rows of a run: how many it fired on, and how far it moved them.

    `fired` counts writes (an edit of many layers writes several times in a row), `fired_rows` rows; `proven` rows
    whose edit was proven to change nothing and was not run; `total` and `relative` sum distances over writes.
    """

    edit: Edit
    fired: int = 0
    fired_rows: int = 0
    moved: int = 0
    proven: int = 0
    largest: float = 0.0
    total: float = 0.0
    relative: float = 0.0

    def add(self, fired: Tensor, distance: Tensor, size: Tensor) -> None:
        """Count one write: which rows [row] it fired on, and the norms of the change and of the value before."""
        if not bool(fired.any()):
            return
        relative = distance / size.clamp(min=1e-12)
        self.fired += int(fired.sum())
        self.moved += int((fired & (relative > MOVED)).sum())
        self.total += float(distance[fired].sum())
        self.relative += float(relative[fired].sum())
        self.largest = max(self.largest, float(distance[fired].max()))


@dataclass
class EditBatch:
    """The edits of one variant on a batch of rows; `env` has the rows' items and variables."""

    context: Context
    variant: RunVariant
    env: Env
    receipts: Mapping[Edit, Receipt]
    evaluator: Evaluator = field(init=False)
    hit: dict[Edit, Tensor] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.evaluator = Evaluator(self.context)

    def count_rows(self) -> None:
        """After the pass: count the rows that each edit fired on."""
        for edit, rows in self.hit.items():
            self.receipts[edit].fired_rows += int(rows.sum())

    def layers(self, edit: Edit) -> Tensor:
        """Whether each row [row] touches each layer [layer] with an edit."""
        n_rows, n_layers = len(self.env.item.data), self.context.sizes.facts.n_layers
        axes = sites()[edit.site].axes
        coordinates = {a: along(a, self.context.sizes.of(a)) for a in axes}
        env = self._env(coordinates)
        first = edit.index[0]
        width = getattr(first, "width", 1)
        chosen = self.context.indexer.selection(
            edit.index[:width], axes[:width], coordinates, env, self.variant.prompt
        )
        dims = ("row", "layer", *axes[1:width])
        data = chosen.spread(dims)[0]
        data = data.expand(n_rows, n_layers, *data.shape[2:])
        return data.flatten(2).any(-1) if data.ndim > 2 else data

    def first_layers(self) -> Tensor:
        """The lowest layer whose input, inside or output a row's edits touch, [row]; n_layers for those behind."""
        n_rows, n_layers = len(self.env.item.data), self.context.sizes.facts.n_layers
        first = torch.full((n_rows,), n_layers)
        for edit in self.variant.edits:
            if not sites()[edit.site].has_layer:
                own = torch.full((n_rows,), 0 if edit.site == "embed" else n_layers)
            else:
                touched = self.layers(edit)
                own = torch.where(touched.any(1), touched.long().argmax(1), n_layers)
                own = own + (1 if edit.site == "resid_post" else 0)
            first = torch.minimum(first, own)
        return first.clamp(max=n_layers)

    def writes(self) -> dict[SiteKey, Callable[[Tensor], Tensor]]:
        """What to write where, edits at one site in the order written."""
        by_key: defaultdict[SiteKey, list[Edit]] = defaultdict(list)
        for edit in self.variant.edits:
            if not sites()[edit.site].has_layer:
                by_key[SiteKey(edit.site, None)].append(edit)
                continue
            for layer in self.layers(edit).any(0).nonzero().flatten().tolist():
                by_key[SiteKey(edit.site, layer)].append(edit)
        return {key: self._writer(key, edits) for key, edits in by_key.items()}

    def _writer(self, key: SiteKey, edits: Sequence[Edit]) -> Callable[[Tensor], Tensor]:
        def write(value: Tensor) -> Tensor:
            for edit in edits:
                value = self.apply(edit, key, value)
            return value

        return write

    def _env(self, coordinates: Mapping[str, Named]) -> Env:
        """The rows' environment, where axes that no binder sweeps are the written cells' own."""
        own = {a: Binding(c, a) for a, c in coordinates.items() if a not in self.env.variables}
        return replace(self.env.with_variables(own), prompt=self.variant.prompt)

    def apply(self, edit: Edit, key: SiteKey, value: Tensor) -> Tensor:
        """The value [row, the site's axes, feature] after one edit; the given one is not changed."""
        site = sites()[edit.site]
        inner = [a for a in site.axes if a != "layer"]
        coordinates: dict[str, Named] = {a: along(a, n) for a, n in zip(inner, value.shape[1:], strict=False)}
        if key.layer is not None:
            coordinates = {"layer": scalar(key.layer), **coordinates}
        own = Named(value.float().cpu(), ("row", *inner), site.feature is not None)
        env = replace(self._env(coordinates), coordinates=coordinates, own=own, site=(edit.site, key.layer))
        chosen = self.context.indexer.selection(edit.index, site.axes, coordinates, env, self.variant.prompt)
        dims = ("row", *inner)
        mask = chosen.spread(dims)[0].expand(value.shape[: len(dims)])
        if not bool(mask.any()):
            return value
        new = self.evaluator.value(edit.value, env)
        data, there = new.spread(dims)
        if site.feature is not None and not new.feature:
            data = data[..., None]
        mask = mask if there is None else mask & there
        return self._written(edit, value, data.to(value.device, value.dtype), mask.to(value.device))

    def _written(self, edit: Edit, value: Tensor, new: Tensor, mask: Tensor) -> Tensor:
        changed = {
            ":=": lambda: new,
            "+=": lambda: value + new,
            "-=": lambda: value - new,
            "*=": lambda: value * new,
        }
        wide = mask if mask.ndim == value.ndim else mask[..., None]
        result = torch.where(wide, changed[edit.op]().expand(value.shape), value)
        difference = torch.where(result == value, 0.0, (result - value).float()).flatten(1)
        difference = torch.where(torch.isfinite(difference), difference, 1e6)
        before = torch.where(wide & torch.isfinite(value), value, 0.0).float().flatten(1)
        fired = mask.flatten(1).any(1).cpu()
        self.hit[edit] = self.hit.get(edit, torch.zeros_like(fired)) | fired
        self.receipts[edit].add(fired, difference.norm(dim=1).cpu(), before.norm(dim=1).cpu())
        return result
