"""One mistake, one finding: what is built on a broken declaration is not complained about; nothing is passed over."""

import pytest

from glassbox_dsl.language.file import read_program

HEAD = """gbx 1
model m = tiny("llama", layers: 2)
data d {
  slots { io, s from ["Mary", "John", "Anna"]  place from ["store", "school"] }
  prompt clean   = "When {io} and {s} went to the {place}, {s2: s} gave a drink to"
  answer target  = " {io}"
  draw 2, seed: 0
}
metric ld(r) = logit(r, target)
"""
# The text of the one finding's place, and a file with one cause: everything else in it follows from that.
ONE_CAUSE = {
    "blurred_lens": """
experiment e {
  fit f = blurred_lens(clean.resid_pre[0, last], steps: 2)
  run p = forward(clean) { resid_pre[0] += f.direction }
  measure a = ld(p)
  measure b[x in {f, clean}] = ld(x)
  let q = project(clean.resid_pre[0, last], f)
  measure c = norm(q)
  expect mean(c) > 0
}
report r { bar e.a  bar e.c { x: item } }""",
    "eep": """
experiment e {
  circuit c = eep(ld, clean: clean, corrupt: clean, edges: 20)
  run p = forward(clean) { resid_pre[0] *= c }
  measure a = ld(p)
}
experiment f { measure z = e.a  measure y = z + 1 }
report r { bar e.a  bar f.z  bar f.y }""",
    "node a = attn.out[0] -> out.q": """
hypothesis h { node out = logits  node a = attn.out[0] -> out.q }
experiment e {
  run s = scrub(clean, h)
  measure a = ld(s)
  measure b = loss_recovered(s, clean, metric: ld)
  run p = forward(clean) { resid_post[0] := s }
  measure c = ld(p)
}
report r { bar e.a  bar e.b  bar e.c }""",
    "true": """
model n = local("x", adapter: true)
experiment e {
  models n, m
  measure a = mean(ld(clean))[model: n]
  run p = forward(clean, model: n)
  measure b = ld(p)
}
report r { bar e.a { model: n } }""",
    "inverse(3)": """
let v = inverse(3)
experiment e { run p = forward(clean) { attn.z[v] := 0 }  measure a = ld(p)  measure b = v * 2 }""",
    "nope": """
experiment e {
  run p = forward(nope)
  measure a = ld(p)
  measure b[r in {p, clean}] = ld(r)
  expect mean(a) > 0
  run q = forward(clean) { resid_pre[0] := p }
  measure c = ld(q)
}
experiment f { measure z = e.a }""",
    "measure layer = ld(clean)": """
experiment e { measure layer = ld(clean)  measure a = layer + 1  measure b = mean(layer) }
report r { bar e.a  bar e.layer }""",
    "{": """
data k { slots { io from names }  prompt p = "{io} {"  answer t = " x"  draw 2 }
experiment e {
  data k
  measure a = norm(p.resid_pre[0, io])
  measure b = norm(p.resid_pre[0, io.first])
  measure c = logit(p, t)
}""",
}
UNREAD = [
    ("metric unread(r) = logit(r, targt)", "GB200", "targt", "`target`"),
    ("metric unread(r) = logits(r, target)", "GB208", "logits", "`logit`"),
    ("metric unread(r) = norm(r.attn.zz[0, last])", "GB219", "attn.zz", "`attn.z`"),
    ("metric one(r) = two(r)  metric two(r) = one(r)", "GB202", "metric one(r) = two(r)", "break"),
]


def findings(body, tmp_path):
    path = tmp_path / "x.gbx"
    path.write_text(f"{HEAD}{body}\n", encoding="utf-8")
    return read_program(path)[1]


@pytest.mark.parametrize("place", ONE_CAUSE)
def test_what_follows_from_a_broken_declaration_is_not_said(place, tmp_path):
    assert [d.span.text for d in findings(ONE_CAUSE[place], tmp_path)] == [place]


@pytest.mark.parametrize(("body", "code", "place", "help_"), UNREAD)
def test_a_metric_that_nothing_calls_is_looked_at(body, code, place, help_, tmp_path):
    [found] = findings(f"{body}  experiment e {{ measure a = ld(clean) }}", tmp_path)
    assert (found.code, found.span.text) == (code, place) and help_ in found.help


def test_so_is_one_of_an_experiment(tmp_path):
    [found] = findings("experiment e { metric far(r) = logit(r, targt)  measure a = ld(clean) }", tmp_path)
    assert (found.code, found.span.text) == ("GB200", "targt")


@pytest.mark.parametrize(
    "metric",
    [
        "metric unread(r, k) = mean(r.resid_pre[0, s2, dim: 3], within: place) * k / max(r.attn.z, over: {head, dim})",
        'metric unread(r) = head_score(r, kind: previous)[0, 1] + logit(r, [" a", io], at: s2.last) + inf',
        "metric unread(r) = local(r) + e.a + top(r, k: 3) + token(clean, at: first)",
        "metric unread(r) = norm(r.attn.out[l, last]) - clean.final_norm_scale[last]",
    ],
)
def test_names_that_stand_for_something_are_left_alone(metric, tmp_path):
    body = """experiment e {
  metric local(r) = ld(r)
  measure a = ld(clean)
  measure b[l: layer] = norm(clean.mlp.in[l, last])
}"""
    assert [d.headline for d in findings(f"{metric}\n{body}", tmp_path)] == []


def test_a_file_of_metrics_needs_no_data(tmp_path):
    """Their answers stand in the data sets of the files that import it, and not all of those call each metric."""
    metrics = "gbx 1\nmetric far(r) = logit(r, other) + logits(r)\n"
    (tmp_path / "metrics.gbx").write_text(metrics)
    (tmp_path / "x.gbx").write_text('gbx 1\nimport "metrics.gbx"\n' + HEAD.removeprefix("gbx 1\n"))
    for name in ("metrics.gbx", "x.gbx"):
        assert [d.code for d in read_program(tmp_path / name)[1]] == ["GB208"]
