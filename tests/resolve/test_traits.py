"""What families state about themselves: in known words, for every key that changes the computation."""

import importlib.util
import json
import re
import tomllib
from pathlib import Path

import pytest

from glassbox_dsl.resolve.facts import text_part
from glassbox_dsl.resolve.families import (
    add_families,
    chosen_variants,
    families,
    family,
    family_texts,
    forget_families,
)
from glassbox_dsl.resolve.traits import trait_words, traits_of

# What a norm adds before its root, how a router turns its logits into weights, which layers have what, and sizes.
UNDESCRIBED = {
    *("rms_norm_eps", "layer_norm_epsilon", "layer_norm_eps", "norm_epsilon", "norm_eps"),
    *(
        "norm_topk_prob",
        "topk_method",
        "n_group",
        "topk_group",
        "routed_scaling_factor",
        "router_jitter_noise",
    ),
    *(
        "num_key_value_heads",
        "attention_types",
        "no_rope_layers",
        "no_rope_layer_interval",
        "max_window_layers",
    ),
    *("original_max_position_embeddings", "attention_softmax_in_fp32", "scale_attention_softmax_in_fp32"),
}
MODELS = Path(importlib.util.find_spec("transformers").origin).parent / "models"
STATED = [f.name for f in families() if f.traits]


def test_every_family_states_its_traits():
    assert [f.name for f in families() if not f.traits] == []


@pytest.mark.parametrize("name", STATED)
def test_every_key_that_a_family_handles_is_a_trait_or_changes_no_description(name):
    known = family(name)
    variants = tomllib.loads(family_texts(name)[0]).get("variants", [])
    said = traits_of(known).keys | UNDESCRIBED
    for variant in variants:
        said |= {
            *variant["when"],
            *(k for fact in variant.get("facts", {}).values() for k in fact.get("keys", ())),
        }
    assert [key for key in known.config.handled if key not in said and is_read(known, key)] == []


def is_read(known, key):
    """Whether the code of a family's models reads a config key: files inherit keys that theirs does not know."""
    folder = MODELS / known.name.replace("gemma3_text", "gemma3")
    files = [path for path in folder.glob("*.py") if not path.name.startswith("modular")]
    text = "".join(path.read_text() for path in files if re.match("modeling|configuration", path.name))
    assert text
    return re.search(rf"(config|self)\.{key}\b|\"{key}\"", text) is not None


def test_the_code_of_a_model_is_searched():
    assert is_read(family("llama"), "attention_bias") and not is_read(family("mistral"), "attention_bias")


@pytest.mark.parametrize("name", STATED)
def test_what_a_missing_key_means_is_what_transformers_assumes(name):
    from transformers import AutoConfig

    known = family(name)
    theirs = AutoConfig.for_model(known.model_types[0])
    bare = {"model_type": theirs.model_type}
    written = {**json.loads(theirs.to_json_string(use_diff=False)), **bare}
    found = [
        traits_of(family(name, chosen_variants(config, name))).of(text_part(config, known))
        for config in (bare, written)
    ]
    assert found[0] == found[1]


def test_a_null_may_mean_something_else_than_a_missing_key():
    capped = traits_of(family("gemma2"))
    assert capped.of({})["final_softcap"] == 30.0
    assert capped.of({"final_logit_softcapping": None})["final_softcap"] is False
    assert traits_of(family("deepseek_v2")).of({"q_lora_rank": None})["q_latent"] is False
    assert traits_of(family("llama")).of({"hidden_act": None})["activation"] == "silu"


def test_traits_are_taken_over_only_where_the_file_says_so(tmp_path):
    text = 'extends = "llama"\nmodel_types = ["alike"]\n'
    (tmp_path / "silent.toml").write_text(text)
    (tmp_path / "alike.toml").write_text(text + 'traits_from = "qwen2"\n[traits]\nmlp_bias = true\n')
    add_families(tmp_path)
    try:
        assert traits_of(family("silent")) is None
        assert family("alike").traits == {**family("qwen2").traits, "mlp_bias": True}
        assert family("alike").sites == family("llama").sites
    finally:
        forget_families(tmp_path)


def test_words_have_meanings_and_defaults_are_among_the_values():
    for name, word in trait_words().items():
        assert len(word.meaning.split()) > 3, name
        if isinstance(word.default, str) and word.values:
            assert word.default in word.values, name


def test_a_trait_is_read_from_the_first_key_that_is_there():
    traits = traits_of(family("llama"))
    assert traits.of({"rope_theta": 7.0})["rope_theta"] == 7.0
    both = {"rope_theta": 7.0, "rope_parameters": {"rope_theta": 9.0}}
    assert traits.of(both)["rope_theta"] == 9.0
    assert traits.of({"rope_parameters": None})["rope_theta"] == 10000.0
    gpt2 = traits_of(family("gpt2"))
    assert (
        gpt2.of({})["score_scale"] is False and gpt2.of({"scale_attn_weights": False})["score_scale"] == 1.0
    )
