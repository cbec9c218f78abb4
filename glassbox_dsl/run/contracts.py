"""What every family has to keep, whatever its layout: equations and edits that name no module of it.

A contract runs on a small random model (`[tiny]` of the family file) beside the same model untouched: transformers' own
`eager` code without hooks, asked for its hidden states and attentions. Names are those of the invariants I1-I10 and the
conformance tests C1-C25 in the documentation of the project (docs/families.md says what each is about).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import torch
from torch import Tensor, nn

from glassbox_dsl.run.check import FLOAT_NOISE, Check, check, furthest, relative
from glassbox_dsl.run.instrument import Instrument, Write
from glassbox_dsl.run.verify import verify
from glassbox_dsl.vocabulary.keys import SiteKey
from glassbox_dsl.vocabulary.sites import sites

LENGTH: Final = 9
LOGITS: Final = SiteKey("logits")


@dataclass(frozen=True)
class Subject:
    """A model under contract, and the same model untouched."""

    instrument: Instrument
    plain: nn.Module

    @cached_property
    def ids(self) -> Tensor:
        """Two prompts of one length, [2, pos]."""
        generator = torch.Generator().manual_seed(11)
        return torch.randint(3, self.instrument.facts.vocab_size, (2, LENGTH), generator=generator)

    @cached_property
    def untouched(self) -> Any:
        """What the untouched model gives out: logits, hidden states, attentions."""
        model: Any = self.plain
        with torch.no_grad():
            return model(self.ids, use_cache=False, output_hidden_states=True, output_attentions=True)

    @cached_property
    def own(self) -> dict[SiteKey, Tensor]:
        """Every site of every layer that has it, unedited."""
        return self.instrument.forward(self.ids, reads=set(self.keys()))

    def keys(self, *names: str) -> list[SiteKey]:
        """The places of some sites (default: all)."""
        facts = self.instrument.facts
        known = [n for n in names or sites() if sites()[n].built and n not in facts.absent]
        return [
            SiteKey(n, layer)
            for n in known
            for layer in (facts.layers_with(n) if sites()[n].has_layer else (None,))
        ]

    def at(self, site: str, layer: int | None = None) -> Tensor:
        """The value of a site, unedited."""
        return self.own[SiteKey(site, layer)]

    def logits(self, writes: dict[SiteKey, Write]) -> Tensor:
        """The logits of the two prompts under some writes."""
        return self.instrument.forward(self.ids, reads={LOGITS}, writes=writes)[LOGITS]

    def swapped(self, *keys: SiteKey) -> dict[SiteKey, Write]:
        """Writes that give each prompt the other one's values."""

        def from_other(key: SiteKey) -> Write:
            return lambda _: self.own[key].flip(0)

        return {key: from_other(key) for key in keys}


def contracts(instrument: Instrument, plain: nn.Module) -> Iterator[Check]:
    """All contracts of a model: those of `verify` (both executors), then the others; a failure says by how much."""
    yield from verify(instrument)
    subject = Subject(instrument, plain)
    for name, contract in CONTRACTS.items():
        try:
            yield from contract(subject)
        except Exception as problem:
            yield check(name, float("inf"), 0.0, f"{type(problem).__name__}: {problem}")


# ---------------------------------------------------------------- reads


def _what_the_model_gives_out(subject: Subject) -> Iterator[Check]:
    """C1, C2: stream, patterns and logits are those that the untouched model gives out itself; reading moves no bit."""
    given, facts = subject.untouched, subject.instrument.facts
    streams, said = given.hidden_states, "as the model gives it out"
    before = [relative(subject.at("resid_pre", n), streams[n]) for n in range(facts.n_layers)]
    after = [relative(subject.at("resid_post", n), streams[n + 1]) for n in range(facts.n_layers - 1)]
    yield _worst("C1", before, said, "resid_pre")
    yield _worst("C1", after, said, "resid_post")
    yield _worst("C1", [relative(subject.at("embed"), streams[0])], said, "embed")
    yield _worst("C1", [relative(subject.at("final_norm"), streams[-1])], said, "final_norm")
    if given.attentions:
        patterns = [relative(subject.at("attn.pattern", n), p) for n, p in enumerate(given.attentions)]
        yield _worst("C1", patterns, said, "attn.pattern")
    moved = furthest(subject.at("logits"), given.logits)
    yield check("C2", moved, 0.0, "logits while every site is read, bitwise", "logits")


def _worst(name: str, errors: list[Tensor], detail: str, site: str, noise: float = FLOAT_NOISE) -> Check:
    """The check of the largest of some errors; NaN stays NaN."""
    return check(name, torch.stack([e.float() for e in errors]).max(), noise, detail, site)


def _sums(subject: Subject) -> Iterator[Check]:
    """I1: resid_mid is the stream with attention added. I6: the end is everything that was added."""
    facts = subject.instrument.facts
    total, mids = subject.at("embed"), []
    for n in range(facts.n_layers):
        mid = subject.at("resid_pre", n) + subject.at("attn.out", n)
        mids.append(relative(mid, subject.at("resid_mid", n)))
        total = total + subject.at("attn.out", n) + subject.at("mlp.out", n)
    end = relative(total, subject.at("resid_post", facts.n_layers - 1))
    yield _worst("I6", [end], "embed and everything added give the end", "mlp.out")
    yield _worst("I1", mids, "resid_mid = resid_pre + attn.out", "resid_mid")


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
        yield _worst("C1", errors, "the norm is linear in its input over its scale", name, 10 * FLOAT_NOISE)
    end, scale = subject.at("resid_post", facts.n_layers - 1), subject.at("final_norm_scale")
    error = _linear_by_dimension(end, scale, subject.at("final_norm"), modules.final_norm.kind)
    yield _worst(
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


# ---------------------------------------------------------------- edits


def _other_prompt(subject: Subject) -> Iterator[Check]:
    """C4, I8: with the other prompt's embeddings a run is that prompt's. C6: so it is with any one layer's stream."""
    wanted = subject.at("logits").flip(0)
    found = subject.logits(subject.swapped(SiteKey("embed")))
    yield check(
        "C4", relative(found, wanted), FLOAT_NOISE, "embeddings of another prompt give its logits", "embed"
    )
    worst = [relative(subject.logits(subject.swapped(key)), wanted) for key in subject.keys("resid_pre")]
    yield check(
        "C6",
        torch.stack(worst).max(),
        FLOAT_NOISE,
        "the stream of another prompt gives its logits",
        "resid_pre",
    )


def _all_parts(subject: Subject) -> Iterator[Check]:
    """C5: everything that is added, and the embeddings, of another prompt give its logits."""
    wanted = subject.at("logits").flip(0)
    parts = subject.keys("embed", "attn.z", "mlp.out")
    found = subject.logits(subject.swapped(*parts))
    yield check(
        "C5",
        relative(found, wanted),
        10 * FLOAT_NOISE,
        "all heads and MLPs of another prompt give its logits",
        "attn.z",
    )


def _inputs(subject: Subject) -> Iterator[Check]:
    """What one sub-block reads, changed, changes what it adds, and nothing that the layer does before or beside it."""
    layer = subject.instrument.facts.n_layers // 2
    beside = {"mlp": ("resid_pre", "attn.in", "attn.z", "attn.out"), "attn": ("resid_pre",)}
    if "resid_mid" in subject.instrument.facts.read_only:
        beside["attn"] += ("mlp.in", "mlp.out")
    for block, others in beside.items():
        for site in (f"{block}.in", f"{block}.norm", f"{block}.norm_scale"):
            if site in subject.instrument.facts.absent:
                continue
            reads = {SiteKey(name, layer) for name in (*others, f"{block}.out")}
            found = subject.instrument.forward(
                subject.ids, reads=reads, writes=subject.swapped(SiteKey(site, layer))
            )
            moved = float(furthest(found[SiteKey(f"{block}.out", layer)], subject.at(f"{block}.out", layer)))
            errors = [furthest(found[SiteKey(name, layer)], subject.at(name, layer)) for name in others]
            still = torch.stack(errors).max() if moved > 0 else float("inf")
            yield check(
                "C25", still, 0.0, f"what stands before or beside it keeps its bits; moved {moved:.3g}", site
            )


def _groups(subject: Subject) -> Iterator[Check]:
    """C21: a group's values and patterns together do what the z of all its query heads do."""
    facts = subject.instrument.facts
    group, layer = facts.n_heads // facts.n_kv_heads, facts.n_layers // 2
    heads, kv = slice(0, group), slice(0, 1)

    def some(key: SiteKey, which: slice) -> dict[SiteKey, Write]:
        def write(value: Tensor) -> Tensor:
            after = value.clone()
            after[:, which] = subject.own[key].flip(0)[:, which]
            return after

        return {key: write}

    by_z = subject.logits(some(SiteKey("attn.z", layer), heads))
    pattern, value = SiteKey("attn.pattern", layer), SiteKey("attn.v", layer)
    by_parts = subject.logits(some(pattern, heads) | some(value, kv))
    moved = float(furthest(by_z, subject.at("logits")))
    yield check(
        "C21",
        relative(by_parts, by_z),
        FLOAT_NOISE,
        f"a group of {group} heads: z as v with patterns; moved {moved:.3g}",
        "attn.v",
    )


def _parallel(subject: Subject) -> Iterator[Check]:
    """C25: in a parallel block attention does not reach the MLP of its layer; elsewhere it does."""
    facts, layer = subject.instrument.facts, subject.instrument.facts.n_layers // 2
    parallel = "resid_mid" in facts.read_only
    out = SiteKey("attn.out", layer)
    got = subject.instrument.forward(
        subject.ids, reads={SiteKey("mlp.in", layer)}, writes=subject.swapped(out)
    )[SiteKey("mlp.in", layer)]
    moved = float(furthest(got, subject.at("mlp.in", layer)))
    yield check(
        "C25",
        float((moved > 0) == parallel),
        0.0,
        f"attention reaches the MLP of its layer: {not parallel}",
        "mlp.in",
    )


def _experts(subject: Subject) -> Iterator[Check]:
    """C22, I9 in every layer of experts."""
    facts = subject.instrument.facts
    for n in facts.layers_with("router.logits") if facts.n_experts else ():
        yield from _layer_of_experts(subject, n)


def _layer_of_experts(subject: Subject, n: int) -> Iterator[Check]:
    facts = subject.instrument.facts
    weights, out = subject.at("router.weights", n), subject.at("expert.out", n)
    used = weights != 0
    yield check(
        "C22",
        float((used.sum(1) != facts.experts_per_token).any()),
        0.0,
        f"{facts.experts_per_token} experts for each token",
        "router.weights",
    )
    yield check(
        "C22",
        float((~out.isnan().any(-1) != used).any()),
        0.0,
        "outputs exist where a token is routed",
        "expert.out",
    )
    shared = 0.0 if "shared.out" in facts.absent else subject.at("shared.out", n)
    mixed = (weights[..., None] * out.nan_to_num()).sum(1) + shared
    yield check(
        "I9",
        relative(mixed, subject.at("mlp.out_raw", n)),
        FLOAT_NOISE,
        "weighted experts (and shared ones) sum to mlp.out_raw",
        "expert.out",
    )
    posts = subject.at("expert.post", n)
    yield check(
        "C22",
        float((posts.isnan().any(2) == used).any()),
        0.0,
        "neurons exist where a token is routed",
        "expert.post",
    )
    dropped = subject.instrument.forward(
        subject.ids, reads={SiteKey("mlp.out_raw", n)},
        writes={SiteKey("router.weights", n): torch.zeros_like},
    )[SiteKey("mlp.out_raw", n)]  # fmt: skip
    wanted = torch.zeros_like(dropped) if isinstance(shared, float) else shared
    yield check(
        "I9",
        furthest(dropped, wanted),
        FLOAT_NOISE,
        "without weights only the shared experts are left",
        "router.weights",
    )

    def masked(logits: Tensor) -> Tensor:
        """The best expert made the worst."""
        after = logits.clone()
        best = logits.argmax(1, keepdim=True)
        return after.scatter_(1, best, logits.amin(1, keepdim=True) - 5)

    key = SiteKey("router.logits", n)
    after = subject.instrument.forward(
        subject.ids, reads={SiteKey("router.weights", n)}, writes={key: masked}
    )[SiteKey("router.weights", n)]
    yield check(
        "C22", float(torch.equal(after != 0, used)), 0.0, "another logit routes elsewhere", "router.logits"
    )


CONTRACTS: Final[dict[str, Callable[[Subject], Iterator[Check]]]] = {
    "C1": _what_the_model_gives_out,
    "I6": _sums,
    "C1 norms": _norms,
    "C16": _scores,
    "C1 maps": _projections,
    "C4": _other_prompt,
    "C5": _all_parts,
    "C25 inputs": _inputs,
    "C21": _groups,
    "C25": _parallel,
    "C22": _experts,
}
