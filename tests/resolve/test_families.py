"""Family files: complete, in agreement with transformers, and strict about configs they do not know."""

import json
import subprocess
import sys

import pytest

from glassbox_dsl.diagnostics import Findings
from glassbox_dsl.resolve.bundled import bundled_models
from glassbox_dsl.resolve.facts import facts_from_config
from glassbox_dsl.resolve.families import families, family, family_names, family_of
from glassbox_dsl.resolve.sources import tiny_config
from glassbox_dsl.vocabulary.sites import sites

EVERYWHERE = {"embed", "resid_pre", "resid_post", "attn.result", "final_norm", "final_norm_scale", "logits"}
IN_EXPERTS = {"router.logits", "router.weights", "expert.post", "expert.out"}
COPIES = {"attn.q_in", "attn.k_in", "attn.v_in"}  # stand where attn.in does
UNTURNED = {"attn.q_pre", "attn.k_pre"}  # absent where attention that is code of its own turns queries
IN_ATTENTION = {"attn.q", "attn.k", "attn.v", "attn.scores", "attn.pattern", "attn.z"}
MADE = {name for name, site in sites().items() if site.of}  # from the values of another site
UNLIKE = {"phi3": ("original_max_position_embeddings",)}
"""Keys of a default config that only mean something with others."""
LLAMA = {
    "model_type": "llama",
    "hidden_size": 64,
    "num_attention_heads": 4,
    "num_hidden_layers": 2,
    "intermediate_size": 96,
    "vocab_size": 100,
}


def codes(config):
    with pytest.raises(Findings) as found:
        facts_from_config(config, "`m`")
    return [d.code for d in found.value.diagnostics]


def layouts():
    """Every family with the layouts that its variants have."""
    return [(name, more) for name in family_names() for more in (None, *family(name).tiny_more)]


@pytest.mark.parametrize(("name", "more"), layouts())
def test_every_site_stands_somewhere_or_is_absent_for_a_reason(name, more):
    facts = facts_from_config(tiny_config(family(name), more=more), name)
    known = family(name, facts.variants)
    told = [
        *known.sites,
        *known.norms,
        *known.absent,
        *EVERYWHERE,
        *COPIES,
        *IN_ATTENTION,
        *UNTURNED - known.absent.keys(),
    ]
    told += [*IN_EXPERTS] if known.experts is not None else []
    told += ["pos_embed"] if known.model.positions is not None else []
    assert len(told) == len(set(told))
    assert set(told) <= set(sites())
    assert sites().keys() - set(told) == MADE
    assert all(len(reason.split()) > 3 for reason in known.absent.values())


@pytest.mark.parametrize("name", family_names())
def test_defaults_are_those_of_transformers(name):
    from transformers import AutoConfig

    known = family(name)
    for model_type in known.model_types:
        theirs = AutoConfig.for_model(model_type)
        for fact in known.facts.values():
            if fact.default is not None and fact.keys and hasattr(theirs, fact.keys[0]):
                assert getattr(theirs, fact.keys[0]) == fact.default, fact.keys
        for (
            key,
            value,
        ) in known.defaults.items():  # of the class: an instance has filled in what depends on others
            assert getattr(type(theirs), key, getattr(theirs, key)) == value, key


@pytest.mark.parametrize("name", family_names())
def test_a_config_that_transformers_writes_is_understood(name):
    from transformers import AutoConfig

    for whole in (True, False):  # a saved config leaves out what is as the class has it
        theirs = AutoConfig.for_model(family(name).model_types[0])
        written = json.loads(theirs.to_json_string(use_diff=not whole))
        if whole:
            written = {k: v for k, v in written.items() if k not in UNLIKE.get(name, ())}
        facts = facts_from_config({**written, "model_type": theirs.model_type}, name)
        text = getattr(theirs, "text_config", theirs)
        assert facts.n_layers == text.num_hidden_layers and facts.d_model == text.hidden_size
        assert facts.n_heads == text.num_attention_heads and facts.vocab_size == text.vocab_size
        assert facts.max_positions == getattr(text, "max_position_embeddings", facts.max_positions)


@pytest.mark.parametrize("name", family_names())
def test_a_tiny_model_exercises_what_makes_the_family_special(name):
    facts = facts_from_config(tiny_config(family(name)), name)
    assert facts.family == name and 2 <= facts.n_layers <= 4
    if "num_key_value_heads" in family(name).facts["n_kv_heads"].keys:
        assert facts.n_kv_heads < facts.n_heads
    if family(name).windows is not None and any(facts.windows):
        assert 1 < min(w for w in facts.windows if w is not None) < 11
    assert (facts.n_experts > facts.experts_per_token > 0) == (family(name).experts is not None)


def test_sizes_of_the_bundled_models():
    read = {id: json.loads(model.config_file.read_text()) for id, model in bundled_models().items()}
    smol, gemma = (facts_from_config(read[id], id) for id in ("smollm2-135m", "gemma3-270m"))
    assert (smol.family, smol.n_layers, smol.n_heads, smol.n_kv_heads) == ("llama", 30, 9, 3)
    assert (smol.d_model, smol.d_head, smol.n_neurons, smol.vocab_size) == (576, 64, 1536, 49152)
    assert (gemma.family, gemma.n_layers, gemma.n_heads, gemma.n_kv_heads) == ("gemma3_text", 18, 4, 1)
    assert (gemma.d_model, gemma.d_head, gemma.n_neurons, gemma.vocab_size) == (640, 256, 2048, 262144)
    assert smol.windows == (None,) * 30 and smol.tied_embeddings and gemma.tied_embeddings
    assert [layer for layer, window in enumerate(gemma.windows) if window is None] == [5, 11, 17]
    assert set(gemma.windows) == {512, None}


def test_axes_and_features_have_sizes():
    facts = facts_from_config(tiny_config(family("llama")), "tiny")
    sizes = {
        a: facts.axis_size(a)
        for a in ("layer", "head", "kv_head", "neuron", "vocab", "pos", "query", "expert")
    }
    assert sizes == {"layer": 3, "head": 6, "kv_head": 2, "neuron": 40, "vocab": 101, "pos": None,
                     "query": None, "expert": None}  # fmt: skip
    widths = {
        s: facts.feature_size(s)
        for s in ("resid_pre", "attn.q", "attn.z", "attn.result", "logits", "mlp.pre")
    }
    assert widths == {
        "resid_pre": 24,
        "attn.q": 8,
        "attn.z": 8,
        "attn.result": 24,
        "logits": 101,
        "mlp.pre": None,
    }


def test_missing_keys_are_filled_in_as_the_model_code_does():
    facts = facts_from_config(LLAMA, "m")
    assert (facts.n_kv_heads, facts.d_head, facts.max_positions, facts.tied_embeddings) == (
        4,
        16,
        2048,
        False,
    )
    gpt2 = facts_from_config({"model_type": "gpt2", "n_embd": 48, "n_head": 4, "n_inner": None}, "m")
    assert (gpt2.n_neurons, gpt2.d_head, gpt2.n_kv_heads, gpt2.n_layers) == (192, 12, 4, 12)


def test_windows_go_by_the_list_of_layers_or_by_every_nth():
    gemma = {**tiny_config(family("gemma3_text")), "num_hidden_layers": 4}
    assert facts_from_config(gemma, "m").windows == (5, None, 5, None)
    del gemma["layer_types"]
    assert facts_from_config({**gemma, "sliding_window_pattern": 3}, "m").windows == (5, 5, None, 5)
    assert facts_from_config({**gemma, "num_hidden_layers": 7}, "m").windows == (5, 5, 5, 5, 5, None, 5)


def test_an_unknown_model_type_names_the_known_ones():
    with pytest.raises(Findings) as found:
        facts_from_config({"model_type": "rwkv"}, "`m`")
    (diagnostic,) = found.value.diagnostics
    assert diagnostic.code == "GB300" and "rwkv" in diagnostic.label
    assert all(f"`{name}`" in diagnostic.help for f in families() for name in f.model_types)
    assert codes({}) == ["GB300"] and codes({"model_type": 7}) == ["GB300"]
    assert family_of("rwkv") is None


def test_an_unknown_key_is_refused_unless_it_is_null():
    assert codes({**LLAMA, "residual_multiplier": 0.2, "logit_scale": 2}) == ["GB301", "GB301"]
    facts_from_config({**LLAMA, "residual_multiplier": None}, "m")


@pytest.mark.parametrize(
    ("config", "named"),
    [
        ({**LLAMA, "rope_scaling": {"type": "dynamic", "factor": 2}}, "rope_scaling.type"),
        ({**LLAMA, "rope_parameters": {"rope_type": "longrope"}}, "rope_parameters.rope_type"),
        ({**LLAMA, "rope_interleaved": True}, "rope_interleaved"),
        ({"model_type": "gpt2", "reorder_and_upcast_attn": True}, "reorder_and_upcast_attn"),
        ({"model_type": "gpt2", "add_cross_attention": True}, "add_cross_attention"),
        ({"model_type": "gemma3_text", "use_bidirectional_attention": True}, "use_bidirectional_attention"),
    ],
)
def test_a_value_that_is_not_built_is_refused(config, named):
    with pytest.raises(Findings) as found:
        facts_from_config(config, "`m`")
    (diagnostic,) = found.value.diagnostics
    assert diagnostic.code == "GB302" and f"`{named}`" in diagnostic.headline


def test_sizes_that_are_missing_or_none_are_all_reported():
    assert codes({"model_type": "llama"})[:3] == ["GB304", "GB304", "GB304"]
    assert codes({**LLAMA, "num_hidden_layers": 0}) == ["GB304"]
    assert codes({**LLAMA, "hidden_size": "64", "logit_scale": 2}) == ["GB301", "GB304", "GB304"]


def test_facts_need_no_torch():
    code = (
        "import sys; from glassbox_dsl.vocabulary.models import ModelSource as S; from glassbox_dsl.resolve.sources"
        " import locate; from glassbox_dsl.resolve.facts import facts_from_config as f\n"
        "for k, t in (('bundled', 'smollm2-135m'), ('tiny', 'gpt2')):\n"
        "    files = locate(S(name='m', kind=k, target=t)); f(files.config, t)\n"
        "print([m for m in ('torch', 'transformers', 'numpy', 'duckdb', 'huggingface_hub') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("window", ["4", 4.5, -1, True])
def test_a_window_that_is_no_size_is_refused(window):
    mistral = tiny_config(family("mistral"))
    assert facts_from_config(mistral, "`m`").windows[0] == mistral["sliding_window"]
    assert codes({**mistral, "sliding_window": window}) == ["GB304"]
    assert facts_from_config({**mistral, "sliding_window": None}, "`m`").windows[0] is None


def test_tied_embeddings_are_true_or_false():
    for tied in (True, False, 1):
        assert facts_from_config({**LLAMA, "tie_word_embeddings": tied}, "`m`").tied_embeddings is bool(tied)
    for tied in (5, "yes"):
        assert codes({**LLAMA, "tie_word_embeddings": tied}) == ["GB304"]


def test_a_switch_is_no_size():
    assert codes({**LLAMA, "num_hidden_layers": True}) == ["GB304"]
