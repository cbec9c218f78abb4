"""Rules of the language used with each other, each against the computation by hand."""

import pytest
import torch

from tests.semantics.reference import setting
from tests.semantics.tables import PEOPLE, same


def norms(fam, item, layer):
    return float(fam.run(item.clean)["resid_post", layer][-1].norm())


def scored(fam, item, values):
    return values["logits", None][-1, fam.speak.one(" " + item.row["a"])]


@pytest.mark.parametrize(
    ("index", "chosen"), [("0..1", (0, 1)), ("{0, -1}", (0, 1, 2)), ("not 0", (1, 2)), ("1..9", (1, 2))]
)
def test_several_cells_of_a_value_written_in_place(llama, gbx, index, chosen):
    """A range or set behind a value keeps its axis, as behind a name; the other cells are missing."""
    found = gbx(PEOPLE.text + f"""experiment e {{
  let size = norm(clean.resid_post[layer, last])
  measure some = (2 * size)[layer: {index}]
  measure total = sum((2 * size)[layer: {index}], over: {{layer}})
  measure named = size[{index}]
}}""", llama)  # fmt: skip
    chosen = [n for n in chosen if index != "{0, -1}" or n != 1]
    items = PEOPLE.items(llama)
    same(found, "some", {("llama", i.number, n): 2 * norms(llama, i, n) for i in items for n in chosen})
    same(found, "named", {("llama", i.number, n): norms(llama, i, n) for i in items for n in chosen})
    same(found, "total", {("llama", i.number): sum(2 * norms(llama, i, n) for n in chosen) for i in items})


def test_a_complement_as_a_domain(fam, gbx):
    """Cells of heads by number, positions by number where they are counted, and outside of a span in order."""
    found = gbx(PEOPLE.text + """experiment e {
  run off[h: head in not {0, 2}] = forward(clean) { attn.z[1, h, last] := 0 }
  measure cut = logit(off, yes)
  measure counted[pos in not {0, 2}] = norm(clean.resid_post[1, pos])
  measure outside[pos in not d.span] = norm(clean.resid_post[1, pos])
}""", fam)  # fmt: skip
    cut, counted, outside = {}, {}, {}
    for item in PEOPLE.items(fam):
        for head in set(range(fam.reference.n_heads)) - {0, 2}:
            values = fam.run(item.clean, setting("attn.z", 1, (head, -1), 0.0))
            cut[fam.name, item.number, head] = scored(fam, item, values)
        sizes = fam.run(item.clean)["resid_post", 1].norm(dim=-1)
        for place, size in enumerate(sizes):
            if place not in (0, 2):
                counted[fam.name, item.number, place] = size
            if place not in item.clean.span("d"):
                outside[fam.name, item.number, place] = size
    same(found, "cut", cut)
    same(found, "counted", counted)
    assert {k[:2]: v for k, v in outside.items()}
    got = {(*k[:2], found.columns["outside", "pos"][k][0]): v for k, v in found.values["outside"].items()}
    assert got == pytest.approx({k: float(v) for k, v in outside.items()}, abs=2e-4)


def test_a_variable_as_a_seed_is_the_seed(fam, gbx):
    """Each cell draws what a run with that seed written out draws; the variable is a number elsewhere."""
    found = gbx(PEOPLE.text + """experiment e {
  run moved[s in [1, 7]] = forward(clean) {
    resid_post[0, last] += noise(scale: 0.5, seed: s)
    mlp.out[1, c] += 0.1 * s
  }
  run early = forward(clean) { resid_post[0, last] += noise(scale: 0.5, seed: 1)  mlp.out[1, c] += 0.1 }
  run late = forward(clean) { resid_post[0, last] += noise(scale: 0.5, seed: 7)  mlp.out[1, c] += 0.7 }
  run told[t in [0, 3]] = generate(clean, max_new_tokens: 3, temperature: t, seed: 5)
  run greedy = generate(clean, max_new_tokens: 3)
  measure swept = logit(moved, yes)
  measure one = logit(early, yes)
  measure two = logit(late, yes)
  measure picked = logit(moved[7], yes)
  measure times[s] = s * logit(moved, yes)
  measure said = text(told)
  measure plain = text(greedy)
}""", fam)  # fmt: skip
    one, two = found.values["one"], found.values["two"]
    assert one != pytest.approx(two)
    both = {(*k, 1.0): v for k, v in one.items()} | {(*k, 7.0): v for k, v in two.items()}
    same(found, "swept", both)
    same(found, "times", {k: v * k[-1] for k, v in both.items()})
    same(found, "picked", two)
    assert {k[:2]: t for k, t in found.said["said"].items() if k[2] == 0} == found.said["plain"]
    assert any(t != found.said["plain"][k[:2]] for k, t in found.said["said"].items())


def test_a_basis_may_have_another_size_in_each_cell(fam, gbx):
    found = gbx(PEOPLE.text + """experiment e {
  fit f[k in [1, 3]] = pca(clean.resid_post[1, :], dim: k, test: 0.5)
  fit one = pca(clean.resid_post[1, :], dim: 1, test: 0.5)
  measure swept = norm(project(other.resid_post[1, last], f))
  measure fixed = norm(project(other.resid_post[1, last], one))
  measure share[k] = score(f)
}""", fam)  # fmt: skip
    alone = {key[:2]: value for key, value in found.values["swept"].items() if key[2] == 1}
    assert alone == pytest.approx(found.values["fixed"], rel=1e-5)
    shares = {key[-1]: value for key, value in found.values["share"].items()}
    assert shares[1.0] < shares[3.0]


@pytest.mark.parametrize(
    "order", ["kl(other, moved)", "kl(moved, other)", "kl(other, moved) + entropy(moved)"]
)
def test_an_estimate_expands_either_side_of_a_divergence(fam, gbx, order):
    """To first order in small moves the estimate is the exact measure, whichever side is edited."""
    found = gbx(PEOPLE.text + f"""experiment e {{
  run moved[layer] = forward(clean) {{ resid_post[layer, last] += 0.001 * (corrupt.resid_post[layer, last] - self) }}
  measure exact = {order}
  measure about = estimate({order}, method: gradient)
  measure base = {order.replace("moved", "clean")}
}}""", fam)  # fmt: skip
    for key, value in found.values["exact"].items():
        base = found.values["base"][key[:2]]
        assert found.values["about"][key] - base == pytest.approx(value - base, rel=0.05, abs=3e-5)


def test_vectors_of_neurons(fam, gbx):
    """What an MLP holds at a position is a vector over its neurons, where all of them are read."""
    found = gbx(PEOPLE.text + """experiment e {
  measure size = norm(clean.mlp.post[layer, :, pos])
  measure alike[layer] = cos(clean.mlp.post[layer, :, last], corrupt.mlp.post[layer, :, c])
  run scaled = forward(clean) { mlp.post[1, :, last] := 3 * unit(corrupt.mlp.post[1, :, last]) }
  measure after = logit(scaled, yes)
}""", fam)  # fmt: skip
    size, alike, after = {}, {}, {}
    for item in PEOPLE.items(fam):
        clean, corrupt = fam.run(item.clean), fam.run(item.corrupt)
        for layer in range(fam.reference.n_layers):
            key = (fam.name, item.number, layer)
            size |= {(*key, p): v for p, v in enumerate(clean["mlp.post", layer].norm(dim=0))}
            pair = clean["mlp.post", layer][:, -1], corrupt["mlp.post", layer][:, item.corrupt.last("c")]
            alike[key] = torch.cosine_similarity(*pair, 0)
        vector = corrupt["mlp.post", 1][:, -1]
        values = fam.run(item.clean, setting("mlp.post", 1, (slice(None), -1), 3 * vector / vector.norm()))
        after[fam.name, item.number] = scored(fam, item, values)
    same(found, "size", size)
    same(found, "alike", alike)
    same(found, "after", after)


def test_a_variable_without_an_axis_stands_for_positions_by_name_and_by_number(llama, gbx):
    """Members of one domain may be of both kinds: a name is written where the variable stands, a number is a number."""
    body = 'run r[PLACE] = forward(clean) { mlp.out[1, p] *= 0.5 }  measure m = logit(r, " store")'
    by_axis, by_name = (
        gbx(PEOPLE.text + "experiment e {\n" + body.replace("PLACE", place) + "\n}", llama).values["m"]
        for place in ("p: pos in {last, 2}", "p in {last, 2}")
    )
    assert len(set(by_name.values())) > 2
    assert sorted(by_name.values()) == pytest.approx(sorted(by_axis.values()), abs=1e-5)
