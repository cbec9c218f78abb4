"""Mixtures of experts and parallel blocks in `.gbx` files, against the untouched model with plain hooks."""

from __future__ import annotations

from contextlib import ExitStack

import pytest
import torch

from glassbox_dsl.diagnostics import Findings
from glassbox_dsl.run import session as sessions
from tests.semantics import conftest as checkpoints_of
from tests.semantics.tables import EVEN, same

MIXTURES = {"mixtral": 3, "qwen2_moe": 3, "deepseek_v2": 3}
PARALLEL = {"gptj": 3, "gpt_neox": 3, "cohere": 3}
LAST = -1


class Plain(checkpoints_of.Family):
    """A tiny checkpoint whose expectations come from hooks written here."""

    written_out = False

    @torch.no_grad()
    def logits(self, ids, *hooks):
        """The last logits, under hooks (module, function of (arguments, output) -> output)."""
        with ExitStack() as stack:
            for module, change in hooks:
                stack.callback(module.register_forward_hook(change).remove)
            return self.plain(torch.tensor([list(ids)]), use_cache=False).logits[0, LAST]

    @torch.no_grad()
    def output(self, ids, module):
        found = []
        self.logits(ids, (module, lambda _, args, out: found.append((args, out))))
        return found[0]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    root, kept = tmp_path_factory.mktemp("more"), {}

    def make(name):
        if name not in kept:
            checkpoints_of.LAYERS.setdefault(name, (MIXTURES | PARALLEL)[name])
            kept[name] = Plain(name, root / name)
        return kept[name]

    return make


@pytest.fixture(params=["hooked", "delta"])
def executor(request, monkeypatch):
    monkeypatch.setattr(sessions.Session, "executor", request.param)
    return request.param


def layer_of(fam, number):
    return fam.plain.model.layers[number]


def routed(fam, ids, number):
    """Router logits [pos, expert], weights [pos, expert] (0 where not routed), and the rows that the experts read."""
    (args, (logits, weights, indices)) = fam.output(ids, layer_of(fam, number).mlp.gate)
    dense = torch.zeros(logits.shape).scatter(1, indices, weights.float())
    return logits, dense, args[0].reshape(len(logits), -1)


def expert(fam, rows, number, which):
    """What an expert makes of rows: its neurons and its output."""
    experts = layer_of(fam, number).mlp.experts
    gate, up = (rows @ experts.gate_up_proj[which].T).chunk(2, dim=-1)
    post = experts.act_fn(gate) * up
    return post, post @ experts.down_proj[which].T


TEXT = """experiment e {
  measure logit_of = clean.router.logits[layer, expert, last]
  measure weight = clean.router.weights[layer, expert, pos]
  measure size = norm(clean.expert.out[layer, expert, last])
  measure third = clean.expert.post[layer, expert, 3, last]
  run dropped[l: layer in {LAYER}, x: expert in 0..2] = forward(clean) { router.weights[l, x, last] := 0 }
  run masked[x: expert in 0..2] = forward(clean) { router.logits[LAYER, x, last] := -1000 }
  run frozen = forward(corrupt) { router.weights[LAYER, :, :] := clean }
  run silent[x: expert in 0..2] = forward(clean) { expert.post[LAYER, x, 0..9, last] := 0 }
  measure a = logit(dropped, yes)
  measure b = logit(masked, yes)
  measure c1 = logit(frozen, yes)
  measure d1 = logit(silent, yes)
}"""


@pytest.mark.parametrize("name", MIXTURES)
def test_routers_and_experts_are_read_and_written(name, made, gbx, executor):
    fam = made(name)
    number = 2  # a layer of experts in every one of the three
    found = gbx(EVEN.text + TEXT.replace("LAYER", str(number)), fam)
    read, edits = expectations(fam, number)
    for measure, cells in (read | edits).items():
        same(found, measure, {(name, *key): value for key, value in cells.items()})


@torch.no_grad()
def expectations(fam, number):
    read = {m: {} for m in ("logit_of", "weight", "size", "third")}
    edits = {m: {} for m in ("a", "b", "c1", "d1")}
    layers = [n for n in range(3) if hasattr(layer_of(fam, n).mlp, "experts")]
    for item in EVEN.items(fam):
        yes = fam.speak.one(f" {item.row['a']}")
        for n in layers:
            logits, weights, rows = routed(fam, item.clean, n)
            for x in range(logits.shape[1]):
                read["logit_of"][item.number, n, x] = logits[LAST, x]
                for pos in range(len(logits)):
                    read["weight"][item.number, n, x, pos] = weights[pos, x]
                if weights[LAST, x] != 0:
                    post, out = expert(fam, rows[LAST], n, x)
                    read["size"][item.number, n, x] = out.norm()
                    read["third"][item.number, n, x] = post[3]
        _, clean, rows = routed(fam, item.clean, number)
        for x in range(3):
            edits["a"][item.number, number, x] = reweighted(fam, item.clean, number, yes, drop(clean, x))
            edits["b"][item.number, x] = fam.logits(item.clean, (gate_bias(fam, number, x)))[yes]
            post, _ = expert(fam, rows[LAST], number, x)
            post[10:] = 0
            lost = clean[LAST, x] * (post @ layer_of(fam, number).mlp.experts.down_proj[x].T)
            edits["d1"][item.number, x] = fam.logits(item.clean, (layer_of(fam, number).mlp, minus(lost)))[
                yes
            ]
        edits["c1"][(item.number,)] = reweighted(fam, item.corrupt, number, yes, lambda _, clean=clean: clean)
    return read, edits


def drop(weights, which):
    def change(own):
        after = own.clone()
        after[LAST, which] = 0
        return after

    return change


def reweighted(fam, ids, number, yes, change):
    """The logit with other weights on all experts of a layer."""
    _, own, rows = routed(fam, ids, number)
    after = change(own)
    outs = torch.stack([expert(fam, rows, number, x)[1] for x in range(own.shape[1])], dim=1)
    moved = ((after - own)[..., None] * outs).sum(1)
    return fam.logits(ids, (layer_of(fam, number).mlp, lambda _, args, out: out + moved[None]))[yes]


def minus(lost):
    def hook(_, args, out):
        after = out.clone()
        after[0, LAST] -= lost
        return after

    return hook


class gate_bias:  # noqa: N801
    """A hook that runs a router again with an expert's logit at the last row set low."""

    def __new__(cls, fam, number, which):
        gate = layer_of(fam, number).mlp.gate
        linear = torch.nn.functional.linear

        def again(module, args, out):
            def low(*inputs, **named):
                logits = linear(*inputs, **named).clone()
                logits[LAST, which] = -1000
                return logits

            torch.nn.functional.linear = low
            try:
                return module.forward(*args)
            finally:
                torch.nn.functional.linear = linear

        return gate, again


@pytest.mark.parametrize("name", MIXTURES)
def test_what_experts_add_to_a_logit_is_what_the_layer_adds(name, made, gbx):
    shared = " + attribution(clean.shared.out[2, last], logit(clean, yes))" if name != "mixtral" else ""
    found = gbx(EVEN.text + f"""experiment e {{
  measure parts = sum(attribution(clean.expert.out[2, expert, last], logit(clean, yes)), over: expert){shared}
  measure whole = attribution(clean.mlp.out[2, last], logit(clean, yes))
}}""", made(name))  # fmt: skip
    same(found, "parts", found.values["whole"])
    assert max(map(abs, found.values["whole"].values())) > 1e-2


def test_dense_layers_have_no_experts_and_layers_of_experts_no_neurons_of_an_mlp(made, gbx):
    found = gbx(EVEN.text + """experiment e {
  measure routed = clean.router.weights[layer, 0, last]
  measure dense = clean.mlp.post[layer, 0, last]
}""", made("qwen2_moe"))  # fmt: skip
    assert {key[2] for key in found.values["routed"]} == {0, 2}
    assert {key[2] for key in found.values["dense"]} == {1}


@pytest.mark.parametrize("name", PARALLEL)
def test_a_parallel_block_is_read_and_not_written_between(name, made, gbx, executor):
    fam = made(name)
    found = gbx(EVEN.text + """experiment e {
  run moved[layer] = forward(corrupt) { mlp.in[layer, last] := clean }
  run other[layer] = forward(corrupt) { attn.in[layer, last] := clean }
  measure mid = norm(clean.resid_mid[layer, last])
  measure sum = norm(clean.resid_pre[layer, last] + clean.attn.out[layer, last])
  measure a = norm(moved.attn.out[layer, last] - corrupt.attn.out[layer, last])
  measure b = norm(moved.mlp.out[layer, last] - clean.mlp.out[layer, last])
  measure c1 = norm(other.mlp.out[layer, last] - corrupt.mlp.out[layer, last])
}""", fam)  # fmt: skip
    same(found, "mid", found.values["sum"])
    same(found, "a", dict.fromkeys(found.values["a"], 0.0))
    same(found, "b", dict.fromkeys(found.values["b"], 0.0))
    same(found, "c1", dict.fromkeys(found.values["c1"], 0.0))
    with pytest.raises(Findings) as refused:
        gbx(EVEN.text + """experiment e {
  run moved = forward(corrupt) { resid_mid[0, last] := clean }
  measure m = logit(moved, yes)
}""", fam)  # fmt: skip
    assert [d.code for d in refused.value.diagnostics] == ["GB306"]


def test_a_layer_of_the_other_kind_is_refused_before_the_run(made, gbx):
    fam = made("qwen2_moe")
    for line, code in (
        ("measure m = clean.router.logits[1, 0, last]", "GB303"),
        ("run r = forward(clean) { router.logits[1, 0, last] := 0 } measure m = logit(r, yes)", "GB383"),
    ):
        with pytest.raises(Findings) as refused:
            gbx(EVEN.text + "experiment e { " + line + " }", fam)
        assert [d.code for d in refused.value.diagnostics] == [code]
