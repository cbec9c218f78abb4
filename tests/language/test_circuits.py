"""Circuits as they stand in a file: what is refused, where, and what they may stand for."""

import pytest

from glassbox_dsl.language.file import read_program

HEAD = """gbx 1
model m = tiny("llama", layers: 2)
data d {
  rows [{a: "red", b: "blue"}, {a: "green", b: "white"}]
  prompt clean = "the {a} car is"  prompt corrupt = "the {b} car is"
  answer yes = " {a}"
}
metric seen(r) = logit(r, yes)
metric both(r, s) = logit(r, yes) - logit(s, yes)
metric everywhere(r) = norm(r.resid_post[:, last])
metric jumps(r) = rank(r, yes)
experiment e {
  run cut[layer] = forward(clean) { mlp.out[layer] := 0 }
  run said = generate(clean, max_new_tokens: 3)
  circuit c[k in [0, 10]] = eap(seen, clean: clean, corrupt: corrupt, edges: k)
  circuit f = eap_ig(kl, clean: clean, corrupt: corrupt, edges: 10, steps: 3)
  let heads = {(0, 1)}
"""
GOOD = [
    "circuit x = acdc(kl, clean: clean, corrupt: corrupt, threshold: 0.01)",
    "circuit x = eap(loss, clean: cut[1], corrupt: corrupt, edges: 5, signed: true)",
    "circuit x[by in {eap, eap_ig}] = by(seen, clean: clean, corrupt: corrupt, edges: 5)",
    "circuit x[m in {seen, loss}] = eap(m, clean: clean, corrupt: corrupt, edges: 5)",
    "circuit x = eap(seen, clean: d.clean, corrupt: d.corrupt, edges: size(f))",
    "run r[k in [0, 10]] = forward(clean) { keep c, else corrupt }  measure x = seen(r)",
    "run r = forward(clean) { keep not (c[10] - f), else cut[0] }  measure x = seen(r)",
    "run r[layer] = forward(clean) { keep f, else cut }  measure x = seen(r)",
    "run r[one in {f, joint}] = forward(clean) { keep one }  let joint = c[10] + f  measure x = seen(r)",
    "measure x = size(c * f)",
    "run r = forward(clean) { keep {(0, 1)}, else corrupt }  measure x = seen(r)",
    "run r = forward(clean) { keep sample(f, k: 3, seed: 1), else corrupt }  measure x = seen(r)",
]
BAD = [
    ("circuit x = hisp(seen, clean: clean, corrupt: corrupt)", "GB200", "hisp"),
    ("circuit x = eap(seen, clean: clean, corrupt: corrupt)", "GB207", "edges:"),
    ("circuit x = acdc(seen, clean: clean, corrupt: corrupt)", "GB207", "threshold:"),
    ("circuit x = acdc(seen, clean: clean, corrupt: corrupt, edges: 5)", "GB207", "no option `edges:`"),
    ("circuit x = eap(seen, clean: clean, edges: 5)", "GB207", "corrupt:"),
    ("circuit x = eap(seen, clean: clean, corrupt: corrupt, edges: -1)", "GB207", "from 0 on"),
    ("circuit x = eap(seen, clean: clean, corrupt: corrupt, edges: 2.5)", "GB207", "from 0 on"),
    ("circuit x = eap(seen, clean: clean, corrupt: corrupt, edges: seen(clean))", "GB207", "`item`"),
    ("circuit x = eap_ig(seen, clean: clean, corrupt: corrupt, edges: 5, steps: 0)", "GB207", "at least 1"),
    ("circuit x = eap(seen, clean: clean, corrupt: corrupt, edges: 5, signed: maybe)", "GB207", "signed"),
    ("circuit x = eap(logit, clean: clean, corrupt: corrupt, edges: 5)", "GB277", "answer"),
    ("circuit x = eap(both, clean: clean, corrupt: corrupt, edges: 5)", "GB277", "2 parameters"),
    ("circuit x = eap(everywhere, clean: clean, corrupt: corrupt, edges: 5)", "GB277", "`layer`"),
    ("circuit x = eap(seen(clean), clean: clean, corrupt: corrupt, edges: 5)", "GB277", "not the name"),
    ("circuit x = eap(sean, clean: clean, corrupt: corrupt, edges: 5)", "GB200", "sean"),
    ("circuit x = eap(jumps, clean: clean, corrupt: corrupt, edges: 5)", "GB207", "jumps"),
    ("circuit x = eap(seen, clean: cut, corrupt: corrupt, edges: 5)", "GB278", "`layer`"),
    ("circuit x = eap(seen, clean: clean, corrupt: said, edges: 5)", "GB278", "generates"),
    ("circuit x = eap(seen, clean: clean, corrupt: yes, edges: 5)", "GB278", "no run"),
    ("run r = forward(clean) { keep f, else 0.5 }  measure x = seen(r)", "GB279", "no run"),
    ("run r = forward(clean) { keep f, else cut }  measure x = seen(r)", "GB279", "`layer`"),
    ("run r = generate(clean, max_new_tokens: 2) { keep f, else corrupt }  measure x = text(r)", "GB279", "generated"),
    ("measure x = norm(clean.attn.z[f])", "GB225", "edge"),
    ("measure x = size(f + heads)", None, ""),
    ("measure x = f + 1", None, ""),
    ("circuit x = eap(seen, clean: clean, corrupt: corrupt, edges: size(x))", "GB202", "x"),
]  # fmt: skip


def findings(body, tmp_path):
    path = tmp_path / "x.gbx"
    path.write_text(f"{HEAD}  {body}\n}}\n", encoding="utf-8")
    return [d for d in read_program(path)[1] if d.severity == "error"]


@pytest.mark.parametrize("body", GOOD)
def test_what_circuits_may_be(body, tmp_path):
    assert findings(body, tmp_path) == []


@pytest.mark.parametrize(("body", "code", "said"), BAD)
def test_what_circuits_may_not_be(body, code, said, tmp_path):
    first, *_ = findings(body, tmp_path)
    assert code in (None, first.code), first
    assert said in f"{first.headline} {first.label} {first.span.text if first.span else ''}"
