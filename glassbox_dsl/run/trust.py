"""The verification of a model, done on its first use and remembered beside its files."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Final

from glassbox_dsl.resolve.families import family_texts
from glassbox_dsl.resolve.sources import ModelFiles
from glassbox_dsl.run.check import Check
from glassbox_dsl.run.instrument import Instrument
from glassbox_dsl.run.verify import verify

CHECKS: Final = 3
"""Counts up when the checks change, so that a model is checked again."""


def verified(instrument: Instrument, files: ModelFiles) -> tuple[Check, ...]:
    """The checks of a model; read from the cache where the same model was checked with the same versions before."""
    key = _key(instrument, files)
    if key is None:
        return verify(instrument)
    path = _folder() / f"{key}.json"
    try:
        return tuple(Check(**one) for one in json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        checks = verify(instrument)
        _keep(path, checks)
        return checks


def _folder() -> Path:
    from glassbox_dsl.resolve.bundled import cache_folder

    return cache_folder() / "verified"


def _key(instrument: Instrument, files: ModelFiles) -> str | None:
    """What the checks depend on; None for models without a fingerprint (random ones)."""
    if not files.fingerprints.get("weights"):
        return None
    facts: list[object] = [
        sorted(files.fingerprints.items()),
        str(instrument.device),
        str(instrument.dtype),
        CHECKS,
    ]
    facts += family_texts(instrument.family.name)
    facts += [version(p) for p in ("torch", "transformers", "glassbox-dsl")]
    return hashlib.sha256(repr(facts).encode()).hexdigest()[:32]


def _keep(path: Path, checks: Sequence[Check]) -> None:
    """Write the checks beside the models; a cache that cannot be written is not needed."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent)
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump([check.model_dump() for check in checks], file)
        os.replace(temporary, path)
    except OSError:
        return


__all__ = ["Check", "verified"]
