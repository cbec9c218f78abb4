"""Files on disk, and the tables that the parser keeps between runs."""

from __future__ import annotations

import os
import subprocess
import sys
from hashlib import sha256
from pathlib import Path

import pytest

from glassbox_dsl.diagnostics import Findings
from glassbox_dsl.syntax import parse, read_source
from glassbox_dsl.syntax.reading import LARGEST_BYTES


def refusal(path: Path, shown_as: str | None = None) -> tuple[str, str]:
    with pytest.raises(Findings) as caught:
        read_source(path, shown_as)
    (finding,) = caught.value.diagnostics
    assert finding.help and finding.label
    return finding.code, finding.headline


def test_a_file_is_read_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "a.gbx"
    path.write_bytes('gbx 1\r\nlet x = "é"\r\n'.encode())
    source = read_source(path)
    assert (source.path, source.text) == (str(path), 'gbx 1\r\nlet x = "é"\r\n')
    assert read_source(path, "shown/a.gbx").path == "shown/a.gbx"
    assert parse(source).diagnostics == ()


def test_a_byte_order_mark_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "a.gbx").write_bytes(b"\xef\xbb\xbfgbx 1\n")
    assert read_source(tmp_path / "a.gbx").text == "gbx 1\n"


def test_a_missing_file(tmp_path: Path) -> None:
    assert refusal(tmp_path / "a.gbx", "a.gbx") == ("GB101", "no file `a.gbx`")


def test_a_folder(tmp_path: Path) -> None:
    assert refusal(tmp_path, "here") == ("GB101", "`here` is a folder")


@pytest.mark.parametrize("name", ["a\x00b", "x" * 5000, "file/inside"])
def test_a_path_that_no_file_can_have(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").write_text("")
    code, headline = refusal(tmp_path / name, "odd")
    assert code == "GB101" and "`odd`" in headline


def test_bytes_that_are_not_text(tmp_path: Path) -> None:
    path = tmp_path / "a.gbx"
    path.write_bytes(b"gbx 1\nlet x = \xff\n")
    with pytest.raises(Findings) as caught:
        read_source(path, "a.gbx")
    (finding,) = caught.value.diagnostics
    assert (finding.code, finding.headline) == ("GB102", "`a.gbx` is not UTF-8 text")
    assert "line 2" in finding.label and "0xff" in finding.label


def test_the_largest_file(tmp_path: Path) -> None:
    path = tmp_path / "a.gbx"
    path.write_bytes(b"gbx 1".ljust(LARGEST_BYTES, b"\n"))
    assert len(read_source(path).text) == LARGEST_BYTES == 1_048_576
    path.write_bytes(b"gbx 1".ljust(LARGEST_BYTES + 1, b"\n"))
    assert refusal(path, "a.gbx") == ("GB103", "`a.gbx` is larger than 1 MiB")


PARSE = """
import sys
from glassbox_dsl.source import Source
from glassbox_dsl.syntax import parse
assert "lark" not in sys.modules
assert parse(Source("a", "gbx 2")).diagnostics and "lark" not in sys.modules
parsed = parse(Source("a", 'gbx 1 data d { slots { a from ["x"] answer from ["y"] } }'))
assert "lark" in sys.modules and not parsed.diagnostics
print(parsed.file.declarations[0].items[0].lines[1].names[0])
"""


def fresh_process(cache: Path) -> str:
    """What a new Python prints that parses with its cache in a folder."""
    environment = {**os.environ, "XDG_CACHE_HOME": str(cache)}
    done = subprocess.run(
        [sys.executable, "-c", PARSE], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout


linux = pytest.mark.skipif(sys.platform != "linux", reason="the cache is placed by XDG_CACHE_HOME")


@linux
def test_the_tables_are_kept_and_damage_to_them_is_mended(tmp_path: Path) -> None:
    assert fresh_process(tmp_path) == "answer\n"
    (kept,) = tmp_path.rglob("*.tables")
    assert [path.name for path in kept.parent.iterdir()] == [kept.name]  # nothing half-written is left
    whole = kept.read_bytes()
    assert fresh_process(tmp_path) == "answer\n"
    assert kept.read_bytes() == whole
    for damage in (whole[: len(whole) // 2], b"", b"nonsense"):
        kept.write_bytes(damage)
        assert fresh_process(tmp_path) == "answer\n"
        mended = kept.read_bytes()
        assert mended not in (damage, b"") and sha256(mended[32:]).digest() == mended[:32]
        assert [path.name for path in kept.parent.iterdir()] == [kept.name]


@linux
def test_without_a_place_for_the_tables_the_parser_works_all_the_same(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert fresh_process(tmp_path / "file") == "answer\n"
