"""Finding models: what is there is found, what is not is said with its reason, and nothing is downloaded."""

import json
import struct

import pytest

from glassbox_dsl.diagnostics import Findings
from glassbox_dsl.resolve.bundled import bundled_models
from glassbox_dsl.resolve.facts import facts_from_config
from glassbox_dsl.resolve.families import family
from glassbox_dsl.resolve.sources import locate, tiny_config
from glassbox_dsl.source import Source, Span
from glassbox_dsl.vocabulary.models import ModelSource

TEXT = Source("a.gbx", 'gbx 1\nmodel m = bundled("x")\n')
SPAN = Span(TEXT, 16, 28)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("GBX_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("GBX_DOWNLOAD", raising=False)
    return tmp_path / "cache"


def source(kind, target, **rest):
    return ModelSource(name="m", kind=kind, target=str(target), span=SPAN, **rest)


def refused(kind, target, **rest):
    with pytest.raises(Findings) as found:
        locate(source(kind, target, **rest))
    (diagnostic,) = found.value.diagnostics
    assert diagnostic.span is SPAN
    return diagnostic


def safetensors(path, size=16):
    header = json.dumps({"w": {"dtype": "F32", "shape": [size // 4], "data_offsets": [0, size]}}).encode()
    path.write_bytes(struct.pack("<Q", len(header)) + header + bytes(size))


@pytest.fixture
def checkpoint(tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(tiny_config(family("llama"))))
    (folder / "tokenizer.json").write_text("{}")
    safetensors(folder / "model.safetensors")
    return folder


def test_a_bundled_model_has_its_config_before_it_is_fetched():
    for id, model in bundled_models().items():
        files = locate(source("bundled", id))
        assert not files.fetched and files.weights is None
        assert files.fingerprints == {"gguf": model.gguf_sha256}
        assert facts_from_config(files.config, id).n_layers in (18, 30)


def test_a_folder_counts_as_fetched_only_with_its_manifest():
    folder = bundled_models()["smollm2-135m"].folder
    folder.mkdir(parents=True)
    assert not locate(source("bundled", "smollm2-135m")).fetched
    (folder / "glassbox.json").write_text(json.dumps({"sha256": {"gguf": "a", "weights": "b"}}))
    files = locate(source("bundled", "smollm2-135m"))
    assert files.fetched and files.weights == folder and files.fingerprints["weights"] == "b"


def test_an_unknown_bundled_id_gets_a_suggestion():
    diagnostic = refused("bundled", "smollm-135m")
    assert diagnostic.code == "GB310" and "`smollm2-135m`" in diagnostic.help


def test_a_local_checkpoint_is_found(checkpoint):
    files = locate(source("local", checkpoint))
    assert files.weights == files.tokenizer == checkpoint and files.config["model_type"] == "llama"


def test_a_missing_folder_and_a_file_for_a_folder(tmp_path, checkpoint):
    assert refused("local", tmp_path / "nowhere").code == "GB311"
    file = refused("local", checkpoint / "model.safetensors")
    assert file.code == "GB311" and "gguf" in file.help


def test_a_folder_without_config(checkpoint):
    (checkpoint / "config.json").unlink()
    assert refused("local", checkpoint).code == "GB312"


@pytest.mark.parametrize("text", ["{", "[1]", "null", "\x00", "[" * 100_000])
def test_a_config_that_is_no_json_object(checkpoint, text):
    (checkpoint / "config.json").write_text(text)
    assert refused("local", checkpoint).code == "GB313"


def test_pickled_weights_are_refused(checkpoint):
    (checkpoint / "model.safetensors").unlink()
    assert refused("local", checkpoint).code == "GB315"
    (checkpoint / "pytorch_model.bin").write_bytes(b"\x80\x04")
    diagnostic = refused("local", checkpoint)
    assert diagnostic.code == "GB314" and "pytorch_model.bin" in diagnostic.label


def test_missing_shards_are_named(checkpoint):
    names = {"a": "model.safetensors", "b": "model-00002.safetensors"}
    (checkpoint / "model.safetensors.index.json").write_text(json.dumps({"weight_map": names}))
    diagnostic = refused("local", checkpoint)
    assert diagnostic.code == "GB315" and "model-00002.safetensors" in diagnostic.label
    (checkpoint / "model.safetensors.index.json").write_text("[]")
    assert refused("local", checkpoint).code == "GB316"


@pytest.mark.parametrize("keep", [0, 4, 8, 20, -1])
def test_truncated_safetensors_are_refused(checkpoint, keep):
    path = checkpoint / "model.safetensors"
    path.write_bytes(path.read_bytes()[:keep])
    assert refused("local", checkpoint).code == "GB316"


def test_safetensors_with_more_than_they_say_or_a_wild_length(checkpoint):
    path = checkpoint / "model.safetensors"
    path.write_bytes(path.read_bytes() + b"x")
    assert "bytes" in refused("local", checkpoint).label
    path.write_bytes(b"\xff" * 8 + b"{}")
    assert refused("local", checkpoint).code == "GB316"


def test_a_checkpoint_without_tokenizer(checkpoint):
    (checkpoint / "tokenizer.json").unlink()
    assert refused("local", checkpoint).code == "GB317"


def test_a_tiny_model_has_the_vocabulary_of_its_tokenizer_and_the_depth_asked_for():
    config = locate(source("tiny", "gemma3_text", layers=5)).config
    assert config["vocab_size"] == 49152 and config["num_hidden_layers"] == 5
    assert len(config["layer_types"]) == 5
    assert facts_from_config(config, "m").windows == (5, None, 5, None, 5)
    assert locate(source("tiny", "gpt2", layers=2)).config["n_layer"] == 2


def test_tiny_models_that_cannot_be():
    assert refused("tiny", "lama").code == "GB321"
    assert "`llama`" in refused("tiny", "lama").help
    assert refused("tiny", "llama", layers=0).code == "GB322"
    assert refused("tiny", "llama", layers=1000).code == "GB322"
    assert refused("tiny", "llama", tokenizer="gpt4").code == "GB310"


def gguf(tensor_bytes=64, **changed):
    """A small GGUF file, by the format's own description."""
    pairs = {
        "general.architecture": "llama",
        "llama.block_count": 2,
        "llama.context_length": 256,
        "llama.embedding_length": 64,
        "llama.feed_forward_length": 96,
        "llama.attention.head_count": 4,
        "llama.attention.head_count_kv": 2,
        "tokenizer.ggml.tokens": ["<s>", "a", "b"],
        "tokenizer.ggml.scores": [0.0, 1.0, 2.0],
        **changed,
    }

    def string(text):
        return struct.pack("<Q", len(text.encode())) + text.encode()

    def value(v):
        if isinstance(v, str):
            return struct.pack("<I", 8) + string(v)
        if isinstance(v, int):
            return struct.pack("<II", 4, v)
        if isinstance(v[0], float):
            return struct.pack(f"<IIQ{len(v)}f", 9, 6, len(v), *v)
        return struct.pack("<IIQ", 9, 8, len(v)) + b"".join(map(string, v))

    body = b"GGUF" + struct.pack("<IQQ", 3, 2, len(pairs))
    body += b"".join(string(k) + value(v) for k, v in pairs.items())
    for name, offset in (("token_embd.weight", 0), ("blk.0.attn_q.weight", 32)):
        body += string(name) + struct.pack("<IQIQ", 1, 8, 0, offset)
    return body + bytes(-len(body) % 32) + bytes(tensor_bytes)


def test_a_gguf_file_tells_its_config_from_its_header(tmp_path):
    path = tmp_path / "m.gguf"
    path.write_bytes(gguf())
    files = locate(source("gguf", path))
    facts = facts_from_config(files.config, "m")
    assert (facts.n_layers, facts.n_heads, facts.n_kv_heads, facts.d_model) == (2, 4, 2, 64)
    assert facts.vocab_size == 3 and facts.max_positions == 256 and facts.tied_embeddings
    assert files.weights is None and not files.fetched


def test_gguf_files_that_are_cut_off_are_refused(tmp_path):
    path, whole = tmp_path / "m.gguf", gguf()
    for length in [*range(0, len(whole) - 64, 7), len(whole) - 32]:
        path.write_bytes(whole[:length])
        assert refused("gguf", path).code == "GB319", length
    path.write_bytes(b"GGML" + whole[4:])
    assert "GGUF" in refused("gguf", path).label
    path.write_bytes(whole[:4] + struct.pack("<I", 99) + whole[8:])
    assert "version 99" in refused("gguf", path).label


def test_other_gguf_files(tmp_path):
    assert refused("gguf", tmp_path / "none.gguf").code == "GB318"
    path = tmp_path / "m.gguf"
    path.write_bytes(gguf(**{"general.architecture": "mamba"}))
    diagnostic = refused("gguf", path)
    assert diagnostic.code == "GB320" and "`llama`" in diagnostic.help


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """An empty Hugging Face cache that `huggingface_hub` is pointed at; the network is off in all tests."""
    import huggingface_hub.constants as constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    snapshot = tmp_path / "hub" / "models--org--small" / "snapshots" / ("c" * 40)

    def fill(*names):
        snapshot.mkdir(parents=True, exist_ok=True)
        refs = snapshot.parent.parent / "refs"
        refs.mkdir(exist_ok=True)
        (refs / "main").write_text("c" * 40)
        contents = {"config.json": json.dumps(tiny_config(family("llama"))), "tokenizer.json": "{}"}
        for name in names:
            if name.endswith(".safetensors"):
                safetensors(snapshot / name)
            else:
                (snapshot / name).write_text(contents[name])
        return snapshot

    return fill


def test_a_hub_model_is_found_in_the_local_cache(hub):
    snapshot = hub("config.json", "tokenizer.json", "model.safetensors")
    files = locate(source("hub", "org/small"))
    assert files.weights == files.tokenizer == snapshot
    assert files.fingerprints == {"revision": "c" * 40}


def test_a_hub_model_without_weights_can_be_checked(hub):
    hub("config.json", "tokenizer.json")
    files = locate(source("hub", "org/small"))
    assert files.fetched and files.weights is None


def test_a_hub_model_that_is_not_here_says_how_to_fetch_it(hub):
    diagnostic = refused("hub", "org/small", revision="v2")
    assert diagnostic.code == "GB323"
    assert "hf download org/small --revision v2" in diagnostic.help
    assert refused("hub", "no//name").code == "GB325"
