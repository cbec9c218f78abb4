"""A layer that an edit takes from another model, which lacks it, is refused before anything is loaded."""

import pytest

from glassbox_dsl.pipeline import check_file

HEAD = """gbx 1
model tall = tiny("llama", layers: 4)
model low  = tiny("llama", layers: 2)
data d {
  rows [{a: "Mary"}, {a: "John"}]
  prompt clean = "see {a} there"
  answer t = " {a}"
}
experiment e {
  run other = forward(clean, model: low)
"""
REFUSED = {
    "by number": ("model: tall) { resid_post[3, last] := other }", 3),
    "by number of its own": ("model: tall) { resid_post[1, last] := other.resid_post[2, last] }", 2),
    "in a mean": ("model: tall) { resid_post[1, last] := mean(other.resid_post[3, last]) }", 3),
    "swept": ("model: tall) { resid_post[layer, last] := other }", 2),
    "swept on every model": (") { resid_post[layer, last] := other.resid_post[layer, last] }", 2),
}
FINE = (
    "model: tall) { resid_post[1, last] := other }",
    "model: tall) { resid_post[-1, last] := other.resid_post[-1, last] }",
    "model: tall) { resid_post[layer, last] += other.resid_post[0, last] }",
    "model: low) { resid_post[layer, last] *= 2 }",
)


def found(run, tmp_path):
    path = tmp_path / "x.gbx"
    binder = "[layer]" if "layer" in run else ""
    start = "forward(clean" if run.startswith(")") else "forward(clean, "
    path.write_text(f"{HEAD}  run r{binder} = {start}{run}\n  measure m = logit(r, t)\n}}\n")
    return [d for d in check_file(path) if d.severity == "error"]


@pytest.mark.parametrize(("run", "layer"), REFUSED.values(), ids=REFUSED)
def test_a_missing_layer_of_the_source_is_refused(run, layer, tmp_path):
    [only] = found(run, tmp_path)
    assert (only.code, only.headline) == ("GB381", f"`low` has no layer {layer}")
    assert only.span.text.startswith("other")


@pytest.mark.parametrize("run", FINE)
def test_layers_that_are_there_are_not(run, tmp_path):
    assert found(run, tmp_path) == []
