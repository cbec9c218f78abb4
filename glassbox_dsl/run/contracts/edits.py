"""Contracts of edits whose outcome is known: swapped prompts, grouped heads, parallel blocks, experts."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from glassbox_dsl.run.check import FLOAT_NOISE, Check, check, furthest, relative
from glassbox_dsl.run.contracts.subject import Subject
from glassbox_dsl.run.instrument import Write
from glassbox_dsl.vocabulary.keys import SiteKey


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


EDITS: dict[str, Callable[[Subject], Iterator[Check]]] = {
    "C4": _other_prompt,
    "C5": _all_parts,
    "C25 inputs": _inputs,
    "C21": _groups,
    "C25": _parallel,
    "C22": _experts,
}
