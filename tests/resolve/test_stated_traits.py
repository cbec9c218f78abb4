"""What the families state of themselves against the untouched models of transformers: modules, weights, runs."""

import math
from functools import cache
from types import SimpleNamespace

import pytest
import torch

from glassbox_dsl.resolve.anatomy import anatomy
from glassbox_dsl.resolve.facts import facts_from_config
from glassbox_dsl.resolve.families import families, family
from glassbox_dsl.resolve.sources import tiny_config

LAYOUTS = [
    pytest.param(f.name, more, id=f.name + (f" {more}" if more else ""))
    for f in families()
    for more in (None, *f.tiny_more)
]
IDS = torch.tensor([[5, 17, 3, 41, 8, 29, 11, 60]])


@cache
def tiny(name, more=None):
    """A model of a family or layout beside its description."""
    from transformers import AutoConfig, AutoModelForCausalLM

    config = tiny_config(family(name), more=more)
    facts = facts_from_config(config, name)
    rest = {key: value for key, value in config.items() if key != "model_type"}
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(config["model_type"], **rest)).eval()
    known = family(name, facts.variants)
    return SimpleNamespace(
        model=model, facts=facts, known=known, values=anatomy(config, name).values,
        layers=model.get_submodule(known.model.layers), final=model.get_submodule(known.model.final_norm.module),
    )  # fmt: skip


@torch.no_grad()
def seen(module, run, side="out"):
    """What goes into a module (first argument) or comes out of it while something runs."""
    found = []

    def keep(_, given, named, out):
        first = given[0] if given else named["hidden_states"]
        found.append(first.clone() if side == "in" else out.clone())

    handle = module.register_forward_hook(keep, with_kwargs=True)
    try:
        result = run()
    finally:
        handle.remove()
    return found[0], result


@pytest.mark.parametrize(("name", "more"), LAYOUTS)
def test_norms_have_the_weights_that_are_stated(name, more):
    tested = tiny(name, more)
    stated, norm = tested.values["norm_weights"], tested.final
    gain, bias = getattr(norm, "weight", None), getattr(norm, "bias", None)
    assert (gain is not None) == (stated != "none") and (bias is not None) == stated.endswith("and bias")
    if gain is None:
        return
    stored = gain.detach().clone()
    with torch.no_grad():
        try:
            gain.zero_()
            out = norm(torch.randn(1, 3, tested.facts.d_model))
        finally:
            gain.copy_(stored)
    assert (out.abs().max() > 0.1) == stated.startswith("1 + gain")


@pytest.mark.parametrize(("name", "more"), LAYOUTS)
def test_a_parallel_block_has_no_stream_between_its_parts(name, more):
    tested = tiny(name, more)
    norms = tested.known.norms
    own = "mlp.norm_scale" not in norms or norms["attn.norm_scale"].module != norms["mlp.norm_scale"].module
    stated = tested.values["block"]
    assert (stated != "sequential") == ("resid_mid" in tested.facts.read_only)
    assert (stated == "parallel, one norm") == (not own)


@pytest.mark.parametrize(("name", "more"), LAYOUTS)
def test_the_activation_is_the_one_that_is_stated(name, more):
    from transformers.activations import ACT2FN

    tested = tiny(name, more)
    used = [
        m for m in tested.layers[0].modules() if type(m).__module__.endswith(("activations", "activation"))
    ]
    used += [m for m in tested.layers[0].modules() if type(m).__name__ in ("BloomGelu",)]
    x = torch.linspace(-3, 3, 31)
    if not used:  # gpt-oss has its gate as a formula
        assert tested.values["activation_slope"] > 1
        return
    stated = ACT2FN[tested.values["activation"]]
    if not list(used[0].parameters()):
        torch.testing.assert_close(used[0](x), stated(x))
    else:
        assert type(used[0]) is type(stated)


@pytest.mark.parametrize(("name", "more"), LAYOUTS)
def test_embeddings_are_scaled_as_is_stated(name, more):
    tested = tiny(name, more)
    if tested.values["embed_norm"]:
        pytest.skip("the embeddings are normed")
    stream, _ = seen(tested.layers[0], lambda: tested.model(IDS, use_cache=False), side="in")
    table = tested.model.get_input_embeddings().weight.detach()
    scale = tested.values["embed_scale"]
    expected = table[IDS] * (math.sqrt(tested.facts.d_model) if scale == "root of width" else scale)
    moved = stream - expected
    if tested.values["positions"] in ("learned", "sinusoidal"):
        table_rows = tested.model.get_submodule(tested.known.model.positions).weights.detach() if (
            tested.values["positions"] == "sinusoidal"
        ) else tested.model.get_submodule(tested.known.model.positions).weight.detach()  # fmt: skip
        offset = tested.values["position_offset"]
        moved = moved - table_rows[offset : offset + IDS.shape[1]]
    assert moved.abs().max() < 1e-5


@pytest.mark.parametrize(("name", "more"), LAYOUTS)
def test_logits_are_scaled_and_bent_as_is_stated(name, more):
    tested = tiny(name, more)
    normed, result = seen(tested.final, lambda: tested.model(IDS, use_cache=False))
    head, said = tested.model.get_output_embeddings(), tested.values
    with torch.no_grad():
        logits = torch.nn.functional.linear(normed, head.weight, head.bias)
    assert (head.bias is not None) == said["head_bias"]
    assert (head.weight is tested.model.get_input_embeddings().weight) == said["tied_embeddings"]
    logits = logits * said["logit_scale"] / said["logit_divisor"]
    if said["final_softcap"]:
        logits = said["final_softcap"] * torch.tanh(logits / said["final_softcap"])
    torch.testing.assert_close(result.logits, logits, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize(("name", "more"), LAYOUTS)
def test_scores_are_scaled_as_is_stated(name, more):
    tested = tiny(name, more)
    attention = tested.layers[0].get_submodule(tested.known.layer.attention)
    scale = next(
        (
            getattr(attention, n)
            for n in ("scaling", "softmax_scale", "inv_norm_factor")
            if hasattr(attention, n)
        ),
        None,
    )
    if scale is None:
        pytest.skip("the scale has no name in the module")
    said = tested.values
    expected = (
        said["score_scale"]
        if said["score_scale"] is not False
        else (said["score_scale_from"] or tested.facts.d_head) ** -0.5
    )
    assert scale == pytest.approx(expected)


@pytest.mark.parametrize(("name", "more"), LAYOUTS)
def test_rotary_channels_and_base_are_those_that_are_stated(name, more):
    tested = tiny(name, more)
    tables = {
        path: buffer.double()
        for path, buffer in tested.model.named_buffers()
        if path.split(".")[-1].endswith("inv_freq") and "original" not in path
    }
    said = tested.values
    if said["positions"] == "rotary" and said["rope_scaling"] == "default":
        dims = int(said["rotary_share"] * tested.facts.d_head)
        for path, rates in tables.items():
            base = said["rope_local_theta"] if "sliding" in path else said["rope_theta"]
            expected = base ** -(torch.arange(0, dims, 2, dtype=torch.float64) / dims)
            torch.testing.assert_close(rates, expected, rtol=1e-5, atol=0)
        assert tables or name in ("gptj", "codegen")
    elif said["positions"] != "rotary":
        assert not tables or more == "alibi"  # falcon makes a table there that it does not use


@pytest.mark.parametrize("name", ["llama", "smollm3", "cohere2", "exaone4"])
def test_layers_without_positions_are_those_that_are_stated(name, monkeypatch):
    import importlib

    tested, turned = tiny(name), []
    module = importlib.import_module(type(tested.layers[0]).__module__)
    real = module.apply_rotary_pos_emb
    monkeypatch.setattr(module, "apply_rotary_pos_emb", lambda *a, **k: (turned.append(1), real(*a, **k))[1])
    with torch.no_grad():
        tested.model(IDS, use_cache=False)
    whole = {
        "none": (),
        "without a window": [layer for layer, window in enumerate(tested.facts.windows) if window is None],
        "listed": [1],
    }
    assert len(turned) == tested.facts.n_layers - len(whole[tested.values["unturned_layers"]])


@pytest.mark.parametrize(
    "name",
    ["llama", "glm", "glm4", "helium", "cohere", "cohere2", "phi", "qwen3", "stablelm", "gpt_neox", "olmo2"],
)
def test_channels_are_turned_in_the_pairs_that_are_stated(name, monkeypatch):
    import importlib

    tested, turned = tiny(name), []
    module = importlib.import_module(type(tested.layers[0]).__module__)
    real = module.apply_rotary_pos_emb

    def keep(q, k, *rest, **named):
        out = real(q, k, *rest, **named)
        turned.append((q, out[0]))
        return out

    monkeypatch.setattr(module, "apply_rotary_pos_emb", keep)
    with torch.no_grad():
        tested.model(IDS, use_cache=False)
    dims = 2 * math.ceil(int(tested.values["rotary_share"] * tested.facts.d_head) / 2)

    def lengths(x, pairs):
        x = x[..., :dims]
        first, second = x.chunk(2, -1) if pairs == "halves" else (x[..., ::2], x[..., 1::2])
        return first**2 + second**2

    def same(pairs):
        before, after = (lengths(x, pairs) for x in turned[0])
        return torch.allclose(before, after, rtol=1e-3, atol=1e-6)

    kept = {pairs for pairs in ("halves", "neighbours") if same(pairs)}
    assert kept == {tested.values["rotary_pairs"]}


@pytest.mark.parametrize(("name", "more"), LAYOUTS)
def test_attention_has_the_parts_that_are_stated(name, more):
    tested = tiny(name, more)
    attention = tested.layers[0].get_submodule(tested.known.layer.attention)
    facts, said = tested.facts, tested.values
    rows = (facts.n_heads + 2 * facts.n_kv_heads) * facts.d_head
    whole = [w for path, w in attention.named_parameters() if path.endswith("weight") and rows in w.shape]
    assert bool(whole) == (said["qkv"] in ("fused", "interleaved", "in blocks"))
    assert hasattr(attention, "kv_a_proj_with_mqa") == (said["qkv"] == "latent")
    assert hasattr(attention, "sinks") == said["sinks"]
    assert (getattr(attention, "attn_logit_softcapping", None) or False) == said["score_softcap"]
    assert (getattr(tested.layers[0], "residual_multiplier", None) or 1.0) == said["residual_scale"]


def test_experts_are_where_the_config_has_them():
    step, listed = (
        anatomy(tiny_config(family("qwen2_moe"), more=more), "m").values for more in ("step", None)
    )
    assert (step["expert_layers"], listed["expert_layers"]) == ("layers 1", "layers 0, 2")
    assert (step["n_experts"], step["experts_per_token"], step["expert_width"]) == (5, 2, 28)
    assert (
        not step["experts_everywhere"]
        and anatomy(tiny_config(family("mixtral")), "m").values["experts_everywhere"]
    )
    dense = anatomy({**tiny_config(family("qwen3_moe")), "mlp_only_layers": [0, 1, 2]}, "m").values
    assert (dense["n_experts"], dense["expert_layers"], dense["expert_width"]) == (0, "none", False)
    assert anatomy(tiny_config(family("deepseek_v2")), "m").values["value_dims"] == 8


def test_rotary_share_follows_from_counted_channels():
    assert tiny("gptj").values["rotary_share"] == 0.5 and tiny("deepseek_v3").values["rotary_share"] == 0.4
    whole = anatomy({**tiny_config(family("gptj")), "rotary_dim": None}, "m").values
    assert whole["rotary_share"] == 1.0 and whole["rotary_dims"] is False
