"""Progress on a terminal, in a log, and none."""

import io

import pytest

from glassbox_dsl.cli import progress
from glassbox_dsl.cli.progress import BarProgress, LineProgress, clock, remaining_seconds, watching


@pytest.fixture
def now(monkeypatch):
    """A clock to set."""
    time = {"now": 100.0}
    monkeypatch.setattr(progress.time, "monotonic", lambda: time["now"])
    return time


def test_a_log_gets_a_line_every_ten_seconds_with_the_time_left(now, capsys):
    lines = LineProgress()
    lines.stage("patch_resid", 100)
    for _ in range(50):
        now["now"] += 0.5
        lines.advance(1)
    lines.close()
    assert capsys.readouterr().err.splitlines() == [
        "patch_resid: 20/100, 10 s, about 40 s left",
        "patch_resid: 40/100, 20 s, about 30 s left",
        "patch_resid: done in 25 s",
    ]


def test_a_stage_of_unknown_length_has_no_estimate(now, capsys):
    lines = LineProgress()
    lines.stage("download", None)
    now["now"] += 12
    lines.advance(7)
    lines.stage("next", 1)
    assert capsys.readouterr().err.splitlines() == ["download: 7, 12 s", "download: done in 12 s"]


def test_quiet_shows_nothing(capsys):
    with watching(quiet=True) as shown:
        shown.stage("s", 3)
        shown.advance(3)
        shown.say("a line")
    assert capsys.readouterr() == ("", "")


def test_without_a_terminal_there_are_lines_and_no_escapes(capsys):
    with watching(quiet=False) as shown:
        shown.stage("s", 3)
        shown.say("a line")
    said = capsys.readouterr().err
    assert "a line" in said and "s: done in" in said and "\x1b" not in said


def test_an_error_does_not_claim_that_the_stage_is_done(capsys):
    with pytest.raises(ValueError, match="broken"), watching(quiet=False) as shown:
        shown.stage("s", 3)
        raise ValueError("broken")
    assert "done" not in capsys.readouterr().err


def test_bars_fill_and_keep_markup_apart():
    from rich.console import Console
    from rich.progress import Progress

    out = io.StringIO()
    bars = Progress(console=Console(file=out, force_terminal=False))
    shown = BarProgress(bars)
    shown.stage("first [red]", 4)
    shown.advance(1)
    shown.stage("second", None)
    shown.say("note [bold]x\x1b[31m")
    assert [(task.completed, task.total) for task in bars.tasks] == [(4, 4), (0, None)]
    assert out.getvalue() == "note [bold]x\\u{1b}[31m\n"


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.44, "0.4 s"), (59.2, "59 s"), (59.9, "1:00"), (185, "3:05"), (3723, "1:02:03")]
)
def test_clock(seconds, text):
    assert clock(seconds) == text


def test_the_time_left_follows_the_pace():
    assert remaining_seconds(done=25, total=100, seconds=10) == 30
    assert remaining_seconds(done=0, total=100, seconds=10) == 0


@pytest.mark.parametrize(
    ("settings", "escapes"),
    [({}, True), ({"NO_COLOR": "1"}, False), ({"CI": "true"}, False), ({"TERM": "dumb"}, False)],
)
def test_bars_only_for_a_terminal_that_wants_them(monkeypatch, settings, escapes):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    for name in ("NO_COLOR", "CI"):
        monkeypatch.delenv(name, raising=False)
    for name, value in ({"TERM": "xterm"} | settings).items():
        monkeypatch.setenv(name, value)
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    with watching(False) as progress:
        progress.stage("a \x1b[31mstage", 2)
        progress.advance(2)
    assert ("\x1b" in terminal.getvalue()) is escapes
    assert "\x1b[31mstage" not in terminal.getvalue() and "stage" in terminal.getvalue()
