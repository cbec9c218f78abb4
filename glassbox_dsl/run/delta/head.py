"""The end of a climb: the final norm and logits of the rows that are read, and of no others."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from glassbox_dsl.run.delta.visits import Visits
from glassbox_dsl.run.hooks import identity, replaced
from glassbox_dsl.run.instrument import Instrument
from glassbox_dsl.run.modules import only_tokens
from glassbox_dsl.run.steps import in_order
from glassbox_dsl.vocabulary.keys import HEAD, SiteKey

LOGITS = SiteKey("logits")
BATCH_LOGITS = 2**26
"""About how many logits are made at once (256 MiB)."""


@dataclass
class Head:
    """The end of the model over rows [row] of a pack that `visits` has climbed; `rows` are those that are read."""

    instrument: Instrument
    visits: Visits
    rows: Tensor
    n_rows: int

    def local(self, rows: Tensor) -> Tensor:
        """Where rows lie among those of `rows`; -1: they do not."""
        table = torch.full((self.n_rows,), -1, dtype=torch.long, device=rows.device)
        table[rows] = torch.arange(len(rows), device=rows.device)
        return table

    def normed(self, stream: Tensor) -> Tensor:
        """The final norm of the rows that are read, after edits: [row, dim]."""
        reads, writes = self.visits.keys()
        keys = [k for k in in_order(reads | writes) if k.site in HEAD and k != LOGITS]
        self.visits.local = self.local(self.rows)
        modules = self.instrument.modules
        found: list[Tensor] = []

        def visit(key: SiteKey, value: Tensor) -> Tensor:
            return self.visits.rows(key, value[:, 0])[:, None]

        steps = self.instrument.steps(keys, writes & set(keys), visit, (len(self.rows), 1))
        steps.after[modules.final_norm.module].append(lambda _, value: _note(found, value))
        entered = stream[self.rows][:, None]
        with torch.inference_mode(), steps.opened():
            self._call(entered, {})
        return found[0][:, 0]

    def logits(self, normed: Tensor, vocabulary: Tensor | None = None) -> Tensor:
        """Logits [row, vocab] of normed rows; only those of some tokens [n] where a vocabulary is given."""
        modules = self.instrument.modules
        forwards: dict[nn.Module, Callable[..., Any]] = {
            modules.final_norm.module: lambda *_, **__: normed[:, None]
        }
        if vocabulary is not None:
            forwards |= only_tokens(modules.unembed, vocabulary)
        with torch.inference_mode():
            return self._call(normed[:, None], forwards, logits=True)[:, 0]

    def _call(
        self, entered: Tensor, forwards: dict[nn.Module, Callable[..., Any]], logits: bool = False
    ) -> Tensor:
        """The model's own forward on rows that come out of its last layer, [row, 1, dim]."""
        layers: dict[nn.Module, Callable[..., Any]] = {
            m.layer: identity for m in self.instrument.modules.layers
        }
        layers[self.instrument.modules.layers[-1].layer] = lambda *_, **__: entered
        ids = torch.zeros(len(entered), 1, dtype=torch.long, device=self.instrument.device)
        keep = 0 if logits else torch.tensor([], dtype=torch.long, device=ids.device)
        with replaced({**layers, **forwards}):
            output = self.instrument.model(ids, use_cache=False, return_dict=True, logits_to_keep=keep)
        made: Tensor = output.logits
        return made


def _note(found: list[Tensor], value: Tensor) -> Tensor:
    found.append(value)
    return value
