"""What a command line calls a model -> its config. Of a folder only config.json is needed; no weight is read."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from glassbox_dsl.diagnostics import Findings
from glassbox_dsl.language.file import read_program
from glassbox_dsl.resolve import model_errors as errors
from glassbox_dsl.resolve.bundled import bundled_models
from glassbox_dsl.resolve.families import family_names
from glassbox_dsl.resolve.sources import locate, read_config
from glassbox_dsl.vocabulary.models import ModelSource, SourceKind

KINDS: tuple[SourceKind, ...] = ("bundled", "tiny", "hub", "local", "gguf")


class AskedModel(BaseModel):
    """A model by what the user called it, with its config and, where it lies there, its tokenizer's folder."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)
    shown: str
    config: dict[str, Any]
    tokenizer: Path | None = None


def asked_models(text: str) -> list[AskedModel]:
    """The models that a text names; several only for a .gbx file. Raises Findings.

    `bundled:ID`, `tiny:FAMILY`, `hub:ORG/NAME[@REVISION]`, a folder, a config.json, a GGUF file, `FILE.gbx` (all of its
    models), `FILE.gbx:NAME`, or the bare id of a bundled model.
    """
    path, _, name = text.partition(".gbx:")
    if name:
        return [_of_file(Path(path + ".gbx"), name)]
    if text.endswith(".gbx"):
        return _all_of_file(Path(text))
    if text in bundled_models():
        return [_located(ModelSource(name=text, kind="bundled", target=text), text)]
    kind, _, target = text.partition(":")
    if kind in KINDS and target:
        return [_located(_source(kind, target), text)]
    path_ = Path(text)
    if path_.is_dir() or path_.suffix == ".json":
        return [_plain(path_)]
    if path_.suffix == ".gguf":
        return [_located(ModelSource(name=text, kind="gguf", target=str(path_.resolve())), text)]
    raise Findings([errors.no_such_model(text, [*bundled_models(), *(f"tiny:{f}" for f in family_names())])])


def _source(kind: SourceKind, target: str) -> ModelSource:
    revision = None
    if kind == "hub":
        target, _, revision_text = target.partition("@")
        revision = revision_text or None
    if kind in ("local", "gguf"):
        target = str(Path(target).resolve())
    return ModelSource(name=target, kind=kind, target=target, revision=revision)


def _located(source: ModelSource, shown: str) -> AskedModel:
    if source.kind == "local":
        return _plain(Path(source.target))
    files = locate(source)
    return AskedModel(shown=shown, config=files.config, tokenizer=files.tokenizer)


def _plain(path: Path) -> AskedModel:
    """A config.json or its folder, with or without anything beside it."""
    file = path / "config.json" if path.is_dir() else path
    source = ModelSource(name=str(path), kind="local", target=str(path))
    tokenizer = file.parent if (file.parent / "tokenizer.json").is_file() else None
    return AskedModel(shown=str(path), config=read_config(file, source), tokenizer=tokenizer)


def _models(file: Path) -> Mapping[str, ModelSource]:
    program, diagnostics = read_program(file)
    if program is None:
        raise Findings(diagnostics)
    return {model.name: model for model in program.models}


def _all_of_file(file: Path) -> list[AskedModel]:
    return [_located(source, name) for name, source in _models(file).items()]


def _of_file(file: Path, name: str) -> AskedModel:
    models = _models(file)
    if name not in models:
        raise Findings([errors.not_in_file(name, str(file), models)])
    return _located(models[name], name)


__all__ = ["AskedModel", "asked_models"]
