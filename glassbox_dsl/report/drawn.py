"""Pictures that were drawn before: kept in the user's cache by everything they are made from.

Importing Altair and starting vl-convert take a second. A picture depends on its numbers, on the code that draws it and
on the versions of both packages; where all of these are known, its SVG is.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from glassbox_dsl.resolve.bundled import cache_folder

KEPT: Final = 200
"""Pictures that are kept, the newest ones."""
FIELDS: Final = {"light": str, "dark": str, "width": int, "height": int}
DATA: Final = "data:image/svg+xml;base64,"


def drawn_once(of: object, code: tuple[Path, ...], draw: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What `draw` gives for numbers `of` (whose `repr` says all of them) by the code of some files."""
    path = folder() / f"{_key(of, code)}.json"
    found = _read(path)
    if found is None:
        found = draw()
        _keep(path, found)
    return found


def folder() -> Path:
    """Where the pictures lie."""
    return cache_folder() / "pictures"


def _key(of: object, code: tuple[Path, ...]) -> str:
    parts = [repr(of).encode(), *(file.read_bytes() for file in code)]
    parts += [version(package).encode() for package in ("altair", "vl-convert-python")]
    return sha256(b"".join(sha256(part).digest() for part in parts)).hexdigest()[:32]


def _read(path: Path) -> dict[str, Any] | None:
    """A kept picture; None where there is none, or something else."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    whole = isinstance(found, dict) and found.keys() == FIELDS.keys()
    if not whole or not all(type(found[name]) is kind for name, kind in FIELDS.items()):
        return None
    return found if all(found[theme].startswith(DATA) for theme in ("light", "dark")) else None


def _keep(path: Path, picture: Mapping[str, Any]) -> None:
    """Keep a picture, and no more than the newest ones; a cache that cannot be written is no failure."""
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = path.with_suffix(f".{os.getpid()}")
        beside.write_text(json.dumps(picture), encoding="utf-8")
        beside.replace(path)
        kept = sorted(path.parent.glob("*.json"), key=lambda file: file.stat().st_mtime, reverse=True)
        for old in kept[KEPT:]:
            old.unlink(missing_ok=True)
