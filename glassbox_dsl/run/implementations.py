"""Which attention and experts functions a model is loaded with."""

from __future__ import annotations

from glassbox_dsl.resolve.facts import ModelFacts
from glassbox_dsl.run.attention import ATTENTION
from glassbox_dsl.run.experts import EXPERTS

EAGER = "eager"


def implementations(facts: ModelFacts, plain: bool = False) -> dict[str, str]:
    """The arguments of `from_pretrained` and `from_config`; `plain`: the model's own code everywhere."""
    attention = EAGER if plain or facts.own_attention is not None else ATTENTION
    found = {"attn_implementation": attention}
    if facts.n_experts:
        found["experts_implementation"] = EAGER if plain else EXPERTS
    return found
