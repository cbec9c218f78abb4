"""Which executor runs a model, and that both agree on real ones."""

import pytest

from glassbox_dsl.plan import grouping
from glassbox_dsl.run import session as sessions
from glassbox_dsl.run.check import check
from glassbox_dsl.run.delta.maker import DeltaMaker
from tests.semantics.conftest import outcome
from tests.semantics.tables import PEOPLE, same

TEXT = """
data d {
  rows [{a: "Anna", b: "Bob"}, {a: "Bob", b: "Dan"}]
  prompt clean = "When {a} went to the {b}"
  prompt corrupt = "When {b} went to the {a}"
  answer yes = " {a}"
}
experiment e {
  run patched[layer, pos] = forward(corrupt) { resid_pre[layer, pos] := clean }
  measure m = logit(patched, yes)
}
"""
REAL = """gbx 1
model real = bundled("MODEL")
data d {
  rows [{a: "Mary", b: "John", o: "drink"}, {a: "Paul", b: "Anna", o: "football"}]
  prompt clean = "When {a} and {b} went to the store, {c: b} gave a {o} to"
  prompt corrupt = "When {a} and {b} went to the store, {c: a} gave a {o} to"
  answer yes = " {a}"
  answer no = " {b}"
}
metric ld(r) = logit(r, yes) - logit(r, no)
experiment e {
  run sent[l: layer in {0, 50%}] = forward(corrupt) { attn.z[l, 1] := clean  mlp.out[l, c] *= 0.5 }
  run resid[l: layer in {0, 50%, -1}, pos in {2, c, last}] = forward(corrupt) { resid_pre[l, pos] := clean }
  run heads[l: layer in {1, -2}, head in 0..1] = forward(corrupt) { attn.z[l, head] := clean }
  run inside[l: layer in {2, -1}] = forward(corrupt) { attn.k[l, 0, c] := clean  mlp.post[l, :, last] := sent[0] }
  run noised[pos in {c, last}] = forward(clean) { embed[{1, 2}] += noise(scale: 0.1, seed: 0)
    resid_post[3, pos] := clean
  }
  run cut = forward(clean) { attn.scores[:, :, last, c] := -inf }
  run frozen = forward(corrupt) { attn.norm_scale[:] := clean  mlp.norm_scale[:] := clean }
  measure a = ld(resid)
  measure b = kl(heads, clean)
  measure c1 = ld(inside)
  measure d1 = loss(noised)
  measure e1 = rank(cut, yes)
  measure f = ld(frozen)
  measure g = ld(sent)
  measure h = logit(unembed(resid.resid_post[-1, last]), yes)
}
"""


def test_what_enters_attention_in_the_last_layer_may_be_all_that_is_read(llama, gbx, monkeypatch):
    """No row leaves that layer then."""
    monkeypatch.setattr(sessions.Session, "executor", "delta")
    found = gbx(
        PEOPLE.text + "experiment e {\n  measure q[layer] = norm(clean.attn.q[layer, 0, last])\n}", llama
    )
    want = {
        (llama.name, item.number, layer): float(llama.run(item.clean)["attn.q", layer][0, -1].norm())
        for item in PEOPLE.items(llama)
        for layer in range(llama.reference.n_layers)
    }
    same(found, "q", want)


@pytest.mark.slow
@pytest.mark.parametrize("model", ["smollm2-135m", "gemma3-270m"])
@pytest.mark.parametrize("shared_from", [64, 1])
def test_both_executors_agree_on_a_real_model(model, shared_from, tmp_path, monkeypatch):
    monkeypatch.setattr(sessions, "verified", lambda *_: ())
    monkeypatch.setattr(grouping, "SHARED_FROM", shared_from)
    path = tmp_path / "real.gbx"
    path.write_text(REAL.replace("MODEL", model))
    found = {}
    for executor in ("hooked", "delta"):
        monkeypatch.setattr(sessions.Session, "executor", executor)
        found[executor] = outcome(path).values
    assert len(found["hooked"]) == 8
    for name, expected in found["hooked"].items():
        assert found["delta"][name].keys() == expected.keys()
        worst = max(abs(found["delta"][name][key] - value) for key, value in expected.items())
        assert worst < 1e-4, (name, worst)


def test_a_model_that_fails_a_pack_check_runs_on_the_hooked_executor(gbx, llama, monkeypatch):
    expected = gbx(TEXT, llama).values["m"]
    failed = check("T4 pack", 0.5, 1e-5, "prompts of two lengths in one pack against apart")
    monkeypatch.setattr(sessions, "verified", lambda *_: (failed,))
    monkeypatch.setattr(DeltaMaker, "make_all", lambda self: pytest.fail("packed all the same"))
    found = []
    executor_of = sessions.Session.executor_of
    monkeypatch.setattr(
        sessions.Session,
        "executor_of",
        lambda self, model: found.append(executor_of(self, model)) or found[-1],
    )
    got = gbx(TEXT, llama).values["m"]
    assert found[0] == ("hooked", "T4 pack 0.5: prompts of two lengths in one pack against apart")
    assert got.keys() == expected.keys()
    assert all(abs(got[key] - value) < 1e-4 for key, value in expected.items())


AHEAD = """
data d {
  rows [{a: "Anna", b: "Bob"}, {a: "Zebulon", b: "Maximilian"}, {a: "Bob", b: "Dan"}]
  prompt clean = "When {a} went to the {b} and said"
  prompt corrupt = "When {b} went to the {c: a} and gave"
  answer yes = " Anna"
}
experiment e {
  run edited = forward(corrupt) { EDIT }
  measure m = logit(edited, yes, at: c.first)
  measure whole = logit(edited, yes, at: pos)
}
"""
EDITS_AHEAD = (
    "attn.pattern[-1, 0, c, :] += noise(scale: 0.3, seed: 1)",
    "attn.pattern[0, :, c, last] := 0.2",
    "attn.pattern[-1, 1, c, :] := 0.1",
    "attn.scores[-1, 1, c, :] := 0",
    "attn.pattern[-1, 0, c] := clean.attn.pattern[-1, 0, last]",
    "mlp.out[0, last] *= 2  attn.pattern[-1, 0, c, last] += 0.3",
)


@pytest.mark.parametrize("edit", EDITS_AHEAD)
def test_a_weight_on_a_later_key_reads_what_stands_there(edit, fam, gbx, monkeypatch):
    """A query that is given some of a key behind it depends on later tokens: nothing of them may be left out."""
    found = {}
    for executor in ("hooked", "delta"):
        monkeypatch.setattr(sessions.Session, "executor", executor)
        found[executor] = gbx(AHEAD.replace("EDIT", edit), fam).values
    assert found["hooked"].keys() == found["delta"].keys()
    for name, cells in found["hooked"].items():
        assert found["delta"][name] == pytest.approx(cells, abs=1e-4)
