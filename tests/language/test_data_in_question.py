"""Answers and features are those of the data sets of the runs in question, not of all that an experiment lists."""

import pytest

from glassbox_dsl.language.file import read_program

HEAD = """gbx 1
model m = tiny("llama", layers: 2)
data d {
  rows [{a: "Ann", kind: "x"}, {a: "Bob", kind: "y"}]
  prompt clean = "see {a}"
  answer good = " {a}"
  answer bad = " no"
}
data o {
  rows [{b: "sun", sort: "x"}, {b: "sea", sort: "y"}]
  prompt other = "the {b}"
  answer good = " {b}"
}
experiment e {
  data d, o
"""
GOOD = (
    "measure a = norm(project(clean.resid_pre[0, last], direction(bad)))",
    "measure a = logit(unembed(clean.resid_pre[0, last]), bad)",
    "measure a = mean(logit(clean, good), within: kind)",
    "measure a = resample(logit(other, good), seed: 1, within: sort)",
    "run p = forward(clean) { resid_pre[0, last] := resample(clean.resid_pre[0, last], seed: 1, within: kind) }"
    "  measure a[r in {p, clean}] = dot(r.resid_pre[1, last], direction(bad))",
    "let x = clean.resid_pre[0, last]  measure a = dot(x, direction(bad))",
    "fit f = mean_difference(clean.resid_pre[0, last], label: kind)  measure a = norm(f.direction)",
    "measure a[p in {clean, other}] = dot(p.resid_pre[0, last], direction(good))",
    "run p = forward(clean) { resid_pre[0, last] := mean(o.other.resid_pre[0, last]) }  measure a = logit(p, bad)",
)
BAD = (
    "measure a = norm(project(other.resid_pre[0, last], direction(bad)))",
    "measure a = mean(logit(other, good), within: kind)",
    "measure a[p in {clean, other}] = dot(p.resid_pre[0, last], direction(bad))",
    "fit f = mean_difference(other.resid_pre[0, last], label: kind)  measure a = norm(f.direction)",
)


def codes(body, tmp_path):
    path = tmp_path / "x.gbx"
    path.write_text(f"{HEAD}{body}\n}}\n", encoding="utf-8")
    return [d.code for d in read_program(path)[1]]


@pytest.mark.parametrize("body", GOOD)
def test_what_the_data_of_the_run_has_may_be_named(body, tmp_path):
    assert codes(body, tmp_path) == []


@pytest.mark.parametrize("body", BAD)
def test_what_only_the_other_data_has_is_refused(body, tmp_path):
    assert codes(body, tmp_path) == ["GB223"]
