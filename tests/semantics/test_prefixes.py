"""Prompts that begin alike share the rows they begin with: nothing that is read or edited may tell."""

import pytest

from glassbox_dsl.plan import grouping, stack
from glassbox_dsl.run import session as sessions
from tests.semantics.conftest import TECHNIQUES

TRIED_ON = TECHNIQUES
TEXT = """
data d {
  rows [
    {a: "Anna", b: "Bob", t: "Dan"}, {a: "Anna", b: "Eve", t: "Zebulon"}, {a: "Bob", b: "Eve", t: "Carla"}
  ]
  prompt short = "When {a} went to the store"
  prompt clean = "When {a} went to the store and {b} went to the {p: a}"
  prompt other = "When {a} went to the store and {q: b} gave a ball to the dog and said"
  prompt apart = "the {r: a} and the {b} said"
  answer yes = " {a}"
  answer long = " {t}"
}
experiment e {
  run shared[layer in {0, -1}] = forward(other) { resid_pre[layer, q] := apart.resid_pre[layer, r] }
  run early[layer] = forward(clean) { mlp.out[layer, 2] *= 3 }
  run late[layer] = forward(clean) { resid_post[layer, p] := other.resid_post[layer, q] }
  run twice = forward(other) { attn.z[0, 0, q] := early[-1].attn.z[0, 0, p]  mlp.out[-1, q] -= self / 2 }
  run looking = forward(clean) { attn.pattern[0, 0, 1, :] := 0.2 }
  measure a = logit(early, yes)
  measure b = logprob(late, long)
  measure c = kl(twice, other)
  measure d1 = loss(other)
  measure e1 = loss(clean)
  measure f = norm(other.resid_post[:, :])
  measure g = logit(looking, yes, at: pos)
  measure h = top(short, k: 3)
  measure i = loss(short)
  record j = other.attn.pattern[:, 0]
  measure k = logprob(other, long)
  measure m = logit(shared, yes)
}
"""


@pytest.mark.parametrize("shared_from", [64, 1])
def test_prompts_that_begin_alike_are_as_if_they_did_not(fam, shared_from, gbx, monkeypatch):
    found = {}
    monkeypatch.setattr(grouping, "SHARED_FROM", shared_from)
    for executor in ("hooked", "delta"):
        monkeypatch.setattr(sessions.Session, "executor", executor)
        found[executor] = gbx(TEXT, fam)
    assert len(found["hooked"].values) >= 11
    for name, cells in found["hooked"].values.items():
        assert found["delta"].values[name] == pytest.approx(cells, abs=1e-4, nan_ok=True), name
    assert found["hooked"].records.keys() == found["delta"].records.keys()


def test_a_common_beginning_has_rows_once(fam, gbx, monkeypatch):
    """Three prompts of an item begin with the same tokens, all of the shortest; the fourth with none of them."""
    packs = []
    monkeypatch.setattr(sessions.Session, "executor", "delta")
    make = stack.stacked

    def watched(*args):
        packs.append(make(*args))
        return packs[-1]

    monkeypatch.setattr("glassbox_dsl.plan.build_pack.stacked", watched)
    text = TEXT[: TEXT.index("experiment")].replace(
        '{a: "Bob", b: "Eve", t: "Carla"}', '{a: "Anna", b: "Bob", t: "Eve"}'
    )
    gbx(text + "experiment e { measure a[p in {short, clean, other, apart}] = loss(p) }", fam)
    for pack in packs:
        rows = pack.floors[0].rowof
        for one in range(len(pack.tokens)):
            for other in range(one):
                n = min(len(pack.tokens[one]), len(pack.tokens[other]))
                alike = (pack.tokens[one][:n] == pack.tokens[other][:n]).cumprod().sum()
                owners = [int((pack.root == prompt).argmax()) for prompt in (one, other)]
                same = (rows[owners[0], :n] == rows[owners[1], :n]).sum()
                assert same == alike
        assert len(pack.entering) < sum(map(len, pack.tokens))
