"""A model under contract beside the same model untouched, and what contracts ask of them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import torch
from torch import Tensor, nn

from glassbox_dsl.run.check import FLOAT_NOISE, Check, check
from glassbox_dsl.run.instrument import Instrument, Write
from glassbox_dsl.vocabulary.keys import SiteKey
from glassbox_dsl.vocabulary.sites import sites

LENGTH: Final = 9
LOGITS: Final = SiteKey("logits")


@dataclass(frozen=True)
class Subject:
    """A model under contract, and the same model untouched."""

    instrument: Instrument
    plain: nn.Module

    @cached_property
    def ids(self) -> Tensor:
        """Two prompts of one length, [2, pos]."""
        generator = torch.Generator().manual_seed(11)
        return torch.randint(3, self.instrument.facts.vocab_size, (2, LENGTH), generator=generator)

    @cached_property
    def untouched(self) -> Any:
        """What the untouched model gives out: logits, hidden states, attentions."""
        model: Any = self.plain
        with torch.no_grad():
            return model(self.ids, use_cache=False, output_hidden_states=True, output_attentions=True)

    @cached_property
    def own(self) -> dict[SiteKey, Tensor]:
        """Every site of every layer that has it, unedited."""
        return self.instrument.forward(self.ids, reads=set(self.keys()))

    def keys(self, *names: str) -> list[SiteKey]:
        """The places of some sites (default: all)."""
        facts = self.instrument.facts
        known = [n for n in names or sites() if sites()[n].passed and n not in facts.absent]
        return [
            SiteKey(n, layer)
            for n in known
            for layer in (facts.layers_with(n) if sites()[n].has_layer else (None,))
        ]

    def at(self, site: str, layer: int | None = None) -> Tensor:
        """The value of a site, unedited."""
        return self.own[SiteKey(site, layer)]

    def logits(self, writes: dict[SiteKey, Write]) -> Tensor:
        """The logits of the two prompts under some writes."""
        return self.instrument.forward(self.ids, reads={LOGITS}, writes=writes)[LOGITS]

    def swapped(self, *keys: SiteKey) -> dict[SiteKey, Write]:
        """Writes that give each prompt the other one's values."""

        def from_other(key: SiteKey) -> Write:
            return lambda _: self.own[key].flip(0)

        return {key: from_other(key) for key in keys}


def worst_of(name: str, errors: list[Tensor], detail: str, site: str, noise: float = FLOAT_NOISE) -> Check:
    """The check of the largest of some errors; NaN stays NaN."""
    return check(name, torch.stack([e.float() for e in errors]).max(), noise, detail, site)
