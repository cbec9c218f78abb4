"""Sets from results: where they may stand, what axes they have, and each mistake with its code."""

import pytest

from glassbox_dsl.language.file import read_program
from glassbox_dsl.language.set_nodes import Largest, LiteralSet, SetIndex, SetOperation, SetReference, Where

HEAD = """gbx 1
model m = tiny("llama", layers: 2)
data d {
  slots { io, s from ["Mary", "John", "Anna"]  place from ["store", "school"] }
  prompt clean   = "When {io} and {s} went to the {place}, {s2: s} gave a drink to"
  prompt corrupt = "When {io} and {s} went to the {place}, {s2: io} gave a drink to"
  answer target  = " {io}"
  draw 2, seed: 0
}
let known = {(0, 1), (1, 0)}
metric ld(r) = logit(r, target)
experiment scan { measure score = head_score(clean, kind: previous)  let best = largest(mean(score), k: 2) }
experiment e {
  let score = mean(head_score(clean, kind: induction))
  let movers = largest(score, k: 3)
  let hot = score > 0.4
  let strong = mean(ld(cut)) > 1
  run cut[layer] = forward(clean) { mlp.out[layer] := 0 }
  let zbar = mean(clean.attn.z)
"""


def findings(body, tmp_path):
    path = tmp_path / "x.gbx"
    path.write_text(f"{HEAD}{body}\n}}\n", encoding="utf-8")
    return read_program(path)


def run(edits):
    return f"run r = forward(corrupt) {{ {edits} }}  measure a = ld(r)"


GOOD = [
    run("attn.z[movers] := zbar"),
    run("attn.z[not movers] := clean"),
    run("attn.z[hot] *= 0  mlp.out[strong] := 0"),
    run("attn.z[score > 0.4, last] := 0"),
    run("attn.z[movers + hot - known] := 0"),
    run("attn.z[movers * (not {(0, 0)})] := 0"),
    run("attn.z[{(0, 1)} + {(1, 1)}] := 0"),
    run("attn.z[scan.best] := 0  attn.z[scan.best - movers] := 0  attn.z[mean(scan.score) > 0.1] := 0"),
    run("attn.z[sample(not movers, k: size(movers), seed: 1)] := 0"),
    run("attn.z[:, largest(max(score, over: {layer}), k: 1)] := 0"),
    run("attn.z[head: largest(max(score, over: {layer}), k: 1)] := 0"),
    run("mlp.out[{strong, 0}] := 0  mlp.out[not strong] := 0"),
    "run r[(layer, head) in movers] = forward(clean) { attn.z[layer, head] := 0 }  measure a = ld(r)",
    "run r[(l: layer, h: head) in movers] = forward(clean) { attn.z[l, h] := 0 }  measure a[(l, h) in movers] = ld(r)",
    "run r[(layer, head) in movers + {(0, 0)}] = forward(clean) { attn.z[movers - {(layer, head)}] := 0 }"
    "  measure a = ld(r)",
    "run r[layer in strong] = forward(clean) { mlp.out[layer] := 0 }  measure a = ld(r)",
    "run r[layer in {strong, 0}] = forward(clean) { mlp.out[layer] := 0 }  measure a = ld(r)",
    "run r[s in {movers, hot, known}] = forward(clean) { attn.z[s] := 0 }  measure a[s] = ld(r) / size(s)",
    "run r[n in [1, 2]] = forward(clean) { attn.z[largest(score, k: n)] := 0 }  measure a = ld(r)",
    "let top[n in [1, 2]] = largest(score, k: n)  run r[n in [1, 2]] = forward(clean) { attn.z[top] := 0 }"
    "  measure a = ld(r)  measure b = size(top[2])  measure c[n in [1, 2]] = size(top)",
    "let above[t in [0.1, 0.2]] = score > t  measure a[t in [0.1, 0.2]] = size(above)",
    "let per[layer] = largest(score, k: 1)  run r[layer] = forward(clean) { attn.z[layer, per] := 0 }"
    "  measure a = ld(r)",
    "measure a = mean(norm(clean.attn.z[movers]), over: {item, layer, head, pos})",
    "measure a = score[movers]  measure b[(layer, head) in movers] = score  measure c = size(known)",
    "measure a = size(hot) + size(not hot) + size(movers * hot)  expect size(movers) == 3",
    "measure a = hot  measure b = hot + (score > 0.1)",
    "measure a = mean(ld(cut)[strong], over: {item, layer})",
    "metric part(r, s) = mean(r.attn.z[s, last, dim: 0], over: {item})  measure a = part(clean, movers)",
]
BAD = [
    ("GB200", "measure a = size(nothing)"),
    ("GB202", "run r = forward(clean) { attn.z[top] := 0 }  let top = largest(mean(head_score(r, kind: self)), k: 1)"
              "  measure a = ld(r)"),
    ("GB202", "run r[(layer, head) in top] = forward(clean) { attn.z[layer, head] := 0 }"
              "  let top = mean(ld(r)) > 1  measure a = ld(r)"),
    ("GB207", "let s = largest(score)"),
    ("GB207", "let s = largest(score, k: 0)"),
    ("GB207", "let s = largest(score, k: -1)"),
    ("GB207", "let s = largest(score, k: 1.5)"),
    ("GB207", "let s = largest(score, k: score)"),
    ("GB207", "let s = sample(movers, seed: 1)"),
    ("GB209", "measure a = movers"),
    ("GB209", "measure a = mean(movers)"),
    ("GB209", "measure a = movers + 1"),
    ("GB209", "measure a = size(largest(score, k: 1)[0])"),
    ("GB209", "measure a = movers / hot"),
    ("GB209", "expect movers > 3"),
    ("GB209", "let s = movers + score"),
    ("GB209", "let s = sample(score, k: 1)"),
    ("GB209", run("attn.z[score] := 0")),
    ("GB209", run("attn.z[movers] := movers")),
    ("GB209", "let s = largest(clean.resid_pre[0, last], k: 1)"),
    ("GB225", "run r[s in movers] = forward(clean) { attn.z[0] := 0 }  measure a = ld(r)"),
    ("GB225", run("resid_pre[movers] := 0")),
    ("GB225", run("attn.z[strong + movers] := 0")),
    ("GB225", run("attn.z[:, movers] := 0")),
    ("GB225", run("attn.z[movers + {0}] := 0")),
    ("GB225", "run r[(head, layer) in movers] = forward(clean) { attn.z[layer, head] := 0 }  measure a = ld(r)"),
    ("GB225", "run r[layer in movers] = forward(clean) { mlp.out[layer] := 0 }  measure a = ld(r)"),
    ("GB225", "run r[layer, head] = forward(clean) { attn.z[score > 0.4] := 0 }  measure a = ld(r)"),
    ("GB225", "let s = largest(mean(ld(clean)), k: 1)"),
    ("GB225", "let s = {(0, 1)} + {(1, 0)}"),
    ("GB225", "let s[x in {movers, strong}] = largest(score, k: 1) * x"),
    ("GB225", "let s = movers * strong"),
    ("GB227", "let s = largest(head_score(clean, kind: self), k: 2)"),
    ("GB227", run("attn.z[head_score(clean, kind: self) > 0.4] := 0")),
]  # fmt: skip


@pytest.mark.parametrize("body", GOOD)
def test_what_is_right_is_accepted(body, tmp_path):
    program, diagnostics = findings(body, tmp_path)
    assert [(d.code, d.headline, d.label) for d in diagnostics] == []
    assert program is not None


@pytest.mark.parametrize(("code", "body"), BAD)
def test_a_mistake_is_said_once(code, body, tmp_path):
    program, diagnostics = findings(body, tmp_path)
    assert [d.code for d in diagnostics] == [code], [(d.headline, d.label) for d in diagnostics]
    assert program is None and all(d.span is not None for d in diagnostics)


def members(edit, tmp_path):
    program, _ = findings(run(edit), tmp_path)
    made = next(r for r in program.experiments[1].runs if r.name == "r")
    index = made.variants[0].edits[0].index[0]
    assert isinstance(index, SetIndex) and index.width == 2
    return index.members


def test_what_a_set_is_read_as(tmp_path):
    assert isinstance(members("attn.z[movers] := 0", tmp_path), SetReference)
    where = members("attn.z[hot] := 0", tmp_path)
    assert isinstance(where, Where) and where.axes == ("layer", "head") and where.dims == ()
    assert isinstance(members("attn.z[largest(score, k: 1)] := 0", tmp_path), Largest)
    joined = members("attn.z[movers - {(0, 1)}] := 0", tmp_path)
    assert isinstance(joined, SetOperation) and joined.op == "-"
    assert isinstance(joined.operands[1], LiteralSet) and joined.operands[1].axes == ("layer", "head")


def test_a_named_set_keeps_its_axes_under_binders(tmp_path):
    program, found = findings(
        "run r[(layer, head) in movers] = forward(clean) { attn.z[hot] := 0  attn.z[layer, head] := clean }"
        "  measure a = ld(r)",
        tmp_path,
    )
    assert found == ()
    made = next(r for r in program.experiments[1].runs if r.name == "r")
    assert made.variants[0].edits[0].index[0].members.dims == ()
    assert made.dimensions[0].members_from is not None and made.dimensions[0].members == ()


def test_a_set_that_depends_on_its_own_use_shows_the_chain(tmp_path):
    _, [found] = findings(BAD[1][1], tmp_path)
    assert "`r` -> `top` -> `r`" in found.label
