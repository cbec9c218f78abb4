"""A cell that is written and is in no sweep is a finding at its place; cells that only might be there are not."""

import pytest

from glassbox_dsl.pipeline import check_file

HEAD = """gbx 1
model m = tiny("llama", layers: 2)
data d {
  slots { io, s from ["Mary", "John", "Anna"]  place from ["store", "school"] }
  prompt clean   = "When {io} and {s} went to the {place}, {s2: s} gave a drink to"
  prompt corrupt = "When {io} and {s} went to the {place}, {s2: io} gave a drink to"
  answer target  = " {io}"
  draw 4, seed: 0
}
metric ld(r) = logit(r, target)
experiment e {
  let x[alpha in {0, 1}] = ld(clean) * alpha
  run p[layer in 0..0] = forward(clean) { resid_pre[layer] := corrupt }
  run all[layer] = forward(clean) { resid_pre[layer] := corrupt }
  run at[pos in {s2, last}] = forward(corrupt) { resid_pre[0, pos] := clean }
  run by[site in {attn.out, mlp.out}] = forward(clean) { site[0] := corrupt }
  run zip[(layer, head) in {(0, 1), (1, 0)}] = forward(clean) { attn.z[layer, head] := 0 }
"""
# what a measure is, the text pointed at, a part of the headline, a part of the label
ABSENT = [
    ("x[7]", "7", "`x` has no cell at alpha = 7", "0, 1"),
    ("x[alpha: -1]", "-1", "alpha = -1", "0, 1"),
    ("mean(x)[alpha: 7]", "7", "alpha = 7", "0, 1"),
    ("ld(p[1])", "1", "layer = 1", "0"),
    ("ld(p[100%])", "100%", "layer = 100%", "0"),
    ("ld(all[2])", "2", "layer = 2", "0 to 1 on `m`"),
    ("mean(ld(all[5..7]), over: {layer})", "5..7", "layer = 5..7", "0 to 1"),
    ("ld(at[io])", "io", "pos = io", "s2, last"),
    ("ld(at[3])", "3", "pos = 3", "s2, last"),
    ("ld(by[resid_pre])", "resid_pre", "site = resid_pre", "attn.out, mlp.out"),
    ("ld(zip[0, 0])", "0", "(layer, head) = (0, 0)", "(0, 1), (1, 0)"),
    ("mean(x)[item: 4]", "mean(x)[item: 4]", "data `d` has no item 4", "0 to 3"),
]
PRESENT = ["x[1]", "ld(p[0])", "ld(p[-2])", "ld(all[-1])", "ld(all[1..5])", "ld(at[last])", "ld(at[s2])",
           "ld(by[mlp.out])", "ld(zip[1, 0])", "ld(zip[0])", "mean(x)[item: 3]", "x[alpha: 0]",
           "x - ld(all[layer: 0])"]  # fmt: skip


def check(body, tmp_path):
    path = tmp_path / "x.gbx"
    path.write_text(f"{HEAD}  {body}\n}}\n", encoding="utf-8")
    return check_file(path)


@pytest.mark.parametrize(("value", "place", "headline", "label"), ABSENT)
def test_a_cell_that_no_sweep_has(value, place, headline, label, tmp_path):
    [found] = check(f"measure y = {value}", tmp_path)
    assert found.code == "GB387" and headline in found.headline and label in found.label and found.help
    assert found.span.source.place(found.span.start)[0] == 18 and found.span.text in place


@pytest.mark.parametrize("value", PRESENT)
def test_a_cell_that_some_sweep_has(value, tmp_path):
    assert [d.headline for d in check(f"measure y = {value}", tmp_path)] == []


def test_domains_that_share_no_member(tmp_path):
    [found] = check("measure y[alpha in {2, 3}] = x", tmp_path)
    assert found.code == "GB387" and "`x` and `alpha` share no cell" in found.headline
    assert check("measure y[alpha in {1, 3}] = x", tmp_path) == ()


@pytest.mark.parametrize("index", ["2", "-3", "{2, 5}", "4..5", "3..1"])
def test_a_site_read_where_the_model_has_nothing(index, tmp_path):
    [found] = check(f"measure y = norm(clean.resid_pre[{index}, last])", tmp_path) or [None]
    assert found.code == "GB381" and found.span.text == index
