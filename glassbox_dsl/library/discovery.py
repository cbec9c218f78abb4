"""Finds the entries of a library folder: every module in it defines one constant of a given name."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent


def entries(folder: str, constant: str) -> dict[str, Any]:
    """`{entry.name: entry}` for every module of `library/<folder>`, in the order of their file names."""
    found: dict[str, Any] = {}
    for path in sorted((HERE / folder).glob("[a-z]*.py")):
        entry = getattr(import_module(f"glassbox_dsl.library.{folder}.{path.stem}"), constant)
        if entry.name in found:
            raise ValueError(f"two files of library/{folder} define `{entry.name}`")
        found[entry.name] = entry
    return found
