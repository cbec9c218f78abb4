"""The shape of a tensor in a safetensors file, read from its header alone: `check` loads no values."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from glassbox_dsl.language import errors
from glassbox_dsl.language.errors import Problem
from glassbox_dsl.syntax import nodes

LARGEST_HEADER = 100_000_000


def tensor_shape(path: Path, file: nodes.String, key: nodes.String) -> tuple[int, ...]:
    """The shape of the tensor `key` of the file at `path`, which the text `file` names."""
    entries = header(path, file)
    known = [name for name in entries if name != "__metadata__"]
    if key.value not in known:
        raise Problem(errors.unknown_name(key.span, key.value, known, "key"))
    entry = entries[key.value]
    shape = entry.get("shape") if isinstance(entry, dict) else None
    if not isinstance(shape, list) or not all(isinstance(n, int) and n >= 0 for n in shape):
        raise Problem(errors.bad_file(file.span, file.value, f"`{key.value}` has no shape in its header"))
    return tuple(shape)


def header(path: Path, file: nodes.String) -> dict[str, Any]:
    """What a safetensors file says of its tensors, by name."""
    try:
        with open(path, "rb") as stream:
            size = int.from_bytes(stream.read(8), "little")
            raw = stream.read(size) if size <= LARGEST_HEADER else b""
    except OSError as problem:
        raise Problem(errors.bad_file(file.span, file.value, problem.strerror or str(problem))) from problem
    try:
        found = json.loads(raw) if len(raw) == size else None
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        why = "it does not begin with a safetensors header: damaged, or of another format"
        raise Problem(errors.bad_file(file.span, file.value, why))
    return found
