"""When memory runs out a pack is halved; when one cell does not fit, that is said."""

import pytest
import torch

from glassbox_dsl.diagnostics import Findings
from glassbox_dsl.run.delta import climb
from tests.semantics.conftest import checkpoints, fam, gbx, llama  # noqa: F401

TEXT = """
data d {
  rows [{a: "Anna", b: "Bob"}, {a: "Bob", b: "Dan"}, {a: "Dan", b: "Eve"}]
  prompt clean = "When {a} went to the {b}"
  prompt corrupt = "When {b} went to the {a}"
  answer yes = " {a}"
}
experiment e {
  run patched[layer, pos] = forward(corrupt) { resid_pre[layer, pos] := clean }
  measure m = logit(patched, yes)
}
"""


def limited(monkeypatch, most: int, kind) -> list[int]:
    """Let climbs of more than some rows fail as a device without memory does."""
    run, sizes = climb.Climb.run, []

    def tried(self):
        if self.pack.n_rows > most:
            raise kind("out of memory")
        sizes.append(self.pack.n_rows)
        return run(self)

    monkeypatch.setattr(climb.Climb, "run", tried)
    return sizes


@pytest.mark.parametrize("kind", [MemoryError, torch.OutOfMemoryError])
def test_a_pack_is_halved_until_it_fits(gbx, llama, monkeypatch, kind):  # noqa: F811
    whole = gbx(TEXT, llama).values["m"]
    sizes = limited(monkeypatch, 30, kind)
    parts = gbx(TEXT, llama).values["m"]
    assert len(sizes) > 3 and max(sizes) <= 30
    assert parts.keys() == whole.keys()
    assert all(abs(parts[key] - value) < 1e-4 for key, value in whole.items())


def test_a_cell_that_does_not_fit_is_named(gbx, llama, monkeypatch):  # noqa: F811
    limited(monkeypatch, 3, MemoryError)
    with pytest.raises(Findings) as found:
        gbx(TEXT, llama)
    [diagnostic] = found.value.diagnostics
    assert diagnostic.code == "GB538" and diagnostic.headline.startswith("one cell of `")
    assert diagnostic.span is not None
