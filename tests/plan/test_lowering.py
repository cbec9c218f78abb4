"""What edits write, layer by layer; loads no torch."""

import numpy as np
import pytest

from glassbox_dsl.pipeline import explain_file
from glassbox_dsl.plan import build_pack, lowering
from tests.plan.small import DATA, checkpoint, write

EDITS = {
    "swept": ("[layer, pos]", "resid_pre[layer, pos] := clean"),
    "several layers a cell": ("[pos]", "resid_post[{0, 2}, pos] := clean"),
    "layers that hang on the cell": ("[layer, h: head]", "attn.z[layer, h, -2..-1] := clean"),
    "every head and key": ("[layer]", "attn.scores[layer, :, -2..-1, 0] := 0.5"),
}


@pytest.fixture
def touched(tmp_path, monkeypatch):
    monkeypatch.setenv("GBX_CACHE", str(tmp_path / "cache"))
    checkpoint(tmp_path / "llama")
    found = []

    def noted(*what):
        touches = lowering.touches(*what)
        found.extend(touches)
        return touches

    monkeypatch.setattr(build_pack, "touches", noted)

    def touched(variables, edit):
        found.clear()
        run = f"run r{variables} = forward(corrupt) {{ {edit} }}  measure score = logit(r, target)"
        explain_file(write(tmp_path, f"{DATA}experiment one {{ {run} }}"))
        return list(found)

    return touched


@pytest.mark.parametrize("which", EDITS)
def test_layers_looked_at_one_by_one_are_written_as_those_looked_at_together(touched, monkeypatch, which):
    together = touched(*EDITS[which])
    monkeypatch.setattr(lowering, "CELLS_AT_ONCE", 1)
    apart = touched(*EDITS[which])
    assert len(together) == len(apart) > 1
    for one, other in zip(together, apart, strict=True):
        assert one.layer == other.layer and len(one.number)
        for name in ("number", "position", "mask", "source", "source_owner", "alike"):
            np.testing.assert_array_equal(getattr(one, name), getattr(other, name))


def test_each_layer_has_the_cells_that_touch_it(touched):
    every = touched(*EDITS["swept"])
    found = [touch for touch in every if touch.part is every[0].part]  # those of the first pack
    assert [touch.layer for touch in found] == [0, 1, 2]
    n = len(found[0].number)
    for place, touch in enumerate(found):
        assert touch.number.tolist() == [*range(place * n, (place + 1) * n)]
        assert touch.position.tolist() == touch.source.tolist()
    assert found[0].position.tolist() == found[2].position.tolist()


def test_what_an_unedited_run_has_before_the_first_token_that_differs_is_nothing_new(touched):
    (touch, *_) = touched(*EDITS["swept"])
    assert (touch.nothing == (touch.position < 1)).all()  # "the" is what the prompts have in common
    assert touch.nothing.any() and not touch.nothing.all()
