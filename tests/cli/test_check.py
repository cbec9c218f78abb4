"""`gbx check`: streams, exit codes, JSON."""

import json

import pytest

from glassbox_dsl.cli.app import answer

GOOD = 'gbx 1\nmodel smol = bundled("smollm2-135m")\n'
BAD = 'gbx 1\nmodel smol = bundled("smollm2")\n'


@pytest.fixture
def files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "good.gbx").write_text(GOOD)
    (tmp_path / "bad.gbx").write_text(BAD)


def test_a_right_file_ends_with_0_and_says_so(files, capsys):
    assert answer(["check", "good.gbx"]) == 0
    assert capsys.readouterr() == ("", "1 file, 0 errors\n")


def test_a_wrong_file_ends_with_1_and_points_at_the_place(files, capsys):
    assert answer(["check", "good.gbx", "bad.gbx"]) == 1
    streams = capsys.readouterr()
    assert streams.out == ""
    assert streams.err.startswith("error[GB310]: ") and "--> bad.gbx:2:" in streams.err
    assert streams.err.endswith("2 files, 1 error\n")


def test_json_goes_to_stdout_and_nothing_to_stderr(files, capsys):
    assert answer(["check", "--json", "bad.gbx"]) == 1
    streams = capsys.readouterr()
    document = json.loads(streams.out)
    (found,) = document["diagnostics"]
    assert streams.err == "" and document["files"] == ["bad.gbx"]
    assert (found["code"], found["place"]["file"], found["place"]["line"]) == ("GB310", "bad.gbx", 2)


@pytest.mark.parametrize("content", [b"\xff\xfe\x00", b"", b"gbx 1\n" + b"[" * 100_000, b"\x00" * 10])
def test_bytes_that_are_no_file_of_the_language_are_findings(files, content, tmp_path, capsys):
    (tmp_path / "odd.gbx").write_bytes(content)
    assert answer(["check", "odd.gbx"]) == 1
    assert capsys.readouterr().err.startswith("error[GB1")


@pytest.mark.parametrize("name", ["missing.gbx", "."])
def test_a_file_that_cannot_be_read_is_a_finding(files, name, capsys):
    assert answer(["check", name]) == 1
    assert capsys.readouterr().err.startswith("error[GB")


def test_escapes_in_a_file_cannot_drive_the_terminal(files, tmp_path, capsys):
    (tmp_path / "odd.gbx").write_text('gbx 1\nmodel m = bundled("\x1b[2J")\n')
    assert answer(["check", "odd.gbx"]) == 1
    assert "\x1b" not in capsys.readouterr().err
