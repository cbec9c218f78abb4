"""specs/models.toml -> the bundled models, and where their converted copies lie in the user's cache."""

from __future__ import annotations

import os
import tomllib
from functools import cache
from pathlib import Path
from typing import Any

from glassbox_dsl.resources import shipped
from glassbox_dsl.vocabulary.tables import Table, built

MANIFEST = "glassbox.json"
"""Written last into the folder of a converted model: hashes of what it came from and became."""
CONVERSION = 1
"""Counts the ways in which a GGUF file was turned into safetensors: a new way must not meet old copies."""


class Wheel(Table):
    """A Python package on its index, and the file in it that is (a part of) the model."""

    package: str
    version: str
    sha256: str
    file: str


class BundledModel(Table):
    """A real model that Python packages carry as GGUF, in one file or in parts to be joined."""

    id: str
    title: str
    licence: str
    terms: str
    gguf_sha256: str
    download_mb: int
    disk_mb: int
    wheels: tuple[Wheel, ...]

    @property
    def config_file(self) -> Path:
        """The config.json that ships with the program."""
        return shipped("specs") / "models" / self.id / "config.json"

    @property
    def folder(self) -> Path:
        """Where the converted model lies once it has been fetched."""
        return cache_folder() / "models" / f"{self.id}-{self.gguf_sha256[:12]}-{CONVERSION}"


@cache
def bundled_models() -> dict[str, BundledModel]:
    """The bundled models by id."""
    with open(shipped("specs") / "models.toml", "rb") as file:
        table: dict[str, dict[str, Any]] = tomllib.load(file)
    return {id: built(BundledModel, {"id": id, **entry}) for id, entry in table.items()}


def cache_folder() -> Path:
    """The user's cache for this program: `GBX_CACHE`, or the place the system has for caches."""
    if chosen := os.environ.get("GBX_CACHE"):
        return Path(chosen).expanduser().absolute()
    from platformdirs import user_cache_path

    return user_cache_path("glassbox")


def converted_gguf_folder(file: Path) -> Path:
    """Where the conversion of a GGUF file lies; another file under the same name gets another folder."""
    from hashlib import sha256

    stat = file.stat()
    key = f"{file.resolve()}\0{stat.st_size}\0{stat.st_mtime_ns}"
    return cache_folder() / "gguf" / f"{file.stem}-{sha256(key.encode()).hexdigest()[:16]}-{CONVERSION}"
