"""A file on disk to a Source, or the reason why it is none."""

from __future__ import annotations

from pathlib import Path

from glassbox_dsl.diagnostics import Findings
from glassbox_dsl.source import Source
from glassbox_dsl.syntax import errors

LARGEST_BYTES = 2**20


def read_source(path: Path, shown_as: str | None = None) -> Source:
    """Read a .gbx file of at most 1 MiB of UTF-8; `shown_as` is the path as the user wrote it.

    Raises Findings if there is no such file, it cannot be read, is too large or is not UTF-8.
    """
    shown = shown_as if shown_as is not None else str(path)
    try:
        with path.open("rb") as file:
            raw = file.read(LARGEST_BYTES + 1)
    except FileNotFoundError:
        raise Findings([errors.no_such_file(shown)]) from None
    except IsADirectoryError:
        raise Findings([errors.is_a_folder(shown)]) from None
    except (OSError, ValueError) as problem:  # ValueError: a path with a NUL
        raise Findings(
            [errors.unreadable(shown, getattr(problem, "strerror", None) or str(problem))]
        ) from None
    if len(raw) > LARGEST_BYTES:
        raise Findings([errors.too_large(shown, LARGEST_BYTES)])
    try:
        return Source(shown, raw.decode("utf-8-sig"))
    except UnicodeDecodeError as problem:
        line = raw.count(b"\n", 0, problem.start) + 1
        raise Findings([errors.not_utf8(shown, line, raw[problem.start])]) from None
