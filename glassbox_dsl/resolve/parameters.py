"""How many parameters a model has, by part, from its facts and traits alone; a tied unembedding counts once.

The count is that of `sum(p.numel() for p in model.parameters())` in transformers, which tests hold it to.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from glassbox_dsl.resolve.facts import ModelFacts

NORMS = {"pre": 2, "post": 2, "sandwich": 4}
LEARNED_ACTIVATIONS = {"xielu": 2}
"""Activations with parameters of their own: how many, per layer (xIELU, arXiv:2411.13010)."""


def parameters(facts: ModelFacts, traits: Mapping[str, Any], gated: bool) -> dict[str, int]:
    """Parameters of the embeddings, attention, MLPs, experts, routers, norms and the unembedding, over all layers.

    `gated`: MLPs and experts have two projections that lead in.
    """
    n, experts = facts.n_layers, sum(facts.experts_in)
    tied = facts.tied_embeddings
    found = {
        "embeddings": _embeddings(facts, traits),
        "attention": n * _attention(facts, traits),
        "MLP": (n - experts) * (_mlp(facts, traits, gated)),
        "experts": experts * _experts(facts, traits, gated),
        "routers": experts * _router(facts, traits),
        "norms": _norms(facts, traits),
        "unembedding": (0 if tied else facts.vocab_size * facts.d_model)
        + (facts.vocab_size if traits["head_bias"] else 0),
    }
    return {part: count for part, count in found.items() if count}


def _embeddings(facts: ModelFacts, traits: Mapping[str, Any]) -> int:
    rows = facts.vocab_size
    if traits["positions"] == "learned":
        rows += facts.max_positions + traits["position_offset"]
    return rows * facts.d_model


def _attention(facts: ModelFacts, traits: Mapping[str, Any]) -> int:
    d, heads, kv_heads = facts.d_model, facts.n_heads, facts.n_kv_heads
    if traits["qkv"] == "latent":
        count = _latent(facts, traits)
    else:
        outputs = (heads + 2 * kv_heads) * facts.d_head
        count = d * outputs + heads * facts.d_head * d
        count += outputs if traits["qkv_bias"] else 0
    count += d if traits["out_bias"] else 0
    count += heads if traits["sinks"] else 0
    qk_gains = {
        "none": 0,
        "per head": 2 * facts.d_head,
        "own per head": (heads + kv_heads) * facts.d_head,
        "across heads": (heads + kv_heads) * facts.d_head,
    }
    return int(count + qk_gains[traits["qk_norm"]] * (2 if traits["qk_norm_bias"] else 1))


def _latent(facts: ModelFacts, traits: Mapping[str, Any]) -> int:
    """Multi-head latent attention (DeepSeek-V2, arXiv:2405.04434): down- and up-projections, a norm on each latent."""
    d, heads, turned = facts.d_model, facts.n_heads, traits["rotary_dims"]
    wide, narrow = traits["q_latent"], traits["kv_latent"]
    query_width, value_width = heads * facts.d_head, heads * facts.d_value
    queries = d * wide + wide + wide * query_width if wide else d * query_width
    keys = d * (narrow + turned) + narrow + narrow * (query_width - heads * turned + value_width)
    biases = (
        int(wide) + narrow + turned if traits["qkv_bias"] else 0
    )  # those of the projections to the latents
    return int(queries + keys + biases + value_width * d)


def _mlp(facts: ModelFacts, traits: Mapping[str, Any], gated: bool) -> int:
    learned = LEARNED_ACTIVATIONS.get(traits["activation"], 0)
    return _projections(facts, facts.n_neurons, gated, bool(traits["mlp_bias"])) + learned


def _experts(facts: ModelFacts, traits: Mapping[str, Any], gated: bool) -> int:
    width = facts.n_expert_neurons
    shared = traits["shared_width"] or traits["n_shared_experts"] * width
    routed = facts.n_experts * _projections(facts, width, gated, bool(traits["expert_bias"]))
    return routed + _projections(facts, shared, gated, bool(traits["mlp_bias"])) if shared else routed


def _projections(facts: ModelFacts, width: int, gated: bool, biased: bool) -> int:
    """Those that lead into the neurons of an MLP or an expert, and out of them."""
    inward = 2 if gated else 1
    return (inward + 1) * facts.d_model * width + (inward * width + facts.d_model if biased else 0)


def _router(facts: ModelFacts, traits: Mapping[str, Any]) -> int:
    n = facts.n_experts
    gate = facts.d_model if traits["shared_gate"] else 0
    return int(n * facts.d_model + (n if traits["router_bias"] else 0) + gate)


def _norms(facts: ModelFacts, traits: Mapping[str, Any]) -> int:
    per_layer = 1 if traits["block"] == "parallel, one norm" else NORMS[traits["norm_place"]]
    norms = facts.n_layers * per_layer + 1 + (1 if traits["embed_norm"] else 0)
    return norms * facts.d_model * _per_channel(traits)


def _per_channel(traits: Mapping[str, Any]) -> int:
    return {"none": 0, "gain": 1, "1 + gain": 1, "gain and bias": 2, "1 + gain and bias": 2}[
        traits["norm_weights"]
    ]
