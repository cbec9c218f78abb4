"""Shows how far a run is: bars on a terminal, a line now and then in a log, nothing when quiet."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from glassbox_dsl.cli.output import complain
from glassbox_dsl.diagnostics.render import visible
from glassbox_dsl.plan.progress import Progress, Silent

if TYPE_CHECKING:
    from rich.progress import Progress as Bars
    from rich.progress import TaskID

LOG_EVERY_SECONDS = 10.0


@contextmanager
def watching(quiet: bool) -> Iterator[Progress]:
    """The progress display that suits stderr, closed at the end whatever happens."""
    if quiet:
        yield Silent()
    elif sys.stderr.isatty() and not _plain():
        with _bars() as bars:
            yield BarProgress(bars)
    else:
        lines = LineProgress()
        yield lines
        lines.close()


def _plain() -> bool:
    """Whether no escape sequence is wanted, of colour or of movement, although somebody is watching."""
    return bool(os.environ.get("NO_COLOR") or os.environ.get("CI")) or os.environ.get("TERM") == "dumb"


class LineProgress:
    """Plain lines on stderr for logs: at most one in ten seconds while a stage goes on."""

    def __init__(self, every_seconds: float = LOG_EVERY_SECONDS) -> None:
        self.every_seconds = every_seconds
        self.name = ""

    def stage(self, name: str, total: int | None) -> None:
        """Close the open stage and begin another."""
        self.close()
        self.name, self.total, self.done = name, total, 0
        self.began = self.told = time.monotonic()

    def advance(self, n: int = 1) -> None:
        """Count steps, and tell how far the stage is if it is time to."""
        self.done += n
        now = time.monotonic()
        if now - self.told >= self.every_seconds:
            self.told = now
            complain(self._line(now - self.began))

    @contextmanager
    def within(self, name: str, total: int) -> Iterator[Callable[[int], None]]:
        """Lines of their own for the stage inside."""
        inner = LineProgress(self.every_seconds)
        inner.stage(name, total)
        yield inner.advance
        inner.close()

    def say(self, line: str) -> None:
        """Write the line."""
        complain(line)

    def close(self) -> None:
        """Say what the open stage took."""
        if self.name:
            complain(f"{self.name}: done in {clock(time.monotonic() - self.began)}")
        self.name = ""

    def _line(self, seconds: float) -> str:
        if self.total is None:
            return f"{self.name}: {self.done}, {clock(seconds)}"
        left = clock(remaining_seconds(self.done, self.total, seconds))
        return f"{self.name}: {self.done}/{self.total}, {clock(seconds)}, about {left} left"


class BarProgress:
    """One bar per stage on a terminal, with the time gone and an estimate of the time left."""

    def __init__(self, bars: Bars) -> None:
        self.bars = bars
        self.task: TaskID | None = None

    def stage(self, name: str, total: int | None) -> None:
        """Fill the open bar and begin another."""
        if self.task is not None:
            self._fill(self.task)
        self.task = self.bars.add_task(visible(name), total=total)

    def advance(self, n: int = 1) -> None:
        """Move the open bar."""
        if self.task is not None:
            self.bars.advance(self.task, n)

    @contextmanager
    def within(self, name: str, total: int) -> Iterator[Callable[[int], None]]:
        """A bar below the open one, as long as the stage inside goes on."""
        task = self.bars.add_task(visible(name), total=total)
        try:
            yield lambda n: self.bars.advance(task, n)
        finally:
            self.bars.remove_task(task)

    def say(self, line: str) -> None:
        """Print the line above the bars."""
        self.bars.console.print(visible(line), markup=False, highlight=False)

    def _fill(self, task: TaskID) -> None:
        state = self.bars.tasks[self.bars.task_ids.index(task)]
        self.bars.update(
            task, total=state.total or state.completed or 1, completed=state.total or state.completed or 1
        )


def remaining_seconds(done: int, total: int, seconds: float) -> float:
    """Time left if the rest goes as fast as what is done."""
    return seconds / done * (total - done) if done else 0.0


def clock(seconds: float) -> str:
    """`0.4 s`, `12 s`, `3:05`, `1:02:03`."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if not minutes:
        return f"{rest} s"
    return f"{minutes}:{rest:02}" if minutes < 60 else f"{minutes // 60}:{minutes % 60:02}:{rest:02}"


def _bars() -> Bars:
    """The rich display, on stderr; rich honours NO_COLOR and TERM itself."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        refresh_per_second=4,
    )
