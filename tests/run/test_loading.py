"""Where weights come from: shards, ties, dtypes, revisions, GGUF, quantised ones, several devices; what it takes."""

import json
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from glassbox_dsl.diagnostics import Findings
from glassbox_dsl.pipeline import check_file
from glassbox_dsl.resolve.bundled import MANIFEST, bundled_models
from glassbox_dsl.resolve.facts import facts_from_config
from glassbox_dsl.resolve.families import family, family_names
from glassbox_dsl.resolve.sources import ModelFiles, tiny_config
from glassbox_dsl.run import fetch, weights
from glassbox_dsl.run.delta.trust import verify_pack
from glassbox_dsl.run.tiny import tiny_model
from glassbox_dsl.run.verify import verify
from glassbox_dsl.run.weights import load_model
from glassbox_dsl.vocabulary.keys import SiteKey
from glassbox_dsl.vocabulary.models import ModelSource
from tests.run.gguf_file import write_llama

IDS = torch.tensor([[3, 1, 4, 1, 5]])
LOGITS = SiteKey("logits")


def tiny(folder, name="llama", seed=5, **save):
    model = tiny_model(tiny_config(family(name)), seed, "eager")
    model.save_pretrained(folder, **save)
    (folder / "tokenizer.json").write_text("{}")
    return model


def load(target, kind="local", **rest):
    source = ModelSource(name="m", kind=kind, target=str(target), **{"device": "cpu", **rest})
    files = fetch.prepare(source, print)
    return load_model(files, source, facts_from_config(files.config, "m"))


def logits(instrument):
    return instrument.forward(IDS, reads=[LOGITS])[LOGITS]


def plain_logits(model):
    with torch.no_grad():
        return model(IDS).logits


# ---------------------------------------------------------------- files


@pytest.mark.parametrize("name", [n for n in ("llama", "gemma3_text", "gpt2") if n in family_names()])
def test_shards_and_ties_load_as_one_file_does(name, tmp_path):
    plain = tiny(tmp_path, name, max_shard_size="20KB")
    assert len(list(tmp_path.glob("*.safetensors"))) > 2
    assert torch.equal(logits(load(tmp_path)), plain_logits(plain))


def test_a_bfloat16_checkpoint_in_both_dtypes(tmp_path):
    from transformers import AutoModelForCausalLM

    plain = tiny(tmp_path)
    with torch.no_grad():
        for parameter in plain.parameters():
            parameter.copy_(parameter.bfloat16())
    half = {name: tensor.bfloat16() for name, tensor in load_file(tmp_path / "model.safetensors").items()}
    save_file(half, tmp_path / "model.safetensors", {"format": "pt"})
    assert {t.dtype for t in load_file(tmp_path / "model.safetensors").values()} == {torch.bfloat16}
    assert torch.equal(logits(load(tmp_path)), plain_logits(plain))
    theirs = AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.bfloat16, attn_implementation="eager")
    got = logits(load(tmp_path, dtype="bfloat16"))
    assert got.dtype == torch.bfloat16 and torch.equal(got, plain_logits(theirs))


def test_a_gguf_file_is_dequantised(tmp_path, monkeypatch):
    monkeypatch.setenv("GBX_CACHE", str(tmp_path / "cache"))
    plain = write_llama(tmp_path / "m.gguf")
    assert torch.equal(logits(load(tmp_path / "m.gguf", "gguf")), plain_logits(plain))


def test_a_hub_model_is_that_of_its_revision(tmp_path, monkeypatch):
    import huggingface_hub.constants as constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    repository = tmp_path / "models--org--small"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text("b" * 40)
    plain = {}
    for seed, commit in enumerate(("a" * 40, "b" * 40)):
        (repository / "snapshots" / commit).mkdir(parents=True)
        plain[commit] = tiny(repository / "snapshots" / commit, seed=seed)
    for revision, commit in ((None, "b" * 40), ("main", "b" * 40), ("a" * 40, "a" * 40)):
        source = ModelSource(name="m", kind="hub", target="org/small", revision=revision)
        assert fetch.prepare(source, print).fingerprints == {"revision": commit}
        assert torch.equal(logits(load("org/small", "hub", revision=revision)), plain_logits(plain[commit]))


def test_weights_are_downloaded_of_the_commit_whose_config_was_read(monkeypatch, tmp_path):
    asked = []
    found = ModelFiles(
        shown="m", config={}, tokenizer=tmp_path, weights=None, fingerprints={"revision": "c" * 40}
    )
    monkeypatch.setenv("GBX_DOWNLOAD", "1")
    monkeypatch.setattr(fetch, "locate", lambda _: found)
    monkeypatch.setattr(
        fetch, "hub_folder", lambda source, patterns, online: asked.append((source.revision, patterns))
    )
    with pytest.raises(Findings):
        fetch.prepare(ModelSource(name="m", kind="hub", target="org/small"), print)
    ((revision, patterns),) = asked
    assert revision == "c" * 40
    assert not [p for p in patterns if p.endswith((".bin", ".pt", ".py"))]


def test_no_code_of_a_checkpoint_runs_and_no_pickle_is_opened(tmp_path, monkeypatch):
    tiny(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(
        json.dumps(
            {**config, "auto_map": {"AutoModelForCausalLM": "evil.Model", "AutoConfig": "evil.Config"}}
        )
    )
    (tmp_path / "evil.py").write_text("raise SystemExit('ran')")
    (tmp_path / "pytorch_model.bin").write_bytes(b"\x80\x04")
    asked = spied(monkeypatch)
    assert type(load(tmp_path).model).__module__.startswith("transformers.models.llama")
    (options,) = asked
    assert options["trust_remote_code"] is False and options["use_safetensors"] is True
    assert options["local_files_only"] is True


def spied(monkeypatch):
    """What `from_pretrained` is called with, while it does what it does."""
    asked = []
    real = weights.AutoModelForCausalLM.from_pretrained

    def note(*args, **options):
        asked.append(options)
        return real(*args, **options)

    monkeypatch.setattr(weights.AutoModelForCausalLM, "from_pretrained", note)
    return asked


# ---------------------------------------------------------------- devices


def test_spread_asks_accelerate_and_computes_the_same(tmp_path, monkeypatch):
    plain = tiny(tmp_path)
    asked = spied(monkeypatch)
    assert torch.equal(logits(load(tmp_path, device="spread")), plain_logits(plain))
    load(tmp_path)
    assert [options["device_map"] for options in asked] == ["auto", None]


def test_weights_go_straight_to_one_device():
    gpu = torch.device("cuda:1")
    assert weights._device_map(gpu) == {"": gpu}


@pytest.mark.parametrize("left", ["cpu", "disk"])
def test_weights_left_off_the_devices_are_refused(left, tmp_path, monkeypatch):
    tiny(tmp_path)
    real = weights.AutoModelForCausalLM.from_pretrained

    def placed(*args, **options):
        model, info = real(*args, **options)
        model.hf_device_map = {"model.layers.0": 0, "model.layers.1": left}
        return model, info

    monkeypatch.setattr(weights.AutoModelForCausalLM, "from_pretrained", placed)
    with pytest.raises(Findings) as found:
        load(tmp_path, device="spread")
    (diagnostic,) = found.value.diagnostics
    assert diagnostic.code == "GB515" and left in diagnostic.label


def test_a_model_on_several_devices_is_not_packed(tmp_path):
    tiny(tmp_path)
    instrument = load(tmp_path)
    assert all(check.ok for check in verify_pack(instrument))
    instrument.model.register_parameter("elsewhere", nn.Parameter(torch.empty(1, device="meta")))
    (check,) = verify_pack(instrument)
    assert not check.ok and check.name == "T4 pack" and "several devices" in check.detail


# ---------------------------------------------------------------- quantised weights


def quantised(folder, keep=("lm_head",)):
    """A Llama whose matrices are stored as 1.58 bits (BitNet): the one scheme that needs nothing but torch."""
    from transformers.integrations.bitnet import pack_weights

    tiny(folder)
    stored = load_file(folder / "model.safetensors")
    for name in [n for n in stored if n.endswith("proj.weight")]:
        mean = stored[name].abs().mean()
        stored[name.replace("weight", "weight_scale")] = 1 / mean[None]
        stored[name] = pack_weights((stored[name] / mean).round().clamp(-1, 1))
    save_file(stored, folder / "model.safetensors", {"format": "pt"})
    config = json.loads((folder / "config.json").read_text())
    config["quantization_config"] = {"quant_method": "bitnet", "modules_to_not_convert": list(keep)}
    (folder / "config.json").write_text(json.dumps(config))


@pytest.fixture
def uncompiled():
    """The modules of that scheme are compiled; as they are written they give the same numbers without a compiler."""
    import torch._dynamo

    with torch._dynamo.config.patch(disable=True):
        yield


def test_activations_of_quantised_weights_are_those_of_the_model(tmp_path, uncompiled):
    from transformers import AutoModelForCausalLM

    quantised(tmp_path)
    instrument = load(tmp_path)
    assert type(instrument.modules.layers[0].at["mlp.down_proj"]).__name__ == "BitLinear"
    untouched = AutoModelForCausalLM.from_pretrained(tmp_path, attn_implementation="eager")
    seen = {}
    untouched.model.layers[1].mlp.down_proj.register_forward_hook(
        lambda _, args, out: seen.update(post=args[0])
    )
    assert torch.equal(logits(instrument), plain_logits(untouched))
    post = SiteKey("mlp.post", 1)
    got = instrument.forward(IDS, reads=[post])[post]
    assert torch.equal(got.reshape(seen["post"].shape) if got.shape[1] == 5 else got.mT, seen["post"])
    checks = verify(instrument)
    assert all(check.ok for check in checks), [c for c in checks if not c.ok]
    assert "attn.result" not in {check.site for check in checks}


def test_what_needs_quantised_weights_as_numbers_is_refused_before_loading(tmp_path):
    quantised(tmp_path / "m")
    file = tmp_path / "a.gbx"
    file.write_text(
        """gbx 1
model m = local("m")
data d { rows [{a: "x"}, {a: "y"}]  prompt p = "{a}" }
experiment e { measure size[layer, head] = mean(norm(p.attn.result[layer, head, last])) }
"""
    )
    (diagnostic,) = [d for d in check_file(file) if d.severity == "error"]
    assert diagnostic.code == "GB303" and "quantised" in diagnostic.label


def test_a_quantised_unembedding_is_refused(tmp_path, uncompiled):
    quantised(tmp_path, keep=())
    stored = load_file(tmp_path / "model.safetensors")
    from transformers.integrations.bitnet import pack_weights

    stored["lm_head.weight"] = pack_weights(stored["lm_head.weight"].sign())[:25]
    stored["lm_head.weight_scale"] = torch.ones(1)
    save_file(stored, tmp_path / "model.safetensors", {"format": "pt"})
    with pytest.raises(Findings) as found:
        load(tmp_path)
    (diagnostic,) = found.value.diagnostics
    assert diagnostic.code == "GB517" and "BitLinear" in diagnostic.label


def test_a_scheme_whose_package_is_missing_is_said(tmp_path):
    tiny(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    config["quantization_config"] = {"quant_method": "hqq", "quant_config": {"weight_quant_params": {}}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(Findings) as found:
        load(tmp_path)
    (diagnostic,) = found.value.diagnostics
    assert diagnostic.code == "GB510" and "hqq" in diagnostic.label.lower()


# ---------------------------------------------------------------- memory

MEASURED = """
import json, sys, threading, time
from pathlib import Path
import torch, transformers.models.llama.modeling_llama
from glassbox_dsl.resolve.facts import facts_from_config
from glassbox_dsl.resolve.sources import ModelFiles
from glassbox_dsl.run.weights import load_model
from glassbox_dsl.vocabulary.models import ModelSource

def memory(name):
    text = Path("/proc/self/status").read_text()
    return next(int(line.split()[1]) * 1024 for line in text.splitlines() if line.startswith(name))

def watch():
    while not done:
        own.append(memory("RssAnon"))
        time.sleep(0.001)

folder, dtype = Path(sys.argv[1]), sys.argv[2]
config = json.loads((folder / "config.json").read_text())
files = ModelFiles(shown="m", config=config, tokenizer=folder, weights=folder)
source = ModelSource(name="m", kind="local", target=str(folder), dtype=dtype, device="cpu")
before, own, done = (memory("VmRSS"), memory("RssAnon")), [], False
watcher = threading.Thread(target=watch)
watcher.start()
model = load_model(files, source, facts_from_config(config, "m")).model
for parameter in model.parameters():
    parameter.sum()  # pages of a file that was only mapped count once they are read
done = True
watcher.join()
size = sum(p.numel() * p.element_size() for p in model.parameters())
print(json.dumps({"all": (memory("VmHWM") - before[0]) / size, "own": (max(own) - before[1]) / size}))
"""


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_loading_takes_at_most_a_tenth_more_than_the_weights(dtype):
    """float32 is mapped as it lies on disk; bfloat16 is converted, and the mapped file is the system's cache."""
    folder = bundled_models()["smollm2-135m"].folder
    if not (folder / MANIFEST).is_file():
        pytest.skip("the bundled model was not fetched")
    run = subprocess.run([sys.executable, "-c", MEASURED, str(folder), dtype], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    share = json.loads(run.stdout)
    assert share["own"] < 1.1
    if dtype == "float32":
        assert 0.9 < share["all"] < 1.1
