"""What a long run tells whoever watches: the stages call it, the command line shows it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol


class Stopped(BaseException):
    """The process was asked to end: what is done is kept, and the run can be resumed."""


class Progress(Protocol):
    """Receives the events of a run; one stage is open at a time."""

    def stage(self, name: str, total: int | None) -> None:
        """Begin a stage of `total` steps (None: not known); the stage before it is done."""

    def advance(self, n: int = 1) -> None:
        """Count `n` more steps of the open stage."""

    def within(self, name: str, total: int) -> AbstractContextManager[Callable[[int], None]]:
        """A stage of `total` steps inside of the open one, which goes on behind it; what is given counts its steps."""

    def say(self, line: str) -> None:
        """Show one line that is worth keeping, such as a warning or where a file was written."""


class Silent:
    """A `Progress` that shows nothing: for tests and for use as a library."""

    def stage(self, name: str, total: int | None) -> None:
        """Ignore it."""

    def advance(self, n: int = 1) -> None:
        """Ignore it."""

    @contextmanager
    def within(self, name: str, total: int) -> Iterator[Callable[[int], None]]:
        """Ignore it."""
        yield lambda n: None

    def say(self, line: str) -> None:
        """Ignore it."""
