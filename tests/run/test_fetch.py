"""Fetching a bundled model: what can go wrong is said, and nothing partial is left behind."""

import hashlib
import json
import zipfile

import pytest

from glassbox_dsl.diagnostics import Findings
from glassbox_dsl.resolve import sources
from glassbox_dsl.resolve.bundled import BundledModel, Wheel
from glassbox_dsl.resolve.families import family
from glassbox_dsl.resolve.sources import tiny_config
from glassbox_dsl.run import fetch
from glassbox_dsl.vocabulary.models import ModelSource

PARTS = {"fake-part1": b"GGUF and then ", "fake-part2": b"nothing that a loader could read"}
WHOLE = b"".join(PARTS.values())
SOURCE = ModelSource(name="m", kind="bundled", target="fake")


def wheel(folder, package, content, inside="model.gguf"):
    """A wheel that pip takes for one, with one data file."""
    stem = f"{package.replace('-', '_')}-1.0"
    path = folder / f"{stem}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"data/{inside}", content)
        archive.writestr(
            f"{stem}.dist-info/METADATA", f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n"
        )
        archive.writestr(
            f"{stem}.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr(f"{stem}.dist-info/RECORD", "")
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture
def index(tmp_path, monkeypatch):
    """A folder that pip takes its packages from, and nowhere else; holds the parts of the model `fake`."""
    folder = tmp_path / "index"
    folder.mkdir()
    monkeypatch.setenv("GBX_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    sums = {package: wheel(folder, package, content) for package, content in PARTS.items()}
    config = tmp_path / "config.json"
    config.write_text(json.dumps(tiny_config(family("llama"))))
    monkeypatch.setattr(BundledModel, "config_file", config)
    offer(monkeypatch, sums)
    return folder


def offer(monkeypatch, sums, gguf=WHOLE, file="data/model.gguf"):
    """Let `fake` be a bundled model whose wheels and content have these hashes."""
    model = BundledModel(
        id="fake",
        title="Fake",
        licence="none",
        terms="Mind the terms.",
        gguf_sha256=hashlib.sha256(gguf).hexdigest(),
        download_mb=1,
        disk_mb=1,
        wheels=tuple(Wheel(package=p, version="1.0", sha256=s, file=file) for p, s in sums.items()),
    )
    monkeypatch.setattr(sources, "bundled_models", lambda: {"fake": model})
    return model


def refused(tmp_path):
    """The code of the one diagnostic; afterwards the cache holds no file and no folder of the model."""
    said = []
    with pytest.raises(Findings) as found:
        fetch.prepare(SOURCE, said.append)
    (diagnostic,) = found.value.diagnostics
    cache = tmp_path / "cache"
    assert not cache.is_dir() or [p for p in cache.rglob("*") if p.name != "models"] == []
    return diagnostic, said


def test_a_gguf_that_cannot_be_read_is_refused_after_its_terms_were_shown(index, tmp_path):
    diagnostic, said = refused(tmp_path)
    assert diagnostic.code == "GB505" and "`fake`" in diagnostic.headline
    assert any("licence none" in line for line in said) and "Mind the terms." in said


def test_a_wheel_with_another_hash_is_refused(index, tmp_path):
    wheel(index, "fake-part2", b"something else")
    diagnostic, _ = refused(tmp_path)
    assert diagnostic.code == "GB503" and "fake-part2" in diagnostic.headline


def test_joined_parts_with_another_hash_are_refused(index, tmp_path, monkeypatch):
    sums = {
        p: hashlib.sha256(f.read_bytes()).hexdigest()
        for p, f in zip(PARTS, sorted(index.iterdir()), strict=True)
    }
    offer(monkeypatch, sums, gguf=b"another file")
    diagnostic, _ = refused(tmp_path)
    assert diagnostic.code == "GB503" and "fake" in diagnostic.headline


def test_a_wheel_without_the_file_is_refused(index, tmp_path, monkeypatch):
    sums = {
        p: hashlib.sha256(f.read_bytes()).hexdigest()
        for p, f in zip(PARTS, sorted(index.iterdir()), strict=True)
    }
    offer(monkeypatch, sums, file="data/elsewhere.gguf")
    diagnostic, _ = refused(tmp_path)
    assert diagnostic.code == "GB503" and "elsewhere" in diagnostic.label


def test_a_package_that_is_not_there_is_said(index, tmp_path):
    (index / "fake_part1-1.0-py3-none-any.whl").unlink()
    diagnostic, _ = refused(tmp_path)
    assert diagnostic.code == "GB502" and "fake-part1" in diagnostic.label


def test_credentials_of_an_index_are_not_repeated():
    told = fetch._reason("ERROR: no match at https://user:secret@example.org/simple\n")
    assert told == "no match at https://example.org/simple"


def test_too_little_room_is_said_before_anything_is_downloaded(index, tmp_path, monkeypatch):
    usage = fetch.shutil.disk_usage(tmp_path)
    monkeypatch.setattr(fetch.shutil, "disk_usage", lambda _: usage._replace(free=2_000_000))
    monkeypatch.setattr(fetch.subprocess, "run", lambda *_, **__: pytest.fail("pip was started"))
    diagnostic, _ = refused(tmp_path)
    assert diagnostic.code == "GB504" and "2 MB" in diagnostic.label


def test_a_disk_that_fills_up_on_the_way_is_said(index, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(fetch.shutil, "copyfileobj", full)
    diagnostic, _ = refused(tmp_path)
    assert diagnostic.code == "GB504" and "No space left on device" in diagnostic.label


def test_a_cache_that_cannot_be_written_is_said(index, tmp_path):
    (tmp_path / "cache").write_text("a file")
    with pytest.raises(Findings) as found:
        fetch.prepare(SOURCE, print)
    assert [d.code for d in found.value.diagnostics] == ["GB504"]
    assert (tmp_path / "cache").read_text() == "a file"


def test_an_interrupted_fetch_leaves_nothing(index, tmp_path, monkeypatch):
    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(fetch, "_join", stop)
    with pytest.raises(KeyboardInterrupt):
        fetch.prepare(SOURCE, print)
    assert list((tmp_path / "cache" / "models").iterdir()) == []


def test_pip_and_the_packages_for_running_are_asked_for(index, tmp_path, monkeypatch):
    find = fetch.importlib.util.find_spec
    monkeypatch.setattr(fetch.importlib.util, "find_spec", lambda name: None if name == "pip" else find(name))
    assert refused(tmp_path)[0].code == "GB501"
    monkeypatch.setattr(
        fetch.importlib.util, "find_spec", lambda name: None if name == "torch" else find(name)
    )
    diagnostic, _ = refused(tmp_path)
    assert diagnostic.code == "GB500" and "torch" in diagnostic.label and "[run]" in diagnostic.help


def test_what_is_there_is_used_and_what_a_killed_process_left_is_swept(index, tmp_path, monkeypatch):
    import os

    models = tmp_path / "cache" / "models"
    stale, fresh = models / ".fake.1.partial", models / ".fake.2.partial"
    stale.mkdir(parents=True)
    fresh.mkdir()
    os.utime(stale, (1, 1))
    with pytest.raises(Findings):
        fetch.prepare(SOURCE, print)
    assert not stale.exists() and fresh.exists()
    folder = sources.bundled_models()["fake"].folder
    folder.mkdir()
    (folder / "glassbox.json").write_text(json.dumps({"sha256": {"gguf": "x"}}))
    monkeypatch.setattr(fetch.subprocess, "run", lambda *_, **__: pytest.fail("pip was started"))
    said = []
    files = fetch.prepare(SOURCE, said.append)
    assert files.tokenizer == folder and said == []


def test_a_hub_model_without_weights_is_refused_when_it_is_to_run(tmp_path, monkeypatch):
    import huggingface_hub.constants as constants

    from tests.resolve.test_sources import safetensors

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    snapshot = tmp_path / "hub" / "models--org--small" / "snapshots" / ("c" * 40)
    (snapshot.parent.parent / "refs").mkdir(parents=True)
    (snapshot.parent.parent / "refs" / "main").write_text("c" * 40)
    snapshot.mkdir(parents=True)
    (snapshot / "config.json").write_text(json.dumps(tiny_config(family("llama"))))
    (snapshot / "tokenizer.json").write_text("{}")
    source = ModelSource(name="m", kind="hub", target="org/small")
    with pytest.raises(Findings) as found:
        fetch.prepare(source, print)
    assert [d.code for d in found.value.diagnostics] == ["GB506"]
    safetensors(snapshot / "model.safetensors")
    assert fetch.prepare(source, print).weights == snapshot


def test_a_local_model_is_known_by_its_content(tmp_path):
    from tests.resolve.test_sources import safetensors

    (tmp_path / "config.json").write_text(json.dumps(tiny_config(family("llama"))))
    (tmp_path / "tokenizer.json").write_text("{}")
    safetensors(tmp_path / "model.safetensors", 16)
    source = ModelSource(name="m", kind="local", target=str(tmp_path))
    first = fetch.prepare(source, print).fingerprints
    assert first["tokenizer"] == hashlib.sha256(b"{}").hexdigest()
    assert fetch.prepare(source, print).fingerprints == first
    safetensors(tmp_path / "model.safetensors", 32)
    assert fetch.prepare(source, print).fingerprints["weights"] != first["weights"]
