"""Gradients and first-order estimates against autograd on the three families written out."""

import pytest
import torch

from glassbox_dsl.diagnostics import Findings
from glassbox_dsl.vocabulary.sites import sites
from tests.semantics.conftest import TECHNIQUES
from tests.semantics.reference import Reference
from tests.semantics.tables import EVEN, PEOPLE, same

TRIED_ON = TECHNIQUES
DIFFERENCE = "metric difference(r) = logit(r, yes) - logit(r, no)\n"
SITES = [
    "embed", "resid_pre", "resid_mid", "resid_post", "attn.norm", "attn.norm_scale", "attn.q", "attn.k", "attn.v",
    "attn.scores", "attn.pattern", "attn.z", "attn.result", "attn.out_raw", "attn.out", "mlp.norm", "mlp.norm_scale",
    "mlp.pre", "mlp.up", "mlp.post", "mlp.out_raw", "mlp.out", "final_norm_scale", "final_norm",
    "attn.in", "attn.q_in", "attn.k_in", "attn.v_in", "mlp.in",
]  # fmt: skip


def graph(fam, ids, *edits):
    """The sites of a pass with their graph, the weights frozen."""
    fam.plain.requires_grad_(False)
    return Reference.run.__wrapped__(fam.reference, ids, *edits)


def opened(key, change=None):
    """An edit that puts a leaf of zeros at a site, and the leaf."""
    leaves = {}

    def edit(site, layer, value):
        if (site, layer) != key:
            return None
        value = value if change is None else change(value)
        leaves[key] = torch.zeros_like(value, requires_grad=True)
        return value + leaves[key]

    return edit, leaves


def slope(fam, ids, key, number, *edits):
    """The gradient of a number of the pass's values with respect to a site."""
    edit, leaves = opened(key)
    values = graph(fam, ids, *edits, edit)
    return torch.autograd.grad(number(values), leaves[key], allow_unused=True)[0]


def tokens(fam, item):
    return fam.speak.one(" " + item.row["a"]), fam.speak.one(" " + item.row["b"])


def difference(fam, item):
    yes, no = tokens(fam, item)
    return lambda values: values["logits", None][-1, yes] - values["logits", None][-1, no]


LACKING = {
    "gpt2": ("mlp.up",),
    "gpt_neox": ("mlp.up", "resid_mid"),
    "mixtral": ("mlp.pre", "mlp.up", "mlp.post"),
}


def has(fam, site):
    return site not in LACKING.get(fam.name, ())


@pytest.mark.parametrize("site", SITES)
def test_the_gradient_at_every_site(fam, gbx, site):
    """Of a difference of logits, at every layer and position, in a run with an edit."""
    if not has(fam, site):
        pytest.skip("the family has no such site")
    found = gbx(DIFFERENCE + PEOPLE.text + f"""experiment e {{
  run edited = forward(clean) {{ mlp.out[0, c] *= 2 }}
  record g = grad(difference(edited), edited.{site})
}}""", fam)  # fmt: skip
    layers = range(fam.reference.n_layers) if sites()[site].has_layer else [None]
    for item in PEOPLE.items(fam):
        at = item.clean.last("c")

        def doubled(name, layer, value, at=at):
            if (name, layer) != ("mlp.out", 0):
                return None
            factor = torch.ones(len(value), 1)
            factor[at] = 2
            return value * factor

        wanted = [slope(fam, item.clean, (site, k), difference(fam, item), doubled) for k in layers]
        wanted = torch.stack(wanted) if layers != [None] else wanted[0]
        got = torch.tensor(found.records["g"][fam.name, item.number].array)
        if sites()[site].axes[-1:] == ("pos",) and got.shape != wanted.shape:
            got = got[tuple(slice(0, n) for n in wanted.shape)]
        where = torch.isfinite(wanted)
        assert got.shape == wanted.shape
        assert torch.allclose(got[where], wanted[where], atol=2e-4, rtol=2e-3), (got - wanted).abs().max()


def test_what_nothing_reads_has_no_gradient(checkpoints, gbx):
    """In a parallel block the stream between attention and MLP is a sum that is only looked at."""
    with pytest.raises(Findings) as refused:
        gbx(EVEN.text + """experiment e {
  measure m = norm(grad(logit(clean, yes), clean.resid_mid[0, last]))
}""", checkpoints["gpt_neox"])  # fmt: skip
    assert [(d.code, d.span.text) for d in refused.value.diagnostics] == [("GB306", "resid_mid")]


def test_gradients_of_any_number(fam, gbx):
    """Quotients, means over items, divergences and norms of sites; at one place or along an axis."""
    found = gbx(DIFFERENCE + EVEN.text + """experiment e {
  measure ratio = (difference(clean) - difference(corrupt)) / (1 + abs(difference(corrupt)))
  measure a[layer, pos] = norm(grad(ratio, clean.resid_pre[layer, pos]))
  measure b = norm(grad(kl(clean, corrupt), clean.mlp.out[1, c]))
  measure b2 = norm(grad(kl(corrupt, clean), clean.mlp.out[1, c]))
  measure d[layer] = norm(grad(norm(clean.resid_post[-1, last]) + loss(clean), clean.attn.out[layer, c]))
  measure deep = norm(grad(difference(clean) - mean(difference(clean)) * 0, clean.embed[e]))
  measure x = sum(clean.embed[pos] * grad(difference(clean), clean.embed[pos]), over: {pos, dim})
}""", fam)  # fmt: skip
    expected = {n: {} for n in ("a", "b", "b2", "d", "deep", "x")}
    last = fam.reference.n_layers - 1
    for item in EVEN.items(fam):
        c, number = item.clean.last("c"), difference(fam, item)
        other = fam.run(item.corrupt)
        logits = other["logits", None][-1].log_softmax(-1)
        for layer in range(fam.reference.n_layers):
            g = slope(
                fam,
                item.clean,
                ("resid_pre", layer),
                lambda v, other=other, number=number: (number(v) - number(other)) / (1 + number(other).abs()),
            )
            for place, row in enumerate(g):
                expected["a"][fam.name, item.number, layer, place] = row.norm()

            def mixed(values, ids=item.clean):
                entropy = torch.nn.functional.cross_entropy(
                    values["logits", None][:-1], torch.tensor(list(ids))[1:]
                )
                return values["resid_post", last][-1].norm() + entropy

            g = slope(fam, item.clean, ("attn.out", layer), mixed)
            expected["d"][fam.name, item.number, layer] = g[c].norm()

        def divergence(values, logits=logits, swap=False):
            p, q = values["logits", None][-1].log_softmax(-1), logits
            p, q = (q, p) if swap else (p, q)
            return (p.exp() * (p - q)).sum()

        expected["b"][fam.name, item.number] = slope(fam, item.clean, ("mlp.out", 1), divergence)[c].norm()
        swapped = slope(fam, item.clean, ("mlp.out", 1), lambda v: divergence(v, swap=True))  # noqa: B023
        expected["b2"][fam.name, item.number] = swapped[c].norm()
        g = slope(fam, item.clean, ("embed", None), number)
        expected["deep"][fam.name, item.number] = g[item.clean.last("e")].norm()
        expected["x"][fam.name, item.number] = (g * fam.run(item.clean)["embed", None]).sum()
    for measure, cells in expected.items():
        same(found, measure, cells, 1e-3)


def changed_to(key, value):
    return lambda site, layer, old: value if (site, layer) == key else None


def test_estimates_are_gradient_times_change(fam, gbx):
    """Of patched heads and positions, of quotients, beside other edits, and equal to the exact where it is linear."""
    found = gbx(DIFFERENCE + EVEN.text + """experiment e {
  run patched[layer, head] = forward(corrupt) { attn.z[layer, head, last] := clean }
  run moved[layer, pos] = forward(corrupt) { mlp.out[0, c] *= 2  resid_pre[layer, pos] := clean }
  run scaled[alpha in [0.5, 1]] = forward(corrupt) { mlp.out[1, last] *= alpha }
  run last_one[pos] = forward(corrupt) { final_norm[pos] := clean }
  measure heads[layer, head] = estimate(difference(patched), method: gradient)
  measure recovered = (difference(moved) - difference(corrupt)) / (1 + abs(difference(corrupt)))
  measure quotients[layer, pos] = estimate(recovered, method: gradient)
  measure scales[alpha] = estimate(difference(scaled), method: gradient)
  measure linear[pos] = estimate(difference(last_one), method: gradient)
  measure exact[pos] = difference(last_one)
}""", fam)  # fmt: skip
    expected = {n: {} for n in ("heads", "quotients", "scales")}
    for item in EVEN.items(fam):
        number, clean, base = difference(fam, item), fam.run(item.clean), fam.run(item.corrupt)
        c = item.corrupt.last("c")

        def doubled(site, layer, value, c=c):
            if (site, layer) != ("mlp.out", 0):
                return None
            factor = torch.ones(len(value), 1)
            factor[c] = 2
            return value * factor

        twice = fam.run(item.corrupt, doubled)
        for layer in range(fam.reference.n_layers):
            g = slope(fam, item.corrupt, ("attn.z", layer), number)
            step = clean["attn.z", layer] - base["attn.z", layer]
            for head in range(fam.reference.n_heads):
                expected["heads"][fam.name, item.number, layer, head] = (
                    number(base) + (g * step)[head, -1].sum()
                )
            g = slope(fam, item.corrupt, ("resid_pre", layer), number, doubled)
            step = clean["resid_pre", layer] - twice["resid_pre", layer]
            for place in range(len(item.corrupt)):
                near = number(twice) + (g * step)[place].sum()
                expected["quotients"][fam.name, item.number, layer, place] = (near - number(base)) / (
                    1 + number(base).abs()
                )
        g = slope(fam, item.corrupt, ("mlp.out", 1), number)[-1]
        for alpha in (0.5, 1.0):
            near = number(base) + (g * (alpha - 1) * base["mlp.out", 1][-1]).sum()
            expected["scales"][fam.name, item.number, alpha] = near
    for measure, cells in expected.items():
        same(found, measure, cells, 1e-3)
    if fam.name != "gemma3_text":  # there is no cap: logits are linear in the normed stream
        same(found, "linear", found.values["exact"], 1e-3)
    assert found.parts["recovered"] and found.parts["quotients"]


def test_integrated_gradients(fam, gbx):
    """Slopes at midpoints while all cells of a layer move together, or the embeddings do."""
    found = gbx(DIFFERENCE + EVEN.text + """experiment e {
  run patched[layer, pos] = forward(corrupt) { resid_pre[layer, pos] := clean }
  measure cells[layer, pos] = estimate(difference(patched), method: integrated_gradients, steps: 3)
  measure embed[layer, pos] = estimate(difference(patched), method: integrated_gradients, steps: 2, along: embed)
}""".replace("measure embed[", "measure inputs["), fam)  # fmt: skip
    cells, inputs = {}, {}
    for item in EVEN.items(fam):
        number, clean, base = difference(fam, item), fam.run(item.clean), fam.run(item.corrupt)
        way = clean["embed", None] - base["embed", None]
        for layer in range(fam.reference.n_layers):
            key = ("resid_pre", layer)
            step = clean[key] - base[key]
            at = [changed_to(key, base[key] + (k + 0.5) / 3 * step) for k in range(3)]
            g = sum(slope(fam, item.corrupt, key, number, edit) for edit in at) / 3
            start = [changed_to(("embed", None), base["embed", None] + (k + 0.5) / 2 * way) for k in range(2)]
            h = sum(slope(fam, item.corrupt, key, number, edit) for edit in start) / 2
            for place in range(len(item.corrupt)):
                cells[fam.name, item.number, layer, place] = number(base) + (g * step)[place].sum()
                inputs[fam.name, item.number, layer, place] = number(base) + (h * step)[place].sum()
    same(found, "cells", cells, 1e-3)
    same(found, "inputs", inputs, 1e-3)


def test_many_steps_along_the_cells_add_up_to_the_whole_change(llama, gbx):
    """Completeness: over all positions of layer 0 the estimates add up to moving all of them."""
    found = gbx(DIFFERENCE + EVEN.text + """experiment e {
  run patched[pos] = forward(corrupt) { resid_pre[0, pos] := clean }
  measure parts = estimate(difference(patched), method: integrated_gradients, steps: 60) - difference(corrupt)
  measure whole = sum(parts, over: pos)
  measure exact = difference(clean) - difference(corrupt)
}""", llama)  # fmt: skip
    same(found, "whole", found.values["exact"], 5e-3)


def test_the_swept_run_itself_is_not_run(llama, gbx):
    found = gbx(DIFFERENCE + EVEN.text + """experiment e {
  run patched[layer, pos] = forward(corrupt) { resid_pre[layer, pos] := clean }
  measure m[layer, pos] = estimate(difference(patched), method: gradient)
}""", llama)  # fmt: skip
    assert "patched" not in found.receipts and found.values["m"]


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("grad(rank(clean, yes), clean.embed[last])", "jumps from value to value"),
        ("grad(logit(clean, yes) > 1, clean.embed[last])", "truth value"),
        ("grad(logit(clean, yes), corrupt.embed[last])", "does not depend on the run"),
        ("grad(logit(clean, yes, at: pos), clean.embed[last])", "one value for each `pos`"),
        ("grad(logit(clean, yes), clean.logits[last])", "no site of a run"),
        ("estimate(logit(clean, yes), method: gradient)", "no metric in it is of a run with edits"),
        ("estimate(logit(patched, yes), method: guess)", "one of gradient"),
        ("estimate(logit(patched, yes), method: gradient, steps: 3)", "belong to"),
        ("estimate(norm(patched.resid_post[0, last]), method: gradient)", "no metric of the edited run"),
        ("estimate(logit(cut, yes), method: gradient)", "no first order"),
        ("estimate(kl(patched, corrupt), method: gradient)", "`kl` is 0"),
        ("estimate(prob(patched, long), method: gradient)", "one token"),
    ],
)
def test_what_has_no_gradient(llama, gbx, value, said):
    text = EVEN.text.replace("answer no", 'answer long = " Zebulon store"\n  answer no')
    measure = f"measure m = {'norm' if value.startswith('grad') else ''}({value})"
    with pytest.raises(Findings) as refused:
        gbx(text + f"""experiment e {{
  run patched[layer, pos] = forward(corrupt) {{ resid_pre[layer, pos] := clean }}
  run cut[layer] = forward(corrupt) {{ attn.scores[layer, 0, 3, 2] := -inf }}
  {measure}
}}""", llama)  # fmt: skip
    assert any(said in f"{d.headline} {d.label}" for d in refused.value.diagnostics)
