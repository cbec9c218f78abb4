"""Contracts of what is read: equations, and what the untouched model gives out itself."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from glassbox_dsl.run.check import FLOAT_NOISE, Check, check, furthest, relative
from glassbox_dsl.run.contracts.subject import LENGTH, Subject, worst_of


def _what_the_model_gives_out(subject: Subject) -> Iterator[Check]:
    """C1, C2: stream, patterns and logits are those that the untouched model gives out itself; reading moves no bit."""
    given, facts = subject.untouched, subject.instrument.facts
    streams, said = given.hidden_states, "as the model gives it out"
    before = [relative(subject.at("resid_pre", n), streams[n]) for n in range(facts.n_layers)]
    after = [relative(subject.at("resid_post", n), streams[n + 1]) for n in range(facts.n_layers - 1)]
    yield worst_of("C1", before, said, "resid_pre")
    yield worst_of("C1", after, said, "resid_post")
    yield worst_of("C1", [relative(subject.at("embed"), streams[0])], said, "embed")
    yield worst_of("C1", [relative(subject.at("final_norm"), streams[-1])], said, "final_norm")
    if given.attentions:
        patterns = [relative(subject.at("attn.pattern", n), p) for n, p in enumerate(given.attentions)]
        yield worst_of("C1", patterns, said, "attn.pattern")
    moved = furthest(subject.at("logits"), given.logits)
    yield check("C2", moved, 0.0, "logits while every site is read, bitwise", "logits")


def _sums(subject: Subject) -> Iterator[Check]:
    """I1: resid_mid is the stream with attention added. I6: the end is everything that was added."""
    facts = subject.instrument.facts
    total, mids = subject.at("embed"), []
    for n in range(facts.n_layers):
        mid = subject.at("resid_pre", n) + subject.at("attn.out", n)
        mids.append(relative(mid, subject.at("resid_mid", n)))
        total = total + subject.at("attn.out", n) + subject.at("mlp.out", n)
    end = relative(total, subject.at("resid_post", facts.n_layers - 1))
    yield worst_of("I6", [end], "embed and everything added give the end", "mlp.out")
    yield worst_of("I1", mids, "resid_mid = resid_pre + attn.out", "resid_mid")


def _norms(subject: Subject) -> Iterator[Check]:
    """What a norm puts out is one gain and bias for each dimension of its input over its scale."""
    facts, modules = subject.instrument.facts, subject.instrument.modules
    for block in ("attn", "mlp"):
        name = f"{block}.norm_scale"
        if name in facts.absent:
            continue
        errors = [
            _gain_error(subject, modules.layers[n].norms[name].kind, n, f"{block}.in", name, f"{block}.norm")
            for n in facts.layers_with(name)
        ]
        yield worst_of("C1", errors, "the norm is linear in its input over its scale", name, 10 * FLOAT_NOISE)
    end, scale = subject.at("resid_post", facts.n_layers - 1), subject.at("final_norm_scale")
    error = _linear_by_dimension(end, scale, subject.at("final_norm"), modules.final_norm.kind)
    yield worst_of(
        "C1", [error], "the norm is linear in its input over its scale", "final_norm_scale", 10 * FLOAT_NOISE
    )


def _gain_error(subject: Subject, kind: str, layer: int, *sites: str) -> Tensor:
    x, scale, out = (subject.at(site, layer) for site in sites)
    return _linear_by_dimension(x, scale, out, kind)


def _linear_by_dimension(x: Tensor, scale: Tensor, out: Tensor, kind: str) -> Tensor:
    """How far `out` [row, dim] is, at best, from gain * x / scale + bias in each dimension."""
    x = x - x.mean(-1, keepdim=True) if kind == "ln" else x
    unit, out = ((t.flatten(0, 1)).double().T for t in (x / scale[..., None], out))  # [dim, row]
    basis = torch.stack([unit, torch.ones_like(unit)], dim=-1)
    found = basis @ torch.linalg.lstsq(basis, out[..., None]).solution
    return relative(found[..., 0], out)


def _scores(subject: Subject) -> Iterator[Check]:
    """Scores are products of queries and keys times one number (and a slope on the key where positions are slopes).

    C16: rows of a pattern sum to 1 (less with a sink), nothing is seen ahead or behind a window.
    """
    facts = subject.instrument.facts
    cap = getattr(subject.instrument.model.config, "attn_logit_softcapping", None)
    errors, rows, ahead = [], [], []
    seen = torch.ones(LENGTH, LENGTH).tril() > 0
    for n in range(facts.n_layers):
        q, k = subject.at("attn.q", n), subject.at("attn.k", n)
        products = q @ k.repeat_interleave(facts.n_heads // facts.n_kv_heads, 1).transpose(-1, -2)
        scores, pattern = subject.at("attn.scores", n), subject.at("attn.pattern", n)
        wanted = torch.atanh(scores / cap) * cap if cap else scores
        errors.append(_linear_error(products, wanted, ~torch.isneginf(scores)))
        window = facts.windows[n]
        local = seen if window is None else seen & ~(torch.ones(LENGTH, LENGTH).tril(-window) > 0)
        hidden = torch.isneginf(scores) != ~local
        ahead.append(pattern.masked_fill(local, 0).abs().max() + hidden.any().float())
        rows.append(pattern.sum(-1))
    yield check(
        "C1", torch.stack(errors).max(), 10 * FLOAT_NOISE, "a multiple of queries times keys", "attn.scores"
    )
    yield check(
        "C16", torch.stack(ahead).max(), 0.0, "only what the mask and the window show is seen", "attn.pattern"
    )
    total = torch.stack(rows)
    sinks = bool((total < 1 - FLOAT_NOISE).any())
    off = (total - 1).clamp(min=0).max() if sinks else furthest(total, torch.ones_like(total))
    yield check(
        "C16", off, FLOAT_NOISE, f"rows sum to {'less than 1: sinks' if sinks else '1'}", "attn.pattern"
    )


def _linear_error(products: Tensor, scores: Tensor, there: Tensor) -> Tensor:
    """How far scores are, at best, from a multiple of products plus a slope on the key and a constant for each row."""
    worst = torch.zeros(())
    key = torch.arange(LENGTH).float().expand(products.shape)
    for head in range(products.shape[1]):
        parts = []
        for value in (scores, products, key):
            kept = torch.where(there[:, head], value[:, head], 0.0)
            mean = kept.sum(-1, keepdim=True) / there[:, head].sum(-1, keepdim=True)
            parts.append((value[:, head] - mean)[there[:, head]].double())
        basis = torch.stack(parts[1:], dim=1)
        found = basis @ torch.linalg.lstsq(basis, parts[0][:, None]).solution
        worst = torch.maximum(worst, relative(found[:, 0], parts[0]))
    return worst


def _projections(subject: Subject) -> Iterator[Check]:
    """The MLP's last matrix, found by its shape in the untouched model, takes mlp.post to mlp.out_raw.

    And mlp.post is an activation of mlp.pre (times mlp.up), for one of the activations that the layer holds.
    """
    facts = subject.instrument.facts
    if "mlp.post" in facts.absent:
        return
    outs, acts = [], []
    for n in facts.layers_with("mlp.post"):
        layer = _plain_layer(subject, n)
        post = subject.at("mlp.post", n).transpose(1, 2)
        raw = subject.at("mlp.out_raw", n)
        outs.append(
            torch.stack(
                [relative(_apply(m, post), raw) for m in _maps(layer, facts.n_neurons, facts.d_model)]
            ).min()
        )
        pre = subject.at("mlp.pre", n).transpose(1, 2)
        gate = 1.0 if "mlp.up" in facts.absent else subject.at("mlp.up", n).transpose(1, 2)
        acts.append(torch.stack([relative(a(pre) * gate, post) for a in _activations(layer)]).min())
    yield check(
        "C1", torch.stack(outs).max(), FLOAT_NOISE, "the down-projection takes it to mlp.out_raw", "mlp.post"
    )
    yield check("C1", torch.stack(acts).max(), FLOAT_NOISE, "activated (and gated) it is mlp.post", "mlp.pre")


def _neuron_results(subject: Subject) -> Iterator[Check]:
    """`mlp.result` of some neurons: what the untouched model's last matrix makes of them alone, less its bias."""
    facts = subject.instrument.facts
    if "mlp.result" in facts.absent:
        return
    neurons = torch.tensor([0, facts.n_neurons // 2, facts.n_neurons - 1])
    errors = []
    for n in facts.layers_with("mlp.result"):
        post, raw = subject.at("mlp.post", n).transpose(1, 2), subject.at("mlp.out_raw", n)
        maps = _maps(_plain_layer(subject, n), facts.n_neurons, facts.d_model)
        last = min(maps, key=lambda m: float(relative(_apply(m, post), raw)))
        alone = torch.zeros(len(neurons), *post.shape)
        alone[torch.arange(len(neurons)), ..., neurons] = post[..., neurons].movedim(-1, 0)
        wanted = _apply(last, alone) - _apply(last, torch.zeros_like(post))
        rows = subject.instrument.down_rows(n, neurons)
        errors.append(relative(post[..., neurons].movedim(-1, 0)[..., None] * rows[:, None, None], wanted))
    yield worst_of(
        "C1", errors, "what the down-projection makes of one neuron", "mlp.result", 10 * FLOAT_NOISE
    )


def _unturned(subject: Subject) -> Iterator[Check]:
    """`attn.q_pre`, `attn.k_pre`: the untouched model's rotary function is given them, and makes `attn.q`, `attn.k`.

    It may be given a part of each head: the rest is the same before and after. Where a layer has none, so is all of it.
    """
    facts = subject.instrument.facts
    if "attn.q_pre" in facts.absent:
        return
    turns = _turns(subject)
    for name in ("attn.q", "attn.k"):
        errors = []
        for n in range(facts.n_layers):
            pre, post = subject.at(f"{name}_pre", n), subject.at(name, n)
            if n in turns:
                given, made = turns[n].query if name == "attn.q" else turns[n].key
                errors.append(_turn_error(pre, post, given, made, turns[n].reordered))
            else:
                errors.append(relative(pre, post))
        yield worst_of("C1", errors, f"what the rotary function turns, in {len(turns)} layers", f"{name}_pre")


class Turn(NamedTuple):
    """What a rotary function was given and put out, of queries and of keys: [batch, head, pos, width]."""

    query: tuple[Tensor, Tensor]
    key: tuple[Tensor, Tensor]
    reordered: bool


def _turns(subject: Subject) -> dict[int, Turn]:
    """The calls of rotary functions in a pass of the untouched model, by layer."""
    found: dict[int, Turn] = {}
    attentions = [
        _plain_layer(subject, n).get_submodule(subject.instrument.family.layer.attention)
        for n in range(subject.instrument.facts.n_layers)
    ]
    module = sys.modules[type(attentions[0]).__module__]
    own = {name: f for name, f in vars(module).items() if name.startswith("apply_rotary") and callable(f)}
    layer = 0

    def enter(n: int) -> None:
        nonlocal layer
        layer = n

    def noting(
        name: str, function: Callable[..., tuple[Tensor, Tensor]]
    ) -> Callable[..., tuple[Tensor, Tensor]]:
        def run(query: Tensor, key: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
            made = function(query, key, *args, **kwargs)
            found[layer] = Turn((query, made[0]), (key, made[1]), "interleave" in name)
            return made

        return run

    handles = [
        a.register_forward_pre_hook(lambda *_, n=n: enter(n), with_kwargs=True)
        for n, a in enumerate(attentions)
    ]
    try:
        vars(module).update({name: noting(name, function) for name, function in own.items()})
        with torch.no_grad():
            subject.plain(subject.ids, use_cache=False)
    finally:
        vars(module).update(own)
        for handle in handles:
            handle.remove()
    return found


def _turn_error(pre: Tensor, post: Tensor, given: Tensor, made: Tensor, reordered: bool) -> Tensor:
    """How far heads are from a rotary function's input and output at their first or last channels, and equal elsewhere.

    `reordered`: the function puts the channels of a head in another order before it turns them.
    """
    width, shape = given.shape[-1], (*pre.shape[:-1], given.shape[-1])
    found = []
    for start in {0, pre.shape[-1] - width}:
        turned = torch.zeros(pre.shape[-1], dtype=torch.bool)
        turned[start : start + width] = True
        before, wanted = pre[..., turned], given.expand(shape)
        if reordered:
            before, wanted = before.sort(-1).values, wanted.sort(-1).values
        parts = [relative(before, wanted), relative(post[..., turned], made.expand(shape))]
        if not turned.all():
            parts.append(relative(pre[..., ~turned], post[..., ~turned]))
        found.append(torch.stack(parts).max())
    return torch.stack(found).min()


def _plain_layer(subject: Subject, number: int) -> nn.Module:
    layers = list(subject.plain.get_submodule(subject.instrument.family.model.layers).children())
    return layers[number]


def _maps(layer: nn.Module, n_in: int, n_out: int) -> list[nn.Module]:
    """Linear maps of a layer from one width to another: `nn.Linear` keeps [out, in], GPT-2's `Conv1D` [in, out]."""
    found = []
    for module in layer.modules():
        weight = getattr(module, "weight", None)
        if isinstance(weight, Tensor) and weight.ndim == 2:
            shape = tuple(weight.shape if isinstance(module, nn.Linear) else weight.t().shape)
            found += [module] if shape == (n_out, n_in) else []
    return found


@torch.no_grad()
def _apply(module: nn.Module, x: Tensor) -> Tensor:
    found = module.forward(x)
    assert isinstance(found, Tensor)
    return found


def _activations(layer: nn.Module) -> list[Callable[[Tensor], Tensor]]:
    """Whatever in a layer may be its activation: small modules, and functions kept under usual names."""
    names = ("act", "act_fn", "activation_fn", "activation", "gelu_impl")
    found = [getattr(m, name) for m in layer.modules() for name in names if callable(getattr(m, name, None))]
    return [torch.no_grad()(f) for f in found]


READS: dict[str, Callable[[Subject], Iterator[Check]]] = {
    "C1": _what_the_model_gives_out,
    "I6": _sums,
    "C1 norms": _norms,
    "C16": _scores,
    "C1 maps": _projections,
    "C1 neurons": _neuron_results,
    "C1 turns": _unturned,
}
