"""Loading: every weight in its place, in the dtype and on the device asked for, or a diagnostic."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from glassbox_dsl.diagnostics import Findings
from glassbox_dsl.resolve.facts import facts_from_config
from glassbox_dsl.resolve.families import family
from glassbox_dsl.resolve.sources import ModelFiles, tiny_config
from glassbox_dsl.run.tiny import tiny_model
from glassbox_dsl.run.weights import load_model
from glassbox_dsl.vocabulary.keys import SiteKey
from glassbox_dsl.vocabulary.models import ModelSource

LOGITS = SiteKey("logits")
IDS = torch.tensor([[3, 1, 4, 1, 5]])


@pytest.fixture
def checkpoint(tmp_path):
    tiny_model(tiny_config(family("llama")), 5, "eager").save_pretrained(tmp_path)
    return tmp_path


def load(folder, **rest):
    config = json.loads((folder / "config.json").read_text())
    files = ModelFiles(shown="`m`", config=config, tokenizer=folder, weights=folder)
    source = ModelSource(name="m", kind="local", target=str(folder), **{"device": "cpu", **rest})
    return load_model(files, source, facts_from_config(config, "`m`"))


def codes(folder, **rest):
    with pytest.raises(Findings) as found:
        load(folder, **rest)
    return [d.code for d in found.value.diagnostics]


def logits(instrument):
    return instrument.forward(IDS, reads=[LOGITS])[LOGITS]


def test_a_saved_model_computes_as_before(checkpoint):
    plain = tiny_model(tiny_config(family("llama")), 5, "eager")
    with torch.no_grad():
        assert torch.equal(logits(load(checkpoint)), plain(IDS).logits)


def test_a_weight_that_is_missing_is_not_made_up(checkpoint):
    path = checkpoint / "model.safetensors"
    weights = load_file(path)
    del weights["model.layers.1.mlp.up_proj.weight"]
    save_file(weights, path, {"format": "pt"})
    assert codes(checkpoint) == ["GB511"]


def test_a_weight_without_a_place_is_not_ignored(checkpoint):
    path = checkpoint / "model.safetensors"
    save_file(
        {**load_file(path), "model.layers.0.self_attn.q_norm.weight": torch.ones(8)}, path, {"format": "pt"}
    )
    assert codes(checkpoint) == ["GB511"]


def test_a_weight_of_another_shape_is_refused(checkpoint):
    path = checkpoint / "model.safetensors"
    weights = load_file(path)
    weights["model.norm.weight"] = torch.ones(23)
    save_file(weights, path, {"format": "pt"})
    assert set(codes(checkpoint)) <= {"GB510", "GB511"}


def test_dtypes_are_as_asked_for_whatever_the_file_holds(checkpoint):
    for name in ("float32", "bfloat16", "float16"):
        assert load(checkpoint, dtype=name).dtype == getattr(torch, name)
    assert (
        load(checkpoint).forward(IDS, reads=[SiteKey("attn.z", 0)])[SiteKey("attn.z", 0)].dtype
        == torch.float32
    )


@pytest.mark.parametrize("name", ["cuda:97", "tpu", "mps:0", "cuda:x"])
def test_a_device_that_is_not_there(checkpoint, name):
    assert codes(checkpoint, device=name) == ["GB512"]


def test_two_models_share_no_config(checkpoint):
    one, two = load(checkpoint), load(checkpoint)
    one.model.set_attn_implementation("eager")
    key = SiteKey("attn.pattern", 0)
    assert two.forward(IDS, reads=[key])[key].shape == (1, 6, 5, 5)


def test_loaded_models_are_frozen_and_exact(checkpoint):
    torch.set_float32_matmul_precision("medium")
    instrument = load(checkpoint)
    assert torch.get_float32_matmul_precision() == "highest"
    assert not instrument.model.training
    assert not any(parameter.requires_grad for parameter in instrument.model.parameters())


@pytest.mark.parametrize("name", ["bloom", "gpt2", "llama", "mixtral"])
def test_a_tiny_model_depends_on_its_seed_alone(name):
    config = tiny_config(family(name), vocab_size=64)
    facts = facts_from_config(config, name)

    def tiny(seed):
        files = ModelFiles(shown="`tiny`", config=config, tokenizer=None, weights=None)
        return load_model(
            files, ModelSource(name="t", kind="tiny", target=name, seed=seed, device="cpu"), facts
        )

    assert torch.equal(logits(tiny(1)), logits(tiny(1)))
    assert not torch.allclose(logits(tiny(1)), logits(tiny(2)))
    assert logits(tiny(1)).std() > 0.3


@pytest.mark.parametrize("name", ["bloom", "gemma3_text", "gpt2", "gpt_oss", "llama", "phimoe"])
def test_every_weight_of_a_tiny_model_counts(name):
    """Another value of any one parameter moves the logits: no norm is 1 and no bias is 0 in a test."""
    model = tiny_model(tiny_config(family(name)), 0, "eager")
    with torch.no_grad():
        plain = model(IDS).logits
        for path, weight in model.named_parameters():
            kept = weight.clone()
            weight.mul_(torch.rand(weight.shape, generator=torch.Generator().manual_seed(0)))
            moved = (model(IDS).logits - plain).abs().max()
            weight.copy_(kept)
            # A constant added to every key moves no score of a row against another.
            assert moved > 1e-4 or path.endswith("k_proj.bias"), path
