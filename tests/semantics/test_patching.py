"""Patching sweeps, named positions and ratios, on items of different lengths."""

import pytest

from glassbox_dsl.run import execute, rows
from tests.semantics.reference import setting

CLEAN, CORRUPT = "When {a} and {b} went, {c: a} gave {d} a", "When {a} and {b} went, {c: b} gave {d} a"
ROWS = [
    {"a": "Anna", "b": "Bob", "d": "Dan"},
    {"a": "Eve", "b": "Carla", "d": "Zebulon"},
    {"a": "Bob", "b": "Eve", "d": "Dan"},
]
LISTED = ", ".join(f'{{a: "{r["a"]}", b: "{r["b"]}", d: "{r["d"]}"}}' for r in ROWS)
DATA = f"""data d {{
  rows [{LISTED}]
  prompt clean = "{CLEAN}"
  prompt corrupt = "{CORRUPT}"
  answer yes = " {{a}}"
  answer no = " {{b}}"
}}
"""
BODY = """
metric ld(r) = logit(r, yes) - logit(r, no)
experiment e {
  run patched[layer, pos] = forward(corrupt) { resid_pre[layer, pos] := clean }
  measure p = (ld(patched) - ld(corrupt)) / (ld(clean) - ld(corrupt))
  run named[l: layer in {0, -1}] = forward(corrupt) { attn.z[l, 1, {c, d.span}] := clean  mlp.out[l, last] *= 2 }
  measure q = ld(named)
  measure r = mean(ld(clean))
}
"""


def pairs(fam):
    for number, row in enumerate(ROWS):
        clean, corrupt = (fam.speak.prompt(t, **row) for t in (CLEAN, CORRUPT))
        yes, no = fam.speak.one(" " + row["a"]), fam.speak.one(" " + row["b"])
        yield (
            number,
            clean,
            corrupt,
            lambda v, yes=yes, no=no: float(v["logits", None][-1, yes] - v["logits", None][-1, no]),
        )


def test_patching_equals_loops(fam, gbx):
    found = gbx(DATA + BODY, fam)
    p, q, means = {}, {}, []
    n = fam.reference.n_layers
    for item, clean, corrupt, ld in pairs(fam):
        source, base = fam.run(clean), fam.run(corrupt)
        means.append(ld(source))
        for layer in range(n):
            for pos in range(len(corrupt)):
                got = fam.run(corrupt, setting("resid_pre", layer, pos, source["resid_pre", layer][pos]))
                p[fam.name, item, layer, pos] = (ld(got) - ld(base)) / (ld(source) - ld(base))
        for layer in (0, n - 1):
            at = [corrupt.last("c"), *corrupt.span("d")]
            z = setting("attn.z", layer, (1, at), source["attn.z", layer][1, at])
            q[fam.name, item, layer] = ld(fam.run(corrupt, z, setting("mlp.out", layer, -1, lambda x: 2 * x)))
    assert found.values["p"] == pytest.approx(p, abs=1e-3)
    assert found.values["q"] == pytest.approx(q, abs=1e-4)
    assert found.values["r"] == pytest.approx({(fam.name,): sum(means) / 3}, abs=1e-4)


def test_batch_size_changes_nothing(fam, gbx, monkeypatch):
    whole = gbx(DATA + BODY, fam).values
    for module in (rows, execute):
        monkeypatch.setattr(module, "BATCH_TOKENS", 20)
    small = gbx(DATA + BODY, fam).values
    for name in ("q", "r", "p"):
        assert small[name] == pytest.approx(whole[name], abs=1e-4, rel=1e-5)
