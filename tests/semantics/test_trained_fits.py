"""Fits that the model takes part in, against plain torch on the untouched model with hooks written here."""

from __future__ import annotations

from contextlib import ExitStack

import pytest
import torch

from glassbox_dsl.diagnostics import Findings
from glassbox_dsl.run import session as sessions
from tests.semantics.tables import Table, same
from tests.semantics.test_fits import ROWS, split_of

ENDS = {
    "llama": ("model.norm", "lm_head"), "gemma3_text": ("model.norm", "lm_head"), "mixtral": ("model.norm", "lm_head"),
    "gpt2": ("transformer.ln_f", "lm_head"), "gpt_neox": ("gpt_neox.final_layer_norm", "lm_head"),
}  # fmt: skip
LAYERS = {"gpt2": "transformer.h", "gpt_neox": "gpt_neox.layers"}
PROBED = Table(
    rows=ROWS[::2],
    prompts={"clean": "the {a} gave {b} a ball", "other": "{b} and the red {a} went"},
    answers={"given": '" {a}"', "other_one": '" {b}"'},
)


TRIED_ON = [
    pytest.param(one, id="-".join(one))
    for one in (*((name, "delta") for name in ENDS), ("llama", "hooked"), ("gpt_neox", "hooked"))
]
"""Families, each with the executor."""


@pytest.fixture
def fam(request, checkpoints, monkeypatch):
    name, executor = request.param
    monkeypatch.setattr(sessions.Session, "executor", executor)
    return checkpoints[name]


def indices(held):
    """The training items and the others."""
    every = range(len(PROBED.rows))
    return torch.tensor([i for i in every if i not in held]), torch.tensor(sorted(held))


def layers(fam):
    return fam.plain.get_submodule(LAYERS.get(fam.name, "model.layers"))


def states(fam, ids, change=None):
    """What leaves every layer [layer, pos, dim] and the logits [pos, vocab]; `change` {layer: function} is put in."""
    kept = {}

    def hook(number):
        def run(module, args, out):
            state = out[0] if isinstance(out, tuple) else out
            if change and number in change:
                state = change[number](state[0])[None]
            kept[number] = state[0]
            return (state, *out[1:]) if isinstance(out, tuple) else state

        return run

    fam.plain.requires_grad_(False)
    with ExitStack() as stack:
        for number, layer in enumerate(layers(fam)):
            stack.callback(layer.register_forward_hook(hook(number)).remove)
        logits = fam.plain(torch.tensor([list(ids)]), use_cache=False).logits[0]
    return [kept[i] for i in range(len(kept))], logits


def end(fam, x):
    """Logits that the model's own end makes of states."""
    norm, head = (fam.plain.get_submodule(name) for name in ENDS[fam.name])
    logits = head(norm(x))
    cap = getattr(fam.plain.config, "final_logit_softcapping", None)
    return logits if cap is None else cap * torch.tanh(logits / cap)


def divergence(fam, x, logits):
    p = logits.log_softmax(-1)
    return (p.exp() * (p - end(fam, x).log_softmax(-1))).sum(-1)


# ---------------------------------------------------------------- the tuned lens


def tuned(fam, x, logits, steps, order):
    """The affine map by torch's own optimiser; `order` gives the rows of every step."""
    n = x.shape[1]
    a, b = (torch.zeros(s, dtype=torch.float64, requires_grad=True) for s in ((n, n), (n,)))
    optimiser = torch.optim.SGD([a, b], lr=0.1, momentum=0.9, nesterov=True, weight_decay=1e-3)
    falling = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda t: 1 - t / steps)
    for rows in order:
        optimiser.zero_grad()
        h = x[rows]
        divergence(fam, (h + h @ a + b).float(), logits[rows]).mean().backward()
        torch.nn.utils.clip_grad_norm_([a, b], 1.0)
        optimiser.step()
        falling.step()
    return a.detach(), b.detach()


def test_a_tuned_lens(fam, gbx):
    """At the last position of every item: the trained map, what is read out through it, and its score."""
    import numpy as np

    found = gbx(PROBED.text + """experiment e {
  fit lens[layer in {0, 1}] = tuned_lens(clean.resid_post[layer, last], steps: 12, test: 0.4, seed: 3)
  measure d[layer in {0, 1}] = kl(clean, unembed(lens(clean.resid_post[layer, last])))
  measure rated[layer in {0, 1}] = score(lens)
  record moved = lens[1](other.resid_post[1, last])
  measure anna = logit(unembed(lens[0](other.resid_post[1, last])), " Anna")
}""", fam)  # fmt: skip
    items = PROBED.items(fam)
    held = split_of(found, "d", fam)
    train, test = indices(held)
    passes = [states(fam, i.clean) for i in items]
    others = [states(fam, i.other)[0][1][-1] for i in items]
    logits = torch.stack([p[1][-1] for p in passes])
    draw = np.random.default_rng(3)
    order = [torch.from_numpy(draw.permutation(len(train))) for _ in range(12)]
    d, rated, anna = {}, {}, {}
    for layer in (0, 1):
        x = torch.stack([p[0][layer][-1] for p in passes]).double()
        a, b = tuned(fam, x[train], logits[train], 12, order)
        after = divergence(fam, (x + x @ a + b).float(), logits)
        before = divergence(fam, x.float(), logits)
        assert after[train].mean() < before[train].mean() + 1e-7  # nothing to learn at the last layer
        d |= {(fam.name, i, layer): after[i] for i in held}
        if before.max() > 1e-6:
            rated[fam.name, layer] = 1 - after[test].sum() / before[test].sum()
        else:  # the stream that the logits are made of: what there is to recover is nothing, or rounding
            found.values["rated"].pop((fam.name, layer))
        for i in held:
            if layer == 0:
                y = others[i].double()
                anna[fam.name, i] = end(fam, (y + y @ a + b).float())[fam.speak.one(" Anna")]
    for i, y in enumerate(others):
        got = torch.tensor(found.records["moved"][fam.name, i].array)
        assert torch.allclose(got, (y.double() + y.double() @ a + b).float(), atol=2e-4)
    same(found, "d", d, 1e-3)
    same(found, "rated", rated, 5e-3)
    same(found, "anna", anna, 1e-3)


def test_a_tuned_lens_of_every_position_takes_batches_in_turn(llama, gbx, monkeypatch):
    """More positions than a step takes; the last layer's lens has nothing to learn, and weight decay keeps it there."""
    import numpy as np

    from glassbox_dsl.library.fits import tuned_lens

    monkeypatch.setattr(tuned_lens, "BATCH", 32)
    found = gbx(PROBED.text + """experiment e {
  fit lens = tuned_lens(clean.resid_post[0], steps: 7)
  fit whole = tuned_lens(clean.resid_post[-1], steps: 7)
  measure d[pos] = kl(clean, unembed(lens(clean.resid_post[0, pos]))) * 1
  measure left[pos] = norm(whole(clean.resid_post[-1, pos]) - clean.resid_post[-1, pos])
}""".replace("kl(clean, ", "kl(clean.logits[pos], "), llama)  # fmt: skip
    held = split_of(found, "d", llama)
    train, _ = indices(held)
    passes = [states(llama, i.clean) for i in PROBED.items(llama)]
    x = torch.cat([passes[i][0][0] for i in train.tolist()]).double()
    logits = torch.cat([passes[i][1] for i in train.tolist()])
    draw, order = np.random.default_rng(0), []
    while len(order) < 7:
        rows = torch.from_numpy(draw.permutation(len(x)))
        order += rows.split(32)
    a, b = tuned(llama, x, logits, 7, order[:7])
    d = {}
    for i in held:
        h = passes[i][0][0].double()
        for k, value in enumerate(divergence(llama, (h + h @ a + b).float(), passes[i][1])):
            d[llama.name, i, k] = value
    same(found, "d", d, 1e-3)
    same(found, "left", dict.fromkeys(d, 0.0), 1e-3)


# ---------------------------------------------------------------- Jacobians


def jacobian(fam, ids, layer, place, wanted):
    """[dim, dim] of a function of (states, logits) with respect to what leaves a layer at a place."""

    def moved(delta):
        def change(state):
            return torch.cat([state[:place], (state[place] + delta)[None], state[place + 1 :]])

        return wanted(*states(fam, ids, {layer: change}))

    zero = torch.zeros(fam.plain.config.get_text_config().hidden_size)
    return torch.autograd.functional.jacobian(moved, zero).double()


def test_the_mean_jacobian_is_a_map(fam, gbx):
    found = gbx(PROBED.text + """experiment e {
  fit lre[layer in {0, 1}] = jacobian(from: clean.resid_post[layer, a], to: clean.resid_post[-1, last], test: 0.5)
  record guess = lre[0](clean.resid_post[0, a])
  record elsewhere = lre[1](other.resid_post[1, a])
  measure rated[layer in {0, 1}] = score(lre)
  record back = inverse(lre[0], rank: 3)(other.resid_post[-1, last])
  record whole = inverse(lre[1])(other.resid_post[-1, last])
  measure d = norm(lre[0](clean.resid_post[0, a]) - clean.resid_post[-1, last])
  run pushed = forward(clean) { resid_post[0, a] += inverse(lre[0], rank: 2)(other.resid_post[-1, last])
    - inverse(lre[0], rank: 2)(clean.resid_post[-1, last]) }
  measure anna = logit(pushed, " Anna")
}""", fam)  # fmt: skip
    items = PROBED.items(fam)
    held = split_of(found, "d", fam)
    train, test = indices(held)
    passes, maps = [states(fam, i.clean) for i in items], {}
    others = [states(fam, i.other)[0] for i in items]
    y = torch.stack([p[0][-1][-1] for p in passes]).double()
    for layer in (0, 1):
        x = torch.stack([p[0][layer][i.clean.last("a")] for p, i in zip(passes, items, strict=True)]).double()
        each = [
            jacobian(fam, items[i].clean, layer, items[i].clean.last("a"), lambda s, _: s[-1][-1])
            for i in train.tolist()
        ]
        w = torch.stack(each).mean(0)
        b = (y - x @ w.T)[train].mean(0)
        maps[layer] = w, b
        left = (y - x @ w.T - b)[test].square().sum() / (y[test] - y[test].mean(0)).square().sum()
        assert found.values["rated"][fam.name, layer] == pytest.approx(float(1 - left), abs=1e-3, rel=1e-3)
        if layer == 0:
            guess = x @ w.T + b
            d = (guess - y).norm(dim=-1)
            same(found, "d", {(fam.name, i): d[i] for i in held}, 1e-3)
    (w, b), (v, c) = maps[0], maps[1]

    def inverse(w, rank):
        u, s, vh = torch.linalg.svd(w)
        return vh[:rank].T @ torch.diag(1 / s[:rank]) @ u[:, :rank].T

    def close(name, i, wanted, tolerance=1e-3):
        got = torch.tensor(found.records[name][fam.name, i].array).double()
        assert torch.allclose(got, wanted, atol=tolerance, rtol=tolerance), (name, (got - wanted).abs().max())

    anna = {}
    for i, item in enumerate(items):
        close("guess", i, guess[i])
        close("elsewhere", i, v @ others[i][1][item.other.last("a")].double() + c)
        final = others[i][-1][-1].double()
        close("back", i, inverse(w, 3) @ (final - b))
        scale = float((torch.linalg.pinv(v) @ (final - c)).abs().max())
        close("whole", i, torch.linalg.pinv(v) @ (final - c), 2e-3 * max(scale, 1))
        if i in held:
            delta, place = (inverse(w, 2) @ (final - y[i])).float(), item.clean.last("a")

            def change(state, delta=delta, place=place):
                state = state.clone()
                state[place] += delta
                return state

            anna[fam.name, i] = states(fam, item.clean, {0: change})[1][-1][fam.speak.one(" Anna")]
    same(found, "anna", anna, 2e-3)


def test_a_jacobian_at_every_position_and_of_an_edited_run(llama, gbx):
    """Each position is an example, with its own target; the cells of a run are cells of the fit."""
    found = gbx(PROBED.text + """experiment e {
  run scaled[alpha in [1, 3]] = forward(clean) { resid_post[0, a] *= alpha }
  fit along[alpha in [1, 3]] = jacobian(from: scaled.resid_post[0], to: 2 * scaled.resid_post[1])
  record got = along[3](clean.resid_post[0, last])
  fit apart[layer] = jacobian(from: clean.resid_pre[layer, last], to: clean.resid_post[layer, last])
  record here = apart[2](clean.resid_pre[2, last])
  measure d[alpha in [1, 3]] = norm(along(clean.resid_post[0, last]))
}""", llama)  # fmt: skip
    held = split_of(found, "d", llama)
    train, _ = indices(held)
    items = PROBED.items(llama)
    each, xs, ys, own = [], [], [], []
    for i in train.tolist():
        ids, at = items[i].clean, items[i].clean.last("a")
        for place in range(len(ids)):

            def moved(delta, at=at, place=place, ids=ids):
                def change(state):
                    scale = torch.tensor([3.0 if k == at else 1.0 for k in range(len(state))])
                    here = torch.tensor([float(k == place) for k in range(len(state))])
                    return state * scale[:, None] + here[:, None] * delta

                return 2 * states(llama, ids, {0: change})[0][1][place]

            zero = torch.zeros(llama.plain.config.hidden_size)
            each.append(torch.autograd.functional.jacobian(moved, zero).double())
            ys.append(moved(zero).double())
            xs.append(states(llama, ids)[0][0][place].double() * (3 if place == at else 1))
        own.append(jacobian(llama, ids, 1, len(ids) - 1, lambda s, _: s[2][-1]))
    w = torch.stack(each).mean(0)
    b = torch.stack([y - w @ x for x, y in zip(xs, ys, strict=True)]).mean(0)
    v = torch.stack(own).mean(0)
    pairs = [(states(llama, items[i].clean)[0], i) for i in range(len(items))]
    c = torch.stack(
        [(s[2][-1].double() - v @ s[1][-1].double()) for s, i in pairs if i in train.tolist()]
    ).mean(0)
    for s, i in pairs:
        got = torch.tensor(found.records["got"][llama.name, i].array).double()
        assert torch.allclose(got, w @ s[0][-1].double() + b, atol=1e-3)
        got = torch.tensor(found.records["here"][llama.name, i].array).double()
        assert torch.allclose(got, v @ s[1][-1].double() + c, atol=1e-3)


# ---------------------------------------------------------------- distributed alignment search


def aligned(fam, items, train, layer, k, steps, rate, seed, answer):
    """The basis by autograd and torch's Adam, each item's pass with its own hook."""
    import numpy as np

    own = [states(fam, i.clean)[0][layer][-1] for i in items]
    from_ = [states(fam, i.other)[0][layer][-1] for i in items]
    start = torch.from_numpy(np.random.default_rng(seed).standard_normal((k, len(own[0]))))

    def polar(rows):
        """By Newton and Schulz: a singular value decomposition has no gradient where all values are 1."""
        rows = rows / torch.linalg.matrix_norm(rows.detach(), 2)
        for _ in range(30):
            rows = 1.5 * rows - 0.5 * rows @ rows.T @ rows
        return rows

    basis = polar(start).requires_grad_()
    optimiser = torch.optim.Adam([basis], lr=rate)

    def logits(i, rows):
        def change(state):
            delta = ((from_[i] - own[i]).double() @ rows.T @ rows).float()
            return torch.cat([state[:-1], (state[-1] + delta)[None]])

        return states(fam, items[i].clean, {layer: change})[1][-1]

    for _ in range(steps):
        optimiser.zero_grad()
        loss = sum(-logits(i, polar(basis)).log_softmax(-1)[answer(i)] for i in train) / len(train)
        loss.backward()
        optimiser.step()
        with torch.no_grad():
            basis.copy_(polar(basis))
    return basis.detach(), lambda i: logits(i, basis.detach())


def test_distributed_alignment_search(fam, gbx):
    """The basis, its score, and what the run says once what lies in it is exchanged."""
    found = gbx(PROBED.text + """experiment e {
  fit das[layer in {0, 1}] = das(base: clean.resid_post[layer, last], source: other.resid_post[layer, last],
    answer: other_one, dim: 2, steps: 6, rate: 0.02, seed: 5, test: 0.4)
  run swapped[layer in {0, 1}] = forward(clean) {
    resid_post[layer, last] += project(other.resid_post[layer, last] - self, das)
  }
  measure right[layer in {0, 1}] = logprob(swapped, other_one)
  measure iia[layer in {0, 1}] = score(das)
  measure hit[layer in {0, 1}] = correct(swapped, other_one)
  measure inside[layer in {0, 1}] = norm(project(other.resid_post[layer, last], das))
  measure outside = norm(reject(clean.resid_post[1, last], das[1]))
}""", fam)  # fmt: skip
    items = PROBED.items(fam)
    held = split_of(found, "right", fam)
    train, test = indices(held)
    right, iia, hit, inside, outside = {}, {}, {}, {}, {}

    def answer(i):
        return fam.speak.one(" " + items[i].row["b"])

    for layer in (0, 1):
        basis, logits = aligned(fam, items, train.tolist(), layer, 2, 6, 0.02, 5, answer)
        for i in held:
            one = logits(i)
            right[fam.name, i, layer] = one.log_softmax(-1)[answer(i)]
            hit[fam.name, i, layer] = float(one.argmax() == answer(i))
            inside[fam.name, i, layer] = (basis @ states(fam, items[i].other)[0][layer][-1].double()).norm()
            if layer == 1:
                x = states(fam, items[i].clean)[0][1][-1].double()
                outside[fam.name, i] = (x - x @ basis.T @ basis).norm()
        iia[fam.name, layer] = sum(hit[fam.name, i, layer] for i in held) / len(held)
    same(found, "right", right, 2e-3)
    same(found, "iia", iia)
    same(found, "hit", hit)
    same(found, "inside", inside, 5e-3)
    same(found, "outside", outside, 5e-3)


def test_a_subspace_of_all_directions_exchanges_everything(llama, gbx):
    """At the site of a head, in a run with edits of its own."""
    found = gbx(PROBED.text + """experiment e {
  run base = forward(clean) { mlp.out[0, last] *= 2 }
  fit das[head in {0, 1}] = das(base: base.attn.z[1, head, last], source: other.attn.z[1, head, last],
    answer: given, dim: 8, steps: 1, test: 0.4)
  run swapped[head in {0, 1}] = forward(clean) {
    mlp.out[0, last] *= 2
    attn.z[1, head, last] := other
  }
  measure iia[head in {0, 1}] = score(das)
  measure hit[head in {0, 1}] = mean(das(other.attn.z[1, head, last]) == 0, over: component) + correct(swapped, given)
}""", llama)  # fmt: skip
    held = split_of(found, "hit", llama)
    assert llama.plain.config.head_dim == 8
    for head in (0, 1):
        hits = [found.values["hit"][llama.name, i, head] for i in held]
        assert found.values["iia"][llama.name, head] == pytest.approx(sum(hits) / len(hits))


@pytest.mark.parametrize(
    ("fit", "said"),
    [
        ("tuned_lens(clean.attn.out[1, last])", "no state of the stream"),
        ("tuned_lens(logit(clean, given))", "no vectors of a run"),
        ("tuned_lens(clean.resid_post[1, last], steps: 0)", "at least 1"),
        ("tuned_lens(clean.resid_post[1, last], label: kind)", "no option `label:`"),
        ("jacobian(from: clean.resid_post[1, last])", "`to:` is missing"),
        ("jacobian(from: clean.resid_post[1, last], to: other.resid_post[1, last])", "does not depend on the run"),
        ("jacobian(from: clean.resid_post[2, last], to: clean.resid_post[1, last])", "does not depend"),
        ("jacobian(from: clean.resid_post[1, last], to: logit(clean, given))", "a number"),
        ("das(base: clean.resid_post[1, last], source: other.resid_post[1, last], dim: 1)", "`answer:` is missing"),
        ("das(base: clean.resid_post[1, last], source: other.resid_post[1, last], answer: given)", "whole number"),
        ("das(base: clean.resid_post[1], source: other.resid_post[1, last], answer: given, dim: 1)", "one position"),
        ("das(base: clean.resid_post[1, last], source: other.resid_post[1, last], answer: given, dim: 99)", "1 to"),
        ("das(base: clean.resid_post[1, last], source: other.attn.z[1, 0, last], answer: given, dim: 1)", "width 8"),
        ("das(base: clean.resid_post[1, last], source: other.resid_post[1, last], answer: [\" Anna went\"], dim: 1)",
         "one token"),
    ],
)  # fmt: skip
def test_what_cannot_be_trained(llama, gbx, fit, said):
    with pytest.raises(Findings) as refused:
        gbx(PROBED.text + f"experiment e {{\n  fit f = {fit}\n  measure m = score(f)\n}}", llama)
    assert any(said in f"{d.headline} {d.label}" for d in refused.value.diagnostics), (
        refused.value.diagnostics
    )


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("norm(inverse(f)(clean.resid_post[0, last]))", ""),
        ("norm(inverse(f, rank: 99)(clean.resid_post[0, last]))", "asks for more"),
        ("norm(inverse(f, rank: 0)(clean.resid_post[0, last]))", "at least 1"),
        ("norm(inverse(f))", "give it the value"),
        ("norm(inverse(plane)(clean.resid_post[0, last]))", "gives a map"),
        ("norm(project(clean.resid_post[0, last], f))", "is a map"),
        ("norm(f.direction)", "is a fit"),
    ],
)
def test_what_a_map_is_not(llama, gbx, value, said):
    text = (
        PROBED.text
        + f"""experiment e {{
  fit f = jacobian(from: clean.resid_post[0, last], to: clean.resid_post[1, last])
  fit plane = pca(clean.resid_post[0, last], dim: 2)
  measure m = {value}
}}"""
    )
    if not said:
        assert gbx(text, llama).values["m"]
        return
    with pytest.raises(Findings) as refused:
        gbx(text, llama)
    assert any(said in f"{d.headline} {d.label}" for d in refused.value.diagnostics), (
        refused.value.diagnostics
    )


def test_a_subspace_in_the_middle_of_a_prompt_of_an_edited_run(fam, gbx):
    """Edits left of the vectors, below and above them hold in every step, though only what changes is run again."""
    found = gbx(PROBED.text + """experiment e {
  run base = forward(clean) {
    mlp.out[0, first] *= 2
    resid_post[0, a] *= 1.5
    resid_post[1] *= 0.5
    mlp.out[1, b] *= 3
  }
  fit das = das(base: base.resid_post[0, a], source: other.resid_post[0, a], answer: other_one, dim: 2, steps: 5,
    rate: 0.05, test: 0.4)
  measure inside = norm(project(other.resid_post[0, a], das))
  measure iia = score(das)
}""", fam)  # fmt: skip
    items = PROBED.items(fam)
    held = split_of(found, "inside", fam)
    train, _ = indices(held)
    added = "post_feedforward_layernorm" if fam.name == "gemma3_text" else "mlp"

    def scaled(place, factor):
        """A hook on what an MLP adds at a place."""

        def run(module, args, out):
            here = torch.ones(out.shape[-2], 1)
            here[place] = factor
            return out * here

        return run

    def passed(i, delta):
        ids = items[i].clean
        place = torch.zeros(len(ids), 1)
        place[ids.last("a")] = 1
        with ExitStack() as stack:
            for layer, hook in ((0, scaled(0, 2)), (1, scaled(ids.last("b"), 3))):
                module = layers(fam)[layer].get_submodule(added)
                stack.callback(module.register_forward_hook(hook).remove)
            return states(fam, ids, {0: lambda x: x * (1 + place / 2) + place * delta, 1: lambda x: x * 0.5})

    inside, hits = subspace(fam, items, train.tolist(), held, passed, 5, 0.05)
    same(found, "inside", {(fam.name, i): n for i, n in inside.items()}, 5e-3)
    assert found.values["iia"][(fam.name,)] == pytest.approx(sum(hits.values()) / len(hits))


def subspace(fam, items, train, held, passed, steps, rate):
    """The basis of two directions at the span `a` by torch's Adam, and what it does to the items held out."""
    import numpy as np

    zero = torch.zeros(fam.plain.config.get_text_config().hidden_size)
    own = [passed(i, zero)[0][0][items[i].clean.last("a")] for i in range(len(items))]
    from_ = [states(fam, i.other)[0][0][i.other.last("a")] for i in items]
    start = torch.from_numpy(np.random.default_rng(0).standard_normal((2, len(zero))))

    def polar(rows):
        rows = rows / torch.linalg.matrix_norm(rows.detach(), 2)
        for _ in range(30):
            rows = 1.5 * rows - 0.5 * rows @ rows.T @ rows
        return rows

    def logits(i, rows):
        return passed(i, ((from_[i] - own[i]).double() @ rows.T @ rows).float())[1][-1]

    def answer(i):
        return fam.speak.one(" " + items[i].row["b"])

    basis = polar(start).requires_grad_()
    optimiser = torch.optim.Adam([basis], lr=rate)
    for _ in range(steps):
        optimiser.zero_grad()
        (sum(-logits(i, polar(basis)).log_softmax(-1)[answer(i)] for i in train) / len(train)).backward()
        optimiser.step()
        with torch.no_grad():
            basis.copy_(polar(basis))
    basis = basis.detach()
    return (
        {i: (basis @ from_[i].double()).norm() for i in held},
        {i: float(logits(i, basis).argmax() == answer(i)) for i in held},
    )
