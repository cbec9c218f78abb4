"""`model m = SOURCE(...)` -> its config and the places of its tokenizer and weights; no weight is read."""

from __future__ import annotations

import json
import os
from itertools import cycle, islice
from pathlib import Path
from typing import Any

from glassbox_dsl.diagnostics import Findings
from glassbox_dsl.resolve import model_errors as errors
from glassbox_dsl.resolve.adapters import Adapter, find_adapter
from glassbox_dsl.resolve.bundled import MANIFEST, BundledModel, bundled_models, converted_gguf_folder
from glassbox_dsl.resolve.checkpoint import BrokenFile, check_safetensors, gguf_metadata
from glassbox_dsl.resolve.families import Family, families, family, family_names
from glassbox_dsl.vocabulary.models import ModelSource
from glassbox_dsl.vocabulary.plain import Plain

TINY_LAYERS_LIMIT = 64
PICKLES = ("*.bin", "*.pt", "*.pth", "*.pkl", "*.ckpt")


class ModelFiles(Plain):
    """What lies on the disk of a model.

    `tokenizer` (a folder with tokenizer.json) and `weights` (a folder with safetensors) are None while
    a model has not been fetched or converted; a `tiny` model has no weights on disk. `fingerprints` are
    SHA-256 sums, or a commit, as far as they are known without reading weights.
    """

    shown: str
    config: dict[str, Any]
    tokenizer: Path | None
    weights: Path | None
    fingerprints: dict[str, str] = {}
    adapter: Adapter | None = None

    @property
    def fetched(self) -> bool:
        """Whether text can be turned into tokens already."""
        return self.tokenizer is not None


def locate(source: ModelSource) -> ModelFiles:
    """Find a model's files on this machine; nothing is downloaded or converted. Raises Findings."""
    files = _located(source)
    if source.adapter is None:
        return files
    return files.changed(adapter=find_adapter(source, "quantization_config" in files.config))


def _located(source: ModelSource) -> ModelFiles:
    match source.kind:
        case "bundled":
            return _bundled(source)
        case "local":
            return _local(source)
        case "hub":
            return _hub(source)
        case "gguf":
            return _gguf(source)
        case "tiny":
            return _tiny(source)


def find_bundled(source: ModelSource, id: str) -> BundledModel:
    """The bundled model of that id, or Findings with the ids there are."""
    model = bundled_models().get(id)
    if model is None:
        raise Findings([errors.unknown_bundled(id, bundled_models(), source.span)])
    return model


def _bundled(source: ModelSource) -> ModelFiles:
    model = find_bundled(source, source.target)
    config = json.loads(model.config_file.read_text("utf-8"))
    return _converted(model.folder, config, f"`{model.id}`", {"gguf": model.gguf_sha256})


def _converted(folder: Path, config: dict[str, Any], shown: str, fingerprints: dict[str, str]) -> ModelFiles:
    """A model that a GGUF file is turned into, in the cache; the folder is there whole or not at all."""
    if not (folder / MANIFEST).is_file():
        return ModelFiles(shown=shown, config=config, tokenizer=None, weights=None, fingerprints=fingerprints)
    manifest = json.loads((folder / MANIFEST).read_text("utf-8"))
    return ModelFiles(
        shown=shown, config=config, tokenizer=folder, weights=folder, fingerprints=manifest["sha256"]
    )


def _local(source: ModelSource) -> ModelFiles:
    folder, shown = Path(source.target), f"`{source.target}`"
    if not folder.is_dir():
        raise Findings([errors.no_folder(source.target, folder.exists(), source.span)])
    config = read_config(folder / "config.json", source)
    problem = _weights_problem(folder, source)
    if problem is not None:
        raise Findings([problem])
    if not (folder / "tokenizer.json").is_file():
        raise Findings([errors.no_tokenizer(shown, source.span)])
    return ModelFiles(shown=shown, config=config, tokenizer=folder, weights=folder)


def read_config(path: Path, source: ModelSource) -> dict[str, Any]:
    """The JSON object in a config.json. Raises Findings."""
    if not path.is_file():
        raise Findings([errors.no_config(source.target, source.span)])
    try:
        config = json.loads(path.read_text("utf-8"))
    except (ValueError, OSError, RecursionError) as problem:
        raise Findings([errors.bad_config(source.target, str(problem), source.span)]) from None
    if not isinstance(config, dict):
        raise Findings([errors.bad_config(source.target, "it is not a JSON object", source.span)])
    return config


def _weights_problem(folder: Path, source: ModelSource) -> Any:
    """A diagnostic if the folder's weights are missing, pickled, or cut off."""
    files = sorted(folder.glob("*.safetensors"))
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        try:
            names = set(json.loads(index.read_text("utf-8"))["weight_map"].values())
        except (ValueError, KeyError, TypeError, AttributeError):
            return errors.broken_weights(index.name, source.target, "it is not a list of shards", source.span)
        missing = sorted(name for name in names if not (folder / name).is_file())
        if missing:
            return errors.missing_shards(missing, source.target, source.span)
    if not files:
        pickles = sorted(path.name for pattern in PICKLES for path in folder.glob(pattern))
        return errors.no_weights(source.target, pickles, source.span)
    for path in files:
        try:
            check_safetensors(path)
        except (BrokenFile, OSError) as problem:
            return errors.broken_weights(path.name, source.target, str(problem), source.span)
    return None


SMALL_FILES = ("config.json", "tokenizer.json", "tokenizer_config.json", "*.jinja", "special_tokens_map.json")


def hub_folder(source: ModelSource, patterns: tuple[str, ...], *, online: bool) -> Path | None:
    """A hub model in the local Hugging Face cache, or None; `online` downloads what is missing."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        return Path(
            snapshot_download(
                source.target,
                revision=source.revision,
                allow_patterns=list(patterns),
                local_files_only=not online,
            )
        )
    except HFValidationError:
        raise Findings([errors.bad_hub_name(source.target, source.span)]) from None
    except (LocalEntryNotFoundError, FileNotFoundError):
        return None
    except (HfHubHTTPError, OSError) as problem:
        reason = str(problem).strip().splitlines()[0]
        raise Findings([errors.hub_refused(source.target, reason, source.span)]) from None


def downloads_allowed() -> bool:
    """Whether hub models may be downloaded (`GBX_DOWNLOAD=1`); otherwise only the local cache is used."""
    return os.environ.get("GBX_DOWNLOAD", "") not in ("", "0")


def _hub(source: ModelSource) -> ModelFiles:
    folder = hub_folder(source, SMALL_FILES, online=downloads_allowed())
    if folder is None:
        raise Findings([errors.not_in_hub_cache(source.target, source.revision, source.span)])
    config = read_config(folder / "config.json", source)
    has_tokenizer = (folder / "tokenizer.json").is_file()
    if not has_tokenizer:
        raise Findings([errors.no_tokenizer(f"`{source.target}`", source.span)])
    whole = any(folder.glob("*.safetensors")) and _weights_problem(folder, source) is None
    return ModelFiles(
        shown=f"`{source.target}`",
        config=config,
        tokenizer=folder,
        weights=folder if whole else None,
        fingerprints={"revision": folder.name},
    )


def _gguf(source: ModelSource) -> ModelFiles:
    file, shown = Path(source.target), f"`{source.target}`"
    if not file.is_file():
        raise Findings([errors.no_gguf(source.target, source.span)])
    try:
        said = gguf_metadata(file)
    except (BrokenFile, OSError) as problem:
        raise Findings([errors.broken_gguf(source.target, str(problem), source.span)]) from None
    folder = converted_gguf_folder(file)
    if (folder / MANIFEST).is_file():
        return _converted(folder, read_config(folder / "config.json", source), shown, {})
    return _converted(folder, _gguf_config(said, source), shown, {})


def _gguf_config(said: dict[str, Any], source: ModelSource) -> dict[str, Any]:
    """The config that a GGUF file will be converted with, from its metadata and the table of the family."""
    architecture = str(said.get("general.architecture"))
    match = next((f for f in families() if f.gguf and f.gguf.architecture == architecture), None)
    if match is None or match.gguf is None:
        known = [f.gguf.architecture for f in families() if f.gguf]
        raise Findings([errors.unknown_architecture(architecture, known, source.target, source.span)])
    config: dict[str, Any] = {
        "model_type": match.model_types[0],
        "tie_word_embeddings": not said["has_output"],
    }
    for key, name in match.gguf.keys.items():
        if (value := said.get(f"{architecture}.{key}")) is not None:
            config[name] = value
    tokens = said.get("tokenizer.ggml.tokens")
    if isinstance(tokens, dict):
        config["vocab_size"] = tokens["array"]
    return config


def _tiny(source: ModelSource) -> ModelFiles:
    if source.target not in family_names():
        raise Findings([errors.unknown_family(source.target, family_names(), source.span)])
    if source.layers is not None and not 1 <= source.layers <= TINY_LAYERS_LIMIT:
        raise Findings([errors.tiny_layers(source.layers, TINY_LAYERS_LIMIT, source.span)])
    speaks = find_bundled(source, source.tokenizer)
    vocabulary = json.loads(speaks.config_file.read_text("utf-8"))["vocab_size"]
    return ModelFiles(
        shown=f"`tiny({source.target})`",
        config=tiny_config(family(source.target), source.layers, vocabulary),
        tokenizer=speaks.folder if (speaks.folder / MANIFEST).is_file() else None,
        weights=None,
        fingerprints={"tiny": f"{source.target}-{source.layers}-{source.seed}"},
    )


def tiny_config(
    of: Family, layers: int | None = None, vocab_size: int | None = None, more: str | None = None
) -> dict[str, Any]:
    """The config of a family's tiny model, with another depth or vocabulary, or one of `tiny_more`, if asked for."""
    config = {**of.tiny, **({} if more is None else of.tiny_more[more])}
    if layers is not None:
        config[_key(of, config, "n_layers")] = layers
        if of.windows is not None and of.windows.types in config:
            config[of.windows.types] = list(islice(cycle(config[of.windows.types]), layers))
    if vocab_size is not None:
        config[_key(of, config, "vocab_size")] = vocab_size
    if of.model.config is not None:
        config = {**of.tiny_around, of.model.config: config}
    return {"model_type": of.model_types[0], **config}


def _key(of: Family, config: dict[str, Any], fact: str) -> str:
    return next(key for key in of.facts[fact].keys if key in config)
