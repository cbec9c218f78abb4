"""Adapters: merged on load as an independent sum, or refused; what a file says reaches the numbers."""

import json
from hashlib import sha256

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from glassbox_dsl.diagnostics import Findings
from glassbox_dsl.language.file import read_program
from glassbox_dsl.resolve.facts import facts_from_config
from glassbox_dsl.resolve.families import family
from glassbox_dsl.resolve.sources import locate, tiny_config
from glassbox_dsl.run import fetch
from glassbox_dsl.run.tiny import tiny_model
from glassbox_dsl.run.weights import load_model
from glassbox_dsl.vocabulary.keys import SiteKey
from glassbox_dsl.vocabulary.models import ModelSource

IDS = torch.tensor([[3, 1, 4, 1, 5]])
LOGITS = SiteKey("logits")
RANK = 3
PLAIN = {
    "peft_type": "LORA",
    "r": RANK,
    "lora_alpha": 5,
    "task_type": "CAUSAL_LM",
    "target_modules": ["q_proj"],
}
TARGETS = {
    "llama": ["model.layers.0.self_attn.q_proj", "model.layers.2.mlp.down_proj", "lm_head"],
    "gemma3_text": ["model.layers.1.self_attn.o_proj", "model.layers.3.mlp.up_proj"],
    "gpt2": ["transformer.h.0.attn.c_attn", "transformer.h.2.mlp.c_proj"],
}


def base(folder, name):
    """A checkpoint with a tokenizer file, on disk."""
    model = tiny_model(tiny_config(family(name)), 5, "eager")
    model.save_pretrained(folder)
    (folder / "tokenizer.json").write_text("{}")
    return model


def factors(model, path, draw):
    """A and B of a module, as PEFT names and shapes them."""
    module = model.get_submodule(path)
    shape = module.weight.shape if isinstance(module, nn.Linear) else module.weight.shape[::-1]
    down, up = (torch.randn(s, generator=draw) for s in ((RANK, shape[1]), (shape[0], RANK)))
    return {f"base_model.model.{path}.lora_A.weight": down, f"base_model.model.{path}.lora_B.weight": up}


def adapter(folder, tensors, **config):
    folder.mkdir()
    (folder / "adapter_config.json").write_text(json.dumps({**PLAIN, **config}))
    save_file(
        {name: tensor.contiguous() for name, tensor in tensors.items()}, folder / "adapter_model.safetensors"
    )
    return folder


def load(folder, extra, **rest):
    source = ModelSource(name="m", kind="local", target=str(folder), adapter=str(extra), device="cpu", **rest)
    files = fetch.prepare(source, print)
    return load_model(files, source, facts_from_config(files.config, "m"))


def codes(folder, extra):
    with pytest.raises(Findings) as found:
        load(folder, extra)
    return [(d.code, d.label) for d in found.value.diagnostics]


def beside(model, tensors, scale):
    """Logits of the untouched model with the low-rank branch beside each module: y = W x + scale * B (A x)."""
    handles = []
    for path in {n.removeprefix("base_model.model.").rpartition(".lora_")[0] for n in tensors}:
        down = tensors[f"base_model.model.{path}.lora_A.weight"]
        up = tensors[f"base_model.model.{path}.lora_B.weight"]

        def add(_, args, out, down=down, up=up, path=path):
            return out + scale(path) * (args[0] @ down.T @ up.T)

        handles.append(model.get_submodule(path).register_forward_hook(add))
    with torch.no_grad():
        got = model(IDS).logits
    for handle in handles:
        handle.remove()
    return got


@pytest.mark.parametrize("name", TARGETS)
def test_a_merged_adapter_computes_what_the_branches_beside_the_matrices_do(name, tmp_path):
    plain = base(tmp_path / "base", name)
    draw = torch.Generator().manual_seed(1)
    tensors = {k: v for path in TARGETS[name] for k, v in factors(plain, path, draw).items()}
    extra = adapter(tmp_path / "extra", tensors)
    got = load(tmp_path / "base", extra).forward(IDS, reads=[LOGITS])[LOGITS]
    wanted = beside(plain, tensors, lambda _: 5 / RANK)
    assert (wanted - plain(IDS).logits).abs().max() > 0.1
    assert (got - wanted).abs().max() < 1e-5 * wanted.abs().max()


@pytest.mark.parametrize(
    ("config", "scale"),
    [
        ({"use_rslora": True}, lambda _: 5 / RANK**0.5),
        ({"alpha_pattern": {"q_proj": 7}}, lambda path: (7 if path.endswith("q_proj") else 5) / RANK),
        ({"alpha_pattern": {"layers.2.mlp.down_proj": 7}}, lambda path: (7 if "down" in path else 5) / RANK),
        ({"rank_pattern": {"q_proj": RANK}, "r": 64}, lambda _: 5 / RANK),
    ],
)
def test_scales_are_those_of_peft(config, scale, tmp_path):
    plain = base(tmp_path / "base", "llama")
    draw = torch.Generator().manual_seed(1)
    tensors = {k: v for path in TARGETS["llama"][:2] for k, v in factors(plain, path, draw).items()}
    got = load(tmp_path / "base", adapter(tmp_path / "extra", tensors, **config)).forward(
        IDS, reads=[LOGITS]
    )[LOGITS]
    wanted = beside(plain, tensors, scale)
    assert (got - wanted).abs().max() < 1e-5 * wanted.abs().max()


def test_embeddings_and_whole_parameters(tmp_path):
    plain = base(tmp_path / "base", "llama")
    down, up = torch.randn(RANK, 101), torch.randn(24, RANK)
    norm, bias = torch.rand(24) + 0.5, torch.randn(48)
    extra = adapter(
        tmp_path / "extra",
        {
            "base_model.model.model.embed_tokens.lora_embedding_A": down,
            "base_model.model.model.embed_tokens.lora_embedding_B": up,
            "base_model.model.model.norm.weight": norm,
            "base_model.model.model.layers.0.self_attn.q_proj.bias": bias,
        },
        bias="lora_only",
    )
    with torch.no_grad():
        rows = plain.model.embed_tokens.weight[IDS] + 5 / RANK * (down.T[IDS] @ up.T)
        plain.model.norm.weight.copy_(norm)
        plain.model.layers[0].self_attn.q_proj.bias.copy_(bias)
        wanted = plain(inputs_embeds=rows).logits
    got = load(tmp_path / "base", extra).forward(IDS, reads=[LOGITS])[LOGITS]
    assert (got - wanted).abs().max() < 1e-5 * wanted.abs().max()


def test_the_checkpoint_itself_stays_as_it_was(tmp_path):
    plain = base(tmp_path / "base", "llama")
    extra = adapter(tmp_path / "extra", factors(plain, TARGETS["llama"][0], torch.Generator().manual_seed(1)))
    file = tmp_path / "base" / "model.safetensors"
    before = sha256(file.read_bytes()).hexdigest()
    load(tmp_path / "base", extra)
    assert sha256(file.read_bytes()).hexdigest() == before


def test_in_half_precision_the_sum_is_rounded_once(tmp_path):
    plain = base(tmp_path / "base", "llama")
    path = TARGETS["llama"][0]
    tensors = factors(plain, path, torch.Generator().manual_seed(1))
    got = load(tmp_path / "base", adapter(tmp_path / "extra", tensors), dtype="bfloat16").model
    down, up = tensors.values()
    wanted = plain.get_submodule(path).weight.detach().bfloat16().float() + 5 / RANK * up @ down
    assert torch.equal(got.get_submodule(path).weight, wanted.bfloat16())


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"peft_type": "IA3"}, "IA3"),
        ({"use_dora": True}, "use_dora"),
        ({"init_lora_weights": "pissa"}, "pissa"),
        ({"layer_replication": [[0, 2]]}, "layer_replication"),
        ({"some_new_thing": 1}, "some_new_thing"),
        ({"lora_alpha": None}, "lora_alpha"),
        ({"alpha_pattern": {"a": "b"}}, "alpha_pattern"),
    ],
)
def test_what_does_more_than_add_is_refused(config, said, tmp_path):
    plain = base(tmp_path / "base", "llama")
    tensors = factors(plain, TARGETS["llama"][0], torch.Generator().manual_seed(1))
    ((code, label),) = codes(tmp_path / "base", adapter(tmp_path / "extra", tensors, **config))
    assert code == "GB305" and said in label


def test_quantised_weights_are_not_added_to(tmp_path):
    plain = base(tmp_path / "base", "llama")
    file = tmp_path / "base" / "config.json"
    file.write_text(
        json.dumps({**json.loads(file.read_text()), "quantization_config": {"quant_method": "fp8"}})
    )
    extra = adapter(tmp_path / "extra", factors(plain, TARGETS["llama"][0], torch.Generator().manual_seed(1)))
    assert codes(tmp_path / "base", extra)[0][0] == "GB305"


PRE = "base_model.model.model.layers.0.self_attn.q_proj."
MISFITS = [
    ({PRE + "lora_A.weight": torch.ones(2, 24)}, "one factor and not the other"),
    (
        {PRE + "lora_A.weight": torch.ones(2, 23), PRE + "lora_B.weight": torch.ones(48, 2)},
        "(48, 24) in the model",
    ),
    ({PRE + "lora_A.weight": torch.ones(2, 24), PRE + "lora_B.weight": torch.ones(48, 3)}, "have the shapes"),
    ({PRE + "lora_magnitude_vector": torch.ones(48)}, "no factor of a LoRA"),
    ({PRE + "lora_A.weight": torch.ones(2, 24), PRE + "lora_B.bias": torch.ones(48)}, "no factor of a LoRA"),
    ({"base_model.model.model.layers.7.mlp.up_proj.weight": torch.ones(2)}, "has no weight"),
    ({"base_model.model.model.norm.weight": torch.ones(23)}, "(24,) in the model"),
]


@pytest.mark.parametrize(("tensors", "said"), MISFITS)
def test_an_adapter_of_another_model_is_refused(tensors, said, tmp_path):
    base(tmp_path / "base", "llama")
    ((code, label),) = codes(tmp_path / "base", adapter(tmp_path / "extra", tensors))
    assert code == "GB516" and said in label


def test_an_adapter_on_tied_embeddings_is_refused(tmp_path):
    base(tmp_path / "base", "gpt2")
    extra = adapter(tmp_path / "extra", {"base_model.model.lm_head.weight": torch.ones(97, 24)})
    ((code, label),) = codes(tmp_path / "base", extra)
    assert code == "GB516" and "tied" in label


def test_a_folder_that_is_no_adapter_is_said(tmp_path):
    base(tmp_path / "base", "llama")
    extra = tmp_path / "extra"
    assert codes(tmp_path / "base", extra)[0][0] == "GB331"
    extra.mkdir()
    (extra / "adapter_config.json").write_text("[")
    assert codes(tmp_path / "base", extra)[0][0] == "GB331"
    (extra / "adapter_model.bin").write_bytes(b"\x80\x04")
    code, label = codes(tmp_path / "base", extra)[0]
    assert code == "GB314" and "adapter_model.bin" in label
    (extra / "adapter_model.safetensors").write_bytes(b"short")
    assert codes(tmp_path / "base", extra)[0][0] == "GB316"
    save_file({"a": torch.ones(1)}, extra / "adapter_model.safetensors")
    assert codes(tmp_path / "base", extra)[0][0] == "GB331"
    (extra / "adapter_config.json").write_text("[1]")
    assert codes(tmp_path / "base", extra)[0][0] == "GB305"


def test_another_adapter_is_another_model(tmp_path):
    plain = base(tmp_path / "base", "llama")
    extra = adapter(tmp_path / "extra", factors(plain, TARGETS["llama"][0], torch.Generator().manual_seed(1)))
    source = ModelSource(name="m", kind="local", target=str(tmp_path / "base"), adapter=str(extra))

    def sum_of():
        return fetch.prepare(source, print).fingerprints["adapter"]

    first = sum_of()
    assert sum_of() == first
    tensors = load_file(extra / "adapter_model.safetensors")
    save_file({name: 2 * tensor for name, tensor in tensors.items()}, extra / "adapter_model.safetensors")
    second = sum_of()
    (extra / "adapter_config.json").write_text(json.dumps({**PLAIN, "lora_alpha": 6}))
    assert len({first, second, sum_of()}) == 3


def test_the_path_of_an_adapter_starts_from_the_file(tmp_path):
    base(tmp_path / "base", "llama")
    file = tmp_path / "a.gbx"
    file.write_text('gbx 1\nmodel m = local("base", adapter: "extra", device: spread)\n')
    program, found = read_program(file)
    assert found == () and program.models[0].adapter == str(tmp_path / "extra")
    with pytest.raises(Findings) as problems:
        locate(program.models[0])
    (diagnostic,) = problems.value.diagnostics
    assert diagnostic.code == "GB331" and diagnostic.span.text.startswith("local(")
