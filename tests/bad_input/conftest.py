"""Bad input, as a user meets it: `gbx` in a folder of its own, and what it says taken apart.

A text marks the place that must be pointed at with `@@`, which is taken out before the file is written.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from glassbox_dsl.cli.app import answer

HEAD = """gbx 1
model m = tiny("llama", layers: 2)
data d {
  slots { io, s from ["Mary", "John", "Anna"]  place from ["store", "school"] }
  prompt clean   = "When {io} and {s} went to the {place}, {s2: s} gave a drink to"
  prompt corrupt = "When {io} and {s} went to the {place}, {s2: io} gave a drink to"
  answer target  = " {io}"
  feature early = io == "Anna"
  draw 2, seed: 0
}
metric ld(r) = logit(r, target)
"""


@dataclass(frozen=True)
class Said:
    """One finding, its place as `file:line:column`, or empty where it has none."""

    code: str
    severity: str
    headline: str
    place: str
    label: str
    help: str
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str


@dataclass
class Folder:
    """A folder that a user works in."""

    path: Path
    run: Callable[..., Ended]

    def write(self, text: str, name: str = "x.gbx") -> str:
        """Write a file without its mark; the place of the mark as `file:line:column`."""
        before, marked, after = text.partition("@@")
        (self.path / name).parent.mkdir(parents=True, exist_ok=True)
        (self.path / name).write_text(before + after, encoding="utf-8")
        line, column = before.count("\n") + 1, len(before) - (before.rfind("\n") + 1) + 1
        return f"{name}:{line}:{column}" if marked else ""

    def state(self) -> dict[str, str]:
        """Every file there is, with its content."""
        files = (p for p in sorted(self.path.rglob("*")) if p.is_file())
        return {p.relative_to(self.path).as_posix(): sha256(p.read_bytes()).hexdigest() for p in files}

    def check(self, *files: str) -> list[Said]:
        """What `gbx check` says."""
        ended = self.run("check", "--json", *(files or ("x.gbx",)))
        found = [said(d) for d in json.loads(ended.out)["diagnostics"]]
        assert ended.code == int(any(f.severity == "error" for f in found)) and ended.err == ""
        return found

    def refused(self, text: str, name: str = "x.gbx") -> Said:
        """The one thing that both `gbx check` and `gbx run` say about a text; nothing is left behind by either."""
        place = self.write(text, name)
        before = self.state()
        [found] = self.check(name)
        self.refused_by_run(found, name)
        assert self.state() == before
        assert place in ("", found.place), found
        return found

    def refused_by_run(self, found: Said, name: str = "x.gbx") -> None:
        """`gbx run` stops with the same finding, on stderr, before it has made anything."""
        ended = self.run("run", name, "--db", "r.duckdb", "--report", "pages", "--quiet")
        assert (ended.code, ended.out) == (1, "")
        assert f"{found.severity}[{found.code}]: {found.headline}" in ended.err and found.place in ended.err
        assert found.help in ended.err and "Traceback" not in ended.err


def said(document: dict[str, Any]) -> Said:
    """A finding of the JSON that `gbx check` prints."""
    at = document["place"]
    place = f"{at['file']}:{at['line']}:{at['column']}" if at else ""
    words = {key: document[key] for key in ("code", "severity", "headline", "label", "help")}
    return Said(place=place, notes=tuple(document["notes"]), **words)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Folder:
    """An empty folder that is a project's root, and `gbx` in it."""
    work = tmp_path / "work"
    work.mkdir()
    (work / "gbx.toml").touch()
    monkeypatch.chdir(work)

    def run(*arguments: str) -> Ended:
        capsys.readouterr()
        code = answer(arguments)
        streams = capsys.readouterr()
        return Ended(code, streams.out, streams.err)

    return Folder(work, run)
