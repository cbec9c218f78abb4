"""`attn.q_pre`, `attn.k_pre`: queries and keys before rotary positions, against projections written out."""

import pytest
import torch

from glassbox_dsl.diagnostics import Findings
from glassbox_dsl.run import session as sessions
from tests.semantics.tables import PEOPLE, same

TRIED_ON = ("llama", "gemma3_text", "gpt2", "gpt_neox")


def unturned(fam, layer, x):
    """q and k of normed rows [pos, dim] with positions left out: [head, pos, d], [kv_head, pos, d]."""
    reference, attn = fam.reference, fam.reference.attention_of(fam.reference.layers[layer])
    n = len(x)
    split = lambda y, heads: y.reshape(n, heads, -1).transpose(0, 1)  # noqa: E731
    with torch.no_grad():
        if fam.name == "gpt2":
            q, k, _ = (x @ attn.c_attn.weight + attn.c_attn.bias).chunk(3, -1)
            return split(q, reference.n_heads), split(k, reference.n_kv)
        if fam.name == "gpt_neox":
            q, k, _ = attn.query_key_value(x).reshape(n, reference.n_heads, 3, -1).unbind(2)
            return q.transpose(0, 1), k.transpose(0, 1)
        q, k = split(attn.q_proj(x), reference.n_heads), split(attn.k_proj(x), reference.n_kv)
        if fam.name == "gemma3_text":
            q, k = (
                y / (y.pow(2).mean(-1, keepdim=True) + reference.eps).sqrt() * (1 + norm.weight)
                for y, norm in ((q, attn.q_norm), (k, attn.k_norm))
            )
        return q, k


def put(want, name, fam, item, number, *cell):
    want.setdefault(name, {})[(fam.name, item.number, *cell)] = float(number)


@pytest.mark.parametrize("executor", ["delta", "hooked"])
def test_they_are_the_projections_without_positions(fam, gbx, monkeypatch, executor):
    """In a plain run, behind edits of what attention reads, and not behind edits of what is made of them."""
    monkeypatch.setattr(sessions.Session, "executor", executor)
    found = gbx(PEOPLE.text + """experiment e {
  measure q[layer, head, pos] = clean.attn.q_pre[layer, head, pos, dim: 1]
  measure k[layer, kv_head] = clean.attn.k_pre[layer, kv_head, last, dim: 1]
  measure k_size[layer, kv_head] = norm(clean.attn.k_pre[layer, kv_head, last])
  run normed = forward(clean) { attn.norm[1, last] *= 2 }
  measure after = normed.attn.q_pre[1, 0, last, dim: 1]
  measure after_k = normed.attn.k_pre[1, 0, last, dim: 1]
  run frozen = forward(clean) { attn.norm_scale[1, last] *= 2 }
  measure divided = frozen.attn.q_pre[1, 0, last, dim: 1]
  run turned = forward(clean) { attn.q[1, 0, last] *= 3 }
  measure before = turned.attn.q_pre[1, 0, last, dim: 1]
  run patched[pos in {c, last}] = forward(clean) { resid_pre[0, pos] := corrupt }
  measure moved[pos] = patched.attn.q_pre[1, 1, last, dim: 2]
}""", fam)  # fmt: skip
    want = {}
    for item in PEOPLE.items(fam):
        values, at = fam.run(item.clean), len(item.clean) - 1
        for layer in range(fam.reference.n_layers):
            q, k = unturned(fam, layer, values["attn.norm", layer])
            for head in range(len(q)):
                for place in range(len(item.clean)):
                    put(want, "q", fam, item, q[head, place, 1], layer, head, place)
            for head in range(len(k)):
                put(want, "k", fam, item, k[head, at, 1], layer, head)
                put(want, "k_size", fam, item, k[head, at].norm(), layer, head)
        normed = values["attn.norm", 1].clone()
        put(want, "before", fam, item, unturned(fam, 1, normed)[0][0, at, 1])
        normed[at] *= 2
        q, k = unturned(fam, 1, normed)
        put(want, "after", fam, item, q[0, at, 1])
        put(want, "after_k", fam, item, k[0, at, 1])

        def frozen(site, layer, value, at=at):
            return (
                torch.cat([value[:at], 2 * value[at:]]) if (site, layer) == ("attn.norm_scale", 1) else None
            )

        x = fam.run(item.clean, frozen)["attn.norm", 1]
        put(want, "divided", fam, item, unturned(fam, 1, x)[0][0, at, 1])
        other = fam.run(item.corrupt)["resid_pre", 0]
        for name, place in (("c", item.clean.last("c")), ("last", at)):

            def swapped(site, layer, value, place=place, other=other):
                if (site, layer) != ("resid_pre", 0):
                    return None
                value = value.clone()
                value[place] = other[place]
                return value

            x = fam.run(item.clean, swapped)["attn.norm", 1]
            put(want, "moved", fam, item, unturned(fam, 1, x)[0][1, at, 2], name)
    for name, cells in want.items():
        same(found, name, cells)


@pytest.mark.parametrize("executor", ["delta", "hooked"])
def test_a_head_with_a_copy_of_its_own_shows_what_it_makes_of_that(fam, gbx, monkeypatch, executor):
    """And its query stays what it makes with positions: to read one does not change the other."""
    monkeypatch.setattr(sessions.Session, "executor", executor)
    found = gbx(PEOPLE.text + """experiment e {
  run own = forward(clean) { attn.q_in[1, 1, last] *= -1  attn.k_in[1, 0, last] *= -1 }
  measure pre[head] = own.attn.q_pre[1, head, last, dim: 1]
  measure turned[head] = own.attn.q[1, head, last, dim: 1]
  measure keyed[kv_head] = own.attn.k_pre[1, kv_head, last, dim: 1]
  measure score[head] = own.attn.scores[1, head, last, last]
}""", fam)  # fmt: skip
    want = {}
    for item in PEOPLE.items(fam):
        at = len(item.clean) - 1

        def flip(site, layer, value, at=at):
            head = {("attn.q_in", 1): 1, ("attn.k_in", 1): 0}.get((site, layer))
            if head is None:
                return None
            value = value.clone()
            value[head, at] *= -1
            return value

        values = fam.run(item.clean, flip)
        stream = values["attn.in", 1].clone()
        q, k = unturned(fam, 1, values["attn.norm", 1])
        stream[at] *= -1
        layer = fam.reference.layers[1]
        norm = layer.ln_1 if fam.name == "gpt2" else layer.input_layernorm
        with torch.no_grad():
            x = fam.reference.normed(norm, stream, fam.reference.divisor(stream))
        mine, keys = unturned(fam, 1, x)
        q[1, at] = mine[1, at]
        if len(k) == len(q):  # a group's key stays the group's
            k[0, at] = keys[0, at]
        for head in range(len(q)):
            put(want, "pre", fam, item, q[head, at, 1], head)
            put(want, "turned", fam, item, values["attn.q", 1][head, at, 1], head)
            put(want, "score", fam, item, values["attn.scores", 1][head, at, at], head)
        for head in range(len(k)):
            put(want, "keyed", fam, item, k[head, at, 1], head)
    for name, cells in want.items():
        same(found, name, cells)


def test_a_gradient_goes_through_them(llama, gbx):
    """The slope of a query before positions by what attention reads is the row of its projection."""
    found = gbx(PEOPLE.text + """experiment e {
  let part = clean.attn.q_pre[1, 2, last, dim: 1]
  measure slope = norm(grad(part, clean.attn.norm[1, last]))
}""", llama)  # fmt: skip
    attn = llama.reference.layers[1].self_attn
    width = llama.reference.config.head_dim
    row = attn.q_proj.weight.detach()[2 * width + 1].norm()
    same(found, "slope", {(llama.name, item.number): float(row) for item in PEOPLE.items(llama)})


@pytest.mark.parametrize("site", ["attn.q_pre", "attn.k_pre"])
def test_they_can_be_read_only(llama, gbx, site):
    with pytest.raises(Findings) as refused:
        gbx(
            PEOPLE.text
            + "experiment e {\n run r = forward(clean) { "
            + site
            + "[0, 1, last] := 0 }\n measure m = logit(r, yes)\n}",
            llama,
        )
    [finding] = refused.value.diagnostics
    assert finding.code == "GB218" and f"write `{site[:-4]}`" in finding.label
