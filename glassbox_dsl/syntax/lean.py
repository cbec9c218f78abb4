"""Lark by itself: two packages that it imports wherever they happen to be installed take longer to load than it does.

`regex` serves patterns with Unicode classes, `interegular` looks for terminals that collide: the grammar has neither.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

UNUSED = ("regex", "interegular")


@contextmanager
def without(names: tuple[str, ...]) -> Iterator[None]:
    """Let an import find none of some packages; those that are loaded already stay."""
    hidden = [name for name in names if name not in sys.modules]
    sys.modules.update(dict.fromkeys(hidden))  # type: ignore[arg-type]  # None: this module is not to be found
    try:
        yield
    finally:
        for name in hidden:
            del sys.modules[name]


def load_lark() -> None:
    """Import lark, where it has not been imported yet, without what it does not need."""
    with without(UNUSED):
        import lark  # noqa: F401
