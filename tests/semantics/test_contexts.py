"""Ratios, claims, and values of other models, data sets, items and experiments."""

import statistics

import pytest
import torch

from glassbox_dsl.diagnostics import Findings
from tests.semantics.reference import setting
from tests.semantics.tables import EVEN, PEOPLE, Table, same


def logit(fam, item, values, word="a", at=-1):
    return float(values["logits", None][at, fam.speak.one(" " + item.row[word])])


def gap(fam, item, values, at=-1):
    return logit(fam, item, values, "a", at) - logit(fam, item, values, "b", at)


def test_ratios(fam, gbx):
    """The mean of a ratio is a ratio of means wherever the measure is used; written in place it is not."""
    found = gbx(PEOPLE.text + """metric ld(r) = logit(r, yes) - logit(r, no)
experiment e {
  run half[layer] = forward(corrupt) { resid_post[layer, last] := clean }
  measure share = (ld(half) - ld(corrupt)) / (ld(clean) - ld(corrupt))
  measure ratio = mean(share)
  measure in_place = mean((ld(half) - ld(corrupt)) / (ld(clean) - ld(corrupt)))
  measure all_cells = mean(share, over: {item, layer})
  measure more = 1 + mean(share[0]) - mean(share[layer: 1])
  measure over_layers = mean(share, over: layer)
  measure fixed = ld(half) / 2
  measure fixed_mean = mean(fixed)
  measure undefined = ld(half) / (ld(clean) - ld(clean))
  expect mean(share[-1]) > 0.999
  expect share[-1] < 0.5
}""", fam)  # fmt: skip
    name, n = fam.name, fam.reference.n_layers
    above, below = {}, {}
    for item in PEOPLE.items(fam):
        clean, corrupt = fam.run(item.clean), fam.run(item.corrupt)
        below[item.number] = gap(fam, item, clean) - gap(fam, item, corrupt)
        for k in range(n):
            got = fam.run(item.corrupt, setting("resid_post", k, -1, clean["resid_post", k][-1]))
            above[item.number, k] = gap(fam, item, got) - gap(fam, item, corrupt)
    shares = {(i, k): v / below[i] for (i, k), v in above.items()}

    def ratio(k):
        return sum(above[i, k] for i in below) / sum(below.values())

    same(found, "share", {(name, *key): v for key, v in shares.items()}, 1e-3)
    assert found.parts["share"] == {
        (name, *key): (pytest.approx(v, abs=1e-3), pytest.approx(below[key[0]], abs=1e-3))
        for key, v in above.items()
    }
    same(found, "ratio", {(name, k): ratio(k) for k in range(n)}, 1e-3)
    same(found, "in_place", {(name, k): statistics.mean(shares[i, k] for i in below) for k in range(n)}, 1e-3)
    same(found, "all_cells", {(name,): statistics.mean(ratio(k) for k in range(n))}, 1e-3)
    same(found, "more", {(name,): 1 + ratio(0) - ratio(1)}, 1e-3)
    same(
        found,
        "over_layers",
        {(name, i): statistics.mean(shares[i, k] for k in range(n)) for i in below},
        1e-3,
    )
    corrupt = {item.number: gap(fam, item, fam.run(item.corrupt)) for item in PEOPLE.items(fam)}
    halves = {(i, k): (v + corrupt[i]) / 2 for (i, k), v in above.items()}
    same(found, "fixed", {(name, *key): v for key, v in halves.items()}, 1e-3)
    same(
        found, "fixed_mean", {(name, k): statistics.mean(halves[i, k] for i in below) for k in range(n)}, 1e-3
    )
    assert all(v != v for v in found.values["undefined"].values()), "a quotient by 0 has no value"
    whole, each = found.claims
    assert whole.holds and not each.holds
    assert (each.cells, each.broken) == (
        len(below),
        sum(v >= 0.5 for (i, k), v in shares.items() if k == n - 1),
    )


def test_items_models_and_data(checkpoints, gbx):
    """A value can be asked for on another model, data set or item; items of two models meet by their numbers."""
    llama, gpt2 = checkpoints["llama"], checkpoints["gpt2"]
    found = gbx(PEOPLE.text + Table(EVEN.rows, {"plain": EVEN.prompts["clean"]}, EVEN.answers, name="f").text + """
experiment e {
  data d
  let ld = logit(clean, yes) - logit(clean, no)
  measure third = ld - ld[item: 3]
  measure there = ld - ld[model: gpt2]
  measure avg = mean(ld)[model: llama]
  measure layered = norm(clean.resid_post[:, last])[layer: 1] + norm(clean.resid_post[:, last])[1]
  measure placed[pos in {c, last}] = norm(other.resid_post[0, pos])
  measure deep = mean(norm(clean.resid_post[layer, last]))[layer: -1, model: gpt2]
}
experiment both {
  measure of_plain = mean(logit(plain, yes))
  measure of_clean = mean(logit(clean, yes))
  measure of_all = mean(logit(f.plain, yes)) - mean(logit(d.clean, yes))
}
experiment reads {
  data d
  measure again = e.third + e.there
  measure deep = 2 * e.deep
  measure at_c = e.placed[c] - e.placed[last]
  measure moved = e.placed
}""", llama, gpt2)  # fmt: skip
    gaps = {
        fam.name: {i.number: gap(fam, i, fam.run(i.clean)) for i in PEOPLE.items(fam)}
        for fam in (llama, gpt2)
    }
    third = {(m, n): v - g[3] for m, g in gaps.items() for n, v in g.items()}
    there = {(m, n): v - gaps["gpt2"][n] for m, g in gaps.items() for n, v in g.items()}
    same(found, "third", third)
    same(found, "there", there)
    same(found, "avg", {(m,): statistics.mean(gaps["llama"].values()) for m in gaps})
    same(found, "layered", {
        (fam.name, i.number): 2 * fam.run(i.clean)["resid_post", 1][-1].norm()
        for fam in (llama, gpt2) for i in PEOPLE.items(fam)})  # fmt: skip
    placed = {
        (fam.name, i.number, place): fam.run(i.other)["resid_post", 0][at].norm()
        for fam in (llama, gpt2) for i in PEOPLE.items(fam)
        for place, at in (("c", i.other.last("c")), ("last", -1))}  # fmt: skip
    same(found, "moved", placed)
    same(
        found,
        "at_c",
        {(m, n): v - placed[m, n, "last"] for (m, n, place), v in placed.items() if place == "c"},
    )
    deep = torch.stack([gpt2.run(i.clean)["resid_post", 1][-1].norm() for i in PEOPLE.items(gpt2)]).mean()
    same(found, "again", {key: third[key] + there[key] for key in third})
    assert found.datas["deep", "d"] == {(m,): pytest.approx(2 * float(deep), rel=1e-4) for m in gaps}
    for fam in (llama, gpt2):
        clean = statistics.mean(logit(fam, i, fam.run(i.clean)) for i in PEOPLE.items(fam))
        plain = statistics.mean(logit(fam, i, fam.run(i.clean)) for i in EVEN.items(fam))
        assert found.datas["of_clean", "d"][fam.name,] == pytest.approx(clean, abs=1e-4)
        assert found.datas["of_plain", "f"][fam.name,] == pytest.approx(plain, abs=1e-4)
        assert found.values["of_all"][fam.name,] == pytest.approx(plain - clean, abs=1e-4)
    assert ("of_clean", "f") not in found.datas and ("of_plain", "d") not in found.datas


def test_items_of_different_data_sets_never_meet(llama, gbx):
    other = Table(EVEN.rows, {"plain": EVEN.prompts["clean"]}, EVEN.answers, name="f")
    with pytest.raises(Findings) as raised:
        gbx(PEOPLE.text + other.text + """experiment e {
  measure m = logit(d.clean, yes) - logit(f.plain, yes) }""", llama)  # fmt: skip
    assert [d.code for d in raised.value.diagnostics] == ["GB533"]


@pytest.mark.parametrize("source", ["gpt2", "gemma3_text"])  # the second one has a BOS of its own
def test_a_run_of_another_model_as_a_source(checkpoints, gbx, source):
    """What another model of the same width computes can be written: items meet by number, positions by name."""
    llama, other = checkpoints["llama"], checkpoints[source]
    found = gbx(PEOPLE.text + """experiment e {
  run theirs = forward(clean, model: SOURCE)
  run edited = forward(clean, model: SOURCE) { mlp.out[0, last] *= 2 }
  run mixed[layer in 0..1] = forward(corrupt) { resid_post[layer, {c, last}] := theirs }
  run moved = forward(corrupt) { resid_pre[1, d.span] += 0.5 * edited.resid_pre[0, c] }
  run same_prompt = forward(clean) { mlp.out[1, {a, d.span}] := theirs }
  measure m = logit(mixed, yes)
  measure s = logit(same_prompt, yes)
  measure n = logit(moved, no)
  measure away = norm(mean(clean.resid_post[1, last] - theirs.resid_post[1, last]))
  measure their_logit = logit(theirs, yes) - logit(edited, no)
}""".replace("SOURCE", source), llama, other)  # fmt: skip
    m, n, s, away, theirs_ = {}, {}, {}, {}, {}
    for fam in (llama, other):
        difference = []
        for mine, his in zip(PEOPLE.items(fam), PEOPLE.items(other), strict=True):
            theirs = other.run(his.clean)
            edited = other.run(his.clean, setting("mlp.out", 0, -1, lambda x: 2 * x))
            here, there = ([p.last("c"), len(p) - 1] for p in (mine.corrupt, his.clean))
            for k in (0, 1):
                got = fam.run(mine.corrupt, setting("resid_post", k, here, theirs["resid_post", k][there]))
                m[fam.name, mine.number, k] = logit(fam, mine, got)
            here, there = ([p.last("a"), *p.span("d")] for p in (mine.clean, his.clean))
            got = fam.run(mine.clean, setting("mlp.out", 1, here, theirs["mlp.out", 1][there]))
            s[fam.name, mine.number] = logit(fam, mine, got)
            more = 0.5 * edited["resid_pre", 0][his.clean.last("c")]
            got = fam.run(
                mine.corrupt, setting("resid_pre", 1, mine.corrupt.span("d"), lambda x, v=more: x + v)
            )
            n[fam.name, mine.number] = logit(fam, mine, got, "b")
            difference.append(fam.run(mine.clean)["resid_post", 1][-1] - theirs["resid_post", 1][-1])
            theirs_[fam.name, mine.number] = logit(other, his, theirs) - logit(other, his, edited, "b")
        away[fam.name,] = torch.stack(difference).mean(0).norm()
    same(found, "their_logit", theirs_)
    same(found, "away", away)
    same(found, "m", m)
    same(found, "s", s)
    same(found, "n", n)
