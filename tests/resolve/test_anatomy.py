"""Descriptions from configs: parameters are those of the real model, features those of its modules."""

import json

import pytest
import torch

from glassbox_dsl.diagnostics import Findings
from glassbox_dsl.resolve.anatomy import anatomy
from glassbox_dsl.resolve.asked import asked_models
from glassbox_dsl.resolve.bundled import bundled_models
from glassbox_dsl.resolve.facts import facts_from_config
from glassbox_dsl.resolve.families import families, family
from glassbox_dsl.resolve.sources import tiny_config
from glassbox_dsl.vocabulary.sites import sites

STATED = [f.name for f in families() if f.traits]
CHANGED = {
    "llama": {"tie_word_embeddings": True, "mlp_bias": False, "num_key_value_heads": 6},
    "gpt2": {"n_inner": None, "n_positions": 17},
    "gemma3_text": {"attention_bias": False, "num_key_value_heads": 4, "tie_word_embeddings": False},
    "deepseek_v2": {"q_lora_rank": None, "mlp_bias": True, "attention_bias": False},
    "deepseek_v3": {"q_lora_rank": None, "n_shared_experts": 3, "first_k_dense_replace": 2},
    "qwen2_moe": {"qkv_bias": False, "mlp_only_layers": [0, 2]},
    "qwen3_moe": {"decoder_sparse_step": 2, "mlp_only_layers": [], "attention_bias": False},
    "gpt_oss": {"attention_bias": False, "num_local_experts": 3},
    "phimoe": {"lm_head_bias": False, "attention_bias": False},
    "cohere": {"use_qk_norm": False, "tie_word_embeddings": False},
    "persimmon": {"qk_layernorm": False},
    "phi": {"qk_layernorm": False, "num_key_value_heads": 4},
    "stablelm": {"qk_layernorm": False, "use_qkv_bias": False},
    "starcoder2": {"use_bias": False},
    "seed_oss": {"attention_out_bias": False, "mlp_bias": False},
    "helium": {"attention_bias": False, "mlp_bias": False},
    "falcon": {"bias": False, "new_decoder_architecture": True, "num_kv_heads": 2},
    "gpt_neox": {"attention_bias": False, "tie_word_embeddings": True},
    "apertus": {"hidden_act": "silu", "attention_bias": False},
}
NO_DEFAULT = ("ministral", "nemotron")
"""Families whose default config transformers cannot build: it says nothing of the width of heads."""


def real(config):
    """The untouched model of a config, without room for its weights."""
    from transformers import AutoConfig, AutoModelForCausalLM

    rest = {key: value for key, value in config.items() if key != "model_type"}
    with torch.device("meta"):
        return AutoModelForCausalLM.from_config(AutoConfig.for_model(config["model_type"], **rest))


def configs():
    for name in STATED:
        for model_type in family(name).model_types:
            yield pytest.param({**tiny_config(family(name)), "model_type": model_type}, id=model_type)
        for more in family(name).tiny_more:
            yield pytest.param(tiny_config(family(name), more=more), id=f"{name} {more}")
    for name, changes in CHANGED.items():
        yield pytest.param({**tiny_config(family(name)), **changes}, id=f"{name} changed")
    for id, model in bundled_models().items():
        yield pytest.param(json.loads(model.config_file.read_text()), id=id)


PARTS = {
    "embeddings": ("embed_tokens", "wte", "wpe"),
    "attention": ("self_attn", "attn."),
    "routers": ("mlp.gate.", "mlp.router.", "shared_expert_gate"),
    "experts": ("expert",),
    "MLP": ("mlp",),
    "unembedding": ("lm_head",),
}


def assert_counted(config):
    found = anatomy(config, "m")
    if found.uncounted is not None:
        assert len(found.uncounted.split()) > 3
        return
    assert found.n_parameters == sum(p.numel() for p in real(config).parameters())


@pytest.mark.parametrize("config", list(configs()))
def test_parameters_are_those_of_the_real_model(config):
    assert_counted(config)


@pytest.mark.parametrize("name", [name for name in STATED if name not in NO_DEFAULT])
def test_parameters_are_those_of_the_real_model_in_its_real_size(name):
    from transformers import AutoConfig

    theirs = AutoConfig.for_model(family(name).model_types[0])
    assert_counted({**json.loads(theirs.to_json_string()), "model_type": theirs.model_type})


def test_only_a_model_with_pictures_is_not_counted():
    found = {name for name in STATED if anatomy(tiny_config(family(name)), "m").uncounted}
    assert found == {"gemma3"}


@pytest.mark.parametrize(
    "name", ["llama", "gpt2", "gemma3_text", "deepseek_v3", "qwen2_moe", "gpt_oss", "olmoe"]
)
def test_each_part_has_its_own_parameters(name):
    config = tiny_config(family(name))
    counts = dict.fromkeys([*PARTS, "norms"], 0)  # a part is that of the first words that a path has
    for path, weight in real(config).named_parameters():
        part = next((part for part, words in PARTS.items() if any(w in path for w in words)), "norms")
        counts[part] += weight.numel()
    assert anatomy(config, "m").parameters == {part: n for part, n in counts.items() if n}


def test_bytes_follow_from_the_count():
    found = anatomy(json.loads(bundled_models()["smollm2-135m"].config_file.read_text()), "smol")
    assert found.n_parameters == 134_515_008
    assert found.bytes() == {"float32": 538_060_032, "bfloat16": 269_030_016, "float16": 269_030_016}


def test_features_of_the_bundled_models():
    smol, gemma = (anatomy(asked_models(id)[0].config, id).values for id in ("smollm2-135m", "gemma3-270m"))
    assert (smol["norm_kind"], smol["norm_place"], smol["heads"]) == ("rms", "pre", "grouped-query")
    assert (smol["windows"], smol["activation"], smol["rope_theta"]) == ("none", "silu", 100000.0)
    assert (gemma["norm_place"], gemma["norm_weights"], gemma["qk_norm"]) == (
        "sandwich",
        "1 + gain",
        "per head",
    )
    assert (gemma["heads"], gemma["windows"]) == ("multi-query", "512 in layers 0-4, 6-10, 12-16")
    assert (gemma["rope_theta"], gemma["rope_local_theta"]) == (1e6, 1e4)
    assert gemma["heads_fill_width"] is False and gemma["score_scale_fits"] is True


def test_only_rotary_positions_have_a_base_and_pairs():
    for name in STATED:
        for more in (None, *family(name).tiny_more):
            found = anatomy(tiny_config(family(name), more=more), "m").values
            rotary = {key for key in found if key.startswith(("rope_", "rotary_", "unturned_"))}
            assert bool(rotary) == (found["positions"] == "rotary"), (name, more)


@pytest.mark.parametrize("name", STATED)
def test_every_site_is_listed_with_its_size_or_its_reason(name):
    config = tiny_config(family(name))
    found, facts = anatomy(config, "m"), facts_from_config(config, "m")
    assert [site.name for site in found.sites] == list(sites())
    for site in found.sites:
        assert (site.absent is None) == (site.name not in facts.absent)
        assert tuple(site.axes) == sites()[site.name].axes
    entry = next(site for site in found.sites if site.name == "attn.k")
    assert entry.axes == {"layer": facts.n_layers, "kv_head": facts.n_kv_heads, "pos": None}
    assert (entry.feature, entry.width) == ("dim", facts.d_head)


def test_special_tokens_come_with_their_texts_where_the_tokenizer_is():
    (asked,) = asked_models("smollm2-135m")
    if asked.tokenizer is None:
        pytest.skip("the bundled model was not fetched")
    tokens = {token.name: token for token in anatomy(asked.config, "m", asked.tokenizer).special_tokens}
    assert tokens["bos"].ids == (1,) and tokens["bos"].texts == ("<|im_start|>",)
    assert anatomy(asked.config, "m").special_tokens[0].texts == ()


def test_a_family_that_states_nothing_is_not_counted(monkeypatch):
    from glassbox_dsl.resolve import anatomy as module

    bare = family("llama").changed(traits={})
    monkeypatch.setattr(module, "family", lambda *_: bare)
    found = anatomy(tiny_config(bare), "m")
    assert found.parameters == {} and found.bytes() == {} and "[traits]" in found.uncounted
    assert "norm_place" not in found.values and found.values["norm_kind"] == "rms"


def test_a_config_with_strange_values_is_described_as_far_as_it_goes():
    strange = {
        "hidden_act": {"a": [1]},
        "bos_token_id": ["x", 3],
        "rope_parameters": [],
        "attention_bias": "?",
    }
    found = anatomy({**tiny_config(family("llama")), **strange}, "m")
    assert found.values["activation"] == '{"a": [1]}' and found.special_tokens[0].ids == (3,)


# ---------------------------------------------------------------- what a command line may call a model


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(tiny_config(family("llama"))))
    return tmp_path


def test_a_config_alone_is_enough(folder):
    for text in (str(folder), str(folder / "config.json"), f"local:{folder}"):
        (asked,) = asked_models(text)
        assert asked.config == tiny_config(family("llama")) and asked.tokenizer is None


def test_models_of_a_file_by_all_or_by_name(tmp_path):
    file = tmp_path / "two.gbx"
    file.write_text('gbx 1\nmodel a = tiny("llama", layers: 1)\nmodel b = tiny("gpt2")\n')
    assert [m.shown for m in asked_models(str(file))] == ["a", "b"]
    (one,) = asked_models(f"{file}:a")
    assert one.config["num_hidden_layers"] == 1
    with pytest.raises(Findings) as found:
        asked_models(f"{file}:c")
    assert found.value.diagnostics[0].code == "GB330"


@pytest.mark.parametrize(("text", "code"), [("smollm", "GB330"), ("bundled:x", "GB310"), ("tiny:x", "GB321")])
def test_what_is_no_model_is_said(text, code):
    with pytest.raises(Findings) as found:
        asked_models(text)
    assert [d.code for d in found.value.diagnostics] == [code]


def test_what_is_broken_in_a_folder_is_said(tmp_path):
    for text in (str(tmp_path), str(tmp_path / "config.json")):
        with pytest.raises(Findings) as found:
            asked_models(text)
        assert found.value.diagnostics[0].code == "GB312"
    (tmp_path / "config.json").write_text("[1]")
    with pytest.raises(Findings) as found:
        asked_models(str(tmp_path))
    assert found.value.diagnostics[0].code == "GB313"
