"""The models under test: a tiny random one of each family, and both bundled models."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, cached_property

import pytest
import torch
from transformers import AutoModelForCausalLM

from glassbox_dsl.diagnostics import Findings
from glassbox_dsl.resolve.facts import facts_from_config
from glassbox_dsl.resolve.families import family
from glassbox_dsl.resolve.sources import tiny_config
from glassbox_dsl.run.fetch import prepare
from glassbox_dsl.run.instrument import Instrument
from glassbox_dsl.run.tiny import tiny_model
from glassbox_dsl.run.weights import load_model
from glassbox_dsl.vocabulary.keys import SiteKey
from glassbox_dsl.vocabulary.models import ModelSource
from glassbox_dsl.vocabulary.sites import sites
from tests.conformance.oracle import Oracle

torch.set_num_threads(2)
TINY = ("gemma3_text", "gpt2", "llama")
"""Families whose computation the oracle writes out; the others are held to contracts: tests/families."""
BUNDLED = ("smollm2-135m", "gemma3-270m")
TEXTS = (
    "When Mary and John went out, John gave a drink to",
    "The capital of France is a city with a river, as",
)


@dataclass(frozen=True)
class Subject:
    """A model twice, for the program and for the oracle, two prompts of one length, and the layers to try."""

    name: str
    instrument: Instrument
    oracle: Oracle
    ids: torch.Tensor
    layers: tuple[int, ...]
    last: int = 3

    @cached_property
    def plain(self) -> torch.Tensor:
        """The oracle's logits at the last few positions, without edits."""
        return self.oracle.logits(self.ids, at=slice(-self.last, None))

    @cached_property
    def own(self) -> dict[SiteKey, torch.Tensor]:
        """Every site of the layers to try, without edits; logits at the last few positions."""
        got = self.run(reads=self.every_key(), logit_positions=self.ends())
        return {key: value.clone() for key, value in got.items()}

    def ends(self) -> list[int]:
        """The last few positions: enough to see an edit, and cheap where the vocabulary is large."""
        return list(range(self.ids.shape[1] - self.last, self.ids.shape[1]))

    def sites(self) -> list[str]:
        return [
            name for name, site in sites().items() if site.passed and name not in self.instrument.facts.absent
        ]

    def keys(self, name: str, layers=None) -> list[SiteKey]:
        if not sites()[name].has_layer:
            return [SiteKey(name)]
        return [SiteKey(name, layer) for layer in (self.layers if layers is None else layers)]

    def every_key(self) -> list[SiteKey]:
        return [key for name in self.sites() for key in self.keys(name)]

    def run(self, ids=None, **wanted) -> dict[SiteKey, torch.Tensor]:
        return self.instrument.forward(self.ids if ids is None else ids, **wanted)

    def logits(self, ids=None, **wanted) -> torch.Tensor:
        return self.run(ids, reads={SiteKey("logits")}, **wanted)[SiteKey("logits")]


@cache
def tiny_subject(name: str) -> Subject:
    config = tiny_config(family(name))
    facts = facts_from_config(config, name)
    instrument = Instrument(tiny_model(config, seed=3), facts, family(name))
    ids = torch.randint(0, facts.vocab_size, (2, 11), generator=torch.Generator().manual_seed(1))
    return Subject(
        name,
        instrument,
        Oracle(tiny_model(config, seed=3, plain=True)),
        ids,
        tuple(range(facts.n_layers)),
    )


@cache
def bundled_subject(id: str) -> Subject:
    source = ModelSource(name="m", kind="bundled", target=id, device="cpu")
    try:
        files = prepare(source, print)
    except Findings as found:
        if {d.code for d in found.diagnostics} <= {"GB501", "GB502"}:
            pytest.skip(f"{id} cannot be downloaded here: {found}")
        raise
    from tokenizers import Tokenizer

    facts = facts_from_config(files.config, id)
    speaks = Tokenizer.from_file(str(files.tokenizer / "tokenizer.json"))
    encoded = [speaks.encode(text).ids for text in TEXTS]
    ids = torch.tensor([tokens[: min(map(len, encoded))] for tokens in encoded])
    plain = AutoModelForCausalLM.from_pretrained(
        files.weights, attn_implementation="eager", dtype=torch.float32
    )
    layers = (1, facts.n_layers - 1)
    return Subject(id, load_model(files, source, facts), Oracle(plain.eval()), ids, layers)


@pytest.fixture(params=[*TINY, *BUNDLED])
def subject(request) -> Subject:
    return tiny_subject(request.param) if request.param in TINY else bundled_subject(request.param)


@pytest.fixture(params=TINY)
def tiny(request) -> Subject:
    return tiny_subject(request.param)
