"""Data blocks as text, read the way a file is."""

from pathlib import Path

import pytest

from glassbox_dsl.language.data import declare_data
from glassbox_dsl.source import Source
from glassbox_dsl.syntax import nodes, parse

IOI = """
data ioi {
  slots {
    io, s  from names
    place  from ["store", "park", "school"]
    object from ["drink", "ball", "book"]
  }
  prompt clean      = "When {io} and {s} went to the {place}, {s2: s} gave a {object} to"
  prompt corrupt    = "When {io} and {s} went to the {place}, {s2: io} gave a {object} to"
  answer target     = " {io}"
  answer distractor = " {s}"
  draw 32, seed: 0
}
"""


@pytest.fixture
def declare(tmp_path):
    """Reads the first data block of a text; files are looked for in the test's own folder."""

    def read(text: str, folder: Path = tmp_path, root: Path | None = None):
        parsed = parse(Source("page.gbx", "gbx 1\n" + text))
        assert parsed.diagnostics == ()
        lets = {d.name: d.value for d in parsed.file.declarations if isinstance(d, nodes.Let)}
        block = next(d for d in parsed.file.declarations if isinstance(d, nodes.Data))
        return declare_data(block, folder=folder, root=root or folder, lets=lets)

    return read


@pytest.fixture
def ioi() -> str:
    """The data block of LANGUAGE.md's first example."""
    return IOI
