"""What an experiment may say: each mistake gives its code once, and what is right gives none."""

import pytest

from glassbox_dsl.language.file import read_program

HEAD = """gbx 1
model m = tiny("llama", layers: 2)
data d {
  slots { io, s from ["Mary", "John", "Anna"]  place from ["store", "school"] }
  prompt clean   = "When {io} and {s} went to the {place}, {s2: s} gave a drink to"
  prompt corrupt = "When {io} and {s} went to the {place}, {s2: io} gave a drink to"
  answer target  = " {io}"
  draw 2, seed: 0
}
metric ld(r) = logit(r, target)
experiment e {
"""


def findings(body, tmp_path):
    path = tmp_path / "x.gbx"
    path.write_text(f"{HEAD}{body}\n}}\n", encoding="utf-8")
    return read_program(path)


GOOD = [
    "run p[layer, pos] = forward(corrupt) { resid_pre[layer, pos] := clean }  measure a = ld(p)",
    "run p[l: layer in {0, 50%, -1}] = forward(clean) { attn.out[l] *= 0 }  measure a[l] = ld(p)",
    "run p[alpha in [-4, 0, 4]] = forward(clean) { resid_post[1, last] += alpha }  measure a[alpha] = ld(p)",
    "run p[(layer, head) in {(0, 1), (1, 0)}] = forward(clean) { attn.z[layer, head] := 0 }  measure a = ld(p)",
    "run p[site in {attn.out, mlp.out}] = forward(clean) { site[0] := corrupt }  measure a = ld(p)",
    "run p[pos in {s2, last}] = forward(corrupt) { resid_pre[0, pos] := clean }  measure a = ld(p)",
    "run p = forward(clean) { attn.scores[layer, head, query, query - 1] := -inf }  measure a = ld(p)",
    "run p = forward(clean) { attn.z[not {(0, 1)}] := mean(corrupt.attn.z, within: place) }  measure a = ld(p)",
    "let z = mean(clean.attn.z[:, :, last])  run p[layer, head] = forward(clean) { attn.z[layer, head, last] := z }"
    "  measure a = ld(p)",
    "measure a[layer] = rank(unembed(clean.resid_post[layer, last]), target)",
    "measure a[kind in {previous, induction}, layer, head] = head_score(clean, kind: kind)",
    "measure a[p in {clean, corrupt}] = prob(p, target)",
    "measure a = ld(clean) - ld(corrupt)  expect mean(a) > 0  record b = clean.attn.pattern[0]",
    "measure a[pos] = loss(clean, at: pos)  measure b = kl(clean, corrupt)  measure c = top(clean, k: 3)",
    "measure a = max(norm(clean.resid_post), over: {layer})",
]
BAD = [
    ("GB200", "measure a = ld(patched)"),
    ("GB200", "measure a = ld(clean) + nope"),
    ("GB201", "measure a = ld(clean)  measure a = ld(corrupt)"),
    ("GB202", "let a = b + 1  let b = a + 1  measure c = a"),
    ("GB203", "measure layer = ld(clean)"),
    ("GB207", "measure a = ld(clean, corrupt)"),
    ("GB208", "measure a = nope(clean)"),
    ("GB209", "measure a = clean"),
    ("GB210", "measure a = norm(clean.resid_post[0, last, 3])"),
    ("GB211", "measure a = norm(clean.attn.z[0, last])"),
    (
        "GB212",
        "run p[layer, pos] = forward(clean) { resid_pre[layer, pos] := corrupt }  measure a[layer] = ld(p)",
    ),
    ("GB213", "measure a = norm(clean.resid_post[head: 3])"),
    ("GB214", "measure a = norm(clean.resid_post[0, last] + clean.logits[last])"),
    ("GB215", "run p[alpha] = forward(clean) { resid_post[0] *= alpha }  measure a = ld(p)"),
    ("GB216", "measure a = mean(clean.resid_post[0, last, dim: 3], over: {head})"),
    ("GB217", "measure a = clean.resid_post[0, last]"),
    ("GB219", "measure a = norm(clean.resid_past[0, last])"),
    ("GB221", "measure a[layer, head] = norm(clean.attn.k[layer, head, last])"),
    (
        "GB222",
        "run p[pos in {1, 2..3}] = forward(clean) { resid_pre[0, pos] *= 2 }  measure a = norm(p.resid_post[0])",
    ),
    (
        "GB222",
        "run p[pos in {1, 2..3}] = forward(clean) { resid_pre[0, pos] *= 2 }  record a = p.resid_post[0, pos]",
    ),
    ("GB222", "measure a[pos in {1, 2..3}] = norm(clean.resid_post[0, pos])"),
    ("GB226", "run p = forward(clean) { resid_pre[0, last] := clean.resid_pre[:, last] }  measure a = ld(p)"),
]


@pytest.mark.parametrize("body", GOOD)
def test_what_is_right_is_accepted(body, tmp_path):
    program, diagnostics = findings(body, tmp_path)
    assert [(d.code, d.headline) for d in diagnostics] == []
    assert program is not None


@pytest.mark.parametrize(("code", "body"), BAD)
def test_a_mistake_is_said_once(code, body, tmp_path):
    program, diagnostics = findings(body, tmp_path)
    assert [d.code for d in diagnostics] == [code]
    assert program is None
    assert all(d.span is not None for d in diagnostics)


def test_every_broken_statement_is_reported(tmp_path):
    body = "\n".join(text for _, text in [BAD[0], BAD[5], BAD[16]]).replace("measure a", "measure {}")
    program, diagnostics = findings(body.format("x", "y", "z"), tmp_path)
    assert sorted(d.code for d in diagnostics) == ["GB200", "GB207", "GB219"] and program is None


def test_the_cycle_shows_its_chain(tmp_path):
    _, [found] = findings("let a = b + 1  let b = a + 1  measure c = a", tmp_path)
    assert "`a` -> `b` -> `a`" in found.label


def test_a_ratio_is_known_by_its_outermost_operator(tmp_path):
    program, _ = findings("measure r = ld(clean) / ld(corrupt)  measure s = ld(clean) / 2", tmp_path)
    ratios = {v.name: v.ratio for v in program.experiments[0].values}
    assert ratios == {"r": True, "s": False}
